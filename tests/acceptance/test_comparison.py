"""The tests behind a verdict: paired or Welch, moderated by what is known, exact where it ties."""

from __future__ import annotations

import itertools
import math
import random
from statistics import fmean, stdev, variance

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student

from recipelab.acceptance import (
    Samples,
    Spread,
    compare,
    compare_by_items,
    compare_one_draw,
    mean_and_error,
)
from recipelab.acceptance.comparison import flip_p, moderated
from recipelab.packs.judging_sections import Goal

scores = st.floats(-1e3, 1e3).map(lambda x: round(x, 6))
samples = st.dictionaries(st.integers(1, 6), scores, min_size=2, max_size=6)
gains = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=9)
priors = st.one_of(
    st.none(), st.builds(Spread, st.just(0.0), st.floats(0.0, 100.0), st.integers(2, 60))
)


def pair(found: list[float]) -> Samples:
    """Differences as samples of two recipes."""
    return Samples(dict(enumerate(found)), dict.fromkeys(range(len(found)), 0.0))


def apart(differences: list[float]) -> bool:
    """Whether no two differences tie and none is zero, with room for rounding."""
    return all(abs(x - y) > 1e-6 for x, y in itertools.combinations([*differences, 0.0], 2))


def test_what_seeds_have_in_common_is_no_noise() -> None:
    best = {1: 5.0, 2: 9.0, 3: 1.0}
    better = {seed: score - 0.5 + 0.01 * seed for seed, score in best.items()}
    found = compare(Samples(better, best), Goal.MINIMIZE)
    assert found.delta == pytest.approx(-0.48)
    assert found.p < 0.001
    assert (found.test, found.seeds) == ("paired by seed", 3)


@given(candidate=samples, best=samples)
def test_pairs_are_a_t_test_of_their_differences(
    candidate: dict[int, float], best: dict[int, float]
) -> None:
    shared = sorted(candidate.keys() & best.keys())
    assume(len(shared) >= 2)
    differences = [candidate[seed] - best[seed] for seed in shared]
    assume(apart(differences))
    found = compare(Samples(candidate, best), Goal.MAXIMIZE)
    error = stdev(differences) / math.sqrt(len(shared))
    assert found.delta == pytest.approx(fmean(differences))
    assert found.delta_se == pytest.approx(error)
    expected = student.sf(fmean(differences) / error, len(shared) - 1)
    assert found.p == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_a_tie_on_a_fine_scale_is_chance_and_on_a_coarse_one_is_rounding() -> None:
    fine = [3.0, 2.0, 3.5, 2.5, 3.0, 1.8, 3.2, 2.6]
    assert compare(pair(fine), Goal.MAXIMIZE).test == "paired by seed"
    coarse = [1.0, 2.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0]
    found = compare(pair(coarse), Goal.MAXIMIZE)
    assert (found.p, found.test) == (0.5**8, "paired by seed, sign flips")


def test_a_prior_moderates_as_smyth_has_it() -> None:
    differences = [0.3, 1.1, 0.8, 1.9]
    prior = Spread(0.0, 0.5, 7)
    found = compare(pair(differences), Goal.MAXIMIZE, prior)
    squared = (6 * 0.5**2 + 3 * stdev(differences) ** 2) / 9
    assert found.df == 9
    assert found.delta_se == pytest.approx(math.sqrt(squared / 4))
    assert found.p == pytest.approx(student.sf(fmean(differences) / found.delta_se, 9))


@pytest.mark.parametrize(("sd", "known"), [(1.0, 10.0), (3.0, 200.0)])
def test_a_larger_prior_counts_in_full_and_a_smaller_one_is_capped(sd: float, known: float) -> None:
    found, df = moderated(2.0, 3.0, Spread(0.0, sd, 201))
    assert df == 3 + known
    assert found == pytest.approx(math.sqrt((known * sd**2 + 3 * 4.0) / (known + 3)))


