"""Turns proposals and outcomes into rows, inside a transaction that its caller owns."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Insert, delete, func, insert, select, update
from sqlmodel import col

from recipelab.lineage import text
from recipelab.lineage.tables import (
    EditRow,
    FailureRow,
    GateRow,
    LineageTable,
    MeasureRow,
    ParentRow,
    RecipeFileRow,
    SeedRunRow,
    TimingRow,
    TrialFileRow,
    TrialRow,
)
from recipelab.lineage.text import clean, cut, cut_front
from recipelab.trial import Edit, Failure, Outcome, Proposal

_NEW_TRIAL = insert(TrialRow).returning(col(TrialRow.id))


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def save_trial(
    connection: Connection,
    campaign_id: int,
    proposal: Proposal,
    *,
    parent_ids: Sequence[int],
    files: Mapping[str, str],
    digest: str,
    diff: str,
    round_number: int | None,
) -> tuple[int, int]:
    """Adds a trial in flight, under the next number of its campaign.

    Returns:
        Its id and its number.

    Raises:
        ValueError: The expected change is not a finite number.
    """
    _require_finite({"expected_delta": proposal.expected_delta})
    number = _next(connection, campaign_id, col(TrialRow.number), 0)
    values = {
        "campaign_id": campaign_id,
        "number": number,
        "round_number": round_number,
        "specialist": cut(proposal.specialist, text.NAME_CHARACTERS),
        "surface": cut(proposal.surface, text.NAME_CHARACTERS),
        "hypothesis": cut(proposal.hypothesis, text.HYPOTHESIS_CHARACTERS),
        "expected_delta": proposal.expected_delta,
        "digest": clean(digest),
        "diff": cut(diff, text.DIFF_CHARACTERS),
        "proposed_at": now(),
    }
    trial_id = connection.execute(_NEW_TRIAL, values).scalar_one()
    parents = [{"parent_id": parent_id} for parent_id in parent_ids]
    _insert(connection, ParentRow, trial_id, _positioned(parents))
    _insert(connection, EditRow, trial_id, _positioned(_edit(edit) for edit in proposal.edits))
    _save_files(connection, trial_id, files)
    return trial_id, number


def _edit(edit: Edit) -> dict[str, Any]:
    search = None if edit.search is None else clean(edit.search)
    return {"path": clean(edit.path), "search": search, "replace": clean(edit.replace)}


def _next(connection: Connection, campaign_id: int, column: Any, first: int) -> int:
    last = connection.scalar(
        select(func.max(column)).where(col(TrialRow.campaign_id) == campaign_id)
    )
    return first if last is None else int(last) + 1


def _save_files(connection: Connection, trial_id: int, files: Mapping[str, str]) -> None:
    contents: dict[str, str] = {}
    paths: dict[str, str] = {}
    for path, content in files.items():
        content = clean(content)
        sha256 = hashlib.sha256(content.encode()).hexdigest()
        contents[sha256] = content
        paths[clean(path)] = sha256
    sha256s = col(RecipeFileRow.sha256)
    known = set(connection.scalars(select(sha256s).where(sha256s.in_(contents))))
    new = [{"sha256": key, "content": contents[key]} for key in contents if key not in known]
    if new:
        connection.execute(_inserting(RecipeFileRow), new)
    rows = ({"path": path, "sha256": sha256} for path, sha256 in paths.items())
    _insert(connection, TrialFileRow, trial_id, rows)


def save_outcome(connection: Connection, campaign_id: int, trial_id: int, outcome: Outcome) -> None:
    """Makes a trial judged.

    Raises:
        ValueError: A figure of the outcome is not a finite number.
    """
    _check_figures(outcome)
    values = {
        "status": outcome.status.value,
        "judged_order": _next(connection, campaign_id, col(TrialRow.judged_order), 1),
        "judged_at": now(),
        "reason": cut(outcome.reason, text.REASON_CHARACTERS),
        "score": outcome.score,
        "score_se": outcome.score_se,
        "delta": outcome.delta,
        "delta_se": outcome.delta_se,
        "cpu_seconds": outcome.cpu_seconds,
        "log_tail": cut_front(outcome.log_tail, text.LOG_CHARACTERS),
        "environment": cut(outcome.environment, text.ENVIRONMENT_CHARACTERS),
    }
    connection.execute(update(TrialRow).where(col(TrialRow.id) == trial_id), values)
    _save_runs(connection, trial_id, outcome)
    gates = [vars(gate) | {"name": clean(gate.name)} for gate in outcome.gates]
    _insert(connection, GateRow, trial_id, _positioned(gates))
    _save_failure(connection, trial_id, outcome.failure)


def drop_outcome(connection: Connection, trial_id: int) -> None:
    """Takes away what came of a trial, so that it can be judged again."""
    for table in (SeedRunRow, TimingRow, MeasureRow, GateRow, FailureRow):
        connection.execute(delete(table).where(col(table.trial_id) == trial_id))


def _save_runs(connection: Connection, trial_id: int, outcome: Outcome) -> None:
    runs = [{"seed": run.seed} for run in outcome.seed_runs]
    _insert(connection, SeedRunRow, trial_id, _positioned(runs))
    timings: list[dict[str, Any]] = []
    measures: list[dict[str, Any]] = []
    for position, run in enumerate(outcome.seed_runs):
        timed = [vars(timing) | {"phase": timing.phase.value} for timing in run.timings]
        timings += [{"run": position, **values} for values in _positioned(timed)]
        named = {clean(name): value for name, value in run.measures.items()}
        measures += [{"run": position, "name": name, "value": named[name]} for name in named]
    _insert(connection, TimingRow, trial_id, timings)
    _insert(connection, MeasureRow, trial_id, measures)


def _save_failure(connection: Connection, trial_id: int, failure: Failure | None) -> None:
    if failure is None:
        return
    values = {
        "phase": None if failure.phase is None else failure.phase.value,
        "kind": failure.kind.value,
        "signature": cut(failure.signature, text.SIGNATURE_CHARACTERS),
        "excerpt": cut(failure.excerpt, text.EXCERPT_CHARACTERS),
        "seed": failure.seed,
    }
    _insert(connection, FailureRow, trial_id, [values])


def _positioned(rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return ({"position": position, **row} for position, row in enumerate(rows))


def _insert(
    connection: Connection, table: type[LineageTable], trial_id: int, rows: Iterable[dict[str, Any]]
) -> None:
    values = [{"trial_id": trial_id, **row} for row in rows]
    if values:
        connection.execute(_inserting(table), values)


@cache
def _inserting(table: type[LineageTable]) -> Insert:
    # Kept, because making it and finding its compiled form again costs more than to run it.
    return insert(table)


def _check_figures(outcome: Outcome) -> None:
    names = ("score", "score_se", "delta", "delta_se")
    _require_finite({name: getattr(outcome, name) for name in names})
    for gate in outcome.gates:
        _require_finite({"value": gate.value, "limit": gate.limit, "margin": gate.margin})
    for run in outcome.seed_runs:
        _require_finite(run.measures)
        for timing in run.timings:
            figures = ("wall_seconds", "cpu_seconds", "peak_memory_mb")
            _require_finite({name: getattr(timing, name) for name in figures})


def _require_finite(figures: Mapping[str, float | None]) -> None:
    for name, value in figures.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, not {value}")
