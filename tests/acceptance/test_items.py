"""Items: the error that a finite hidden set makes, alone and in a difference of two recipes."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.acceptance.items import agreement, item_difference, item_mean

VALUES = st.floats(-1e3, 1e3, width=32)


def packed(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def test_the_error_is_that_of_the_items_means_over_the_runs() -> None:
    found = item_mean([packed([0, 2, 4, 6]), packed([2, 2, 4, 4])])
    assert found is not None and found.count == 4
    # The items' means are 1, 2, 4, 5, of variance 10/3.
    assert (found.mean, found.error) == (3.0, pytest.approx(math.sqrt(10 / 12)))
    assert found.added_error == found.error


def test_a_difference_is_paired_by_item() -> None:
    easy_and_hard = [0.0, 100.0, 50.0, 25.0]
    best = {1: packed(easy_and_hard)}
    candidate = {7: packed([value - 1 for value in easy_and_hard])}
    found = item_difference(candidate, best)
    assert found is not None
    assert (found.mean, found.error) == (-1.0, 0.0)


def test_items_that_are_drawn_anew_are_paired_within_a_seed() -> None:
    best = {1: packed([0, 1, 2, 3]), 2: packed([8, 8, 8, 8])}
    candidate = {1: packed([1, 2, 3, 4]), 2: packed([8, 10, 8, 10]), 3: packed([0, 0, 0, 0])}
    found = item_difference(candidate, best, fresh=True)
    assert found is not None
    assert found.mean == 1.0
    # One seed's differences are all 1; those of the other are 0, 2, 0, 2, of variance 4/3.
    assert found.error == pytest.approx(math.sqrt(4 / 3 / 4) / 2)
    assert found.added_error == 0.0
    assert item_difference({1: best[1]}, {2: best[2]}, fresh=True) is None


@pytest.mark.parametrize("runs", [[], [b""], [b"abc"], [packed([1.0])], [packed([1, 2]), b""]])
def test_without_the_same_items_in_all_runs_nothing_is_known(runs: list[bytes]) -> None:
    assert item_mean(runs) is None
    assert item_difference(dict(enumerate(runs)), {1: packed([1, 2])}) is None


@given(st.lists(st.lists(VALUES, min_size=3, max_size=3), min_size=1, max_size=4))
def test_a_difference_to_itself_is_nothing(rows: list[list[float]]) -> None:
    runs = dict(enumerate(map(packed, rows)))
    for fresh in (False, True):
        found = item_difference(runs, runs, fresh=fresh)
        assert found is not None and (found.mean, found.error) == (0.0, 0.0)


@given(st.lists(VALUES, min_size=2, max_size=30))
def test_more_runs_of_the_same_items_do_not_make_the_set_larger(values: list[float]) -> None:
    one, many = item_mean([packed(values)]), item_mean([packed(values)] * 5)
    assert one is not None and many is not None
    assert many.error == pytest.approx(one.error)


def test_an_order_that_moves_shows() -> None:
    values = [float(number % 17) for number in range(200)]
    noisy = [value + 0.1 * (number % 3) for number, value in enumerate(values)]
    shuffled = sorted(noisy, key=lambda value: math.sin(1000 * value))
    assert (same := agreement(packed(values), packed(noisy))) is not None and same > 0.99
    assert (other := agreement(packed(values), packed(shuffled))) is not None and other < 0.5
    assert agreement(packed([1, 1]), packed([1, 2])) is None


def test_agreement_is_the_correlation_of_two_runs() -> None:
    # Deviations of -1, 0, 1 and of -4/3, -1/3, 5/3.
    found = agreement(packed([0, 1, 2]), packed([0, 1, 3]))
    assert found == pytest.approx(3.0 / math.sqrt(2.0 * 42.0 / 9.0))
