"""Proves by probes that a language model's predictions do not use what they predict.

The evaluator cuts a hidden text into windows and gives the recipe each window twice, in two rounds
that do not know of each other: once as it is, and once with everything changed from a secret place
on. What was predicted up to and at that place must be the same both times, for at that place the
two windows have the same past. A recipe that looks at the byte it predicts, or behind it, gives
other numbers, and cannot know where or in which round it is compared.

Windows stand alone: a prediction that depends on other windows of its round counts as look-ahead.

Rounding moves predictions, too, so a little is tolerated, and that little must be worth nothing.
At a secret place everything that the recipe may not know is different in the two rounds, its own
byte included. What the true byte costs there, less where it is true, is what the recipe has won by
knowing; the mean over all windows is what it wins for each byte of the text. Rounding is of either
sign and sums to nothing; what a recipe wins by looking is positive. A score that takes the
likeliest byte, or compares losses, hangs on less than any tolerance, so it asks for a margin
(:func:`likeliest`, :func:`cheaper`), within which no tolerance can choose.

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

ROUNDING = 2e-4
"""How far what the true byte costs may move at any place, in bits. Half of it is how far a
distribution may move, in total variation.

The recipes of the packs give the same bits in both rounds, in batches of whatever size. If all is
computed with 64 bits in place of 32, a byte's cost moves by 9e-5 at most, and a distribution by
2e-5. On a GPU rounding depends on the shapes of what is computed, which are the same in both rounds
too. A pack whose recipes round by more, as in 16 bits with shapes that hang on the text, can ask
for more room, and more windows make it worth less.
"""
ERRORS = 5.0
"""How far the mean of what the places were worth may be from zero, in :data:`ROUNDING` over the
square root of their number.

Rounding is as often of one sign as of the other, and bounded, so by Hoeffding's inequality (1963)
its mean is beyond that in fewer than four of a million seed runs, whatever it is.
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


def leave_without_order(
    nonce: int, *, training: Path = Path("training"), out: Path = Path("out")
) -> None:
    """Leave texts for training with the letters of each in any order, as for a control run.

    Args:
        nonce: The secret number by which they are shuffled.
        training: Where the texts are, as ``*.txt``.
        out: Where ``data/`` is made, with a file of the same name for each.
    """
    chance, folder = random.Random(nonce), out / "data"
    folder.mkdir()
    for path in sorted(training.glob("*.txt")):
        letters = bytearray(path.read_bytes())
        chance.shuffle(letters)
        (folder / path.name).write_bytes(letters)


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
    windows: Sequence[bytes],
    *,
    last: int,
    nonce: int,
    out: Path = Path("out"),
    scored: Sequence[int] = (),
) -> ProbePlan:
    """Write rounds and plan, as :func:`prepare` does, for given windows.

    Args:
        windows: Texts of the same length. Their order is not hidden, so shuffle them if it gives
            something away.
        last: How many bytes at the end of each window are to be predicted, at least one.
        nonce: A secret number that no recipe can know.
        out: Where ``rounds/<name>/windows.bin`` and ``plan/plan.json`` are written.
        scored: For each window, how many bytes at its end are scored, so that its secret place is
            one of these; all that are predicted unless given.

    Raises:
        ValueError: There are no windows, or their lengths differ, or they hold one value only, or
            something is to be scored that is not predicted.
    """
    text = b"".join(windows)
    lengths = {len(window) for window in windows}
    if len(lengths) != 1 or len(set(text)) < 2 or not 1 <= last <= len(windows[0]):
        raise ValueError("windows have one length, must vary, and hold the end that is scored")
    ends = tuple(scored) or (last,) * len(windows)
    if len(ends) != len(windows) or not all(1 <= end <= last for end in ends):
        raise ValueError(f"scored must be 1 to {last} bytes of each of {len(windows)} windows")
    length, chosen = lengths.pop(), random.Random(nonce)
    real = tuple(chosen.randrange(len(ROUNDS)) for _ in windows)
    changed = tuple(chosen.randrange(length - end, length) for end in ends)
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


def bits_per_byte(
    plan: ProbePlan, predictions: Path = PREDICTIONS, rounding: float = ROUNDING
) -> float:
    """Check the predictions of all rounds, and score those of the true windows.

    Args:
        plan: What was prepared.
        predictions: Folder with ``<round>/probabilities.bin``: for each byte of each window a
            distribution over its 256 values as native 32-bit floats, given the bytes before it.
        rounding: How far a byte's cost may move by rounding, in bits.

    Returns:
        Mean of ``-log2 p(byte)`` over all bytes of the true windows; infinite if a byte that came
        was given the probability 0.

    Raises:
        MalformedPredictions: A file is missing, or has the wrong size.
        BrokenRule: A distribution does not sum to one, or a prediction used what it predicts.
    """
    return mean_bits(bits_of_windows(plan, predictions, rounding))


def bits_of_windows(
    plan: ProbePlan, predictions: Path = PREDICTIONS, rounding: float = ROUNDING
) -> list[float]:
    """Check and score predictions as :func:`bits_per_byte`, window by window.

    Returns:
        Mean of ``-log2 p(byte)`` over the bytes of each true window, in the order of the text.
    """
    return [
        math.fsum(bits(row, byte) for byte, row in zip(plan.window(number), rows, strict=True))
        / plan.length
        for number, rows in enumerate(checked_windows(plan, predictions, rounding))
    ]


