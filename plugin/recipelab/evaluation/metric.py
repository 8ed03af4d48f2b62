"""The metric: how measurements become the one number that a trial and the incumbent are held to."""

from __future__ import annotations

import lzma
from base64 import b85encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Self

from recipelab.acceptance import Noise, Sample, Spread, spread_of, unpaired
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Outcome, SeedRun
from recipelab.evaluation.failures import EvaluatorFault
from recipelab.packs.sections import Metric

METRIC = "metric"
"""Name of the metric among the measurements of a seed run."""
TRAIN_PART, PREDICT_PART = "metric.train", "metric.predict"
"""Names of the times of train and predict in the units of the baseline's own run."""

BESIDE = "beside."
"""Prefix of the incumbent's measurements in a seed run of a trial that it ran beside."""

PROJECTED = "projected."
"""Prefix of what its preflight projected among the measurements of a seed run."""

FREE_SHARE = 0.05
"""How much longer than the baseline's predict may take before it is charged: its own noise."""

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
    """The best trial so far, which a candidate is compared with.

    Attributes:
        number: Its trial number.
        recipe: Its recipe, which runs again where a candidate is compared with it.
        runs: Its seed runs by seed, including those of later comparisons.
        baseline_predict: Seconds that predict of the baseline takes, where predict is charged.
        noise: How much measurements vary if nothing is changed; ``None`` if that is unknown.
        history: For each confirmation of the campaign so far, whether it ended in a keep.
        store_runs: Stores its new seed runs, so that they are not lost.
        judged: The seeds on which its own score was measured; empty for all.
    """

    number: int
    recipe: Recipe
    runs: dict[int, SeedRun]
    baseline_predict: float | None = None
    noise: Noise | None = None
    history: tuple[bool, ...] = ()
    store_runs: Callable[[tuple[SeedRun, ...]], None] = lambda runs: None
    judged: frozenset[int] = frozenset()

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
        return cls(
            number,
            recipe,
            {run.seed: run for run in outcome.seed_runs},
            mean_predict(baseline),
            judged=outcome.judged_seeds,
        )

    def add(self, runs: tuple[SeedRun, ...]) -> None:
        """Add and store seed runs that were made to compare a candidate with it."""
        self.store_runs(runs)
        self.runs.update({run.seed: run for run in runs})

    def mean(self, part: str) -> float:
        """Return the mean of a measurement over the seed runs that gave it its score."""
        own = [run for seed, run in self.runs.items() if not self.judged or seed in self.judged]
        return fmean(run.measures[part] for run in own)

    def sample(self, seeds: Iterable[int], metric: Metric) -> Sample:
        """Return its metric on those of the seeds that it has run.

        Side by side it has run beside the candidate on all of them, and its own score is the unit.
        """
        if metric.side_by_side:
            return dict.fromkeys(seeds, self.mean(METRIC))
        return {seed: self.runs[seed].measures[METRIC] for seed in seeds if seed in self.runs}


def mean_predict(runs: Iterable[SeedRun]) -> float | None:
    """Return the mean seconds of predict over seed runs; ``None`` where predict is not charged."""
    times = [run.measures[PREDICT_PART] for run in runs if PREDICT_PART in run.measures]
    return fmean(times) if times else None


def with_metric(
    runs: Iterable[SeedRun], metric: Metric, incumbent: Incumbent | None
) -> tuple[SeedRun, ...]:
    """Return seed runs with the metric among their measurements.

    Side by side, a time of seed i is ``incumbent * own_i / beside_i``: the incumbent's mean, times
    how the trial compared with the incumbent at that moment. So the times of all trials are in the
    units of the baseline's own run, however the machine drifts.

    Where predict is charged, the metric is ``train + max(0, predict - 1.05 * baseline_predict)``:
    work that is moved from train to predict is paid for all the same.

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
    free = incumbent.baseline_predict if incumbent is not None else None
    charge = 0.0 if free is None else max(0.0, predict - (1.0 + FREE_SHARE) * free)
    return {METRIC: train + charge, TRAIN_PART: train, PREDICT_PART: predict}


def _time(run: SeedRun, measure: str, part: str, incumbent: Incumbent | None) -> float:
    """Return a time of a seed run in the units of the baseline's own run."""
    own, beside = run.measures[measure], run.measures.get(f"{BESIDE}{measure}")
    if beside is None or incumbent is None:
        return own
    if beside <= 0.0:
        raise EvaluatorFault(f"{measure} of the best, beside the trial, is {beside}")
    return incumbent.mean(part) * own / beside


def noise_of(runs: Iterable[SeedRun], metric: Metric) -> Noise | None:
    """Return how much measurements vary if nothing is changed, from the baseline's seed runs.

    Side by side the baseline ran beside itself, so its own pairs tell how two equal recipes differ.
    Elsewhere two runs are taken as independent, which is on the safe side.

    Returns:
        The noise; ``None`` if there are fewer than two seed runs.
    """
    runs = list(runs)
    if len(runs) < 2:
        return None
    names = set.intersection(*(set(run.measures) for run in runs))
    spreads = {name: spread_of([run.measures[name] for run in runs]) for name in sorted(names)}
    pair = _spread_of_pairs(runs, metric) or unpaired(spreads[METRIC])
    return Noise(pair, spreads, spreads[METRIC])


def _spread_of_pairs(runs: list[SeedRun], metric: Metric) -> Spread | None:
    beside = f"{BESIDE}{metric.measure}"
    if not metric.side_by_side or any(beside not in run.measures for run in runs):
        return None
    itself = Incumbent(0, Recipe({}), {run.seed: run for run in runs}, mean_predict(runs))
    return spread_of(list(metric_by_seed(with_metric(runs, metric, itself)).values()))


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder and of their paths: names can hold data, too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = [path.relative_to(folder).as_posix().encode() for path in files]
    return sum(path.stat().st_size for path in files) + sum(map(len, names))


def recipe_bytes(recipe: Recipe) -> int:
    """Return the bytes of all files of a recipe and of their paths."""
    return sum(len(path.encode()) + len(text.encode()) for path, text in recipe.files.items())


def packed_bytes(recipe: Recipe, editable: Iterable[str]) -> int:
    """Return the bytes of the editable files, each compressed into a file that unpacks it."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    total = 0
    for path in recipe.editable(editable):
        raw = recipe.files[path].encode("utf-8", "surrogatepass")
        body = b85encode(lzma.compress(raw, format=lzma.FORMAT_RAW, filters=filters))
        total += len(_WRAPPER) + len(body)
    return total
