"""The metric: how measurements become the one number that a trial and the incumbent are held to."""

from __future__ import annotations

import lzma
import math
from base64 import b85encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Self

from recipelab.acceptance import (
    Noise,
    Sample,
    Spread,
    diverged,
    noise_of_pairs,
    spread_of,
    unpaired,
    usual_spread,
)
from recipelab.core.knobs import table_path
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Outcome, Phase, SeedRun
from recipelab.evaluation.failures import EvaluatorFault
from recipelab.packs.judging_sections import PACKED, SANDBOX_MEASURES, Gate, Goal, Metric, Scale
from recipelab.packs.pack import Pack

METRIC = "metric"
"""Name of the metric among the measurements of a seed run."""
TRAIN_PART, PREDICT_PART = "metric.train", "metric.predict"
"""Names of the times of train and predict in the units of the baseline's own run."""

BESIDE = "beside."
"""Prefix of the incumbent's measurements in a seed run of a trial that it ran beside."""

SCORED = "score."
"""Prefix of what the scorer measured."""

PROJECTED = "projected."
"""Prefix of what its preflight projected among the measurements of a seed run."""

_WRAPPER = (
    "import lzma as L,base64 as B\n"
    'exec(L.decompress(B.b85decode(""),format=L.FORMAT_RAW,filters=[{"id":L.FILTER_LZMA2}]))\n'
)
"""The program that unpacks and runs compressed code, without the code."""


def metric_by_seed(runs: Iterable[SeedRun]) -> dict[int, float]:
    """Return the metric of each seed run, by its seed."""
    return {run.seed: run.measures[METRIC] for run in runs}


@dataclass(frozen=True)
class Incumbent:
    """A recipe that candidates are compared with: the head of the line, or the certified one.

    Attributes:
        number: Its trial number.
        recipe: Its recipe, which runs again where a candidate is compared with it.
        runs: Its seed runs by seed, including those of later comparisons.
        baseline: The seed runs of the campaign's baseline, which gates and charges refer to.
        noise: How much measurements vary if nothing is changed; ``None`` if that is unknown.
        history: For each test of the campaign so far, whether it ended in a claim.
        store_runs: Stores its new seed runs, so that they are not lost.
        chosen_on: Seeds that it was chosen for being good on, and so was lucky on.
        tried: Trials of the campaign so far, which candidates were chosen from.
        start: The campaign's starting recipe; ``None`` where nothing is held against it.
        fall: Told why, with the seed runs that show it, where it is not any more what it was kept
            for: it loses its standing.
    """

    number: int
    recipe: Recipe
    runs: dict[int, SeedRun]
    baseline: tuple[SeedRun, ...] = ()
    noise: Noise | None = None
    history: tuple[bool, ...] = ()
    store_runs: Callable[[tuple[SeedRun, ...]], None] = lambda runs: None
    chosen_on: frozenset[int] = frozenset()
    tried: int = 1
    start: Recipe | None = None
    fall: Callable[[str, tuple[SeedRun, ...]], None] = lambda reason, runs: None

    @classmethod
    def of_trial(
        cls, number: int, recipe: Recipe, outcome: Outcome, baseline: Iterable[SeedRun]
    ) -> Self:
        """Return the incumbent as its campaign measured it.

        Args:
            number: Its trial number.
            recipe: Its recipe.
            outcome: Its outcome.
            baseline: The seed runs of the campaign's baseline.
        """
        runs = {run.seed: run for run in outcome.seed_runs}
        chosen_on = frozenset(runs) - outcome.judged_seeds
        return cls(number, recipe, runs, tuple(baseline), chosen_on=chosen_on)

    def add(self, runs: tuple[SeedRun, ...]) -> None:
        """Add and store seed runs that were made to compare a candidate with it."""
        self.store_runs(runs)
        self.runs.update({run.seed: run for run in runs})

    def values(self, name: str) -> tuple[float, ...]:
        """Return a measurement of the seed runs that it was not chosen for."""
        return tuple(
            run.measures[name]
            for seed, run in self.runs.items()
            if seed not in self.chosen_on and name in run.measures
        )

    def mean(self, name: str) -> float:
        """Return the mean of :meth:`values`."""
        return fmean(self.values(name))

    def sample(self, seeds: Iterable[int], metric: Metric) -> Sample:
        """Return its metric on those of the seeds that it has run.

        Side by side it has run beside the candidate on all of them, and its own score is the unit.
        """
        if metric.side_by_side:
            return dict.fromkeys(seeds, self.mean(METRIC))
        return {seed: self.runs[seed].measures[METRIC] for seed in seeds if seed in self.runs}


