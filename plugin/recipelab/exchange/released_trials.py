"""Turns the rows of a released run into trials."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from recipelab.evaluation.failures import kind_of, signature_of
from recipelab.exchange.released_rows import TEXT_COLUMNS, Row, number, trial_key
from recipelab.exchange.released_tasks import STATUSES, ReleasedTask
from recipelab.lineage import TrialRecord
from recipelab.trial import Failure, FailureKind, GateResult, Outcome, Phase, SeedRun, Status

UNREADABLE = "unreadable row of a released run"
"""Signature of trials whose outcome the source has lost."""

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for a time that the source does not tell."""

_PHASES = {
    Status.TRAIN_OVERRUN: Phase.TRAIN,
    Status.OVERSIZE: Phase.TRAIN,
    Status.EVAL_OVERRUN: Phase.PREDICT,
    Status.GATE_MISSED: Phase.SCORE,
}
_KINDS = {
    Status.TRAIN_OVERRUN: FailureKind.TIMEOUT,
    Status.EVAL_OVERRUN: FailureKind.TIMEOUT,
    Status.OVERSIZE: FailureKind.SIZE,
    Status.GATE_MISSED: FailureKind.GATE,
    Status.ABORTED: FailureKind.INFRASTRUCTURE,
}


def score_of(row: Row, task: ReleasedTask) -> float | None:
    """The score of a row: of a trial that missed a gate too, where the source has it."""
    score = number(row[task.column])
    return number(row.get(task.stands_in, "")) if score is None else score


def record_of(
    row: Row,
    task: ReleasedTask,
    *,
    numbers: Mapping[int, int],
    rows: Mapping[int, Row],
    when: datetime,
    source: str,
) -> TrialRecord:
    """The trial of a row.

    Args:
        row: The row.
        task: The task of the run.
        numbers: The number of each trial by the number in its name.
        rows: The rows by the number in their name.
        when: When it was recorded.
        source: Where the row stood, for the record.
    """
    key = trial_key(row["exp_id"]) or 0
    parent = trial_key(row["parent_exp"])
    known = parent is not None and parent in numbers and parent < key
    return TrialRecord(
        number=numbers[key],
        round=None,
        specialist=row["specialist"],
        surface=row["domain"],
        hypothesis=row["hypothesis"],
        expected_delta=number(row["expected_delta"]) or 0.0,
        parents=(numbers[parent],) if known and parent is not None else (),
        edits=(),
        digest="",
        diff="",
        outcome=_outcome(row, task, rows, source),
        proposed_at=when,
        judged_at=when,
    )


def time_of(text: str) -> datetime | None:
    """The time in a cell, if it holds one."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _outcome(row: Row, task: ReleasedTask, rows: Mapping[int, Row], source: str) -> Outcome:
    columns = "".join(f"{name}: {row[name]}\n" for name in row if name != "hypothesis")
    log = f"{source}\n{columns}"
    if row["status"] not in STATUSES:
        failure = Failure(None, FailureKind.INFRASTRUCTURE, UNREADABLE, row.get("notes", ""))
        return Outcome(Status.ABORTED, "its row cannot be read", failure=failure, log_tail=log)
    status = STATUSES[row["status"]]
    score = score_of(row, task)
    gates = _gates(row, task, status)
    notes = row.get("notes", "")
    return Outcome(
        status=status,
        reason=f"{row['status']} in the released run" + (f": {notes}" if notes else ""),
        seed_runs=_runs(row, task),
        gates=gates,
        score=score,
        delta=_delta(row, task, rows, score),
        failure=_failure(row, status, gates) if status.is_failure else None,
        log_tail=log,
        environment=f"released run of {task.name}, {task.devices} GPU",
    )


def _gates(row: Row, task: ReleasedTask, status: Status) -> tuple[GateResult, ...]:
    values = ((gate, number(row.get(gate.column, ""))) for gate in task.gates)
    return tuple(gate.judge(value, status) for gate, value in values if value is not None)


def _runs(row: Row, task: ReleasedTask) -> tuple[SeedRun, ...]:
    """One seed run that carries all figures: the source gives no more than their means."""
    given = list(row)
    names = [n for n in given[given.index("status") + 1 :] if n not in TEXT_COLUMNS]
    measures = {name: value for name in names if (value := number(row[name])) is not None}
    total = measures.get("total_s")
    if total is not None:
        seeds = measures.get("n_seeds", 1.0)
        measures["wall_seconds"] = total * seeds
        measures["device_seconds"] = total * seeds * task.devices
    return (SeedRun(0, (), measures),) if measures else ()


def _delta(
    row: Row, task: ReleasedTask, rows: Mapping[int, Row], score: float | None
) -> float | None:
    given = number(row.get("delta_vs_best", ""))
    best = rows.get(trial_key(row.get("baseline_exp", "")) or 0)
    if given is not None or score is None or best is None or row["status"] == "baseline":
        return given
    held_against = score_of(best, task)
    return None if held_against is None else score - held_against


def _failure(row: Row, status: Status, gates: tuple[GateResult, ...]) -> Failure:
    notes = row.get("notes", "")
    if status is Status.CRASHED:
        # The release appends the error to what the agent wrote.
        error = notes.rpartition(" | ")[2]
        broken = error.startswith("infrastructure ")
        kind = FailureKind.INFRASTRUCTURE if broken else kind_of(error)
        phase = Phase.PREFLIGHT if row["status"] == "preflight_crash" else None
        told = error if broken or error != notes else f"{row['status']} without a report"
        return Failure(phase, kind, signature_of(told), error)
    missed = next((gate for gate in gates if not gate.passed), None)
    told = f"{missed.name} {missed.value:g}, limit {missed.limit:g}" if missed else row["status"]
    signature = f"{row['status']}: {missed.name}" if missed else row["status"]
    return Failure(_PHASES.get(status), _KINDS[status], signature, told)
