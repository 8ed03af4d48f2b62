"""What a review is made of, before it is text, Markdown or HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from itertools import groupby, pairwise

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from recipelab.core.text import (
    at_line_start,
    fenced,
    in_markdown,
    inline_code,
    lines_in_markdown,
    plain,
)

_BREAKS = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")


class Tone(StrEnum):
    """How a piece of a line is meant."""

    PLAIN = "plain"
    STRONG = "strong"
    CODE = "code"
    GOOD = "good"
    BAD = "bad"
    QUIET = "quiet"


@dataclass(frozen=True)
class Span:
    """A piece of a line.

    Attributes:
        text: The words; they may come from an agent.
        tone: How they are meant.
    """

    text: str
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True)
class Heading:
    """A heading.

    Attributes:
        level: 1 for the campaign, 2 for a round, 3 for a turn.
        spans: Its words.
    """

    level: int
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        spans: Its words.
        is_item: Whether it is one of a list.
        anchor: A name that a link can lead to, for formats that have links.
    """

    spans: tuple[Span, ...]
    is_item: bool = False
    anchor: str = ""


@dataclass(frozen=True)
class Quote:
    """What somebody said, word for word."""

    text: str


@dataclass(frozen=True)
class Code:
    """Text of a program: a diff, or the lines of a log.

    Attributes:
        text: The text.
        is_diff: Whether it is a unified diff.
    """

    text: str
    is_diff: bool = False


Block = Heading | Line | Quote | Code


def line(*pieces: str | Span, is_item: bool = False, anchor: str = "") -> Line:
    """A line of pieces; those without a tone are plain."""
    return Line(_spans(pieces), is_item, anchor)


def heading(level: int, *pieces: str | Span) -> Heading:
    """A heading of pieces; those without a tone are plain."""
    return Heading(level, _spans(pieces))


def strong(text: object) -> Span:
    """A piece that stands out."""
    return Span(str(text), Tone.STRONG)


def code(text: object) -> Span:
    """A name out of a program."""
    return Span(str(text), Tone.CODE)


def quiet(text: object) -> Span:
    """A piece of less weight."""
    return Span(str(text), Tone.QUIET)


def _spans(pieces: tuple[str | Span, ...]) -> tuple[Span, ...]:
    spans = (Span(piece) if isinstance(piece, str) else piece for piece in pieces)
    return tuple(Span(_BREAKS.sub(" ", span.text), span.tone) for span in spans if span.text)


def is_item(block: Block | None) -> bool:
    """Whether a block is one of a list."""
    return isinstance(block, Line) and block.is_item


def diff_tone(text: str) -> Tone:
    """How a line of a unified diff is meant: added is good, taken away is bad."""
    if text.startswith(("+++", "---", "diff ", "@@")):
        return Tone.QUIET
    return {"+": Tone.GOOD, "-": Tone.BAD}.get(text[:1], Tone.PLAIN)


_LAST_SIGNS = re.compile(r"#(?=#*$)")
_ESCAPED = r"\\#"


def markdown(blocks: Iterable[Block]) -> Iterator[str]:
    """The blocks as pieces of Markdown, to be joined as they are."""
    before: Block | None = None
    for block in blocks:
        if before is not None:
            yield "\n" if is_item(before) and is_item(block) else "\n\n"
        yield _markdown_block(block)
        before = block
    yield "\n"


def _markdown_block(block: Block) -> str:
    match block:
        case Heading(level, spans):
            # At the end of a heading Markdown takes these away.
            return f"{'#' * level} {_LAST_SIGNS.sub(_ESCAPED, _markdown_inline(spans))}"
        case Line(spans):
            return f"{'- ' if is_item(block) else ''}{_begun(_markdown_inline(spans))}"
        case Quote(text):
            return _quoted(lines_in_markdown(text))
        case Code(text, is_diff):
            return fenced(text, "diff" if is_diff else "")


def _quoted(lines: list[str]) -> str:
    # Two spaces keep an end of a line that Markdown would take for a space.
    ends = ("  " if line and following else "" for line, following in pairwise([*lines, ""]))
    return "\n".join(
        f"> {line}{end}" if line else ">" for line, end in zip(lines, ends, strict=True)
    )


def _markdown_inline(spans: Iterable[Span]) -> str:
    return "".join(map(_markdown_span, spans)).strip()


def _begun(text: str) -> str:
    return text if text.startswith(("**", "`")) else at_line_start(text)


def _markdown_span(span: Span) -> str:
    if span.tone is Tone.CODE:
        return inline_code(span.text)
    text = in_markdown(span.text)
    return f"**{text}**" if span.tone in (Tone.STRONG, Tone.GOOD, Tone.BAD) else text


_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #6b7280; --good: #116329;
  --bad: #b3261e; --added: #dafbe1; --gone: #ffebe9; --soft: #f4f5f7; }
