"""Reads the lines that scripts of the contest print, in all the forms that were seen.

A log may begin with the whole source of the script, so a line counts only if all of it fits; and
the last one counts, for a script may tell a figure several times on its way. A line that tells a
figure in a form that is not known is an error: a figure is never passed over in silence.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

# Any word may stand where a figure belongs, so that one that is none is named and not passed over.
_TIMESTAMP = r"(?:[0-9]{9,}\.[0-9]+ )?"
_LABEL = r"(?P<label>[A-Za-z0-9_][A-Za-z0-9_+-]*(?: [A-Za-z0-9_+-]+)*)"
_FIELD = r" (?:[a-z]+ )?\w+:[^\s:]+"
_EVALUATED = re.compile(
    rf"{_TIMESTAMP}{_LABEL}(?P<before>(?: \w+:[^\s:]+)*?) val_loss:(?P<loss>\S+)"
    rf" (?:[a-z]+ )?val_bpb:(?P<bits>\S+)(?P<setting> \w+=\S+| \(\w+=[^()]*\))?"
    rf"(?P<more>(?:{_FIELD})*)"
)
_DONE = re.compile(
    rf"{_TIMESTAMP}(?P<label>\w+):done val_loss=(?P<loss>\S+) val_bpb=(?P<bits>\S+)"
    r" elapsed=(?P<seconds>\S+)s"
)
_REPEATED = re.compile(r"val_bpb: +(?P<bits>\S+)")
_TIME = re.compile(r" (?:eval_)?time:(\S+)ms(?= |$)")
# How a line begins that tells a figure: neither as code does nor with a field in braces for it.
_TELLS = re.compile(
    r"[A-Za-z0-9_][\w+.: /-]* val_(?:loss|bpb):(?! ?[\{%])"
    r"|\w+:done val_loss=(?!\{)|val_bpb: +[0-9]|\s*\"\w*val_(?:loss|bpb)\": *[0-9]"
)
_STEP = re.compile(
    rf"{_TIMESTAMP}(?:step:)?(?P<step>[0-9]+)/[0-9]+ val_loss: ?(?P<loss>\S+)"
    r" val_bpb: ?(?P<bits>\S+)(?: \w+:[^\s:]+)*"
)
_SIZE = re.compile(rf"{_TIMESTAMP}Total submission size (?P<how>\S+): (?P<bytes>[0-9]+) bytes")
_CAPPED = re.compile(
    rf"{_TIMESTAMP}stopping_early: wallclock_cap train_time: ?(?P<ms>[0-9]+)ms"
    r" step: ?(?P<step>[0-9]+)/[0-9]+"
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
        Malformed: A line tells a figure in a form that is not known, a figure is no finite number,
            or a line that repeats the last one repeats another.
    """
    found: list[Evaluation] = []
    for number, line in _lines(text):
        if not _TELLS.match(line) or _STEP.fullmatch(line):
            continue
        if (repeated := _REPEATED.fullmatch(line)) is not None:
            _demand_last(found, _figure(repeated["bits"], number, line), number, line)
        elif (one := _evaluation(number, line)) is not None:
            found.append(one)
    return found


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


def _evaluation(number: int, line: str) -> Evaluation | None:
    """Return what a line that tells a figure says; ``None`` if braces stand for its figures."""
    match = _EVALUATED.fullmatch(line)
    seconds = _seconds(match["before"] + match["more"], number, line) if match else None
    if match is None and (match := _DONE.fullmatch(line)) is not None:
        seconds = _figure(match["seconds"], number, line)
    if match is None:
        raise Malformed(f"line {number} is no whole evaluation: {line[:120]!r}")
    if match["loss"].startswith("{"):
        return None
    nats, bits = (_figure(match[name], number, line) for name in ("loss", "bits"))
    return Evaluation(match["label"], nats, bits, seconds)


def _demand_last(found: list[Evaluation], bits: float, number: int, line: str) -> None:
    """Refuse a line without a label whose figure is not that of the last evaluation."""
    if not found or found[-1].bits != bits:
        raise Malformed(f"line {number} repeats no evaluation: {line[:120]!r}")


def _figure(word: str, number: int, line: str) -> float:
    value = float(word) if _NUMBER.fullmatch(word) else math.nan
    if not math.isfinite(value):
        raise Malformed(f"line {number} has no finite figure {word[:20]!r}: {line[:120]!r}")
    return value


def _seconds(more: str, number: int, line: str) -> float | None:
    """Return the time among the further fields of a line, as ``stride:64``."""
    times = _TIME.findall(more)
    told = more.count(" eval_time:") + more.count(" time:")
    if len(times) != told or not all(map(_WHOLE.fullmatch, times)):
        raise Malformed(f"line {number} has no time: {line[:120]!r}")
    if len(times) > 1:
        raise Malformed(f"line {number} has {len(times)} times: {line[:120]!r}")
    return int(times[0]) / 1000 if times else None