def mean_bits(windows: Sequence[float]) -> float:
    """Return the bits per byte of a text from those of its windows, which have one length."""
    return math.fsum(windows) / len(windows)


def checked_windows(
    plan: ProbePlan, predictions: Path = PREDICTIONS, rounding: float = ROUNDING
) -> Iterator[list[Sequence[float]]]:
    """Check the predictions of all rounds, window by window.

    Args:
        plan: What was prepared.
        predictions: Folder with ``<round>/probabilities.bin``, as for :func:`bits_per_byte` but for
            the last ``plan.last`` bytes of each window alone.
        rounding: How far a byte's cost may move by rounding, in bits.

    Yields:
        For each window the distributions of its last bytes, as they were given for the true window.

    Raises:
        MalformedPredictions: A file is missing, or has the wrong size.
        BrokenRule: A distribution does not sum to one, or a prediction used what it predicts: by
            more than rounding at a place, or by more than nothing over all windows, which is known
            once the last one has been yielded.
    """
    count = len(plan.real) * plan.last * SYMBOLS
    # A NaN is no probability: the check of each distribution finds it.
    rounds = [
        PredictionFile(f"{name}/{PREDICTIONS_FILE}", predictions).read_floats(
            count=count, finite=False
        )
        for name in ROUNDS
    ]
    won: list[float] = []
    for number, real in enumerate(plan.real):
        given, other = (_rows(rounds[index], number, plan) for index in (real, 1 - real))
        won.append(_checked_window(number, plan, given, other, rounding))
        yield given
    worth, limit = math.fsum(won) / len(won), ERRORS * rounding / math.sqrt(len(won))
    if worth > limit:
        broken_rule(
            f"look-ahead: at the secret places of {len(won)} windows the true byte cost "
            f"{worth:.3g} bits less, in the mean, where it was true than where it was changed (at "
            f"most {limit:.3g}: rounding is of either sign); for each byte of the text, that is "
            "what looking at it was worth"
        )


def bits(row: Sequence[float], byte: int) -> float:
    """Return what a byte costs under a distribution: infinitely much if its probability is 0."""
    # The tolerance of the sum is for rounding, not to be used up.
    probability = row[byte] / math.fsum(row)
    return -math.log2(probability) if probability > 0.0 else math.inf


def likeliest(row: Sequence[float], byte: int, rounding: float = ROUNDING) -> bool:
    """Return whether a byte is likelier than any other, by more than the tolerance can choose.

    For bytes a and b to be the likeliest in turn, a distribution would have to move by more than
    half of ``rounding`` in total variation.
    """
    others = max(max(part, default=0.0) for part in (row[:byte], row[byte + 1 :]))
    return row[byte] > others + rounding


def cheaper(one: float, other: float, rounding: float = ROUNDING) -> bool:
    """Return whether bits a byte are fewer than others, by more than the tolerance can choose.

    For either of two texts to be the cheaper one in turn, a byte would have to move by more than
    ``rounding`` bits.
    """
    return one + rounding < other


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


def _checked_window(
    number: int,
    plan: ProbePlan,
    given: Sequence[Sequence[float]],
    other: Sequence[Sequence[float]],
    rounding: float,
) -> float:
    """End the scorer if the predictions of a window are no distributions, or look ahead.

    Args:
        number: The window's number.
        plan: What was prepared.
        given: The distributions where the window is true.
        other: The distributions where it is changed.
        rounding: How far a byte's cost may move by rounding, in bits.

    Returns:
        How many bits less the byte at the secret place cost where it was true.
    """
    place, window, won = plan.changed[number], plan.window(number), 0.0
    offsets = range(plan.length - plan.last, plan.length)
    for offset, mine, theirs in zip(offsets, given, other, strict=True):
        where = f"window {number}, byte {offset}"
        _check_distribution(mine, where)
        if offset > place:
            continue
        if mine == theirs:  # The usual case, and a hundred times faster than what follows.
            won = 0.0
            continue
        moved = sum(abs(a - b) for a, b in zip(mine, theirs, strict=True)) / 2
        if not moved <= rounding / 2:
            broken_rule(
                f"look-ahead: {where}: its prediction moved by {moved:.3g} (total variation; "
                f"at most {rounding / 2:g}) when the bytes from {place} on were changed"
            )
        costs, cost = bits(theirs, window[offset]), bits(mine, window[offset])
        won = costs - cost if costs != cost else 0.0  # both may be infinite
        if abs(won) > rounding:
            broken_rule(
                f"look-ahead: {where}: the true byte cost {costs:.6g} bits, and {cost:.6g} where "
                f"the bytes from {place} on were true: {won:.3g} bits (at most {rounding:g}) are "
                "what looking at them was worth"
            )
    return won


def _check_distribution(row: Sequence[float], where: str) -> None:
    # A NaN that is not the first escapes from min and max, and none from the sum.
    inside = min(row) >= 0.0 and max(row) <= 1.0 + MAX_SUM_ERROR
    total = math.fsum(row) if inside else math.nan
    if math.isnan(total):
        broken_rule(f"no distribution: {where}: a probability is not between 0 and 1")
    if abs(total - 1.0) > MAX_SUM_ERROR:
        broken_rule(f"no distribution: {where}: the probabilities sum to {total:.6g}, not 1")
