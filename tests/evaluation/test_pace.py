"""How long trials and turns take, and when a slot is likely to be free."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.evaluation.pace import NEWEST, Durations, Pace, TurnPace

lengths = st.lists(st.floats(0.1, 1e4), min_size=1, max_size=30)


def test_nothing_is_known_before_the_first() -> None:
    assert (Durations().mean, Durations().high, Durations().remaining(1.0)) == (None, None, 0.0)
    assert TurnPace().seconds_to_trial is None


@given(lengths, st.floats(0, 2e4))
def test_what_remains_is_within_what_was_measured(seconds: list[float], elapsed: float) -> None:
    found, newest = Durations(seconds), seconds[-NEWEST:]
    remaining = found.remaining(elapsed)
    assert remaining >= 0
    assert (remaining == 0) == all(length <= elapsed for length in newest)
    assert elapsed + remaining <= max(max(newest), elapsed) * (1 + 1e-9)
    assert found.high in newest


@given(lengths, st.lists(st.floats(0, 2e4) | st.sampled_from([1.0, 2.0, 60.0])))
def test_what_remains_of_many_is_what_remains_of_each(
    seconds: list[float], elapsed: list[float]
) -> None:
    found, lasted = Durations([*seconds, 1.0, 2.0, 2.0, 60.0]), sorted(elapsed)
    assert found.all_remaining(lasted) == [found.remaining(one) for one in lasted]


def test_short_and_long_ones_mix() -> None:
    crashes = Durations([5.0] * 4 + [60.0] * 6)
    assert crashes.remaining(0.0) == 5.0
    assert crashes.remaining(5.0) == 55.0


def test_turns_that_bring_nothing_are_counted_in() -> None:
    pace = TurnPace()
    for brought in (True, False, False):
        pace.add(10.0, brought=brought)
    assert pace.seconds_to_trial == pytest.approx(10.0 * 4 / 2)


async def test_slots_are_given_to_trials_in_turn() -> None:
    pace = Pace()
    pace.lengths.add(60.0)
    assert sorted(pace.free_slots(3, waiting=1, coming=[10.0])) == pytest.approx([0.0, 60.0, 70.0])
    with pace.trial(1), pace.trial(2):
        free = pace.free_slots(2, waiting=1)
        assert free == pytest.approx([60.0, 120.0], abs=1.0)
        pace.take(free, 100.0)
        assert sorted(free) == pytest.approx([120.0, 160.0], abs=1.0)
    assert pace.free_slots(2, waiting=0) == [0.0, 0.0]
