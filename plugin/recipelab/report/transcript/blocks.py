"""What a review is made of, before it is text, Markdown or HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

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
