"""Histories of a few trials, made by hand, so that every figure of them can be counted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from recipelab.analysis import History
from recipelab.core.trial import FailureKind, Phase, Status
from recipelab.exchange.metric import MetricFacts
from recipelab.lineage import PastTrial
from recipelab.packs.judging_sections import Goal

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
) -> PastTrial:
    """A trial; ``seconds`` are of the train phase of each seed run, ``excess`` misses a gate."""
    wall = sum(seconds) if seconds else None
    return PastTrial(
        number=number,
        parents=parents if number else (),
        specialist=f"{surface} agent",
        surface=surface,
        hypothesis=hypothesis,
        digest="",
        proposed_at=WHEN,
        judged_at=None if status is None else WHEN,
        status=status,
        reason=f"it is {status}" if status else "",
        score=score,
        failure_kind=FailureKind.OTHER if signature else None,
        failure_phase=Phase.TRAIN if signature else None,
        signature=signature or None,
        missed={} if excess is None else {"size": excess},
        wall_seconds=wall,
        cpu_seconds=None if wall is None else 2 * wall,
        device_seconds=wall,
        seed_runs=len(seconds),
    )


def history(
    *trials: PastTrial,
    order: Sequence[int] | None = None,
    goal: Goal = Goal.MINIMIZE,
) -> History:
    """A history; ``order`` is that of judging, by default that of the numbers."""
    judged = [record.number for record in trials if record.status is not None]
    metric = MetricFacts("seconds", "s", goal)
    return History("c", trials, tuple(judged if order is None else order), metric)


def small() -> History:
    """Nine trials: two kept, two equal crashes, a near miss and its repair, one in flight."""
    return history(
        trial(0, Status.BASELINE, 10.0, seconds=(1.0, 3.0)),
        trial(1, Status.DISCARDED, 10.5, seconds=(5.0,)),
        trial(2, Status.CRASHED, signature="no such name", surface="arch"),
        trial(3, Status.OVERSIZE, 8.5, excess=4.0, signature="too large", surface="arch"),
        trial(4, Status.CRASHED, signature="no such name", surface="arch"),
        trial(
            5, Status.KEPT, 9.0, surface="arch", hypothesis="trial 3 was too large: fewer channels"
        ),
        trial(6, Status.KEPT, 8.0, parents=(5,), seconds=(7.0,)),
        trial(7, Status.OVERSIZE, 8.5, excess=6.0, parents=(6,), signature="too large"),
        trial(8, None, parents=(6,)),
    )
