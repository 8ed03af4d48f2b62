"""How small a gain a policy can see is what a campaign would find."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.acceptance import (
    Confirmed,
    Line,
    NeedMoreSeeds,
    Noise,
    Observations,
    Samples,
    Spread,
    power,
    smallest_gain,
)
from recipelab.packs.judging_sections import Goal


@settings(max_examples=25)
@given(gain=st.floats(0.0, 5.0), more=st.floats(0.01, 5.0), seeds=st.sampled_from([1, 2, 10]))
def test_a_larger_gain_is_seen_more_often(gain: float, more: float, seeds: int) -> None:
    for policy in (Confirmed(), Line()):
        chances = [power(policy, size, Spread(0.0, 1.3, 6), seeds) for size in (gain, gain + more)]
        assert 0.0 <= chances[0] <= chances[1] <= 1.0


@pytest.mark.parametrize("policy", [Confirmed(), Line()])
@pytest.mark.parametrize("tested", [0, 30])
def test_the_smallest_gain_has_the_chance_that_was_asked_for(
    policy: Confirmed | Line, tested: int
) -> None:
    pair = Spread(0.0, 0.7, 6)
    found = smallest_gain(policy, pair, 2, tested=tested)
    assert power(policy, found.gain, pair, 2, tested) == pytest.approx(0.8, abs=0.002)
    low, high = pair.interval(0.8)
    assert found.low / found.gain == pytest.approx(low / pair.sd)
    assert found.high / found.gain == pytest.approx(high / pair.sd)


def test_later_tests_are_stricter_and_a_checkpoint_needs_no_screening() -> None:
    pair = Spread(0.0, 1.0, 4)
    for policy in (Confirmed(), Line()):
        first, later = (smallest_gain(policy, pair, 2, tested=count) for count in (0, 20))
        assert first.gain <= later.gain
    assert later.gain > first.gain
    assert smallest_gain(Line(), pair, 2).gain < smallest_gain(Confirmed(), pair, 2).gain


def test_without_noise_the_smallest_gain_is_none_at_all() -> None:
    found = smallest_gain(Confirmed(), Spread(0.0, 0.0, 4), 2)
    assert (found.gain, found.low, found.high) == (0.0, 0.0, 0.0)
    assert power(Line(), 0.1, Spread(0.0, 0.0, 4), 2) == 1.0


def test_a_checkpoint_of_the_line_finds_a_gain_of_the_told_size_as_often_as_told() -> None:
    draw, policy, held = random.Random(2), Line(), 0
    gain = smallest_gain(policy, Spread(0.0, 1.0, 4), 1).gain
    for _ in range(400):
        sd = (sum(draw.gauss(0.0, 1.0) ** 2 for _ in range(3)) / 3) ** 0.5
        noise = Noise(Spread(0.0, sd, 4), {}, Spread(0.0, sd / 2**0.5, 4))
        runs: dict[int, float] = {}
        found = policy.test(Observations(Goal.MAXIMIZE, Samples(), noise=noise))
        while isinstance(found, NeedMoreSeeds):
            runs |= {seed: draw.gauss(gain, 1.0) for seed in range(len(runs), found.seeds)}
            both = Samples(runs, dict.fromkeys(runs, 0.0))
            found = policy.test(Observations(Goal.MAXIMIZE, Samples(), both, noise))
        held += found.kept
    assert held / 400 == pytest.approx(0.8, abs=0.06)
