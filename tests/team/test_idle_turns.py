"""When specialists are asked, on a simulated clock; all but model and evaluator is real."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The benchmark, with turns and trials that take as long as they are said to."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("stubs", "slots_busy", "idle_turns", "simulated_clock"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = importlib.import_module("idle_turns")
    monkeypatch.setattr(found, "SPREAD", 0.0)
    monkeypatch.setattr(found, "CRASHED", 0.0)
    return found


def figures(bench: Any, **more: Any) -> dict[str, float]:
    scene = {"world": "rich", "slots": 2, "turn": 10.0, "trial": 60.0, "trials": 12, "ideas": 9}
    args = argparse.Namespace(**{**scene, **more})
    return bench.run_simulated(bench.campaign(args, 1))  # type: ignore[no-any-return]


def test_nobody_is_asked_before_a_slot_is_about_to_be_free(bench: Any) -> None:
    found = figures(bench)
    assert found["trials"] == 12
    # One ahead of each slot, whenever that was free, waited for most of a trial.
    assert found["trial waits, s"] <= 5.0
    # One turn is waited for on each slot, before the first outcome.
    assert found["slots busy"] >= 0.93


def test_slots_stay_busy_where_turns_take_as_long_as_trials(bench: Any) -> None:
    # Nobody is asked ahead of the first outcome, which costs each slot one turn in a campaign.
    found = figures(bench, turn=60.0, ideas=40, trials=30)
    assert found["slots busy"] >= 0.8
    assert found["turns without a trial"] == 0


def test_who_has_run_dry_is_asked_less_and_less(bench: Any) -> None:
    found = figures(bench, world="dry", ideas=1, trials=20, turn=200.0)
    assert found["of them needless"] <= 0.1
    # It was a half when every kept trial asked everybody again.
    assert found["turns without a trial"] <= 0.45
