"""Reads the lines that scripts of the contest print, in all the forms that were seen.

A log may begin with the whole source of the script, so a line counts only if all of it fits; and
the last one counts, for a script may tell a figure several times on its way.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

NUMBER = r"(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|nan|inf)"
_EVALUATED = re.compile(
    rf"(?P<label>\w[\w+ -]*?) val_loss:(?P<loss>{NUMBER}) val_bpb:(?P<bits>{NUMBER})"
    r"(?: eval_time:(?P<ms>\d+)ms)?"
)
_SIZE = re.compile(r"Total submission size (?P<how>\S+): (?P<bytes>\d+) bytes")
_CAPPED = re.compile(
    r"stopping_early: wallclock_cap train_time: ?(?P<ms>\d+)ms step: ?(?P<step>\d+)/\d+"
)
_STEP = re.compile(
    rf"(?:step:)?(?P<step>\d+)/\d+ val_loss: ?(?P<loss>{NUMBER}) val_bpb: ?(?P<bits>{NUMBER})"
    r"(?: train_time:\d+ms step_avg:[\d.]+ms)?"
)


class Malformed(Exception):
    """A line is not what it has to be; the message quotes it."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation.

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


def evaluations(text: str) -> list[Evaluation]:
    """All evaluations of whole models, in order; those within training are not among them.

    Raises:
        Malformed: A figure is not finite.
    """
    found = []
    for line in text.splitlines():
        match = _EVALUATED.fullmatch(line.rstrip())
        if match is None:
            continue
        nats, bits = float(match["loss"]), float(match["bits"])
        if not (math.isfinite(nats) and math.isfinite(bits)):
            raise Malformed(f"no finite figure: {line[:120]!r}")
        seconds = int(match["ms"]) / 1000 if match["ms"] else None
        found.append(Evaluation(match["label"], nats, bits, seconds))
    return found


def submission_bytes(text: str) -> int | None:
    """The compressed size that a script claims; never that of the weights before compression."""
    sizes = [m for line in text.splitlines() if (m := _SIZE.fullmatch(line.rstrip()))]
    return int(sizes[-1]["bytes"]) if sizes else None


def train_seconds(text: str) -> float | None:
    """When a script says that its clock stopped the training."""
    ends = [m for line in text.splitlines() if (m := _CAPPED.fullmatch(line.rstrip()))]
    return int(ends[-1]["ms"]) / 1000 if ends else None


def steps(text: str) -> list[tuple[int, float, float]]:
    """Step, nats and bits of each evaluation within training."""
    found = [m for line in text.splitlines() if (m := _STEP.fullmatch(line.rstrip()))]
    return [(int(m["step"]), float(m["loss"]), float(m["bits"])) for m in found]
