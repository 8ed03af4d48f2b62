"""Builds records out of rows, with a fixed number of queries however many trials there are."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, Connection, RowMapping, Select, bindparam, select
from sqlmodel import col

from recipelab.core.trial import (
    Edit,
    Evidence,
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    PhaseTiming,
    SeedRun,
    Status,
)
from recipelab.lineage.evidence import EvidenceRow
from recipelab.lineage.ledgers import FailureGroupRow
from recipelab.lineage.records import CampaignRecord, MessageRecord, TrialRecord
from recipelab.lineage.states import TrialState
from recipelab.lineage.tables import (
    EditRow,
    FailureRow,
    GateRow,
    ParentRow,
    SeedRunRow,
    TrialRow,
    TrialTextRow,
    number_of,
)

BATCH = 500
"""Trials that are loaded together: databases bound the values of a statement."""

_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_PLAIN = (
    "number",
    "specialist",
    "surface",
    "hypothesis",
    "expected_delta",
    "digest",
    "diff",
    "proposed_at",
    "judged_at",
)
_OUTCOME_PLAIN = (
    "reason",
    "score",
    "score_se",
    "delta",
    "delta_se",
    "log_tail",
    "environment",
)
_TRIALS = (
    select(TrialRow, TrialTextRow)
    .join(TrialTextRow, col(TrialTextRow.trial_id) == col(TrialRow.id))
    .where(col(TrialRow.id).in_(_IDS))
)
_PARENTS = (
    select(col(ParentRow.trial_id), col(ParentRow.parent_id))
    .where(col(ParentRow.trial_id).in_(_IDS))
    .order_by(col(ParentRow.trial_id), col(ParentRow.position))
)
_EDITS = (
    select(col(EditRow.trial_id), col(EditRow.path), col(EditRow.search), col(EditRow.replace))
    .where(col(EditRow.trial_id).in_(_IDS))
    .order_by(col(EditRow.trial_id), col(EditRow.position))
)
_GATES = (
    select(
        col(GateRow.trial_id),
        col(GateRow.name),
        col(GateRow.value),
        col(GateRow.limit),
        col(GateRow.margin),
    )
    .where(col(GateRow.trial_id).in_(_IDS))
    .order_by(col(GateRow.trial_id), col(GateRow.position))
)
_RUNS = (
    select(
        col(SeedRunRow.trial_id),
        col(SeedRunRow.seed),
        col(SeedRunRow.timings),
        col(SeedRunRow.measures),
    )
    .where(col(SeedRunRow.trial_id).in_(_IDS))
    .order_by(col(SeedRunRow.trial_id), col(SeedRunRow.position))
)
_EVIDENCE = select(
    col(EvidenceRow.trial_id),
    col(EvidenceRow.against),
    col(EvidenceRow.planned),
    col(EvidenceRow.screened),
    col(EvidenceRow.confirmed),
    col(EvidenceRow.saved_seconds),
    col(EvidenceRow.p),
    col(EvidenceRow.level),
    col(EvidenceRow.same_as),
).where(col(EvidenceRow.trial_id).in_(_IDS))
_FAILURES = (
    select(
        col(FailureRow.trial_id),
        col(FailureGroupRow.phase),
        col(FailureGroupRow.kind),
        col(FailureGroupRow.signature),
        col(FailureRow.excerpt),
        col(FailureRow.seed),
    )
    .join(FailureGroupRow, col(FailureGroupRow.id) == col(FailureRow.group_id))
    .where(col(FailureRow.trial_id).in_(_IDS))
)

Groups = dict[int, list[tuple[Any, ...]]]


def trial_records(connection: Connection, ids: Iterable[int]) -> tuple[TrialRecord, ...]:
    """The records of trials, in the order of their ids."""
    ids = list(ids)
    batches = (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
    return tuple(record for batch in batches for record in _batch(connection, batch))


def _batch(connection: Connection, ids: Sequence[int]) -> list[TrialRecord]:
    rows = {row["id"]: row for row in connection.execute(_TRIALS, {"ids": ids}).mappings()}
    judged = {key: rows[key] for key in ids if rows[key]["status"] is not None}
    parents, edits = _grouped(connection, _PARENTS, ids), _grouped(connection, _EDITS, ids)
    outcomes = _outcomes(connection, judged)
    return [
        TrialRecord(
            round=row["round_number"],
            parents=tuple(number_of(parent_id) for (parent_id,) in parents[key]),
            edits=tuple(Edit(*values) for values in edits[key]),
            outcome=outcomes.get(key),
            state=TrialState(row["state"]),
            phase=None if row["phase"] is None else Phase(row["phase"]),
            **{name: row[name] for name in _PLAIN},
        )
        for key in ids
        for row in (rows[key],)
    ]


def _outcomes(connection: Connection, rows: Mapping[int, RowMapping]) -> dict[int, Outcome]:
    ids = list(rows)
    if not ids:
        return {}
    runs, gates = _grouped(connection, _RUNS, ids), _grouped(connection, _GATES, ids)
    failures = _grouped(connection, _FAILURES, ids)
    evidence = _grouped(connection, _EVIDENCE, ids)
    return {
        key: Outcome(
            status=Status(row["status"]),
            seed_runs=tuple(seed_run(*values) for values in runs[key]),
            gates=tuple(GateResult(*values) for values in gates[key]),
            failure=_failure(*failures[key][0]) if failures[key] else None,
            evidence=Evidence(*evidence[key][0]) if evidence[key] else None,
            **{name: row[name] for name in _OUTCOME_PLAIN},
        )
        for key, row in rows.items()
    }


def _grouped(
    connection: Connection, statement: Select[*tuple[Any, ...]], ids: Sequence[int]
) -> Groups:
    """The rows of a statement by their first value, in order."""
    groups: Groups = defaultdict(list)
    for key, *rest in connection.execute(statement, {"ids": ids}):
        groups[key].append(tuple(rest))
    return groups


def seed_run(seed: int, timings: str, measures: str) -> SeedRun:
    """A seed run out of its row."""
    timed = tuple(PhaseTiming(Phase(phase), *rest) for phase, *rest in json.loads(timings))
    return SeedRun(seed, timed, json.loads(measures))


def _failure(phase: str, kind: str, signature: str, excerpt: str, seed: int | None) -> Failure:
    return Failure(Phase(phase) if phase else None, FailureKind(kind), signature, excerpt, seed)


def campaign_record(row: RowMapping) -> CampaignRecord:
    """The record of a campaign."""
    values = {name: value for name, value in row.items() if name != "id"}
    return CampaignRecord(**values | {"settings": json.loads(row["settings"])})


def message_record(row: RowMapping) -> MessageRecord:
    """The record of a message."""
    return MessageRecord(
        position=row["position"],
        round=row["round_number"],
        trial=row["trial_number"],
        source=row["source"],
        type=row["type"],
        payload=json.loads(row["payload"]),
        created_at=row["created_at"],
    )
