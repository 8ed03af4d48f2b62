"""The false-keep rate of a campaign is never overdrawn, however long it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.acceptance import level_of_next


@given(rate=st.floats(0.001, 0.5), half=st.integers(1, 100), count=st.integers(1, 500))
def test_levels_of_a_fruitless_campaign_add_up_to_less_than_the_rate(
    rate: float, half: int, count: int
) -> None:
    levels = [level_of_next(rate, (False,) * done, half) for done in range(count)]
    assert sum(levels) <= rate * (1 + 1e-9)
    assert levels == sorted(levels, reverse=True)
    assert sum(levels) == pytest.approx(rate * count / (half + count))


@given(history=st.lists(st.booleans(), max_size=60))
def test_what_is_not_lost_is_passed_on(history: list[bool]) -> None:
    levels = [level_of_next(0.05, tuple(history[:done]), 20) for done in range(len(history))]
    spent = sum(level for level, kept in zip(levels, history, strict=True) if not kept)
    assert spent <= 0.05


def test_a_keep_makes_the_next_test_as_strict_as_two() -> None:
    fresh = [level_of_next(0.05, (False,) * done, 20) for done in range(2)]
    assert level_of_next(0.05, (True,), 20) == pytest.approx(sum(fresh))
