"""Proves by probes that a language model's predictions do not use what they predict.

The evaluator cuts a hidden text into windows and gives the recipe each window twice, in two rounds
that do not know of each other: once as it is, and once with everything changed from a secret place
on. What was predicted up to and at that place must be the same both times, for at that place the
two windows have the same past. A recipe that looks at the byte it predicts, or behind it, gives
other numbers, and cannot know where or in which round it is compared.

Windows stand alone: a prediction that depends on other windows of its round counts as look-ahead.

A text is scored whole by :func:`prepare` and :func:`bits_per_byte`. Tasks that ask about the end of
many short texts, as continuations of a prompt, use :func:`prepare_windows` and
:func:`checked_windows`.
"""

from __future__ import annotations

import json
import math
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .predictions import PREDICTIONS, PredictionFile, broken_rule

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


@dataclass(frozen=True)
class ProbePlan:
    """The windows and where each is changed: the evaluator knows it, the recipe does not.

    Attributes:
        length: Number of bytes in a window.
        last: For how many bytes at the end of each window there are predictions.
        text: The true bytes of all windows.
        real: For each window, in which round it is true (an index of :data:`ROUNDS`).
        changed: For each window, from which byte on it is changed in the other round.
    """

    length: int
    last: int
    text: bytes
    real: tuple[int, ...]
    changed: tuple[int, ...]

    def save(self, folder: Path) -> None:
        """Write the plan into an existing folder."""
        table: dict[str, object] = {"length": self.length, "last": self.last}
        table |= {"text": list(self.text), "real": self.real, "changed": self.changed}
        (folder / PLAN_FILE).write_text(json.dumps(table))

    @classmethod
    def load(cls, folder: Path = Path("plan")) -> ProbePlan:
        """Read the plan that :meth:`save` wrote; ``plan/`` is where the score phase finds it."""
        table = json.loads((folder / PLAN_FILE).read_text())
        real, changed = tuple(table["real"]), tuple(table["changed"])
        return cls(table["length"], table["last"], bytes(table["text"]), real, changed)

    def window(self, number: int) -> bytes:
        """Return the true bytes of a window."""
        return self.text[number * self.length : (number + 1) * self.length]


def prepare(text: bytes, *, length: int, nonce: int, out: Path = Path("out")) -> ProbePlan:
    """Write the rounds that predict sees, and the plan that only the scorer sees.

    Args:
        text: The hidden text; what does not fill a window at its end is left out.
        length: Number of bytes in a window, at least two.
        nonce: A secret number that no recipe can know.
        out: Where ``rounds/<name>/windows.bin`` and ``plan/plan.json`` are written.

    Raises:
        ValueError: The text does not fill a window, or holds one value only.
    """
    count = len(text) // length
    if length < 2 or count < 1:
        raise ValueError("the text must fill a window of two bytes or more")
    windows = [text[number * length : (number + 1) * length] for number in range(count)]
    return prepare_windows(windows, last=length, nonce=nonce, out=out)


def prepare_windows(
    windows: Sequence[bytes], *, last: int, nonce: int, out: Path = Path("out")
) -> ProbePlan:
    """Write rounds and plan, as :func:`prepare` does, for given windows.

    Args:
        windows: Texts of the same length. Their order is not hidden, so shuffle them if it gives
            something away.
        last: How many bytes at the end of each window are to be predicted, at least one.
        nonce: A secret number that no recipe can know.
        out: Where ``rounds/<name>/windows.bin`` and ``plan/plan.json`` are written.

    Raises:
        ValueError: There are no windows, or their lengths differ, or they hold one value only.
    """
    text = b"".join(windows)
    lengths = {len(window) for window in windows}
    if len(lengths) != 1 or len(set(text)) < 2 or not 1 <= last <= len(windows[0]):
        raise ValueError("windows have one length, must vary, and hold the end that is scored")
    length, chosen = lengths.pop(), random.Random(nonce)
    real = tuple(chosen.randrange(len(ROUNDS)) for _ in windows)
    changed = tuple(chosen.randrange(length - last, length) for _ in windows)
    rounds: list[list[bytes]] = [[] for _ in ROUNDS]
    for number, true in enumerate(windows):
        other = _changed_window(true, changed[number], text, chosen)
        for index, asked in enumerate(rounds):
            asked.append(true if index == real[number] else other)
    for name, asked in zip(ROUNDS, rounds, strict=True):
        folder = out / "rounds" / name
        folder.mkdir(parents=True)
        (folder / WINDOWS_FILE).write_bytes(b"".join(asked))
    (out / "plan").mkdir()
    plan = ProbePlan(length, last, text, real, changed)
    plan.save(out / "plan")
    return plan


