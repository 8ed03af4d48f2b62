"""Reads failures that repeat, what mended them, and near misses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, Connection, Select, bindparam, func, select
from sqlmodel import col

from recipelab.core.trial import FailureKind, Phase, Status
from recipelab.lineage.answers import FailureGroup, MissedGate, NearMiss
from recipelab.lineage.ledgers import FailureCountRow, FailureGroupRow, FixRow
from recipelab.lineage.reading.briefs import trial_briefs
from recipelab.lineage.reading.search import CAP
from recipelab.lineage.records import Page
from recipelab.lineage.tables import FailureRow, GateRow, ParentRow, TrialRow, number_of
from recipelab.lineage.writing.failures import failure_scope

FIXES = 5
"""Trials that mended a failure that are told, at most."""
NEAR = (Status.GATE_MISSED, Status.OVERSIZE, Status.TRAIN_OVERRUN, Status.EVAL_OVERRUN)

_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_GROUPS = select(FailureGroupRow).where(col(FailureGroupRow.id).in_(_IDS))
_LAST = (
    select(col(FailureRow.trial_id), col(FailureRow.excerpt), col(TrialRow.judged_at))
    .join(TrialRow, col(TrialRow.id) == col(FailureRow.trial_id))
    .where(col(FailureRow.trial_id).in_(_IDS))
)
_FIXES = (
    select(col(FixRow.trial_id))
    .where(col(FixRow.group_id) == bindparam("group_id"))
    .order_by(col(FixRow.trial_id).desc())
    .limit(FIXES)
)
_MISSED = select(
    col(GateRow.trial_id),
    col(GateRow.name),
    col(GateRow.value),
    col(GateRow.limit),
    col(GateRow.margin),
).where(col(GateRow.trial_id).in_(_IDS), col(GateRow.margin) < 0.0)
_CHILDREN = (
    select(col(ParentRow.parent_id), func.count())
    .where(col(ParentRow.parent_id).in_(_IDS))
    .group_by(col(ParentRow.parent_id))
)


def failure_groups(
    connection: Connection,
    campaign_id: int,
    kinds: Sequence[FailureKind],
    surfaces: Sequence[str],
    limit: int,
    offset: int,
) -> Page[FailureGroup]:
    """The failures of a campaign, the most frequent first, of equals the latest."""
    statement = _counted(campaign_id, kinds, surfaces)
    counts = connection.execute(statement.limit(limit).offset(offset)).all()
    some = statement.order_by(None).limit(CAP).subquery()
    total = connection.scalar(select(func.count()).select_from(some)) or 0
    asked = {"ids": [row.group_id for row in counts]}
    groups = {row.id: row for row in connection.execute(_GROUPS, asked)}
    last = {"ids": [row.last for row in counts]}
    told = {row.trial_id: row for row in connection.execute(_LAST, last)}
    items = [
        _group(row, groups[row.group_id], told[row.last], _fixes(connection, row.group_id))
        for row in counts
    ]
    return Page(tuple(items), total, total >= CAP)


def _counted(
    campaign_id: int, kinds: Sequence[FailureKind], surfaces: Sequence[str]
) -> Select[*tuple[Any, ...]]:
    row = FailureCountRow
    scopes = [failure_scope(name) for name in surfaces] or [""]
    of = col(row.campaign_id) == campaign_id
    group_id, first, last = col(row.group_id), col(row.first_id), col(row.last_id)
    statement: Select[*tuple[Any, ...]]
    if len(scopes) == 1:
        statement = select(
            group_id, col(row.trials).label("trials"), first.label("first"), last.label("last")
        ).where(of, col(row.scope) == scopes[0])
        ranked = (col(row.trials).desc(), last.desc())
    else:
        count = func.sum(col(row.trials))
        statement = select(
            group_id,
            count.label("trials"),
            func.min(first).label("first"),
            func.max(last).label("last"),
        )
        statement = statement.where(of, col(row.scope).in_(scopes)).group_by(group_id)
        ranked = (count.desc(), func.max(last).desc())
    if kinds:
        named = select(col(FailureGroupRow.id)).where(
            col(FailureGroupRow.campaign_id) == campaign_id,
            col(FailureGroupRow.kind).in_([kind.value for kind in kinds]),
        )
        statement = statement.where(group_id.in_(named))
    return statement.order_by(*ranked)


def _group(count: Any, group: Any, last: Any, fixed_by: tuple[int, ...]) -> FailureGroup:
    return FailureGroup(
        signature=group.signature,
        kind=FailureKind(group.kind),
        phase=Phase(group.phase) if group.phase else None,
        count=int(count.trials),
        first=number_of(count.first),
        last=number_of(count.last),
        last_seen=last.judged_at,
        excerpt=last.excerpt,
        fixed_by=fixed_by,
    )


def _fixes(connection: Connection, group_id: int) -> tuple[int, ...]:
    found = connection.scalars(_FIXES, {"group_id": group_id})
    return tuple(number_of(trial_id) for trial_id in found)


def near_misses(
    connection: Connection,
    campaign_id: int,
    best_score: float,
    *,
    lowest: bool,
    limit: int,
    offset: int,
) -> Page[NearMiss]:
    """The trials that missed a limit with a better score than the best, best score first."""
    score, key = col(TrialRow.score), col(TrialRow.id)
    statement = select(key, score).where(
        col(TrialRow.campaign_id) == campaign_id,
        col(TrialRow.status).in_([status.value for status in NEAR]),
        score < best_score if lowest else score > best_score,
    )
    ranked = statement.order_by(score.asc() if lowest else score.desc(), key.asc())
    some = statement.limit(CAP).subquery()
    total = connection.scalar(select(func.count()).select_from(some)) or 0
    rows = connection.execute(ranked.limit(limit).offset(offset)).all()
    ids = [row.id for row in rows]
    missed, children = _missed(connection, ids), _children(connection, ids)
    items = tuple(
        NearMiss(brief, abs(row.score - best_score), tuple(missed[row.id]), children[row.id])
        for brief, row in zip(trial_briefs(connection, ids), rows, strict=True)
    )
    return Page(items, total, total >= CAP)


def _missed(connection: Connection, ids: list[int]) -> dict[int, list[MissedGate]]:
    found: dict[int, list[MissedGate]] = defaultdict(list)
    for trial_id, name, value, limit, margin in connection.execute(_MISSED, {"ids": ids}):
        found[trial_id].append(MissedGate(name, value, limit, -margin))
    for gates in found.values():
        gates.sort(key=lambda gate: -gate.excess / (abs(gate.limit) or 1.0))
    return found


def _children(connection: Connection, ids: list[int]) -> dict[int, int]:
    found = dict.fromkeys(ids, 0)
    for parent_id, count in connection.execute(_CHILDREN, {"ids": ids}):
        found[parent_id] = count
    return found