def with_metric(
    runs: Iterable[SeedRun], metric: Metric, incumbent: Incumbent | None
) -> tuple[SeedRun, ...]:
    """Return seed runs with the metric among their measurements.

    Side by side, a time of seed i is ``incumbent * own_i / beside_i``: the mean of the incumbent
    that it **ran beside**, times how the trial compared with it at that moment. So the times of all
    trials are in the units of the baseline's own run, however the machine drifts, and whoever is
    the best by then.

    Where predict is charged, the metric is ``train + predict``: work that is moved from one to the
    other is paid for all the same. Nothing of predict is free, as nobody knows what a recipe's own
    network needs of it: whatever a small one leaves of a free share can be trained in.

    Raises:
        EvaluatorFault: The incumbent measured zero beside the trial, so nothing can be compared.
    """
    return tuple(
        replace(run, measures={**run.measures, **_metric(run, metric, incumbent)}) for run in runs
    )


def _metric(run: SeedRun, metric: Metric, incumbent: Incumbent | None) -> dict[str, float]:
    if not metric.side_by_side and not metric.charge_predict:
        return {METRIC: run.measures[metric.measure]}
    train = _time(run, metric.measure, TRAIN_PART, incumbent)
    if not metric.charge_predict:
        return {METRIC: train, TRAIN_PART: train}
    predict = _time(run, metric.predict_measure, PREDICT_PART, incumbent)
    return {METRIC: train + predict, TRAIN_PART: train, PREDICT_PART: predict}


def _time(run: SeedRun, measure: str, part: str, incumbent: Incumbent | None) -> float:
    """Return a time of a seed run in the units of the baseline's own run."""
    own, beside = run.measures[measure], run.measures.get(f"{BESIDE}{measure}")
    if beside is None or incumbent is None or not incumbent.runs:
        return own
    if beside <= 0.0:
        raise EvaluatorFault(f"{measure} of the best, beside the trial, is {beside}")
    return incumbent.mean(part) * own / beside


def on_scale(sample: Sample, scale: Scale) -> Sample:
    """Return a sample on the metric's scale.

    Raises:
        EvaluatorFault: A value is not positive, so that it has no logarithm.
    """
    try:
        return {seed: scale.on(value) for seed, value in sample.items()}
    except ValueError:
        least = min(sample.values())
        raise EvaluatorFault(
            f'the metric is {least}, which has no logarithm; set scale = "linear" in [metric]'
        ) from None


def pair_values(runs: Iterable[SeedRun], metric: Metric) -> list[float]:
    """Return own over beside of each seed run that had the incumbent beside it, on the scale."""
    names = [metric.measure, *([metric.predict_measure] if metric.charge_predict else [])]
    return [
        metric.scale.on(math.fsum(run.measures[name] for name in names))
        - metric.scale.on(math.fsum(run.measures[f"{BESIDE}{name}"] for name in names))
        for run in runs
        if all(f"{BESIDE}{name}" in run.measures for name in names)
    ]


def noise_of(
    runs: Iterable[SeedRun], metric: Metric, groups: Iterable[Sequence[float]] = ()
) -> Noise | None:
    """Return how much measurements vary if nothing is changed.

    Side by side the baseline ran beside itself, so its own pairs tell how two equal recipes differ.
    Elsewhere two runs are taken as independent, which is on the safe side. What later trials show
    is pooled with it: noise that is in proportion to a value shrinks with it, and a calibration of
    four runs is known to a factor of two only.

    Args:
        runs: The baseline's seed runs.
        metric: The metric.
        groups: Of later recipes, each a group: differences to what ran beside it, side by side,
            else the metric of its seed runs, on the scale.

    Returns:
        The noise; ``None`` if the baseline has fewer than two seed runs.
    """
    runs = list(runs)
    if len(runs) < 2:
        return None
    names = set.intersection(*(set(run.measures) for run in runs))
    measures = {name: spread_of([run.measures[name] for run in runs]) for name in sorted(names)}
    pairs = pair_values(runs, metric) if metric.side_by_side else []
    if len(pairs) == len(runs):
        pair = noise_of_pairs(spread_of(pairs), groups)
        # Two runs that are equally noisy make a pair.
        return Noise(pair, measures, replace(pair, sd=pair.sd / math.sqrt(2.0)))
    own, groups = list(on_scale(metric_by_seed(runs), metric.scale).values()), list(groups)
    run = noise_of_pairs(spread_of(own), groups)
    return Noise(unpaired(run), measures, run, usual_spread([own, *groups]))