def bits_per_byte(plan: ProbePlan, predictions: Path = PREDICTIONS) -> float:
    """Check the predictions of all rounds, and score those of the true windows.

    Args:
        plan: What was prepared.
        predictions: Folder with ``<round>/probabilities.bin``: for each byte of each window a
            distribution over its 256 values as native 32-bit floats, given the bytes before it.

    Returns:
        Mean of ``-log2 p(byte)`` over all bytes of the true windows; infinite if a byte that came
        was given the probability 0.

    Raises:
        MalformedPredictions: A file is missing, or has the wrong size.
        BrokenRule: A distribution does not sum to one, or a prediction used what it predicts.
    """
    return mean_bits(bits_of_windows(plan, predictions))


def bits_of_windows(plan: ProbePlan, predictions: Path = PREDICTIONS) -> list[float]:
    """Check and score predictions as :func:`bits_per_byte`, window by window.

    Returns:
        Mean of ``-log2 p(byte)`` over the bytes of each true window, in the order of the text.
    """
    return [
        math.fsum(bits(row, byte) for byte, row in zip(plan.window(number), rows, strict=True))
        / plan.length
        for number, rows in enumerate(checked_windows(plan, predictions))
    ]


def mean_bits(windows: Sequence[float]) -> float:
    """Return the bits per byte of a text from those of its windows, which have one length."""
    return math.fsum(windows) / len(windows)


def checked_windows(
    plan: ProbePlan, predictions: Path = PREDICTIONS
) -> Iterator[list[Sequence[float]]]:
    """Check the predictions of all rounds, window by window.

    Args:
        plan: What was prepared.
        predictions: Folder with ``<round>/probabilities.bin``, as for :func:`bits_per_byte` but for
            the last ``plan.last`` bytes of each window alone.

    Yields:
        For each window the distributions of its last bytes, as they were given for the true window.

    Raises:
        MalformedPredictions: A file is missing, or has the wrong size.
        BrokenRule: A distribution does not sum to one, or a prediction used what it predicts.
    """
    count = len(plan.real) * plan.last * SYMBOLS
    # A NaN is no probability: the check of each distribution finds it.
    rounds = [
        PredictionFile(f"{name}/{PREDICTIONS_FILE}", predictions).read_floats(
            count=count, finite=False
        )
        for name in ROUNDS
    ]
    for number, real in enumerate(plan.real):
        given, other = (_rows(rounds[index], number, plan) for index in (real, 1 - real))
        _check_window(number, plan, given, other)
        yield given


def bits(row: Sequence[float], byte: int) -> float:
    """Return what a byte costs under a distribution: infinitely much if its probability is 0."""
    # The tolerance of the sum is for rounding, not to be used up.
    probability = row[byte] / math.fsum(row)
    return -math.log2(probability) if probability > 0.0 else math.inf


def _changed_window(true: bytes, place: int, text: bytes, chosen: random.Random) -> bytes:
    """Return a window with the same past as the true one, and other text from a place on."""
    start = chosen.randrange(len(text))
    while text[start] == true[place]:  # the text varies, so this ends
        start = chosen.randrange(len(text))
    rest = (text + text)[start : start + len(true) - place]
    return true[:place] + rest


def _rows(values: array[float], number: int, plan: ProbePlan) -> list[Sequence[float]]:
    """Return the distributions of a window, one for each byte that is predicted."""
    first = number * plan.last
    starts = range(first * SYMBOLS, (first + plan.last) * SYMBOLS, SYMBOLS)
    return [values[start : start + SYMBOLS] for start in starts]


def _check_window(
    number: int, plan: ProbePlan, given: Sequence[Sequence[float]], other: Sequence[Sequence[float]]
) -> None:
    """End the scorer if the predictions of a window are no distributions, or look ahead.

    Args:
        number: The window's number.
        plan: What was prepared.
        given: The distributions where the window is true.
        other: The distributions where it is changed.
    """
    place, window = plan.changed[number], plan.window(number)
    offsets = range(plan.length - plan.last, plan.length)
    for offset, mine, theirs in zip(offsets, given, other, strict=True):
        where = f"window {number}, byte {offset}"
        _check_distribution(mine, where)
        if offset > place:
            continue
        moved = sum(abs(a - b) for a, b in zip(mine, theirs, strict=True)) / 2
        if not moved <= MAX_MOVED:
            broken_rule(
                f"look-ahead: {where}: its prediction moved by {moved:.3g} (total variation; "
                f"at most {MAX_MOVED:g}) when the bytes from {place} on were changed"
            )
        true = window[offset]
        if abs(mine[true] - theirs[true]) > MAX_SHIFT * max(mine[true], theirs[true]) + SHIFT_FLOOR:
            broken_rule(
                f"look-ahead: {where}: the probability of the true byte was {theirs[true]:.3g} and "
                f"became {mine[true]:.3g} where the bytes from {place} on were true"
            )


def _check_distribution(row: Sequence[float], where: str) -> None:
    if not all(0.0 <= value <= 1.0 + MAX_SUM_ERROR for value in row):
        broken_rule(f"no distribution: {where}: a probability is not between 0 and 1")
    total = math.fsum(row)
    if abs(total - 1.0) > MAX_SUM_ERROR:
        broken_rule(f"no distribution: {where}: the probabilities sum to {total:.6g}, not 1")
