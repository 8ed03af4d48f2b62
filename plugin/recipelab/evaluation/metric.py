"""The metric of a seed run: from what was measured to what is compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from recipelab.evaluation.acceptance import Sample
from recipelab.evaluation.faults import EvaluatorFault
from recipelab.evaluation.schedule import BESIDE
from recipelab.pack import Metric
from recipelab.recipe import Recipe
from recipelab.trial import SeedRun

METRIC = "metric"
"""Name of the metric among the measurements of a seed run."""
TRAIN_PART, PREDICT_PART = "metric.train", "metric.predict"
"""Names of the times of train and predict in the units of the baseline's own run."""

FREE_SHARE = 0.05
"""How much longer than the baseline's predict may take before it is charged: its own noise."""


@dataclass(frozen=True)
class Reference:
    """The best so far, which a candidate is held against.

    Attributes:
        number: Its trial number.
        recipe: Its recipe, to be run again where trials are measured side by side with the best.
        runs: Its seed runs by seed, with their measurements.
        baseline_predict: Time of predict of the baseline in seconds, where predict is charged.
    """

    number: int
    recipe: Recipe
    runs: Mapping[int, SeedRun]
    baseline_predict: float | None = None

    @property
    def sample(self) -> Sample:
        """Its metric by seed."""
        return sample_of(self.runs.values())


def sample_of(runs: Iterable[SeedRun]) -> Sample:
    """The metric by seed."""
    return {run.seed: run.measures[METRIC] for run in runs}


def mean_predict(runs: Iterable[SeedRun]) -> float | None:
    """Mean time of predict over seed runs in seconds; ``None`` where predict is not charged."""
    times = [run.measures[PREDICT_PART] for run in runs if PREDICT_PART in run.measures]
    return sum(times) / len(times) if times else None


def with_metric(
    runs: Iterable[SeedRun], metric: Metric, best: Reference | None
) -> tuple[SeedRun, ...]:
    """Adds the metric to the measurements of seed runs.

    Side by side, a time of seed i is ``best_i * own_i / beside_i``: what the best took, times how
    the trial compares with the best at the same moment. So times of all trials are in the units of
    the baseline's own run, however the machine drifts.

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
    return best.runs[run.seed].measures[part] * own / beside
