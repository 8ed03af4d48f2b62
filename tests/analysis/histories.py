"""Histories of a few trials, made by hand, so that every figure of them can be counted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from recipelab.analysis import History
from recipelab.analysis.history import PastTrial
from recipelab.core.trial import (
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    PhaseTiming,
    SeedRun,
    Status,
)
from recipelab.exchange.metric import MetricFacts
from recipelab.lineage import TrialRecord
from recipelab.packs.sections import Goal

WHEN = datetime(2026, 1, 2, tzinfo=UTC)


def trial(
    number: int,
    status: Status | None,
    score: float | None = None,
    *,
    parents: tuple[int, ...] = (0,),
    surface: str = "opt",
    hypothesis: str = "",
    seconds: Sequence[float] = (),
    excess: float | None = None,
    signature: str = "",
) -> TrialRecord:
    """A trial; ``seconds`` are of the train phase of each seed run, ``excess`` misses a gate."""
    outcome = None
    if status is not None:
        outcome = Outcome(
            status,
            f"it is {status}",
            seed_runs=tuple(
                SeedRun(i, (PhaseTiming(Phase.TRAIN, wall, 2 * wall),))
                for i, wall in enumerate(seconds)
            ),
            gates=() if excess is None else (GateResult("size", 100 + excess, 100, -excess),),
            score=score,
            failure=Failure(Phase.TRAIN, FailureKind.OTHER, signature, "") if signature else None,
        )
    return TrialRecord(
        number=number,
        round=None,
        specialist=f"{surface} agent",
        surface=surface,
        hypothesis=hypothesis,
        expected_delta=0.0,
        parents=parents if number else (),
        edits=(),
        digest="",
        diff="",
        outcome=outcome,
        proposed_at=WHEN,
        judged_at=None if outcome is None else WHEN,
    )


def history(
    *trials: TrialRecord,
    order: Sequence[int] | None = None,
    goal: Goal = Goal.MINIMIZE,
) -> History:
    """A history; ``order`` is that of judging, by default that of the numbers."""
    judged = [record.number for record in trials if record.outcome is not None]
    metric = MetricFacts("seconds", "s", goal)
    slim = tuple(map(PastTrial.of, trials))
    return History("c", slim, tuple(judged if order is None else order), metric)


def small() -> History:
    """Nine trials: two kept, two equal crashes, a near miss and its repair, one in flight."""
    return history(
        trial(0, Status.BASELINE, 10.0, seconds=(1.0, 3.0)),
        trial(1, Status.DISCARDED, 10.5, seconds=(5.0,)),
        trial(2, Status.CRASHED, signature="no such name", surface="arch"),
        trial(3, Status.OVERSIZE, 8.5, excess=4.0, signature="too large", surface="arch"),
        trial(4, Status.CRASHED, signature="no such name", surface="arch"),
        trial(5, Status.KEPT, 9.0, hypothesis="trial 3 was too large: fewer channels"),
        trial(6, Status.KEPT, 8.0, parents=(5,), seconds=(7.0,)),
        trial(7, Status.OVERSIZE, 8.5, excess=6.0, parents=(6,), signature="too large"),
        trial(8, None, parents=(6,)),
    )
