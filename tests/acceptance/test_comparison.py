"""The tests behind a verdict: paired where seeds are shared, Welch's where not."""

from __future__ import annotations

import math
from statistics import fmean, stdev, variance

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import t as student

from recipelab.acceptance import Samples, compare, mean_and_error, spread_of, unpaired
from recipelab.packs.sections import Goal

scores = st.floats(-1e3, 1e3).map(lambda x: round(x, 6))
samples = st.dictionaries(st.integers(1, 6), scores, min_size=2, max_size=6)


def test_what_seeds_have_in_common_is_no_noise() -> None:
    best = {1: 5.0, 2: 9.0, 3: 1.0}
    better = {seed: score - 0.5 + 0.01 * seed for seed, score in best.items()}
    found = compare(Samples(better, best), Goal.MINIMIZE)
    assert found.delta == pytest.approx(-0.48)
    assert found.p < 0.001
    assert found.test == "paired by seed"


@given(candidate=samples, best=samples)
def test_pairs_are_a_t_test_of_their_differences(
    candidate: dict[int, float], best: dict[int, float]
) -> None:
    shared = sorted(candidate.keys() & best.keys())
    assume(len(shared) >= 2)
    differences = [candidate[seed] - best[seed] for seed in shared]
    assume(stdev(differences) > 1e-6)
    found = compare(Samples(candidate, best), Goal.MAXIMIZE)
    error = stdev(differences) / math.sqrt(len(shared))
    assert found.delta == pytest.approx(fmean(differences))
    assert found.delta_se == pytest.approx(error)
    expected = student.sf(fmean(differences) / error, len(shared) - 1)
    assert found.p == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(candidate=samples, best=samples)
def test_without_shared_seeds_it_is_welchs(
    candidate: dict[int, float], best: dict[int, float]
) -> None:
    best = {seed + 100: score for seed, score in best.items()}
    assume(stdev(candidate.values()) > 1e-3 and stdev(best.values()) > 1e-3)
    found = compare(Samples(candidate, best), Goal.MINIMIZE)
    parts = [variance(side.values()) / len(side) for side in (candidate, best)]
    df = sum(parts) ** 2 / sum(
        part**2 / (len(side) - 1) for part, side in zip(parts, (candidate, best), strict=True)
    )
    assert found.test == "Welch"
    assert found.df == pytest.approx(df)
    expected = student.cdf(found.delta / math.sqrt(sum(parts)), df)
    assert found.p == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(candidate=samples, best=samples)
def test_the_goal_is_a_mirror(candidate: dict[int, float], best: dict[int, float]) -> None:
    flipped = [{seed: -score for seed, score in sample.items()} for sample in (candidate, best)]
    one = compare(Samples(candidate, best), Goal.MINIMIZE)
    two = compare(Samples(*flipped), Goal.MAXIMIZE)
    assert one.p == pytest.approx(two.p)
    assert one.gain == pytest.approx(two.gain)


@given(sample=samples)
def test_the_same_measurement_is_never_a_gain(sample: dict[int, float]) -> None:
    assert compare(Samples(sample, sample), Goal.MINIMIZE).p == 1.0


@given(sample=samples, shift=st.sampled_from([0.25, 1.0, 7.0]))
def test_without_noise_any_gain_is_certain(sample: dict[int, float], shift: float) -> None:
    constant = dict.fromkeys(sample, 3.0)
    better = {seed: score + shift for seed, score in constant.items()}
    found = compare(Samples(better, constant), Goal.MAXIMIZE)
    assert (found.p, found.delta_se, found.interval()) == (0.0, 0.0, (shift, shift))


def test_one_seed_says_nothing() -> None:
    with pytest.raises(ValueError, match="at least two seeds"):
        compare(Samples({1: 1.0}, {1: 2.0}), Goal.MINIMIZE)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    import random

    draw, held = random.Random(7), 0
    for _ in range(1000):
        candidate = {seed: draw.gauss(1.0, 2.0) for seed in range(5)}
        best = {seed: draw.gauss(0.0, 2.0) for seed in range(5)}
        low, high = compare(Samples(candidate, best), Goal.MAXIMIZE).interval(0.9)
        held += low <= 1.0 <= high
    assert 870 <= held <= 930


def test_the_spread_of_a_difference() -> None:
    spread = spread_of([1.0, 2.0, 3.0, 4.0])
    low, high = spread.interval()
    assert low < spread.sd < high
    assert unpaired(spread).sd == pytest.approx(math.sqrt(2) * spread.sd)
    assert spread_of([0.1 + 0.2, 0.3]).sd == 0.0


def test_mean_and_error_of_one_seed() -> None:
    assert mean_and_error({1: 3.0}) == (3.0, None)
