"""What the mean will be when all seeds have run."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.acceptance import Spread, chance_to_reach, waves

values = st.lists(st.floats(-10, 10), min_size=1, max_size=8)


@given(values=values, limit=st.floats(-10, 10), rest=st.integers(1, 8))
def test_it_is_a_chance_and_falls_with_the_limit(
    values: list[float], limit: float, rest: int
) -> None:
    spread, total = Spread(0.0, 1.0, 5), len(values) + rest
    low, high = (chance_to_reach(values, total, at, spread) for at in (limit, limit + 1.0))
    assert 0.0 <= high <= low <= 1.0


@given(values=values, limit=st.floats(-10, 10))
def test_when_all_have_run_it_is_known(values: list[float], limit: float) -> None:
    chance = chance_to_reach(values, len(values), limit, Spread(0.0, 1.0, 5))
    assert (
        chance == float(sum(values) / len(values) >= limit)
        or abs(sum(values) / len(values) - limit) < 1e-9
    )


def test_without_noise_the_first_seed_tells() -> None:
    still = Spread(0.0, 0.0, 4)
    assert chance_to_reach([5.0], 10, 5.0, still) == 1.0
    assert chance_to_reach([4.9], 10, 5.0, still) == 0.0


def test_the_chance_is_what_happens() -> None:
    """Of trials whose chance is about a tenth, about a tenth get there."""
    draw, near, reached = random.Random(11), 0, 0
    spread = Spread(0.0, 1.0, 10_000)
    for _ in range(60_000):
        truth = draw.uniform(-3.0, 3.0)
        found = [draw.gauss(truth, 1.0) for _ in range(6)]
        if 0.05 < chance_to_reach(found[:2], 6, 0.5, spread) < 0.15:
            near += 1
            reached += sum(found) / 6 >= 0.5
    assert near > 1000
    assert reached / near == pytest.approx(0.1, abs=0.03)


@given(count=st.integers(1, 40))
def test_portions_are_all_seeds_in_order(count: int) -> None:
    portions = waves(range(count))
    assert [seed for portion in portions for seed in portion] == list(range(count))
    assert len(portions[0]) == 1