@media (prefers-color-scheme: dark) { :root { --quiet: #9aa4b2; --good: #7ee787;
  --bad: #ff8a80; --added: #12361f; --gone: #47191b; --soft: #1d2229; } }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto;
  padding: 0 1rem; overflow-wrap: anywhere; }
h2 { border-bottom: 1px solid var(--line); margin-top: 3rem; }
h3 { margin: 2rem 0 .5rem; }
h3 .quiet { font-weight: normal; font-size: .85em; }
ul { margin: .4rem 0; padding-left: 1.2rem; }
p { margin: .6rem 0; }
p:target { outline: 2px solid var(--good); outline-offset: 4px; }
blockquote { border-left: 3px solid var(--line); margin: .6rem 0; padding: .1rem 0 .1rem .9rem;
  white-space: pre-wrap; }
pre { background: var(--soft); border-radius: 6px; font-size: .82em; line-height: 1.45;
  overflow-x: auto; overflow-wrap: normal; padding: .7rem .9rem; }
code, pre { font-family: ui-monospace, Menlo, Consolas, monospace; }
pre span { display: inline-block; min-width: 100%; }
pre .good { background: var(--added); color: inherit; }
pre .bad { background: var(--gone); color: inherit; }
.quiet { color: var(--quiet); }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
pre .good, pre .bad { font-weight: normal; }
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


def page(blocks: Iterable[Block], title: str) -> Iterator[str]:
    """The blocks as pieces of one HTML page, to be joined as they are."""
    yield _HEAD.format(title=_safe(title), style=_STYLE)
    for is_list, group in groupby(blocks, is_item):
        if is_list:
            yield "<ul>\n"
        for block in group:
            yield _html_block(block) + "\n"
        if is_list:
            yield "</ul>\n"
    yield "</body>\n</html>\n"


def _html_block(block: Block) -> str:
    match block:
        case Heading(level, spans):
            return f"<h{level}>{_html_inline(spans)}</h{level}>"
        case Line(spans, item, anchor):
            name = f' id="{_safe(anchor)}"' if anchor else ""
            tag = "li" if item else "p"
            return f"<{tag}{name}>{_html_inline(spans)}</{tag}>"
        case Quote(text):
            return f"<blockquote>{_safe(text.strip())}</blockquote>"
        case Code(text, is_diff):
            return f"<pre>{_diff(text) if is_diff else _safe(text.rstrip())}</pre>"


def _html_inline(spans: Iterable[Span]) -> str:
    return "".join(map(_html_span, spans)).strip()


def _html_span(span: Span) -> str:
    text = _safe(span.text)
    match span.tone:
        case Tone.PLAIN:
            return text
        case Tone.STRONG:
            return f"<strong>{text}</strong>"
        case Tone.CODE:
            return f"<code>{text}</code>"
        case tone:
            return f'<span class="{tone}">{text}</span>'


def _diff(text: str) -> str:
    lines = plain(text).rstrip().split("\n")
    return "\n".join(f'<span class="{diff_tone(line)}">{_safe(line)}</span>' for line in lines)


def _safe(text: str) -> str:
    return escape(plain(text))


_STYLES = {
    Tone.PLAIN: "",
    Tone.STRONG: "bold",
    Tone.CODE: "cyan",
    Tone.GOOD: "green",
    Tone.BAD: "red",
    Tone.QUIET: "dim",
}

_ITEM, _INSET = (0, 0, 0, 2), (0, 0, 0, 4)


def show(blocks: Iterable[Block], console: Console) -> None:
    """Prints the blocks, each as soon as it is there."""
    before: Block | None = None
    for block in blocks:
        joined = isinstance(before, Heading) or (is_item(block) and is_item(before))
        if before is not None and not joined:
            console.print()
        console.print(_terminal_block(block))
        before = block


def _terminal_block(block: Block) -> RenderableType:
    match block:
        case Heading(level, spans):
            text = _text(spans)
            text.stylize("bold")
            return Rule(text, align="left") if level < 3 else text
        case Line(spans, item):
            text = _text(spans)
            return Padding(Text("• ").append_text(text), _ITEM, expand=False) if item else text
        case Quote(text):
            return Padding(Text(plain(text).strip(), style="italic"), _INSET, expand=False)
        case Code(text, is_diff):
            return Padding(_code(text, is_diff=is_diff), _INSET, expand=False)


def _text(spans: Iterable[Span]) -> Text:
    return Text.assemble(*((plain(span.text), _STYLES[span.tone]) for span in spans))


def _code(text: str, *, is_diff: bool) -> Text:
    lines = plain(text).rstrip().split("\n")
    styles = (_STYLES[diff_tone(line)] if is_diff else "" for line in lines)
    return Text("\n").join(map(Text, lines, styles))
