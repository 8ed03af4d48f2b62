"""The metric of a seed run: drift is divided out, and work moved to predict is paid for."""

from __future__ import annotations

import math

import pytest

from recipelab.core.recipe import Recipe
from recipelab.core.trial import SeedRun
from recipelab.evaluation.failures import EvaluatorFault
from recipelab.evaluation.metric import (
    METRIC,
    PREDICT_PART,
    TRAIN_PART,
    Incumbent,
    pair_values,
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


def best(train: float, predict: float) -> Incumbent:
    measures = {METRIC: train + predict, TRAIN_PART: train, PREDICT_PART: predict}
    return Incumbent(0, Recipe({}), {1: SeedRun(1, (), measures)})


def value(one: SeedRun, of: Metric, reference: Incumbent | None) -> float:
    (result,) = with_metric([one], of, reference)
    return result.measures[METRIC]


CHARGED = metric(side_by_side=True, charge_predict=True)


def test_the_baseline_pays_for_its_own_predict() -> None:
    (baseline,) = with_metric([run(5.0, 2.0)], CHARGED, None)
    assert baseline.measures[METRIC] == 7.0


def test_work_moved_to_predict_wins_nothing() -> None:
    moved = run(1.0, 6.0, beside=(5.0, 2.0))
    assert value(moved, CHARGED, best(5.0, 2.0)) == pytest.approx(7.0)
    assert value(moved, metric(side_by_side=True), best(5.0, 2.0)) == pytest.approx(1.0)


def test_what_a_small_network_leaves_of_predict_is_no_free_place_to_train() -> None:
    """It needs 0.1 s to predict, and trains for the 1.9 s more that the best predicts."""
    moved, honest = (run(*of, beside=(5.0, 2.0)) for of in ((0.5, 2.0), (2.4, 0.1)))
    assert value(moved, CHARGED, best(5.0, 2.0)) == value(honest, CHARGED, best(5.0, 2.0)) == 2.5


def test_a_machine_that_is_slower_now_charges_nothing_for_it() -> None:
    slow = run(8.0, 4.0, beside=(8.0, 4.0))
    assert value(slow, CHARGED, best(4.0, 2.0)) == pytest.approx(6.0)


def test_the_noise_of_a_pair_is_that_of_all_that_is_charged() -> None:
    pair = [run(3.0, 1.0, beside=(2.0, 2.0))]
    assert pair_values(pair, CHARGED) == [0.0]
    assert pair_values(pair, metric(side_by_side=True)) == [pytest.approx(math.log(1.5))]


def test_nothing_can_be_compared_with_zero() -> None:
    with pytest.raises(EvaluatorFault, match="beside the trial, is 0"):
        value(run(1.0, 1.0, beside=(0.0, 1.0)), CHARGED, best(4.0, 2.0))


def test_other_measures_are_taken_as_they_are() -> None:
    assert value(run(1.5, 9.0), metric(), best(4.0, 2.0)) == 1.5
