"""The metric of a seed run: from what was measured to what is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from statistics import fmean

from recipelab.acceptance import Noise, Sample, Spread, spread_of, unpaired
from recipelab.core.recipe import Recipe
from recipelab.core.trial import SeedRun
from recipelab.evaluation.failures import EvaluatorFault
from recipelab.packs.sections import Metric

METRIC = "metric"
"""Name of the metric among the measurements of a seed run."""
TRAIN_PART, PREDICT_PART = "metric.train", "metric.predict"
"""Names of the times of train and predict in the units of the baseline's own run."""

BESIDE = "beside."
"""Prefix of what was measured of the best while it ran beside a trial."""

FREE_SHARE = 0.05
"""How much longer than the baseline's predict may take before it is charged: its own noise."""


@dataclass(frozen=True)
class Reference:
    """The best so far, which a candidate is held against.

    Attributes:
        number: Its trial number.
        recipe: Its recipe, which may run again to compare with it.
        runs: Its seed runs by seed, with their measurements; those of later comparisons, too.
        baseline_predict: Time of predict of the baseline in seconds, where predict is charged.
        noise: How much measurements move if nothing is changed; ``None`` if nobody knows.
        history: For each confirmation of the campaign so far, whether it ended in a keep.
        kept_runs: Told of seed runs of the best that are new, so that they are not lost.
        judged: Seeds on which its own score was measured; empty for all.
    """

    number: int
    recipe: Recipe
    runs: dict[int, SeedRun]
    baseline_predict: float | None = None
    noise: Noise | None = None
    history: tuple[bool, ...] = ()
    kept_runs: Callable[[tuple[SeedRun, ...]], None] = lambda runs: None
    judged: frozenset[int] = frozenset()

    def add(self, runs: tuple[SeedRun, ...]) -> None:
        """Adds seed runs that were made to compare with it."""
        self.kept_runs(runs)
        self.runs.update({run.seed: run for run in runs})

    def mean(self, part: str) -> float:
        """Mean of a measurement over the seed runs on which its score was measured."""
        own = [run for seed, run in self.runs.items() if not self.judged or seed in self.judged]
        return fmean(run.measures[part] for run in own)

    def sample(self, seeds: Iterable[int], metric: Metric) -> Sample:
        """Its metric on some seeds, as far as it has run them.

        Side by side it has run beside the candidate on all of them, and its own is the unit.
        """
        if metric.side_by_side:
            mean = self.mean(METRIC)
            return dict.fromkeys(seeds, mean)
        return {seed: self.runs[seed].measures[METRIC] for seed in seeds if seed in self.runs}


def mean_predict(runs: Iterable[SeedRun]) -> float | None:
    """Mean time of predict over seed runs in seconds; ``None`` where predict is not charged."""
    times = [run.measures[PREDICT_PART] for run in runs if PREDICT_PART in run.measures]
    return sum(times) / len(times) if times else None


def with_metric(
    runs: Iterable[SeedRun], metric: Metric, best: Reference | None
) -> tuple[SeedRun, ...]:
    """Adds the metric to the measurements of seed runs.

    Side by side, a time of seed i is ``best * own_i / beside_i``: what the best takes on average,
    times how the trial compares with the best at that moment. So times of all trials are in the
    units of the baseline's own run, however the machine drifts.

    Where predict is charged, the metric is ``train + max(0, predict - 1.05 * baseline_predict)``:
    work that is moved from train to predict is paid for all the same.

    Raises:
        EvaluatorFault: The best measured zero beside the trial, so that nothing can be compared.
    """
    return tuple(
        replace(run, measures={**run.measures, **_metric(run, metric, best)}) for run in runs
    )


def _metric(run: SeedRun, metric: Metric, best: Reference | None) -> dict[str, float]:
    if not metric.side_by_side and not metric.charge_predict:
        return {METRIC: run.measures[metric.measure]}
    train = _time(run, metric.measure, TRAIN_PART, best)
    if not metric.charge_predict:
        return {METRIC: train, TRAIN_PART: train}
    predict = _time(run, metric.predict_measure, PREDICT_PART, best)
    free = best.baseline_predict if best is not None else None
    charge = 0.0 if free is None else max(0.0, predict - (1.0 + FREE_SHARE) * free)
    return {METRIC: train + charge, TRAIN_PART: train, PREDICT_PART: predict}


def _time(run: SeedRun, measure: str, part: str, best: Reference | None) -> float:
    """A time in the units of the baseline's own run."""
    own, beside = run.measures[measure], run.measures.get(f"{BESIDE}{measure}")
    if beside is None or best is None:
        return own
    if beside <= 0.0:
        raise EvaluatorFault(f"{measure} of the best, beside the trial, is {beside}")
    return best.mean(part) * own / beside


def noise_of(runs: Iterable[SeedRun], metric: Metric) -> Noise | None:
    """How much measurements move if nothing is changed, from the seed runs of the baseline.

    Side by side the baseline ran beside itself, so that its own pairs tell how two recipes differ
    that are the same. Elsewhere two runs are taken as independent, which is on the safe side.

    Returns:
        The noise; ``None`` if there are fewer than two seed runs.
    """
    runs = list(runs)
    if len(runs) < 2:
        return None
    names = set.intersection(*(set(run.measures) for run in runs))
    spreads = {name: spread_of([run.measures[name] for run in runs]) for name in sorted(names)}
    return Noise(_pair(runs, metric) or unpaired(spreads[METRIC]), spreads)


def _pair(runs: list[SeedRun], metric: Metric) -> Spread | None:
    beside = f"{BESIDE}{metric.measure}"
    if not metric.side_by_side or any(beside not in run.measures for run in runs):
        return None
    itself = Reference(0, Recipe({}), {run.seed: run for run in runs}, mean_predict(runs))
    compared = [run.measures[METRIC] for run in with_metric(runs, metric, itself)]
    return spread_of(compared)
