"""The card: what a trial is worth, and where it runs, in the opening of every turn.

People are told the same on the terminal: the noise by ``evaluation/calibration.py``, gates by
``evaluation/gates.py``. Its lines have a bound, and so has the whole.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from statistics import NormalDist, fmean

from recipelab.acceptance import Confirmed, Line, acceptance_policy, smallest_gain
from recipelab.acceptance.gates import MOST_SEEDS
from recipelab.acceptance.items import item_mean
from recipelab.acceptance.line import WORTH_A_LOOK
from recipelab.core.logs import logger
from recipelab.core.text import shorten
from recipelab.core.trial import Phase, Status
from recipelab.evaluation.gates import with_limits
from recipelab.evaluation.judge import errors_to_hold
from recipelab.evaluation.metric import METRIC, PREDICT_PART, TRAIN_PART, Incumbent
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.scratch import Machine
from recipelab.packs.pack import Pack
from recipelab.sandbox.gpus import list_gpus

CHARACTERS = 2_500
"""The longest card."""

LINE_CHARACTERS = 420
"""The longest line of a card."""

DATA_LINES = 4
"""Files of training data that are described."""

SURE = 0.99
"""A higher chance is told as more than that: the normal distribution is a rough one out there."""

PREFLIGHT_CPU = "preflight.cpu_seconds"

_READ = 8 << 20
"""Bytes of a data file that are looked at."""

_IDX = {8: "uint8", 9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}

_log = logger(__name__)


class Card:
    """Tells one campaign's card.

    Args:
        queue: The campaign's queue of trials.
        blind: Whether nothing is told of past trials, the best among them.
    """

    def __init__(self, queue: TrialQueue, *, blind: bool = False) -> None:
        self._queue = queue
        self._blind = blind
        self._machine: Machine | None = None

    async def look(self) -> None:
        """Find out where trials run; it costs a moment once."""
        if (bench := self._queue.bench) is not None:
            self._machine = await bench.machine()

    def render(self) -> str:
        """Return the card as Markdown; empty before the baseline is judged."""
        queue = self._queue
        if Status.BASELINE not in queue.store.counts(queue.campaign):
            return ""
        head = queue.head()
        # A campaign that was brought from elsewhere may lack the seed runs of its best.
        is_measured = bool(head.values(METRIC)) and not self._blind
        lines = [*(self._worth(head) if is_measured else ()), *self._place(head)]
        text, left = "## What a trial is worth, and where it runs", CHARACTERS
        left -= len(text)
        for line in lines:
            cut = shorten(line, LINE_CHARACTERS)
            if len(cut) + 3 > left:
                break
            text += f"\n- {cut}"
            left -= len(cut) + 3
        return text

    def _worth(self, head: Incumbent) -> Iterator[str]:
        pack = self._queue.pack
        yield _score_line(pack, head)
        yield from _clock_lines(pack, head)
        yield from _noise_lines(pack, head)
        yield from _gate_lines(pack, head)
        bench = self._queue.bench
        yield from _answers_lines(pack, head, bench.answers() if bench is not None else {})

    def _place(self, head: Incumbent) -> Iterator[str]:
        pack = self._queue.pack
        yield _budget_line(pack, None if self._blind else head)
        yield from _machine_lines(pack, self._machine)
        bench = self._queue.bench
        yield from _data_lines(bench.training_data() if bench is not None else {})


def _unit(pack: Pack) -> str:
    return f" {pack.metric.unit}" if pack.metric.unit else ""


def _score_line(pack: Pack, head: Incumbent) -> str:
    values = head.values(METRIC)
    return (
        f"To beat: trial {head.number}, {pack.metric.name} {fmean(values):.5g}{_unit(pack)} "
        f"(mean of {len(values)} seed runs; {pack.metric.goal})."
    )


def _clock_lines(pack: Pack, head: Incumbent) -> Iterator[str]:
    """Yield the raw times beside the score, and how much of them is the start."""
    metric = pack.metric
    if not metric.is_clock:
        return
    parts = {Phase.TRAIN: (metric.measure, TRAIN_PART)}
    if metric.charge_predict:
        parts[Phase.PREDICT] = (metric.predict_measure, PREDICT_PART)
    told, raw = [], 0.0
    for phase, (measure, part) in parts.items():
        if not (values := head.values(measure)):
            return
        raw += fmean(values)
        shown = head.values(part)
        normalised = f" (counted as {fmean(shown):.4g})" if shown and metric.side_by_side else ""
        told.append(f"{phase} {fmean(values):.4g}{normalised}")
    why = (
        "; counted: divided by the seconds of the best that ran beside it, times what that "
        "counted, so that a slow moment of the machine cancels"
        if metric.side_by_side
        else ""
    )
    yield f"Raw seconds of the best as the sandbox took them: {', '.join(told)}{why}."
    first = head.values(PREFLIGHT_CPU) or tuple(
        run.measures[PREFLIGHT_CPU] for run in head.baseline if PREFLIGHT_CPU in run.measures
    )
    cpu = head.values("train.cpu_seconds")
    if first and cpu and raw > 0.0:
        start = fmean(first)
        yield (
            f"Its preflight, start-up and one tiny step, takes {start:.3g} CPU s, its train "
            f"{fmean(cpu):.3g}: up to {min(1.0, start / max(fmean(cpu), 1e-9)):.0%} is start-up."
        )


def _noise_lines(pack: Pack, head: Incumbent) -> Iterator[str]:
    """Yield the noise, and how small a gain can be seen through it."""
    noise, metric = head.noise, pack.metric
    if noise is None:
        return
    at = head.mean(METRIC)
    run, pair = (metric.scale.error(spread.sd, at) for spread in (noise.run, noise.pair))
    seen = f"Noise between seeds: SD of one seed run {run:.2g}{_unit(pack)}"
    seen += f", of the difference of two equal recipes {pair:.2g}"
    policy = acceptance_policy(pack.acceptance)
    if pack.acceptance.deterministic or noise.pair.sd == 0.0:
        yield f"{seen}; one run tells all."
        return
    if isinstance(policy, Line):
        seeds = min(policy.screening or len(pack.seeds), len(pack.seeds))
        least = metric.scale.error(WORTH_A_LOOK * noise.pair.sd / math.sqrt(seeds), at)
        seen += f". A gain below {least:.2g} on the first {_seeds(seeds)} ends a trial"
    if isinstance(policy, Line | Confirmed):
        tests = len(head.history)
        small = metric.scale.error(
            smallest_gain(policy, noise.pair, len(pack.seeds), tested=tests).gain, at
        )
        what = "lead of the whole line" if isinstance(policy, Line) else "gain"
        seen += f"; a {what} of {small:.2g} is claimed four times in five"
    yield f"{seen}."


def _seeds(count: int) -> str:
    return "seed" if count == 1 else f"{count} seeds"


def _gate_lines(pack: Pack, head: Incumbent) -> Iterator[str]:
    """Yield how far the best is from each gate's limit, and how noisy that figure is."""
    told, needed = [], []
    errors = errors_to_hold(acceptance_policy(pack.acceptance))
    # An evaluator of an app's own need not measure what the pack's does.
    measured = [gate for gate in pack.gates if head.values(gate.measure)]
    for gate in with_limits(measured, head):
        value = fmean(head.values(gate.measure))
        spread = head.noise.measures.get(gate.measure) if head.noise is not None else None
        noise = ""
        if spread is not None and spread.sd > 0.0:
            noise = f", SD {spread.sd:.2g}"
            few, many = (errors * spread.sd / math.sqrt(n) for n in (len(pack.seeds), MOST_SEEDS))
            needed.append(
                f"{gate.name} {few:.2g} on {_seeds(len(pack.seeds))}, {many:.2g} on {MOST_SEEDS}"
            )
        told.append(
            f"{gate.name} {gate.bound}: best {value:.5g}, margin {gate.margin(value):.3g}{noise}"
        )
    if told:
        yield f"Gates ({'; '.join(told)}). Margin of the best may be spent; keep some for luck."
    if needed and errors > 0.0:
        yield (
            f"A trial has to pass a gate by {errors:g} SE of its runs' mean, and gets up to "
            f"{MOST_SEEDS} runs where that is not clear: {'; '.join(needed)}."
        )


