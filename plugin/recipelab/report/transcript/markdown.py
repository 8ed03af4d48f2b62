"""A review as Markdown that no agent can forge a part of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from recipelab.report.transcript.blocks import (
    Block,
    Code,
    Heading,
    Line,
    Quote,
    Span,
    Tone,
    is_item,
)
from recipelab.shown import at_line_start, fenced, in_markdown, inline_code, lines_in_markdown

_LAST_SIGNS = re.compile(r"#(?=#*$)")
_ESCAPED = r"\\#"


def markdown(blocks: Iterable[Block]) -> Iterator[str]:
    """The blocks as pieces of Markdown, to be joined as they are."""
    before: Block | None = None
    for block in blocks:
        if before is not None:
            yield "\n" if is_item(before) and is_item(block) else "\n\n"
        yield _rendered(block)
        before = block
    yield "\n"


def _rendered(block: Block) -> str:
    match block:
        case Heading(level, spans):
            # At the end of a heading Markdown takes these away.
            return f"{'#' * level} {_LAST_SIGNS.sub(_ESCAPED, _inline(spans))}"
        case Line(spans):
            return f"{'- ' if is_item(block) else ''}{_begun(_inline(spans))}"
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


def _inline(spans: Iterable[Span]) -> str:
    return "".join(map(_span, spans)).strip()


def _begun(text: str) -> str:
    return text if text.startswith(("**", "`")) else at_line_start(text)


def _span(span: Span) -> str:
    if span.tone is Tone.CODE:
        return inline_code(span.text)
    text = in_markdown(span.text)
    return f"**{text}**" if span.tone in (Tone.STRONG, Tone.GOOD, Tone.BAD) else text
