"""The ledger: what is reserved, settled, warned of, and known again after a restart."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from recipelab.budget import DEVICE, WARNINGS, BudgetLimits, Ledger
from recipelab.core.errors import BudgetSpent
from recipelab.core.trial import Outcome, Status
from recipelab.lineage import LineageStore
from recipelab.packs.judging_sections import Goal


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def ledger(store: LineageStore, **limits: Any) -> Ledger:
    return Ledger(store, "c", BudgetLimits(**limits))


def judged(status: Status, score: float | None = None) -> Outcome:
    return Outcome(status=status, reason="", score=score)


def tried(book: Ledger, number: int, status: Status, score: float | None = None) -> None:
    book.began(number)
    book.ended(number, "left", judged(status, score), 10.0)


def test_a_trial_is_reserved_while_it_runs(store: LineageStore) -> None:
    book = ledger(store, trials=2)
    book.began(1)
    assert book.remaining == 1
    book.began(2)
    assert (book.remaining, book.over) == (0, None)
    book.ended(1, "left", judged(Status.ABORTED), 0.0)
    assert book.remaining == 1
    book.ended(2, "left", judged(Status.DISCARDED), 0.0)
    tried(book, 3, Status.CRASHED)
    assert (book.remaining, book.over) == (0, "the budget of trials is spent")


def test_device_time_leaves_room_for_a_whole_trial(store: LineageStore) -> None:
    book = ledger(store, device_hours=35 / 3600)
    tried(book, 0, Status.BASELINE, 1.0)
    assert book.remaining == 2
    book.began(1)
    assert book.remaining == 1
    book.ended(1, "left", judged(Status.KEPT, 0.5), 10.0)
    tried(book, 2, Status.DISCARDED)
    assert book.over == "the budget of device time is spent"


def test_time_is_up(store: LineageStore) -> None:
    clock = Clock()
    book = Ledger(store, "c", BudgetLimits(hours=1.0), clock=clock)
    clock.now += 3599
    assert book.over is None
    clock.now += 1
    assert book.over == "the time is up"


def test_what_ends_a_campaign_is_told_the_soonest_first(store: LineageStore) -> None:
    clock = Clock()
    limits = BudgetLimits(
        trials=10, hours=2.0, device_hours=1.0, tokens=1_000_000, money=5.0, target=0.5, plateau=7
    )
    book = Ledger(store, "c", limits, clock=clock)
    tried(book, 0, Status.BASELINE, 1.0)
    assert book.next_stop().startswith("the budget of 2 h ends in 2 h 00 min; ")
    clock.now += 300
    book.began(1)
    clock.now += 300
    tried(book, 1, Status.DISCARDED)
    tried(book, 2, Status.KEPT, 0.9)
    tried(book, 3, Status.DISCARDED)
    book.used("x", "m", prompt_tokens=900_000, completion_tokens=0, seconds=1.0, cost=1.25)
    assert book.next_stop().split("; ") == [
        "100,000 of 1,000,000 tokens are left, some 67 s",
        # At the pace since the first one began: what came before it comes only once.
        "7 of 10 trials are left, some 12 min",
        "$3.75 of $5 are left, some 30 min",
        "the budget of 2 h ends in 1 h 50 min",
        "0.989 of 1 device hours are left, some 14 h 50 min",
        "it ends if none of the next 6 trials is kept",
        "it ends at a score of 0.5",
    ]
    assert [state.kind for state in book.limit_states()][:2] == ["tokens", "trials"]
    tried(book, 4, Status.KEPT, 0.4)
    told = "the target of 0.5 is reached: it ends when what runs has ended"
    assert book.next_stop() == told


@pytest.mark.parametrize(
    ("goal", "near", "there"), [(Goal.MINIMIZE, 0.6, 0.5), (Goal.MAXIMIZE, 0.4, 0.5)]
)
def test_a_target_ends_a_campaign(
    store: LineageStore, goal: Goal, near: float, there: float
) -> None:
    book = Ledger(store, "c", BudgetLimits(trials=9, target=0.5), goal=goal)
    tried(book, 0, Status.BASELINE, near)
    assert book.over is None
    tried(book, 1, Status.KEPT, there)
    assert book.over == "the target of 0.5 is reached"


def test_a_plateau_counts_judged_trials_since_one_was_kept(store: LineageStore) -> None:
    book = ledger(store, plateau=2)
    tried(book, 0, Status.BASELINE, 1.0)
    tried(book, 1, Status.CRASHED)
    tried(book, 2, Status.KEPT, 0.9)
    tried(book, 3, Status.ABORTED)
    tried(book, 4, Status.DISCARDED, 1.0)
    assert book.over is None
    tried(book, 5, Status.GATE_MISSED)
    assert book.over == "none of the last 2 trials was kept"


def test_calls_of_models_are_reserved_and_settled(store: LineageStore) -> None:
    book = ledger(store, tokens=100, money=1.0)
    book.reserve(60, 0.2)
    with pytest.raises(BudgetSpent, match="100 tokens has no room"):
        book.reserve(60, 0.2)
    book.release(60, 0.2)
    call = {"prompt_tokens": 30, "completion_tokens": 10, "seconds": 1.0}
    book.used("left", "m", cost=0.9, **call)  # type: ignore[arg-type]
    with pytest.raises(BudgetSpent, match="of \\$1 has no room"):
        book.reserve(10, 0.2)
    book.used("left", "free", cost=None, **call)  # type: ignore[arg-type]
    assert (book.spent.tokens, book.spent.unpriced, book.spent.money) == (80, 40, 0.9)


def test_what_was_spent_is_known_after_a_restart(store: LineageStore) -> None:
    book = ledger(store, trials=9)
    book.round = 1
    book.used("left", "m", prompt_tokens=3, completion_tokens=4, seconds=1.0, cost=0.5)
    book.began(0)
    book.ended(0, "campaign", None, 7.2)
    again = ledger(store, trials=9).spent
    assert (again.tokens, again.money) == (7, 0.5)
    assert again.device_hours == pytest.approx(0.002)
    usage = {item.model: item for item in store.usage("c")}
    assert usage[DEVICE].seconds == pytest.approx(7.2)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=12))
def test_each_warning_is_given_once_and_in_order(steps: list[int]) -> None:
    with (
        TemporaryDirectory() as folder,
        LineageStore.open(Path(folder) / "l.db", create=True) as store,
    ):
        store.create_campaign(
            name="c",
            pack="toy",
            profile="mini",
            model="offline",
            sandbox="local",
            seed=0,
            trials=None,
            hours=None,
            settings={},
        )
        told: list[str] = []
        book = Ledger(store, "c", BudgetLimits(tokens=100), say=told.append)
        for step in steps:
            book.used("a", "m", prompt_tokens=step, completion_tokens=0, seconds=0.0, cost=None)
        marks = [float(text.partition("%")[0]) / 100 for text in told]
        assert marks == sorted(set(marks))
        assert (marks[-1] if marks else None) == max(
            (mark for mark in WARNINGS if mark <= sum(steps) / 100), default=None
        )


@pytest.mark.parametrize("bad", [{"trials": 0}, {"hours": 0}, {"money": -1}, {"days": 3}])
def test_limits_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        BudgetLimits(**bad)  # type: ignore[arg-type]


def test_a_target_alone_bounds_nothing() -> None:
    assert not BudgetLimits(target=1.0).bounded
    assert BudgetLimits(target=1.0, plateau=3).bounded
