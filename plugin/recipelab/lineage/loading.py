"""Builds records out of rows, with a fixed number of queries however many trials there are."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, select
from sqlmodel import col

from recipelab.lineage.records import CampaignRecord, MessageRecord, TrialRecord
from recipelab.lineage.tables import (
    EditRow,
    FailureRow,
    GateRow,
    MeasureRow,
    ParentRow,
    SeedRunRow,
    TimingRow,
    TrialRow,
)
from recipelab.trial import (
    Edit,
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    PhaseTiming,
    SeedRun,
    Status,
)

BATCH = 500
"""Trials that are loaded together: databases bound the values of a statement."""

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

Groups = dict[Any, list[tuple[Any, ...]]]


def trial_records(connection: Connection, ids: Iterable[int]) -> tuple[TrialRecord, ...]:
    """The records of trials, in the order of their ids."""
    ids = list(ids)
    batches = (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
    return tuple(record for batch in batches for record in _batch(connection, batch))


def _batch(connection: Connection, ids: Sequence[int]) -> list[TrialRecord]:
    found = connection.execute(select(TrialRow).where(col(TrialRow.id).in_(ids))).mappings()
    rows = {row["id"]: row for row in found}
    judged = [key for key in ids if rows[key]["status"] is not None]
    parents, edits = _parents(connection, ids), _edits(connection, ids)
    outcomes = _outcomes(connection, {key: rows[key] for key in judged})
    return [
        TrialRecord(
            round=row["round_number"],
            parents=tuple(number for (number,) in parents[key]),
            edits=tuple(Edit(*values) for values in edits[key]),
            outcome=outcomes.get(key),
            **{name: row[name] for name in _PLAIN},
        )
        for key in ids
        for row in (rows[key],)
    ]


def _outcomes(connection: Connection, rows: Mapping[int, RowMapping]) -> dict[int, Outcome]:
    ids = list(rows)
    if not ids:
        return {}
    runs, gates = _runs(connection, ids), _gates(connection, ids)
    failures = _failures(connection, ids)
    return {
        key: Outcome(
            status=Status(row["status"]),
            seed_runs=tuple(runs[key]),
            gates=tuple(GateResult(*values) for values in gates[key]),
            failure=failures.get(key),
            **{name: row[name] for name in _OUTCOME_PLAIN},
        )
        for key, row in rows.items()
    }


def _grouped(connection: Connection, statement: Select[*tuple[Any, ...]], keys: int = 1) -> Groups:
    """The rows of a statement by their first values, in order."""
    groups: Groups = defaultdict(list)
    for row in connection.execute(statement):
        groups[row[0] if keys == 1 else row[:keys]].append(row[keys:])
    return groups


def _parents(connection: Connection, ids: Sequence[int]) -> Groups:
    statement = (
        select(col(ParentRow.trial_id), col(TrialRow.number))
        .join(TrialRow, col(ParentRow.parent_id) == col(TrialRow.id))
        .where(col(ParentRow.trial_id).in_(ids))
        .order_by(col(ParentRow.trial_id), col(ParentRow.position))
    )
    return _grouped(connection, statement)


def _edits(connection: Connection, ids: Sequence[int]) -> Groups:
    statement = (
        select(col(EditRow.trial_id), col(EditRow.path), col(EditRow.search), col(EditRow.replace))
        .where(col(EditRow.trial_id).in_(ids))
        .order_by(col(EditRow.trial_id), col(EditRow.position))
    )
    return _grouped(connection, statement)


def _gates(connection: Connection, ids: Sequence[int]) -> Groups:
    row = GateRow
    statement = (
        select(col(row.trial_id), col(row.name), col(row.value), col(row.limit), col(row.margin))
        .where(col(row.trial_id).in_(ids))
        .order_by(col(row.trial_id), col(row.position))
    )
    return _grouped(connection, statement)


def _failures(connection: Connection, ids: Sequence[int]) -> dict[int, Failure]:
    rows = connection.execute(select(FailureRow).where(col(FailureRow.trial_id).in_(ids)))
    return {
        row["trial_id"]: Failure(
            phase=None if row["phase"] is None else Phase(row["phase"]),
            kind=FailureKind(row["kind"]),
            signature=row["signature"],
            excerpt=row["excerpt"],
            seed=row["seed"],
        )
        for row in rows.mappings()
    }


def _runs(connection: Connection, ids: Sequence[int]) -> dict[int, list[SeedRun]]:
    statement = (
        select(col(SeedRunRow.trial_id), col(SeedRunRow.position), col(SeedRunRow.seed))
        .where(col(SeedRunRow.trial_id).in_(ids))
        .order_by(col(SeedRunRow.trial_id), col(SeedRunRow.position))
    )
    timings, measures = _timings(connection, ids), _measures(connection, ids)
    runs: dict[int, list[SeedRun]] = defaultdict(list)
    for trial_id, position, seed in connection.execute(statement):
        key = (trial_id, position)
        timed = tuple(PhaseTiming(Phase(phase), *rest) for phase, *rest in timings[key])
        runs[trial_id].append(SeedRun(seed, timed, dict(measures[key])))
    return runs


def _timings(connection: Connection, ids: Sequence[int]) -> Groups:
    row = TimingRow
    figures = (col(row.wall_seconds), col(row.cpu_seconds), col(row.peak_memory_mb))
    statement = (
        select(col(row.trial_id), col(row.run), col(row.phase), *figures)
        .where(col(row.trial_id).in_(ids))
        .order_by(col(row.trial_id), col(row.run), col(row.position))
    )
    return _grouped(connection, statement, keys=2)


def _measures(connection: Connection, ids: Sequence[int]) -> Groups:
    row = MeasureRow
    statement = (
        select(col(row.trial_id), col(row.run), col(row.name), col(row.value))
        .where(col(row.trial_id).in_(ids))
        .order_by(col(row.trial_id), col(row.run), col(row.name))
    )
    return _grouped(connection, statement, keys=2)


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
