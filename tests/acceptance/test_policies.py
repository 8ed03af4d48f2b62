"""What is kept, what is not, and what is asked for first."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.acceptance import (
    Confirmed,
    KeepIfBetter,
    NeedMoreSeeds,
    Noise,
    Observations,
    PairedTwoSigma,
    Samples,
    Spread,
    Verdict,
    power,
    smallest_gain,
)
from recipelab.packs.sections import Goal

NOISE = Noise(Spread(0.0, 1.0, 10), {})


def observed(
    *gains: float, fresh: tuple[float, ...] = (), noise: Noise | None = NOISE
) -> Observations:
    """A candidate that is better by so much, seed by seed, if less is better."""

    def samples(found: tuple[float, ...], first: int) -> Samples:
        best = {first + place: 10.0 + place for place in range(len(found))}
        return Samples({seed: best[seed] - found[seed - first] for seed in best}, best)

    return Observations(Goal.MINIMIZE, samples(gains, 1), samples(fresh, 100), noise)


def verdict(policy: Confirmed, of: Observations) -> Verdict:
    found = policy.judge(of)
    assert isinstance(found, Verdict)
    return found


def test_a_loss_is_discarded_without_more() -> None:
    found = verdict(Confirmed(), observed(-0.5, -0.4))
    assert not found.kept
    assert found.delta == pytest.approx(0.45)
    assert "is no gain" in found.reason


def test_a_gain_within_the_noise_is_discarded_without_more() -> None:
    assert "within the noise" in verdict(Confirmed(), observed(0.5, 0.4)).reason


def test_a_promising_trial_is_never_kept_for_what_made_it_promising() -> None:
    found = Confirmed().judge(observed(50.0, 50.1))
    assert found == NeedMoreSeeds(4, found.reason) if isinstance(found, NeedMoreSeeds) else False


def test_only_fresh_seeds_count() -> None:
    lucky = verdict(Confirmed(), observed(50.0, 50.1, fresh=(0.5, -0.6, 0.2, -0.1)))
    assert not lucky.kept
    assert lucky.delta == pytest.approx(0.0)
    steady = verdict(Confirmed(), observed(50.0, 50.1, fresh=(50.0, 50.2, 49.9, 50.1)))
    assert steady.kept
    assert steady.p is not None and steady.level is not None and steady.p <= steady.level


def test_what_is_neither_clear_nor_hopeless_gets_more_seeds() -> None:
    found = Confirmed().judge(observed(2.0, 2.0, fresh=(2.0, 0.5, 3.0, 1.0)))
    assert isinstance(found, NeedMoreSeeds)
    assert found.seeds == 8


def test_the_last_look_ends_it() -> None:
    draw = random.Random(3)
    fresh = tuple(draw.gauss(0.4, 1.0) for _ in range(16))
    assert "may be luck" in verdict(Confirmed(), observed(2.0, 2.0, fresh=fresh)).reason


def test_each_confirmation_makes_the_next_stricter() -> None:
    fresh = (3.0, 2.0, 3.5, 2.5, 3.0, 1.8, 3.2, 2.6)
    first = Confirmed().judge(observed(3.0, 3.0, fresh=fresh))
    assert isinstance(first, Verdict) and first.kept
    late = Observations(
        Goal.MINIMIZE, *_both(observed(3.0, 3.0, fresh=fresh)), NOISE, (False,) * 3000
    )
    assert isinstance(Confirmed().judge(late), NeedMoreSeeds)


def _both(of: Observations) -> tuple[Samples, Samples]:
    return of.screen, of.confirm


def test_where_nothing_has_noise_nothing_has_to_be_confirmed() -> None:
    quiet = Noise(Spread(0.0, 0.0, 4), {})
    assert verdict(Confirmed(), observed(0.25, 0.25, noise=quiet)).kept
    # A trial that brings noise with it is confirmed all the same.
    assert isinstance(Confirmed().judge(observed(0.25, 0.75, noise=quiet)), NeedMoreSeeds)


def test_without_calibration_any_gain_is_confirmed() -> None:
    assert isinstance(Confirmed().judge(observed(0.01, 0.02, noise=None)), NeedMoreSeeds)


def test_a_hopeless_trial_shows_early() -> None:
    policy = Confirmed()
    bad, good = policy.promise(observed(-6.0), 4), policy.promise(observed(6.0), 4)
    assert bad is not None and bad < 0.01
    assert good is not None and good > 0.99
    assert policy.promise(observed(-6.0, noise=None), 4) is None


@given(gain=st.floats(0.0, 5.0), more=st.floats(0.01, 5.0), seeds=st.integers(2, 12))
def test_a_larger_gain_is_seen_more_often(gain: float, more: float, seeds: int) -> None:
    policy, pair = Confirmed(), Spread(0.0, 1.3, 6)
    assert power(policy, gain, pair, seeds) <= power(policy, gain + more, pair, seeds) + 1e-9


@pytest.mark.parametrize("seeds", [2, 4, 10])
@pytest.mark.parametrize("tested", [0, 30])
def test_the_smallest_gain_has_the_chance_that_was_asked_for(seeds: int, tested: int) -> None:
    policy, pair = Confirmed(), Spread(0.0, 0.7, 6)
    found = smallest_gain(policy, pair, seeds, tested=tested)
    assert power(policy, found, pair, seeds, tested) == pytest.approx(0.8, abs=1e-6)


def test_without_noise_the_smallest_gain_is_none_at_all() -> None:
    assert smallest_gain(Confirmed(), Spread(0.0, 0.0, 4), 2) == 0.0


def test_keep_if_better_keeps_luck() -> None:
    assert KeepIfBetter().judge(observed(0.3, -0.2)).kept
    assert not KeepIfBetter().judge(observed(-0.3, 0.2)).kept


def test_two_sigma_is_twice_the_standard_error() -> None:
    assert not PairedTwoSigma().judge(observed(1.0, -0.2)).kept
    assert PairedTwoSigma().judge(observed(0.5, 0.48, 0.52)).kept
