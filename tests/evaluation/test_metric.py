"""The metric of a seed run: drift is divided out, and work moved to predict is paid for."""

from __future__ import annotations

import pytest

from recipelab.core.recipe import Recipe
from recipelab.core.trial import SeedRun
from recipelab.evaluation.failures import EvaluatorFault
from recipelab.evaluation.metric import (
    METRIC,
    PREDICT_PART,
    TRAIN_PART,
    Incumbent,
    free_predict,
    with_metric,
)
from recipelab.packs.judging_sections import Metric


def metric(**options: bool) -> Metric:
    measure = "train.cpu_seconds"
    return Metric.model_validate(
        {"name": "cost", "unit": "s", "goal": "minimize", "measure": measure, **options}
    )


def run(train: float, predict: float, *, beside: tuple[float, float] | None = None) -> SeedRun:
    measures = {"train.cpu_seconds": train, "predict.cpu_seconds": predict}
    if beside is not None:
        measures["beside.train.cpu_seconds"], measures["beside.predict.cpu_seconds"] = beside
    return SeedRun(1, (), measures)


def best(train: float, predict: float, of_baseline: float) -> Incumbent:
    measures = {METRIC: train, TRAIN_PART: train, PREDICT_PART: predict}
    baseline = SeedRun(1, (), {PREDICT_PART: of_baseline})
    return Incumbent(0, Recipe({}), {1: SeedRun(1, (), measures)}, (baseline,))


def value(one: SeedRun, of: Metric, reference: Incumbent | None) -> float:
    (result,) = with_metric([one], of, reference)
    return result.measures[METRIC]


CHARGED = metric(side_by_side=True, charge_predict=True)


def test_the_baseline_is_not_charged() -> None:
    (baseline,) = with_metric([run(5.0, 2.0)], CHARGED, None)
    assert baseline.measures[METRIC] == 5.0
    assert free_predict([baseline], CHARGED) == pytest.approx(2.04)


def test_predict_as_long_as_the_baselines_is_free() -> None:
    reference = best(4.0, 2.0, 2.0)
    assert value(run(3.0, 2.03, beside=(4.0, 2.0)), CHARGED, reference) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("ratios", "share"),
    [((1.0, 1.0, 1.0), 0.005), ((0.99, 1.0, 1.01), 0.02), ((1.0, 1.004), 0.0085)],
)
def test_what_is_free_follows_the_noise_of_predict(ratios: tuple[float, ...], share: float) -> None:
    # The machine is another at every pair, and that is no noise of predict.
    moments = [run(4.0, 2.0 * r * k, beside=(4.0, 2.0 * k)) for k, r in enumerate(ratios, start=1)]
    baseline = with_metric(moments, CHARGED, None)
    mean = sum(one.measures[PREDICT_PART] for one in baseline) / len(baseline)
    assert free_predict(baseline, CHARGED) == pytest.approx(mean * (1.0 + share), rel=1e-3)


def test_work_moved_to_predict_wins_nothing() -> None:
    moved = run(1.0, 6.0, beside=(5.0, 2.0))
    assert value(moved, CHARGED, best(5.0, 2.0, 2.0)) == pytest.approx(1.0 + 6.0 - 2.04)
    assert value(moved, metric(side_by_side=True), best(5.0, 2.0, 2.0)) == pytest.approx(1.0)


def test_many_small_moves_are_charged_as_one_large_one() -> None:
    # A best that has itself moved work to predict is no excuse: the baseline's predict is free.
    drifted = best(3.0, 4.0, 2.0)
    assert value(run(3.0, 4.0, beside=(3.0, 4.0)), CHARGED, drifted) == pytest.approx(4.96)


def test_a_machine_that_is_slower_now_charges_nothing_for_it() -> None:
    slow = run(8.0, 4.0, beside=(8.0, 4.0))
    assert value(slow, CHARGED, best(4.0, 2.0, 2.0)) == pytest.approx(4.0)


def test_nothing_can_be_compared_with_zero() -> None:
    with pytest.raises(EvaluatorFault, match="beside the trial, is 0"):
        value(run(1.0, 1.0, beside=(0.0, 1.0)), CHARGED, best(4.0, 2.0, 2.0))


def test_other_measures_are_taken_as_they_are() -> None:
    assert value(run(1.5, 9.0), metric(), best(4.0, 2.0, 2.0)) == 1.5
    assert free_predict(with_metric([run(1.5, 9.0)], metric(), None), metric()) is None