def _answers_lines(pack: Pack, head: Incumbent, answers: Mapping[str, Path]) -> Iterator[str]:
    """Yield how many answers the search counts, and how many are held out."""
    name = pack.evaluator.items
    items = item_mean([run.items for run in head.runs.values() if run.items], fresh=pack.has_rounds)
    counted = f"{items.count:,}" if items is not None else _count_of(answers.get("score"))
    told = []
    if counted:
        text = f"Trials are scored on {counted} hidden answers"
        if items is not None and name is not None and items.error > 0.0:
            how = "drawn anew for each run" if items.fresh else "the same for every trial"
            text += f", {how}; so few leave {name} a sampling error of {items.error:.2g}"
        yield text + _sampling_words(pack, head, answers.get("score")) * (items is None) + "."
    if pack.certify.score is not None or pack.certify.prepare is not None:
        others = _count_of(answers.get("certify")) or "answers"
        told.append(
            f"Certificates count {others} that no trial is scored on: a gate passed by less than "
            "its sampling error may be missed there" + _chance_words(pack, head, answers)
        )
    told.append(
        "What is handed out at the end (best.patch) is the newest trial that a test certified"
    )
    yield f"{'. '.join(told)}."


def _chance_words(pack: Pack, head: Incumbent, answers: Mapping[str, Path]) -> str:
    """Return how likely the best passes gates of accuracy on other answers, by its margin there.

    The mean of n zeros and ones has the variance ``p * (1 - p) / n`` on either set of answers, and
    seeds add theirs; the difference of the two means is taken as normal.
    """
    counts = [described(answers[name]) for name in ("score", "certify") if name in answers]
    sizes = [found.count for found in counts if found is not None and found.count]
    if len(sizes) < 2:
        return ""
    told = []
    for gate in with_limits([g for g in pack.gates if head.values(g.measure)], head):
        values = head.values(gate.measure)
        mean = fmean(values)
        if not gate.measure.endswith("accuracy") or not 0.0 < mean < 1.0:
            continue
        spread = head.noise.measures.get(gate.measure) if head.noise is not None else None
        seeds = 2.0 * spread.sd**2 / len(values) if spread is not None else 0.0
        error = math.sqrt(mean * (1.0 - mean) * sum(1.0 / size for size in sizes) + seeds)
        chance = NormalDist().cdf(gate.margin(mean) / error)
        words = (
            "over 99%" if chance > SURE else "under 1%" if chance < 1.0 - SURE else f"{chance:.0%}"
        )
        told.append(f"the best passes {gate.name} there with a chance of {words}")
    return f" ({'; '.join(told)})" if told else ""


