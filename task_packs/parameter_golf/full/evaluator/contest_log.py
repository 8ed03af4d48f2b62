"""Reads the lines that scripts of the contest print, in all the forms that were seen.

A log may begin with the whole source of the script, so a line counts only if all of it fits; and
the last one counts, for a script may tell a figure several times on its way. A line that begins as
one that counts but does not go on as one is an error: a figure is never passed over in silence.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

# Any word may stand where a figure belongs, so that one that is none is named and not passed over.
_EVALUATED = re.compile(
    r"(?P<label>[A-Za-z0-9_][A-Za-z0-9_+ -]*?) val_loss:(?P<loss>\S+) val_bpb:(?P<bits>\S+)"
    r"(?P<more>(?: \w+:[^\s:]+)*)"
)
_TIME = re.compile(r" eval_time:(\S+)ms(?= |$)")
_BEGUN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+ -]* val_loss:(?!\{)")
_STEP = re.compile(
    r"(?:step:)?(?P<step>[0-9]+)/[0-9]+ val_loss: ?(?P<loss>\S+) val_bpb: ?(?P<bits>\S+)"
    r"(?: train_time:[0-9]+ms step_avg:[0-9.]+ms)?"
)
_SIZE = re.compile(r"Total submission size (?P<how>\S+): (?P<bytes>[0-9]+) bytes")
_CAPPED = re.compile(
    r"stopping_early: wallclock_cap train_time: ?(?P<ms>[0-9]+)ms step: ?(?P<step>[0-9]+)/[0-9]+"
)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[0-9]{1,12}")


class Malformed(Exception):
    """A line is not what it has to be; the message quotes it."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a whole model.

    Attributes:
        label: What was evaluated, as ``quantized_ttt``.
        nats: Mean loss of a token, in nats.
        bits: Bits per byte.
        seconds: How long it took, if the log says so.
    """

    label: str
    nats: float
    bits: float
    seconds: float | None


@dataclass(frozen=True)
class Step:
    """One evaluation within training: at which step, mean nats of a token, bits per byte."""

    step: int
    nats: float
    bits: float


@dataclass(frozen=True)
class Size:
    """The compressed size that a script claims, and how it says that it compresses."""

    how: str
    bytes: int


@dataclass(frozen=True)
class Stop:
    """When and at which step a script's clock stopped the training."""

    seconds: float
    step: int


def evaluations(text: str) -> list[Evaluation]:
    """Return the evaluations of whole models, in order, without those within training.

    Raises:
        Malformed: A line that begins as one does not go on as one, or a figure is no finite number.
    """
    return [
        Evaluation(
            match["label"],
            _figure(match["loss"], number, line),
            _figure(match["bits"], number, line),
            _seconds(match["more"], number, line),
        )
        for number, line in _lines(text)
        if (match := _evaluated(number, line)) is not None
    ]


def steps(text: str) -> list[Step]:
    """Return the evaluations within training, in order.

    Raises:
        Malformed: A figure is no finite number.
    """
    found = ((number, line, _STEP.fullmatch(line)) for number, line in _lines(text))
    return [
        Step(int(m["step"]), _figure(m["loss"], number, line), _figure(m["bits"], number, line))
        for number, line, m in found
        if m is not None
    ]


def submission_size(text: str) -> Size | None:
    """Return the last compressed size; the size before compression has no ``how``."""
    sizes = [m for _, line in _lines(text) if (m := _SIZE.fullmatch(line))]
    return Size(sizes[-1]["how"], int(sizes[-1]["bytes"])) if sizes else None


def stopped(text: str) -> Stop | None:
    """Return when the clock of a script stopped the training, by its last line about it."""
    ends = [m for _, line in _lines(text) if (m := _CAPPED.fullmatch(line))]
    return Stop(int(ends[-1]["ms"]) / 1000, int(ends[-1]["step"])) if ends else None


def _lines(text: str) -> list[tuple[int, str]]:
    # Not splitlines: to it, characters that a script may print within a line end a line too.
    return [(number, line.rstrip(" \r")) for number, line in enumerate(text.split("\n"), 1)]


def _evaluated(number: int, line: str) -> re.Match[str] | None:
    """Return the match of an evaluation; ``None`` for another line."""
    match = _EVALUATED.fullmatch(line)
    if match is None and _BEGUN.match(line):
        raise Malformed(f"line {number} is no whole evaluation: {line[:120]!r}")
    # Source code may have a line like it, with fields in braces for figures.
    return None if match is None or match["loss"].startswith("{") else match


def _figure(word: str, number: int, line: str) -> float:
    value = float(word) if _NUMBER.fullmatch(word) else math.nan
    if not math.isfinite(value):
        raise Malformed(f"line {number} has no finite figure {word[:20]!r}: {line[:120]!r}")
    return value


def _seconds(more: str, number: int, line: str) -> float | None:
    """Return the time among the further fields of a line, as ``stride:64``."""
    times = _TIME.findall(more)
    if len(times) != more.count(" eval_time:") or not all(map(_WHOLE.fullmatch, times)):
        raise Malformed(f"line {number} has no time: {line[:120]!r}")
    if len(times) > 1:
        raise Malformed(f"line {number} has {len(times)} times: {line[:120]!r}")
    return int(times[0]) / 1000 if times else None