def test_a_prior_without_any_noise_says_nothing() -> None:
    differences = [0.3, 1.1, 0.8]
    silent = compare(pair(differences), Goal.MAXIMIZE, Spread(0.0, 0.0, 8))
    assert silent == compare(pair(differences), Goal.MAXIMIZE)


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


@given(found=gains)
def test_sign_flips_are_counted_exactly(found: list[float]) -> None:
    signs = itertools.product((1, -1), repeat=len(found))
    sums = [sum(s * x for s, x in zip(sign, found, strict=True)) for sign in signs]
    assert flip_p(found) == pytest.approx(fmean(one >= sum(found) for one in sums))


def test_many_sign_flips_are_exact_to_32_and_bounded_above() -> None:
    assert flip_p([1.0] * 32) == 0.5**32
    shares = [math.comb(32, k) for k in range(20, 33)]
    assert flip_p([1.0] * 20 + [-1.0] * 12) == pytest.approx(sum(shares) / 2**32)
    above = sum(math.comb(40, k) for k in range(28, 41)) / 2**40
    assert above < flip_p([1.0] * 28 + [-1.0] * 12) < 20 * above
    assert flip_p([-1.0] * 40) == 1.0


def test_equal_differences_have_the_p_of_sign_flips_and_an_interval_to_match() -> None:
    found = compare(pair([0.05] * 4), Goal.MAXIMIZE)
    assert found.p == 1 / 16
    assert found.test == "paired by seed, sign flips"
    # The one-sided interval that just leaves out zero has the confidence 1 - p.
    low, _ = found.interval(1 - 2 / 16)
    assert low == pytest.approx(0.0, abs=1e-12)


@given(candidate=samples, best=samples, prior=priors, items=st.floats(0.0, 5.0))
@example(  # Its fourth power is less than any float.
    candidate={1: 0.0, 2: 0.0}, best={1: 0.0, 2: 0.0}, prior=Spread(0.0, 4e-154, 2), items=0.0
)
def test_p_is_never_0_and_no_interval_is_without_width(
    candidate: dict[int, float], best: dict[int, float], prior: Spread | None, items: float
) -> None:
    for other in (best, {seed + 100: score for seed, score in best.items()}, candidate):
        both = Samples(candidate, other)
        assume(len(both.differences) != 1 or len(other) > 1)
        found = compare(both, Goal.MINIMIZE, prior, item_error=items)
        low, high = found.interval()
        assert 0.0 < found.p <= 1.0
        assert low < found.delta < high


@given(candidate=samples, best=samples, prior=priors)
def test_the_goal_is_a_mirror(
    candidate: dict[int, float], best: dict[int, float], prior: Spread | None
) -> None:
    flipped = [{seed: -score for seed, score in sample.items()} for sample in (candidate, best)]
    one = compare(Samples(candidate, best), Goal.MINIMIZE, prior)
    two = compare(Samples(*flipped), Goal.MAXIMIZE, prior)
    assert one.p == pytest.approx(two.p)
    assert one.gain == pytest.approx(two.gain)


@given(found=st.lists(scores, min_size=2, max_size=6), shift=st.integers(-8, 8), prior=priors)
def test_neither_the_order_of_seeds_nor_a_common_shift_matters(
    found: list[float], shift: int, prior: Spread | None
) -> None:
    assume(apart(found))
    expected = compare(pair(found), Goal.MAXIMIZE, prior)
    moved = Samples(
        {seed: value + shift for seed, value in enumerate(reversed(found))},
        dict.fromkeys(range(len(found)), float(shift)),
    )
    assert compare(moved, Goal.MAXIMIZE, prior).p == pytest.approx(expected.p, rel=1e-6)


@given(found=st.lists(scores, min_size=2, max_size=6), more=st.floats(0.01, 50.0), prior=priors)
def test_a_larger_gain_has_a_smaller_p(
    found: list[float], more: float, prior: Spread | None
) -> None:
    larger = [value + more for value in found]
    assume(apart(found) and apart(larger))
    one, two = (compare(pair(values), Goal.MAXIMIZE, prior) for values in (found, larger))
    assert two.p <= one.p