def _sampling_words(pack: Pack, head: Incumbent, answers: Path | None) -> str:
    """Return the sampling error of accuracies, where the scorer's items are not at hand.

    An accuracy is a mean of n zeros and ones: its standard error is ``sqrt(p * (1 - p) / n)``.
    """
    found = described(answers) if answers is not None else None
    if found is None or not found.count or pack.has_rounds:
        return ""
    told = {}
    for measure in (pack.metric.measure, *(gate.measure for gate in pack.gates)):
        values = head.values(measure) if measure.endswith("accuracy") else ()
        if values and 0.0 < (mean := fmean(values)) < 1.0:
            told[measure] = math.sqrt(mean * (1.0 - mean) / found.count)
    words = (f"{name} a sampling error of {error:.2g}" for name, error in told.items())
    return f"; so few leave {', '.join(words)}" if told else ""


def _count_of(path: Path | None) -> str:
    found = described(path) if path is not None else None
    return f"{found.count:,}" if found is not None and found.count else ""


def _budget_line(pack: Pack, head: Incumbent | None) -> str:
    """Return the budgets of the recipe's phases, and what the best uses of them."""
    told = []
    for phase in (Phase.TRAIN, Phase.PREDICT):
        used = head.values(f"{phase}.wall_seconds") if head is not None else ()
        share = f"{fmean(used):.3g} of " if used else ""
        told.append(f"{phase} {share}{pack.seconds(phase):g} s")
    peaks = head.values("train.peak_memory_mb") if head is not None else ()
    share = f"{max(peaks):,.0f} of " if peaks else ""
    used_by = "the best uses" if head is not None else "at most"
    return (
        f"Wall-clock budgets ({used_by}): {', '.join(told)}, memory {share}"
        f"{pack.limits.memory_mb:,} MiB; {pack.limits.cpus:g} cores, {pack.limits.pids} processes."
    )


