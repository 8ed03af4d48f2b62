"""Gates with bounds: held, missed, or not clear yet."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.acceptance import CERTIFIED_BOUND, PROVISIONAL_BOUND, GateCall, Spread, gate_bound

margins = st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=12)
ONE = Spread(0.0, 1.0, 1001)


def test_the_bound_is_in_standard_errors_of_all_runs() -> None:
    found = gate_bound([0.5] * 4, ONE, errors=1.0)
    assert found.error == pytest.approx(0.5, abs=0.01)
    assert found.low == pytest.approx(0.5 - 1.64 * found.error)
    assert gate_bound([0.6] * 4, ONE, errors=1.0).call is GateCall.PASSED
    assert gate_bound([0.4] * 4, ONE, errors=1.0).call is GateCall.UNCLEAR
    assert gate_bound([-0.9] * 4, ONE).call is GateCall.MISSED


def test_a_near_miss_asks_for_as_many_runs_as_should_settle_it() -> None:
    found = gate_bound([0.8] * 4, ONE, errors=2.33)
    assert found.call is GateCall.UNCLEAR
    # Nine runs have a standard error of 1/3, and 0.8 is 2.4 of them.
    assert 4 + found.more == 9
    assert gate_bound([0.8] * 9, ONE, errors=2.33).call is GateCall.PASSED


@given(found=margins, errors=st.floats(0.1, 3.0), most=st.integers(1, 40))
def test_more_is_asked_only_of_the_unclear_and_within_its_limit(
    found: list[float], errors: float, most: int
) -> None:
    bound = gate_bound(found, ONE, errors=errors, most=most)
    assert bound.more >= 0
    assert bound.more == 0 or bound.call is GateCall.UNCLEAR
    assert bound.more == 0 or len(found) + bound.more <= most


@given(found=margins, more=st.floats(0.0, 5.0))
def test_a_better_measurement_never_makes_a_gate_worse(found: list[float], more: float) -> None:
    order = [GateCall.MISSED, GateCall.UNCLEAR, GateCall.PASSED]
    worse, better = (
        order.index(gate_bound([value + shift for value in found], ONE).call)
        for shift in (0.0, more)
    )
    # Differences of rounding may tip what is exactly on a bound.
    assert better >= worse or more < 1e-6


def test_a_size_that_never_moves_has_no_error_and_meets_its_limit_exactly() -> None:
    assert gate_bound([0.0, 0.0]).call is GateCall.PASSED
    assert gate_bound([0.0], Spread(3.0, 0.0, 4)).call is GateCall.PASSED
    assert gate_bound([-1.0, -1.0], Spread(3.0, 0.0, 4)).call is GateCall.MISSED


def test_a_measurement_that_calibration_saw_no_noise_in_has_that_of_its_own_runs() -> None:
    assert gate_bound([1.0, 3.0], Spread(0.0, 0.0, 50)) == gate_bound([1.0, 3.0])
    assert gate_bound([1.0, 3.0], Spread(0.0, 0.1, 50)).error < gate_bound([1.0, 3.0]).error


def test_without_a_run_there_is_no_gate() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        gate_bound([])


def test_a_recipe_at_its_limit_passes_as_seldom_as_the_bound_says() -> None:
    draw, passed = random.Random(5), dict.fromkeys((PROVISIONAL_BOUND, CERTIFIED_BOUND), 0)
    for _ in range(3000):
        found = [draw.gauss(0.0, 1.0) for _ in range(6)]
        for errors in passed:
            passed[errors] += gate_bound(found, ONE, errors=errors).call is GateCall.PASSED
    assert passed[PROVISIONAL_BOUND] / 3000 == pytest.approx(0.159, abs=0.025)
    assert passed[CERTIFIED_BOUND] / 3000 == pytest.approx(0.0099, abs=0.006)
