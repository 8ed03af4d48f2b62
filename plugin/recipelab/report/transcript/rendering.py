"""Show the Markdown of a review on a terminal or as an HTML page.

The parser knows only what :mod:`recipelab.report.transcript.markdown` writes. It has no links, no
images and no HTML, so that even a mistake in escaping could not bring one about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import ClassVar

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.theme import Theme

from recipelab.core.text import plain
from recipelab.core.trial import Standing, Status
from recipelab.lineage.trial_view import status_words

_KEPT = {standing: status_words(Status.KEPT, standing) for standing in Standing}
GOOD = frozenset({Status.KEPT, Status.BASELINE, "passed"})
NEUTRAL = frozenset({Status.DISCARDED, Status.ABORTED})
BAD = frozenset({*Status, "missed", "error", "no answer"} - GOOD - NEUTRAL)
TONES = {
    **dict.fromkeys((*GOOD, _KEPT[Standing.CERTIFIED], _KEPT[Standing.UNTESTED]), "good"),
    _KEPT[Standing.PROVISIONAL]: "open",
    **dict.fromkeys((*BAD, _KEPT[Standing.UNPROVEN]), "bad"),
}
"""Words that have a color where they stand out; what is provisional is open."""

_RULES = ("heading", "fence", "list", "blockquote", "newline", "escape", "backticks", "emphasis")
_PROPOSED = re.compile(r"trial (\d+)")
_LINE_ENDS = re.compile(r" +\n")

VIEW = "view"
"""Language of a block that holds what a turn was shown; a page shows it folded."""

TEXT_WIDTH = 100
"""Columns of a text file."""


def _mark(state: StateCore) -> None:
    """Give words their color, and proposals a name that a link can lead to."""
    for block, inline in zip(state.tokens, state.tokens[1:], strict=False):
        children = inline.children or []
        for place, token in enumerate(children[:-1]):
            word = children[place + 1].content
            if token.type == "strong_open" and word in TONES:
                token.attrSet("class", TONES[word])
        if block.type == "paragraph_open" and [c.content for c in children[:1]] == ["Proposes "]:
            found = _PROPOSED.fullmatch(children[2].content) if len(children) > 2 else None
            if found:
                block.attrSet("id", f"trial-{found[1]}")


def _fence(
    renderer: RendererHTML, tokens: Sequence[Token], place: int, options: OptionsDict, env: EnvType
) -> str:
    """Render a block of code; lines of a diff that were added or removed get a color."""
    token = tokens[place]
    lines = token.content.rstrip("\n").split("\n")
    if token.info == "diff":
        return f"<pre>{chr(10).join(map(_diff_line, lines))}</pre>\n"
    text = f"<pre>{escape(chr(10).join(lines))}</pre>"
    if token.info == VIEW:
        return f"<details><summary>{len(lines)} lines</summary>{text}</details>\n"
    return f"{text}\n"


def _diff_line(line: str) -> str:
    tone = {"+": "good", "-": "bad"}.get(line[:1], "")
    if line.startswith(("+++", "---", "diff ", "@@")):
        tone = "quiet"
    return f'<span class="{tone}">{escape(line)}</span>'


def review_parser() -> MarkdownIt:
    """Return the parser of reviews."""
    parser = MarkdownIt("zero", {"html": False}).enable(list(_RULES))
    parser.core.ruler.push("mark", _mark)
    parser.add_render_rule("fence", _fence)
    return parser


_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #6b7280; --good: #116329; --open: #9a6700;
  --bad: #b3261e; --added: #dafbe1; --gone: #ffebe9; --soft: #f4f5f7; }
@media (prefers-color-scheme: dark) { :root { --quiet: #9aa4b2; --good: #7ee787; --open: #d29922;
  --bad: #ff8a80; --added: #12361f; --gone: #47191b; --soft: #1d2229; } }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto;
  padding: 0 1rem; overflow-wrap: anywhere; }
h2 { border-bottom: 1px solid var(--line); margin-top: 3rem; }
h3 { margin: 2rem 0 .5rem; }
em { color: var(--quiet); font-style: normal; }
h3 em { font-weight: normal; font-size: .85em; }
ul { margin: .4rem 0; padding-left: 1.2rem; }
p { margin: .6rem 0; }
p:target { outline: 2px solid var(--good); outline-offset: 4px; }
blockquote { border-left: 3px solid var(--line); margin: .6rem 0; padding: .1rem 0 .1rem .9rem; }
pre { background: var(--soft); border-radius: 6px; font-size: .82em; line-height: 1.45;
  overflow-x: auto; overflow-wrap: normal; padding: .7rem .9rem; }
code, pre { font-family: ui-monospace, Menlo, Consolas, monospace; }
pre span { display: inline-block; min-width: 100%; }
pre .good { background: var(--added); }
pre .bad { background: var(--gone); }
pre .quiet { color: var(--quiet); }
strong.good { color: var(--good); }
strong.open { color: var(--open); }
strong.bad { color: var(--bad); }
"""

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
"""


def html_page(chunks: Iterable[str], title: str) -> Iterator[str]:
    """Yield the pieces of one HTML page, to be joined as they are.

    Args:
        chunks: Markdown, a chunk at a time.
        title: Title of the page.
    """
    parser = review_parser()
    yield _HEAD.format(title=escape(plain(title)), style=_STYLE)
    for chunk in chunks:
        yield str(parser.render(chunk))
    yield "</body>\n</html>\n"


class _Heading(Heading):
    """A heading at the left; those of campaign and rounds with a line."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Rule(self.text, align="left") if self.tag in ("h1", "h2") else self.text


class _Code(CodeBlock):
    """A block of code on the terminal's own background."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = Syntax(
            str(self.text).rstrip(),
            self.lexer_name,
            theme="ansi_dark",
            word_wrap=True,
            background_color="default",
        )
        yield Padding(code, (0, 0, 0, 4))


class _Review(Markdown):
    """A chunk of a review on a terminal."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
    }
    inlines = Markdown.inlines | {"good", "open", "bad"}

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__("")
        self.parsed = list(tokens)
        for token in self._flatten_tokens(self.parsed):
            token.tag = str(token.attrGet("class") or token.tag)


_THEME = Theme(
    {
        "markdown.h1": "bold",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.code": "cyan",
        "markdown.em": "dim",
        "markdown.good": "bold green",
        "markdown.open": "bold yellow",
        "markdown.bad": "bold red",
        "markdown.block_quote": "italic",
    }
)


def show_review(chunks: Iterable[str], console: Console) -> None:
    """Print Markdown on a terminal, each chunk as soon as it is there.

    Args:
        chunks: Markdown, a chunk at a time.
        console: The terminal.
    """
    parser = review_parser()
    is_first = True
    with console.use_theme(_THEME):
        for chunk in chunks:
            if not is_first:
                console.print()
            console.print(_Review(parser.parse(chunk)))
            is_first = False


def plain_text(chunks: Iterable[str]) -> Iterator[str]:
    """Yield the pieces of a text file, to be joined as they are."""
    console = Console(width=TEXT_WIDTH, highlight=False, force_terminal=False)
    for place, chunk in enumerate(chunks):
        with console.capture() as captured:
            show_review([chunk], console)
        text = _LINE_ENDS.sub("\n", captured.get())
        yield f"\n{text}" if place else text