def _machine_lines(pack: Pack, machine: Machine | None) -> Iterator[str]:
    if machine is None:
        return
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    gpus = f"; GPU {_gpu_names()}" if pack.hardware.gpus else ""
    flags = f" ({', '.join(machine.flags)})" if machine.flags else ""
    warm = f"; imported before the clock starts: {', '.join(pack.warm)}" if pack.warm else ""
    yield (
        f"Machine: {machine.cpu}{flags}{gpus}; Python {machine.python}"
        f"{f', {packages}' if packages else ''}{warm}."
    )


@lru_cache(maxsize=1)
def _gpu_names() -> str:
    return ", ".join(dict.fromkeys(gpu.name for gpu in list_gpus())) or "unknown"


def _data_lines(data: Mapping[str, Path]) -> Iterator[str]:
    for target, path in list(data.items())[:DATA_LINES]:
        found = described(path)
        yield f"Training data {target}: {found.words if found else 'cannot be read'}"
    if len(data) > DATA_LINES:
        yield f"... and {len(data) - DATA_LINES} more files of training data."


@dataclass(frozen=True)
class Described:
    """What is cheap to see of a data file.

    Attributes:
        words: Size, shape or first line, in words.
        count: How many records it has; ``None`` if that is not known.
    """

    words: str
    count: int | None = None


def described(path: Path) -> Described | None:
    """Return what is cheap to see of a data file; ``None`` if it cannot be read."""
    try:
        found = path.stat()
        return _described(path, found.st_size, found.st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=128)
def _described(path: Path, size: int, changed: int) -> Described:
    if path.is_dir():
        count = sum(1 for _ in islice(os.scandir(path), 10_000))
        return Described(f"a folder of {count:,} entries", count)
    with path.open("rb") as stream:
        content = stream.read(_READ + 1)
    packed = content[:2] == b"\x1f\x8b"
    if packed:
        content = _unpacked(path)
    whole = len(content) <= _READ
    told = f"{size:,} bytes{' (gzip)' if packed else ''}"
    for reader in (_idx, _npy):
        if (found := reader(content)) is not None:
            return Described(f"{told}, {found.words}", found.count)
    return _text(content, told, whole=whole)


def _unpacked(path: Path) -> bytes:
    with suppress(OSError, EOFError, zlib.error), gzip.open(path) as stream:
        return stream.read(_READ + 1)
    return b""


def _idx(content: bytes) -> Described | None:
    """Return the shape of a file in the IDX format, as MNIST has it."""
    if len(content) < 8 or content[:2] != b"\0\0" or content[2] not in _IDX:
        return None
    rank = content[3]
    if not 1 <= rank <= 4 or len(content) < 4 + 4 * rank:
        return None
    shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
    words = f"{' x '.join(f'{n:,}' for n in shape)} {_IDX[content[2]]}"
    if rank == 1 and content[2] in (8, 9):
        words += f", {len(set(content[8:]))} distinct values"
    return Described(words, shape[0])


def _npy(content: bytes) -> Described | None:
    """Return the header of a NumPy array."""
    if content[:6] != b"\x93NUMPY" or len(content) < 12:
        return None
    length, start = (
        (struct.unpack("<H", content[8:10])[0], 10)
        if content[6] == 1
        else (struct.unpack("<I", content[8:12])[0], 12)
    )
    header = content[start : start + min(length, 200)].decode("latin-1")
    return Described(shorten(header, 160))


def _text(content: bytes, told: str, *, whole: bool) -> Described:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        # The end may be cut within a character.
        if whole or error.start < len(content) - 4:
            return Described(f"{told}, binary")
        text = content[: error.start].decode("utf-8")
    if "\0" in text:
        return Described(f"{told}, binary")
    lines = text.count("\n") + (bool(text) and not text.endswith("\n"))
    first = next((line for line in text.splitlines() if line.strip()), "")
    about = "" if whole else f"in its first {_READ >> 20} MiB "
    words = (
        f"{told}, text, {about}{lines:,} lines, {len(set(content))} distinct bytes; begins "
        f"{shorten(first, 80)!r}"
    )
    # What an answer is in a text, only the scorer knows.
    return Described(words)
