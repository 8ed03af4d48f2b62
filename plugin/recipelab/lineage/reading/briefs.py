"""Loads trials as short rows, with two queries however many they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select
from sqlmodel import col

from recipelab.core.trial import FailureKind, Phase, Status
from recipelab.lineage.answers import TrialBrief
from recipelab.lineage.ledgers import FailureGroupRow
from recipelab.lineage.states import TrialState
from recipelab.lineage.tables import ParentRow, TrialRow, number_of

BATCH = 500
"""Trials that are loaded together: databases bound the values of a statement."""

_ROWS = (
    select(
        col(TrialRow.id),
        col(TrialRow.number),
        col(TrialRow.status),
        col(TrialRow.state),
        col(TrialRow.phase),
        col(TrialRow.specialist),
        col(TrialRow.surface),
        col(TrialRow.hypothesis),
        col(TrialRow.reason),
        col(TrialRow.score),
        col(TrialRow.score_se),
        col(TrialRow.delta),
        col(TrialRow.delta_se),
        col(FailureGroupRow.kind),
        col(FailureGroupRow.phase).label("failed_in"),
        col(FailureGroupRow.signature),
        col(TrialRow.cpu_seconds),
        col(TrialRow.proposed_at),
        col(TrialRow.judged_at),
        col(TrialRow.round_number),
    )
    .outerjoin(FailureGroupRow, col(FailureGroupRow.id) == col(TrialRow.failure_id))
    .where(col(TrialRow.id).in_(bindparam("ids", expanding=True)))
)
_PARENTS = (
    select(col(ParentRow.trial_id), col(ParentRow.parent_id))
    .where(col(ParentRow.trial_id).in_(bindparam("ids", expanding=True)))
    .order_by(col(ParentRow.trial_id), col(ParentRow.position))
)


def trial_briefs(connection: Connection, ids: Sequence[int]) -> tuple[TrialBrief, ...]:
    """The briefs of trials, in the order of their ids."""
    batches = (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
    return tuple(brief for batch in batches for brief in _batch(connection, batch))


def _batch(connection: Connection, ids: Sequence[int]) -> list[TrialBrief]:
    parents: dict[int, list[int]] = defaultdict(list)
    for trial_id, parent_id in connection.execute(_PARENTS, {"ids": ids}):
        parents[trial_id].append(number_of(parent_id))
    rows = {row.id: row for row in connection.execute(_ROWS, {"ids": ids})}
    return [_brief(rows[key], tuple(parents[key])) for key in ids]


def _brief(row: Any, parents: tuple[int, ...]) -> TrialBrief:
    return TrialBrief(
        number=row.number,
        status=Status(row.status) if row.status else None,
        state=TrialState(row.state),
        phase=Phase(row.phase) if row.phase else None,
        specialist=row.specialist,
        surface=row.surface,
        hypothesis=row.hypothesis,
        reason=row.reason,
        score=row.score,
        score_se=row.score_se,
        delta=row.delta,
        delta_se=row.delta_se,
        parents=parents,
        failure_kind=FailureKind(row.kind) if row.kind else None,
        failure_phase=Phase(row.failed_in) if row.failed_in else None,
        signature=row.signature,
        cpu_seconds=row.cpu_seconds,
        proposed_at=row.proposed_at,
        judged_at=row.judged_at,
        round=row.round_number,
    )
