"""Reads the tables of schema 1, under the names that the upgrade gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from recipelab.core.trial import (
    Edit,
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    PhaseTiming,
    Proposal,
    SeedRun,
    Status,
)

Rows = Sequence[Row[Any]]

TABLES = (
    "measure",
    "timing",
    "seed_run",
    "gate",
    "failure",
    "edit",
    "trial_file",
    "parent",
    "message",
    "trial",
    "recipe_file",
    "round",
    "campaign",
)
"""Its tables; each comes before those that it refers to."""


def old(table: str) -> str:
    """The name of an old table during the upgrade."""
    return f"v1_{table}"


def instant(stored: str) -> datetime:
    """A time as schema 1 stored it."""
    return datetime.fromisoformat(stored).replace(tzinfo=UTC)


def rows_of(connection: Connection, table: str, trial_id: int, order: str = "1") -> Rows:
    """The rows of a trial in a table."""
    statement = f"SELECT * FROM {old(table)} WHERE trial_id = :id ORDER BY {order}"
    return connection.execute(text(statement), {"id": trial_id}).all()


def trial_ids(connection: Connection, campaign_id: int, order: str) -> Iterator[int]:
    """The ids of a campaign's trials by a column, without those in which it is null."""
    statement = (
        f"SELECT id FROM {old('trial')} WHERE campaign_id = :id AND {order} IS NOT NULL "
        f"ORDER BY {order}"
    )
    yield from connection.scalars(text(statement), {"id": campaign_id}).all()


def trial_row(connection: Connection, trial_id: int) -> Row[Any]:
    """The row of a trial."""
    statement = text(f"SELECT * FROM {old('trial')} WHERE id = :id")
    return connection.execute(statement, {"id": trial_id}).one()


def proposal_of(connection: Connection, row: Row[Any]) -> Proposal:
    """What was proposed."""
    edits = rows_of(connection, "edit", row.id, "position")
    return Proposal(
        specialist=row.specialist,
        surface=row.surface,
        parent=0,
        hypothesis=row.hypothesis,
        expected_delta=row.expected_delta,
        edits=tuple(Edit(edit.path, edit.search, edit.replace) for edit in edits),
    )


def files_of(connection: Connection, trial_id: int) -> dict[str, str]:
    """The recipe of a trial."""
    statement = text(
        f"SELECT path, content FROM {old('trial_file')} JOIN {old('recipe_file')} USING (sha256) "
        "WHERE trial_id = :id"
    )
    return {path: content for path, content in connection.execute(statement, {"id": trial_id})}


def outcome_of(connection: Connection, row: Row[Any]) -> Outcome:
    """How a judged trial ended."""
    gates = rows_of(connection, "gate", row.id, "position")
    return Outcome(
        status=Status(row.status),
        reason=row.reason,
        seed_runs=_seed_runs(connection, row.id),
        gates=tuple(GateResult(g.name, g.value, g.limit, g.margin) for g in gates),
        score=row.score,
        score_se=row.score_se,
        delta=row.delta,
        delta_se=row.delta_se,
        failure=_failure(rows_of(connection, "failure", row.id)),
        log_tail=row.log_tail,
        environment=row.environment,
    )


def _seed_runs(connection: Connection, trial_id: int) -> tuple[SeedRun, ...]:
    timings = rows_of(connection, "timing", trial_id, "run, position")
    measures = rows_of(connection, "measure", trial_id, "run, name")
    return tuple(
        SeedRun(
            seed=run.seed,
            timings=tuple(
                PhaseTiming(Phase(t.phase), t.wall_seconds, t.cpu_seconds, t.peak_memory_mb)
                for t in timings
                if t.run == run.position
            ),
            measures={m.name: m.value for m in measures if m.run == run.position},
        )
        for run in rows_of(connection, "seed_run", trial_id, "position")
    )


def _failure(rows: Rows) -> Failure | None:
    if not rows:
        return None
    (row,) = rows
    phase = None if row.phase is None else Phase(row.phase)
    return Failure(phase, FailureKind(row.kind), row.signature, row.excerpt, row.seed)
