"""Spreads: of a few runs, pooled over a campaign, and what does not belong into them."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from recipelab.acceptance import (
    Spread,
    agree,
    diverged,
    noise_of_pairs,
    pooled,
    spread_of,
    unpaired,
    usual_spread,
)

spreads = st.builds(Spread, st.just(0.0), st.floats(0.01, 50.0), st.integers(2, 30))


def test_the_interval_of_a_spread_is_that_of_chi_squared() -> None:
    spread = spread_of([1.0, 2.0, 3.0, 4.0])
    assert spread.df == 3
    low, high = spread.interval(0.8)
    assert low == pytest.approx(spread.sd * math.sqrt(3 / chi2.ppf(0.9, 3)))
    assert high == pytest.approx(spread.sd * math.sqrt(3 / chi2.ppf(0.1, 3)))


def test_rounding_is_no_noise() -> None:
    assert spread_of([0.1 + 0.2, 0.3]).sd == 0.0
    assert agree([0.1 + 0.2, 0.3]) and agree([0.0, 0.0])
    assert not agree([0.3, 0.3001])
    assert not agree([0.3])


def test_one_measurement_has_no_spread() -> None:
    with pytest.raises(ValueError, match=r"^a spread needs at least two measurements$"):
        spread_of([1.0])
    with pytest.raises(ValueError, match=r"^nothing to pool$"):
        pooled([])
    # Its mean is known, and there is nothing to say of its noise.
    assert pooled([Spread(5.0, 2.0, 1)]) == Spread(5.0, 0.0, 1, 0.0)


def test_two_independent_runs_differ_by_the_root_of_two() -> None:
    found = unpaired(Spread(5.0, 3.0, 9, 7.0))
    assert (found.mean, found.sd, found.df) == (0.0, pytest.approx(3.0 * math.sqrt(2)), 7.0)


@given(groups=st.lists(spreads, min_size=1, max_size=6))
def test_pooling_weighs_variances_by_their_degrees_of_freedom(groups: list[Spread]) -> None:
    found = pooled(groups)
    assert found.df == sum(group.runs - 1 for group in groups)
    assert found.sd**2 * found.df == pytest.approx(sum(g.sd**2 * g.df for g in groups))
    assert min(g.sd for g in groups) <= found.sd * (1 + 1e-9)
    assert found.sd <= max(g.sd for g in groups) * (1 + 1e-9)


def test_the_gain_of_a_comparison_is_no_noise_of_the_campaign() -> None:
    calibration = Spread(0.0, 1.0, 4)
    small = noise_of_pairs(calibration, [[0.0, 1.0], [0.5, -0.5, 0.2]])
    large = noise_of_pairs(calibration, [[70.0, 71.0], [0.5, -0.5, 0.2]])
    assert large.sd == pytest.approx(small.sd)
    assert large.df == 3 + 1 + 2


def test_a_recipe_that_ignores_its_seed_says_nothing_about_those_that_do_not() -> None:
    calibration = Spread(0.0, 1.0, 4)
    found = noise_of_pairs(calibration, [[0.3, 0.3, 0.3, 0.3], [7.0]])
    assert (found.sd, found.df) == (1.0, 3.0)


def test_a_run_that_noise_does_not_explain_has_diverged() -> None:
    spread = Spread(0.0, 1.0, 30)
    assert diverged([0.1, -10.0, 0.3, -0.5, 0.2], spread) == (1,)
    assert diverged([0.1, -2.5, 0.3, -0.5, 10.0], spread) == ()
    # A spread from four runs may be a tenth of the true one.
    assert diverged([0.1, -10.0, 0.3, -0.5, 0.2], Spread(0.0, 1.0, 4)) == ()
    assert diverged([0.0, -10.0], spread) == ()
    assert diverged([0.0, -10.0, 0.3], spread) == (1,)
    assert diverged([0.1, -10.0, 0.3], Spread(0.0, 0.0, 30)) == ()


def test_divergence_is_noticed_where_a_twentieth_of_the_runs_diverges() -> None:
    found = missed = false = 0
    for seed in range(200):
        chance = random.Random(seed)
        wild = [[chance.random() < 0.05 for _ in range(size)] for size in (4, 5, 5, 5, 3, 5, 3, 5)]
        groups = [[chance.gauss(-10.0 * bad, 1.0) for bad in group] for group in wild]
        spread = usual_spread(groups)
        assert spread is not None
        places = diverged(groups[-1], spread)
        found += sum(wild[-1][place] for place in places)
        false += sum(not wild[-1][place] for place in places)
        missed += sum(wild[-1]) - sum(wild[-1][place] for place in places)
    assert found > 9 * missed
    assert false <= 1


@given(st.lists(st.lists(st.floats(-5.0, 5.0), max_size=6), max_size=8))
def test_the_usual_spread_is_no_larger_than_that_of_all(groups: list[list[float]]) -> None:
    found = usual_spread(groups)
    told = [spread_of(group) for group in groups if len(group) > 1 and not agree(group)]
    if found is None:
        assert not told
    else:
        assert 0.0 <= found.sd <= max(spread.sd for spread in told) * (1 + 1e-9)
