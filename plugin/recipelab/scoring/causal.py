"""Proves by probes that a language model's predictions do not use what they predict.

The evaluator cuts a hidden text into windows and gives the recipe each window twice, in two rounds
that do not know of each other: once as it is, and once with everything changed from a secret place
on. What was predicted up to and at that place must be the same both times, for at that place the
two windows have the same past. A recipe that looks at the byte it predicts, or behind it, gives
other numbers, and cannot know where or in which round it is compared.

Windows stand alone: a prediction that depends on other windows of its round counts as look-ahead.
"""

from __future__ import annotations

import json
import math
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SYMBOLS = 256
"""Number of values of a byte."""
ROUNDS = ("a", "b")
WINDOWS_FILE = "windows.bin"
PREDICTIONS_FILE = "probabilities.bin"
PLAN_FILE = "plan.json"

MAX_MOVED = 1e-3
"""How far a prediction may move between rounds, in total variation: rounding, and nothing else."""
MAX_SHIFT, SHIFT_FLOOR = 0.01, 1e-5
"""How far the probability of the true byte may move: in proportion, and in any case.

A thousandth is little to the distribution and much to a byte that was given a millionth: moved onto
the true byte, it would be worth ten bits.
"""
MAX_SUM_ERROR = 1e-3
"""How far the sum of a distribution may be from one."""

_FLOAT_BYTES = 4


class MalformedPredictions(Exception):
    """The predictions are not what they must be: missing, of the wrong size, or no numbers."""


class BrokenRule(Exception):
    """The predictions break a rule; the message is the evidence."""


