"""Write a review as Markdown in which no text of an agent can pose as anything but text.

This is the only place that escapes: the terminal and the HTML page are rendered from this Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from recipelab.core.text import (
    at_line_start,
    fenced,
    in_markdown,
    inline_code,
    lines_in_markdown,
)

ITEM = "- "
"""The start of an item of a list; in escaped text no line starts with it."""

_BREAKS = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_CLOSING_MARKS = re.compile(r"#(?=#*$)")
_ESCAPED_MARK = r"\\#"


class Inline(str):
    """Markdown within a line that is escaped; a plain ``str`` is escaped where it is used."""

    __slots__ = ()


def strong(text: object) -> Inline:
    """Return text that stands out."""
    return Inline(f"**{in_markdown(_one_line(text))}**")


def quiet(text: object) -> Inline:
    """Return text of less weight; it must stand between parentheses or end with a colon."""
    return Inline(f"*{in_markdown(_one_line(text))}*" if str(text).strip() else "")


def code(text: object) -> Inline:
    """Return a name out of a program."""
    return Inline(inline_code(_one_line(text)))


def heading(level: int, *pieces: str) -> str:
    """Return a heading; Markdown would drop marks at its end, so these are escaped."""
    return f"{'#' * level} {_CLOSING_MARKS.sub(_ESCAPED_MARK, _joined(pieces))}"


def paragraph(*pieces: str) -> str:
    """Return a paragraph of one line."""
    return _begun(_joined(pieces))


def item(*pieces: str) -> str:
    """Return an item of a list."""
    return f"{ITEM}{_begun(_joined(pieces))}"


def quote(text: str) -> str:
    """Return what an agent said, word for word, line by line."""
    lines = lines_in_markdown(text)
    # Two spaces keep the end of a line that Markdown would take for a space.
    ends = ("  " if line and following else "" for line, following in pairwise([*lines, ""]))
    return "\n".join(
        f"> {line}{end}" if line else ">" for line, end in zip(lines, ends, strict=True)
    )


def code_block(text: str, language: str = "") -> str:
    """Return text of a program: a diff, or lines of a log."""
    return fenced(text, language)


def joined(blocks: Iterable[str]) -> str:
    """Return blocks as one Markdown text; items that follow one another become one list."""
    text, before = "", ""
    for block in blocks:
        if before:
            text += "\n" if before.startswith(ITEM) and block.startswith(ITEM) else "\n\n"
        text += block
        before = block
    return text


def document(chunks: Iterable[str]) -> Iterator[str]:
    """Yield the pieces of a Markdown document, to be joined as they are."""
    is_first = True
    for chunk in chunks:
        yield chunk if is_first else f"\n\n{chunk}"
        is_first = False
    yield "\n"


def _one_line(text: object) -> str:
    return _BREAKS.sub(" ", str(text))


def _joined(pieces: Iterable[str]) -> str:
    return "".join(
        piece if isinstance(piece, Inline) else in_markdown(_one_line(piece)) for piece in pieces
    ).strip()


def _begun(text: str) -> str:
    return text if text.startswith(("**", "*", "`")) else at_line_start(text)