def divergence_words(
    runs: Sequence[SeedRun], metric: Metric, gates: Iterable[Gate], noise: Noise | None
) -> str:
    """Return on how many seeds a recipe diverged, and how; empty if on none that is known of.

    A mean hides that one seed in twenty fails, and no test of a few seeds sees it. Only what a
    scorer measured is looked at: times are the machine's.

    Args:
        runs: All seed runs of the recipe, with their metric.
        metric: The metric.
        gates: The pack's gates, whose measurements can diverge, too.
        noise: What spread they have; ``None`` if that is not known.
    """
    if noise is None:
        return ""
    looked_at: list[tuple[str, float, Scale, Spread]] = []
    if metric.measure.startswith(SCORED):
        looked_at.append((METRIC, metric.goal.sign, metric.scale, noise.usual or noise.run))
    for gate in gates:
        more_is_better = gate.at_least is not None or gate.goal is Goal.MAXIMIZE
        spread = noise.measures.get(gate.measure)
        if gate.measure.startswith(SCORED) and spread is not None:
            looked_at.append((gate.measure, 1 if more_is_better else -1, Scale.LINEAR, spread))
    for name, sign, scale, spread in looked_at:
        measured = [run for run in runs if name in run.measures]
        values = [sign * scale.on(run.measures[name]) for run in measured]
        if places := diverged(values, spread):
            told = metric.name if name == METRIC else name
            worst = measured[min(places, key=lambda place: values[place])]
            return (
                f"diverged on {len(places)} of {len(values)} seeds ({told} "
                f"{worst.measures[name]:.4g} on seed {worst.seed})"
            )
    return ""


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder and of their paths: names can hold data, too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = [path.relative_to(folder).as_posix().encode() for path in files]
    return sum(path.stat().st_size for path in files) + sum(map(len, names))


_SMALLEST_DICTIONARY, _LARGEST_DICTIONARY = 1 << 16, 1 << 23
"""Bytes that LZMA remembers of a text; the larger is what its preset 6 has."""

CODE_MEASURES = frozenset({"recipe.bytes", "submission.bytes", PACKED})
"""Measurements in which the bytes of a recipe's text count, those of its comments too."""


def counts_code(pack: Pack) -> bool:
    """Return whether the metric or a gate of a pack counts the bytes of a recipe's text."""
    measures = {pack.metric.measure, *(gate.measure for gate in pack.gates)}
    return bool(measures & CODE_MEASURES)


def recipe_bytes(recipe: Recipe) -> int:
    """Return the bytes of all files of a recipe and of their paths; its table of knobs is none."""
    table = table_path(recipe.files)
    files = ((path, text) for path, text in recipe.files.items() if path != table)
    return sum(len(path.encode()) + len(text.encode()) for path, text in files)


def growth_bytes(start: Recipe, recipe: Recipe, editable: Iterable[str]) -> int:
    """Return the bytes that it takes to tell a recipe to somebody who has the starting recipe.

    Editable files and their paths are compressed by LZMA, the starting recipe's before the
    recipe's: what both have costs next to nothing, and what is deleted makes no room.
    """
    patterns = tuple(editable)
    before, after = (_text_of(one, patterns) for one in (start, recipe))
    return _compressed(before + after) - _compressed(before)


def _text_of(recipe: Recipe, patterns: tuple[str, ...]) -> str:
    return "\0".join(f"{path}\0{recipe.files[path]}" for path in recipe.editable(patterns))


@lru_cache(maxsize=16)
def _compressed(text: str) -> int:
    """Return the size of a text; that of a starting recipe is asked for with every proposal."""
    raw = text.encode("utf-8", "surrogatepass")
    # A dictionary beyond the text finds nothing more, and takes longer to lay out than the text to
    # pack.
    size = min(_LARGEST_DICTIONARY, max(_SMALLEST_DICTIONARY, 1 << len(raw).bit_length()))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": size}]
    return len(lzma.compress(raw, format=lzma.FORMAT_RAW, filters=filters))


def packed_bytes(recipe: Recipe, editable: Iterable[str]) -> int:
    """Return the bytes of the editable files, each compressed into a file that unpacks it."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    total = 0
    for path in recipe.editable(editable):
        raw = recipe.files[path].encode("utf-8", "surrogatepass")
        body = b85encode(lzma.compress(raw, format=lzma.FORMAT_RAW, filters=filters))
        total += len(_WRAPPER) + len(body)
    return total


def is_deterministic(runs: Sequence[SeedRun]) -> bool:
    """Return whether the last two of several seed runs left the same artifact and score."""
    if len(runs) < 2 or not runs[-1].artifact:
        return False
    one, other = runs[-2:]
    return one.artifact == other.artifact and _scores(one) == _scores(other)


def _scores(run: SeedRun) -> dict[str, float]:
    """Return what the scorer measured, without what the sandbox measured of the scorer."""
    scores = {name: x for name, x in run.measures.items() if name.startswith(f"{Phase.SCORE}.")}
    of_sandbox = {f"{Phase.SCORE}.{name}" for name in SANDBOX_MEASURES}
    return {name: value for name, value in scores.items() if name not in of_sandbox}