def test_logarithms_compare_ratios() -> None:
    best = {1: 8.0, 2: 9.5, 3: 10.0, 4: 12.0}
    shares = {1: 0.9, 2: 0.88, 3: 0.91, 4: 0.895}
    logs = Samples(
        {seed: math.log(shares[seed] * best[seed]) for seed in best},
        {seed: math.log(best[seed]) for seed in best},
    )
    tenfold = Samples(
        {seed: value + math.log(10.0) for seed, value in logs.candidate.items()},
        {seed: value + math.log(10.0) for seed, value in logs.best.items()},
    )
    found = compare(logs, Goal.MINIMIZE)
    assert math.exp(found.delta) == pytest.approx(math.prod(shares.values()) ** 0.25)
    assert compare(tenfold, Goal.MINIMIZE).p == pytest.approx(found.p)


@given(sample=samples)
def test_the_same_measurement_is_never_a_gain(sample: dict[int, float]) -> None:
    assert compare(Samples(sample, sample), Goal.MINIMIZE).p == 1.0


@given(found=st.lists(scores, min_size=2, max_size=6), items=st.floats(0.1, 50.0))
def test_the_error_of_the_items_adds_in_quadrature(found: list[float], items: float) -> None:
    assume(apart(found))
    alone = compare(pair(found), Goal.MAXIMIZE)
    both = compare(pair(found), Goal.MAXIMIZE, item_error=items)
    assert both.delta_se == pytest.approx(math.hypot(alone.delta_se, items))
    assert both.df >= alone.df


def test_items_alone_are_a_normal_test() -> None:
    found = compare_by_items(0.3, 0.1, Goal.MAXIMIZE, 4)
    assert found.p == pytest.approx(norm.sf(3.0))
    assert found.interval() == pytest.approx((0.3 - 1.959964 * 0.1, 0.3 + 1.959964 * 0.1))


def test_a_recipe_that_fixes_its_seed_is_one_draw_of_the_noise_however_often_it_runs() -> None:
    run = Spread(0.0, 1.0, 5)
    best = dict(enumerate([0.2, -0.4, 0.1, 0.1]))
    found = compare_one_draw(Samples(dict.fromkeys(range(4), 2.0), best), Goal.MAXIMIZE, run)
    assert found.delta_se == pytest.approx(math.sqrt(1.25))
    assert found.p == pytest.approx(student.sf(2.0 / math.sqrt(1.25), 4))


@pytest.mark.parametrize(("count", "sd"), [(4, 0.4), (4, 1.0), (8, 0.7)])
def test_rounded_noise_is_called_a_gain_no_more_often_than_p_says(count: int, sd: float) -> None:
    draw = random.Random(count)
    prior, below = Spread(0.0, 1.5 * sd, 4), dict.fromkeys((0.01, 0.05, 0.2), 0)
    for _ in range(4000):
        rounded = [float(round(draw.gauss(0, sd)) - round(draw.gauss(0, sd))) for _ in range(count)]
        p = compare(pair(rounded), Goal.MAXIMIZE, prior).p
        below = {level: found + (p <= level) for level, found in below.items()}
    assert all(found / 4000 <= level * 1.15 for level, found in below.items()), below


def test_one_seed_says_nothing() -> None:
    with pytest.raises(ValueError, match=r"^a comparison needs at least two seeds of both$"):
        compare(Samples({1: 1.0}, {1: 2.0}), Goal.MINIMIZE)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    draw, held = random.Random(7), 0
    for _ in range(1000):
        candidate = {seed: draw.gauss(1.0, 2.0) for seed in range(5)}
        best = {seed: draw.gauss(0.0, 2.0) for seed in range(5)}
        low, high = compare(Samples(candidate, best), Goal.MAXIMIZE).interval(0.9)
        held += low <= 1.0 <= high
    assert 870 <= held <= 930


def test_mean_and_error_of_one_seed() -> None:
    assert mean_and_error({1: 3.0}) == (3.0, None)
