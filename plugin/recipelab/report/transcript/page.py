"""A review as one HTML page: no script, nothing fetched, and no agent's text is markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from itertools import groupby

from recipelab.report.transcript.blocks import (
    Block,
    Code,
    Heading,
    Line,
    Quote,
    Span,
    Tone,
    diff_tone,
    is_item,
)
from recipelab.shown import plain

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
            yield _rendered(block) + "\n"
        if is_list:
            yield "</ul>\n"
    yield "</body>\n</html>\n"


def _rendered(block: Block) -> str:
    match block:
        case Heading(level, spans):
            return f"<h{level}>{_inline(spans)}</h{level}>"
        case Line(spans, item, anchor):
            name = f' id="{_safe(anchor)}"' if anchor else ""
            tag = "li" if item else "p"
            return f"<{tag}{name}>{_inline(spans)}</{tag}>"
        case Quote(text):
            return f"<blockquote>{_safe(text.strip())}</blockquote>"
        case Code(text, is_diff):
            return f"<pre>{_diff(text) if is_diff else _safe(text.rstrip())}</pre>"


def _inline(spans: Iterable[Span]) -> str:
    return "".join(map(_span, spans)).strip()


def _span(span: Span) -> str:
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