@dataclass(frozen=True)
class Plan:
    """What the evaluator knows and the recipe does not.

    Attributes:
        length: Number of bytes in a window.
        text: The true bytes of all windows.
        real: For each window, in which round it is true (an index of :data:`ROUNDS`).
        changed: For each window, from which byte on it is changed in the other round.
    """

    length: int
    text: bytes
    real: tuple[int, ...]
    changed: tuple[int, ...]

    def save(self, folder: Path) -> None:
        """Writes the plan into an existing folder."""
        table = {"length": self.length, "text": list(self.text)}
        table |= {"real": list(self.real), "changed": list(self.changed)}
        (folder / PLAN_FILE).write_text(json.dumps(table))

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Reads a plan."""
        table = json.loads((folder / PLAN_FILE).read_text())
        return cls(
            table["length"], bytes(table["text"]), tuple(table["real"]), tuple(table["changed"])
        )


def prepare(text: bytes, *, length: int, nonce: int, out: Path) -> Plan:
    """Makes the rounds that predict sees, and the plan that only the scorer sees.

    Args:
        text: The hidden text; what does not fill a window at its end is left out.
        length: Number of bytes in a window, at least two.
        nonce: A secret number that no recipe can know.
        out: Where ``rounds/<name>/windows.bin`` and ``plan/plan.json`` are written.

    Raises:
        ValueError: The text does not fill a window, or holds one value only.
    """
    count = len(text) // length
    if length < 2 or count < 1 or len(set(text)) < 2:
        raise ValueError("the text must fill a window of two bytes or more and must vary")
    chosen = random.Random(nonce)
    text = text[: count * length]
    real = tuple(chosen.randrange(len(ROUNDS)) for _ in range(count))
    changed = tuple(chosen.randrange(length) for _ in range(count))
    rounds: list[list[bytes]] = [[] for _ in ROUNDS]
    for number in range(count):
        true = text[number * length : (number + 1) * length]
        other = _changed(true, changed[number], text, chosen)
        for index, windows in enumerate(rounds):
            windows.append(true if index == real[number] else other)
    for name, windows in zip(ROUNDS, rounds, strict=True):
        folder = out / "rounds" / name
        folder.mkdir(parents=True)
        (folder / WINDOWS_FILE).write_bytes(b"".join(windows))
    (out / "plan").mkdir()
    plan = Plan(length, text, real, changed)
    plan.save(out / "plan")
    return plan


def bits_per_byte(plan: Plan, predictions: Path) -> float:
    """Checks the predictions of all rounds, and scores those of the true windows.

    Args:
        plan: What was prepared.
        predictions: Folder with ``<round>/probabilities.bin``: for each byte of each window a
            distribution over its 256 values as native 32-bit floats, given the bytes before it.

    Returns:
        Mean of ``-log2 p(byte)`` over all bytes of the true windows.

    Raises:
        MalformedPredictions: A file is missing, has the wrong size, or holds no numbers.
        BrokenRule: A distribution does not sum to one, or a prediction used what it predicts.
    """
    found = [_read(predictions / name / PREDICTIONS_FILE, plan, name) for name in ROUNDS]
    total = 0.0
    for number, real in enumerate(plan.real):
        _check_window(number, plan, found[real], found[1 - real])
        total += _bits(number, plan, found[real])
    return total / len(plan.text)


def _changed(true: bytes, place: int, text: bytes, chosen: random.Random) -> bytes:
    """A window with the same past as the true one, and text from elsewhere behind a place."""
    starts = [start for start in range(len(text)) if text[start] != true[place]]
    start = chosen.choice(starts)
    rest = (text + text)[start : start + len(true) - place]
    return true[:place] + rest


def _read(path: Path, plan: Plan, name: str) -> array[float]:
    wanted = len(plan.text) * SYMBOLS * _FLOAT_BYTES
    shown = f"{name}/{PREDICTIONS_FILE}"
    try:
        size = path.stat().st_size
    except OSError:
        raise MalformedPredictions(f"{shown} is missing") from None
    if size != wanted:
        raise MalformedPredictions(f"{shown} has {size} bytes, expected {wanted}")
    values = array("f")
    values.frombytes(path.read_bytes())
    return values


def _check_window(number: int, plan: Plan, real: Sequence[float], other: Sequence[float]) -> None:
    place = plan.changed[number]
    for offset in range(plan.length):
        where = f"window {number}, byte {offset}"
        mine, theirs = (_row(rows, number, offset, plan) for rows in (real, other))
        _check_distribution(mine, where)
        if offset > place:
            continue
        moved = sum(abs(a - b) for a, b in zip(mine, theirs, strict=True)) / 2
        if not moved <= MAX_MOVED:
            raise BrokenRule(
                f"look-ahead: {where}: its prediction moved by {moved:.3g} (total variation; "
                f"at most {MAX_MOVED:g}) when the bytes from {place} on were changed"
            )
        true = plan.text[number * plan.length + offset]
        if abs(mine[true] - theirs[true]) > MAX_SHIFT * max(mine[true], theirs[true]) + SHIFT_FLOOR:
            raise BrokenRule(
                f"look-ahead: {where}: the probability of the true byte was {theirs[true]:.3g} and "
                f"became {mine[true]:.3g} where the bytes from {place} on were true"
            )


def _check_distribution(row: Sequence[float], where: str) -> None:
    if not all(0.0 <= value <= 1.0 + MAX_SUM_ERROR for value in row):
        raise BrokenRule(f"no distribution: {where}: a probability is not between 0 and 1")
    total = math.fsum(row)
    if abs(total - 1.0) > MAX_SUM_ERROR:
        raise BrokenRule(f"no distribution: {where}: the probabilities sum to {total:.6g}, not 1")


def _bits(number: int, plan: Plan, rows: Sequence[float]) -> float:
    bits = 0.0
    for offset in range(plan.length):
        byte = plan.text[number * plan.length + offset]
        row = _row(rows, number, offset, plan)
        # The tolerance of the sum is for rounding, not to be used up.
        probability = row[byte] / math.fsum(row)
        # A byte that was called impossible costs infinitely many bits.
        bits -= math.log2(probability) if probability > 0.0 else -math.inf
    return bits


def _row(rows: Sequence[float], number: int, offset: int, plan: Plan) -> Sequence[float]:
    start = (number * plan.length + offset) * SYMBOLS
    return rows[start : start + SYMBOLS]
