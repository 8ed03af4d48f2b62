"""The first rule for kept: better by more than twice the standard error, seeds paired."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recipelab.evaluation.acceptance import PairedTwoSigma, mean_and_error
from recipelab.pack import Goal

scores = st.floats(-1e3, 1e3).map(lambda x: round(x, 6))
samples = st.dictionaries(st.integers(1, 5), scores, min_size=2, max_size=5)


def test_what_seeds_have_in_common_is_no_noise() -> None:
    best = {1: 5.0, 2: 9.0, 3: 1.0}
    better = {seed: score - 0.5 + 0.01 * seed for seed, score in best.items()}
    verdict = PairedTwoSigma().judge(better, best, Goal.MINIMIZE)
    assert verdict.kept
    assert verdict.delta == pytest.approx(-0.48)


def test_a_gain_within_the_noise_is_not_kept() -> None:
    verdict = PairedTwoSigma().judge({1: 4.0, 2: 5.2}, {1: 5.0, 2: 5.0}, Goal.MINIMIZE)
    assert not verdict.kept
    assert "not more than twice" in verdict.reason


@given(candidate=samples, best=samples)
def test_it_keeps_what_the_rule_says(candidate: dict[int, float], best: dict[int, float]) -> None:
    shared = sorted(candidate.keys() & best.keys())
    assume(len(shared) >= 2)
    differences = [best[seed] - candidate[seed] for seed in shared]
    bound = 2 * stdev(differences) / math.sqrt(len(shared))
    assume(abs(fmean(differences) - bound) > 1e-9)
    verdict = PairedTwoSigma().judge(candidate, best, Goal.MINIMIZE)
    assert verdict.kept == (fmean(differences) > bound)


@given(candidate=samples, best=samples)
def test_the_goal_is_a_mirror(candidate: dict[int, float], best: dict[int, float]) -> None:
    assume(len(candidate.keys() & best.keys()) >= 2)
    flipped = [{seed: -score for seed, score in sample.items()} for sample in (candidate, best)]
    one = PairedTwoSigma().judge(candidate, best, Goal.MINIMIZE)
    two = PairedTwoSigma().judge(flipped[0], flipped[1], Goal.MAXIMIZE)
    assert one.kept == two.kept


@given(sample=samples)
def test_the_same_measurement_is_never_a_gain(sample: dict[int, float]) -> None:
    assert not PairedTwoSigma().judge(sample, sample, Goal.MINIMIZE).kept


def test_without_shared_seeds_nothing_can_be_said() -> None:
    with pytest.raises(ValueError, match="two shared seeds"):
        PairedTwoSigma().judge({1: 1.0, 2: 1.0}, {2: 1.0, 3: 1.0}, Goal.MINIMIZE)


def test_mean_and_error_of_one_seed() -> None:
    assert mean_and_error({1: 3.0}) == (3.0, None)
