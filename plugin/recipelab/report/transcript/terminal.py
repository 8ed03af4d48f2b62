"""A review on a terminal, or as plain text."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

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
        console.print(_rendered(block))
        before = block


def _rendered(block: Block) -> RenderableType:
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
