"""Reads the tables of a released run, and makes trials of their rows.

The tables have tabs between columns and a line for each row, and text from agents stands in them as
it was. A tab in that text shifts all columns after it, and a line end tears the row in two. So a
row is taken to begin where its first columns look like the beginning of a row, and all lines up to
the next such place belong to it.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from recipelab.core.content import read_limited
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Failure, FailureKind, GateResult, Outcome, Phase, SeedRun, Status
from recipelab.evaluation.failures import kind_of, signature_of
from recipelab.exchange.metric import MetricFacts
from recipelab.lineage import TrialRecord
from recipelab.packs.judging_sections import Goal

Row = Mapping[str, str]

ROW_BEGINS = re.compile(r"(?:exp_)?(?:\d{3,}(?:\t|$)|\d+\t\d{4}-\d\d-\d\dT)")
TREE_BEGINS = re.compile(r"(?:exp_)?\d+\t(?:exp_)?\d*\t\d+\t")
TEXT_COLUMNS = frozenset({"job_name", "snapshot_path", "notes"})
"""Columns after the status that hold no number."""

REQUIRED = ("exp_id", "timestamp", "specialist", "parent_exp", "domain")
"""Columns before the free text of a row."""
STATUSES = {
    "baseline": Status.BASELINE,
    "keep": Status.KEPT,
    "discard": Status.DISCARDED,
    "crash": Status.CRASHED,
    "preflight_crash": Status.CRASHED,
    "size_blocked": Status.OVERSIZE,
    "train_budget_overrun": Status.TRAIN_OVERRUN,
    "eval_budget_overrun": Status.EVAL_OVERRUN,
    "disqualified": Status.GATE_MISSED,
    "harness_abort": Status.ABORTED,
}
"""Statuses of a released run to those of recipelab."""

UNREADABLE = "unreadable row of a released run"
"""Signature of trials whose outcome is lost."""

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for a time that is lost."""

MAX_TABLE_BYTES = 256_000_000
"""The longest table that is read; that of a run of a thousand trials has a few megabytes."""

_ROUNDING = 5e-7
"""Half of the last digit that a released run prints."""
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


@dataclass(frozen=True)
class RawRow:
    """A row as the file has it.

    Attributes:
        line: Its first line, counted from 1.
        text: All of its text, line ends inside it included.
        cells: Its cells.
        whole: Whether there are as many as in the header, without a stray line end.
    """

    line: int
    text: str
    cells: tuple[str, ...]
    whole: bool


@dataclass(frozen=True)
class RawTable:
    """A file of rows.

    Attributes:
        header: Names of the columns.
        rows: Its rows in order.
        strays: Lines before the first text that begins like a row.
    """

    header: tuple[str, ...]
    rows: tuple[RawRow, ...]
    strays: tuple[RawRow, ...]


def read_table(file: Path, begins: re.Pattern[str]) -> RawTable:
    """Read a table.

    Args:
        file: The file; bytes that are not UTF-8 are replaced.
        begins: Matches the beginning of a row.

    Raises:
        RecipelabError: The file cannot be read, or is empty.
    """
    try:
        content = read_limited(file, MAX_TABLE_BYTES)
        text = content.decode("utf-8", "replace").removeprefix("\ufeff")
    except OSError as error:
        raise RecipelabError(f"cannot read {file}: {error.strerror}") from None
    lines = text.replace("\r\n", "\n").split("\n")
    header = tuple(cell.strip() for cell in lines[0].split("\t"))
    if len(header) < 2:
        raise RecipelabError(f"{file} has no header with tabs between its columns")
    rows: list[RawRow] = []
    starts = [i for i in range(1, len(lines)) if begins.match(lines[i])]
    first = starts[0] if starts else len(lines)
    strays = [RawRow(i + 1, lines[i], (), False) for i in range(1, first) if lines[i].strip()]
    for start, end in zip(starts, [*starts[1:], len(lines)][: len(starts)], strict=True):
        own = "\n".join(lines[start:end]).rstrip("\n")
        cells, whole = _cells(own, len(header))
        rows.append(RawRow(start + 1, own, cells, whole))
    return RawTable(header, tuple(rows), tuple(strays))


def _cells(text: str, columns: int) -> tuple[tuple[str, ...], bool]:
    """Return the cells of a row, and whether it is whole; quotes count where they make it so."""
    plain = text.split("\t")
    if len(plain) == columns and "\n" not in text:
        return tuple(unquoted(cell) for cell in plain), True
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t"))
    except csv.Error:
        rows = []
    if len(rows) == 1 and len(rows[0]) == columns:
        return tuple(rows[0]), True
    return tuple(plain), False


def unquoted(cell: str) -> str:
    """Return the text of a cell that was quoted as in CSV, or the cell as it is."""
    inner = cell[1:-1]
    quoted = len(cell) >= 2 and cell[0] == cell[-1] == '"'
    return inner.replace('""', '"') if quoted and '"' not in inner.replace('""', "") else cell


def rejoined(cells: Sequence[str]) -> str:
    """Return the text of cells that were one before tabs broke it."""
    return unquoted("\t".join(cells).strip("\t"))


@dataclass(frozen=True)
class ReleasedGate:
    """A limit of a released task.

    Attributes:
        column: Column of the measured value.
        limit: The limit.
        sign: +1 if the value must not be below the limit, -1 if it must not be above.
        status: Status of a trial that misses it.
    """

    column: str
    limit: float
    sign: int
    status: Status

    def judge(self, value: float, status: Status) -> GateResult:
        """Return the gate's result; the released status decides where rounding hides a miss."""
        margin = self.sign * (value - self.limit)
        if status is self.status:
            margin = min(margin, -_ROUNDING)
        return GateResult(self.column, value, self.limit, margin)


@dataclass(frozen=True)
class ReleasedTask:
    """A task of the release.

    Attributes:
        name: Its name.
        metric: Its metric.
        column: Column of the score in ``results.tsv`` and ``tree.tsv``.
        stands_in: Column that holds the score of trials that missed a gate; empty for none.
        gates: Its limits.
        devices: How many GPUs a trial occupies.
        marks: Columns by which its runs are recognized.
    """

    name: str
    metric: MetricFacts
    column: str
    stands_in: str
    gates: tuple[ReleasedGate, ...]
    devices: int
    marks: frozenset[str]


_TASKS = (
    ReleasedTask(
        name="parameter-golf",
        metric=MetricFacts("val_bpb", "bits/byte", Goal.MINIMIZE),
        column="val_bpb",
        stands_in="",
        gates=(
            ReleasedGate("artifact_bytes", 16_000_000.0, -1, Status.OVERSIZE),
            ReleasedGate("eval_s", 600.0, -1, Status.EVAL_OVERRUN),
        ),
        devices=8,
        marks=frozenset({"val_bpb", "artifact_bytes", "eval_s"}),
    ),
    ReleasedTask(
        name="nanochat-d12",
        metric=MetricFacts("core_metric", "", Goal.MAXIMIZE),
        column="core_metric",
        stands_in="",
        gates=(),
        devices=8,
        marks=frozenset({"core_metric"}),
    ),
    ReleasedTask(
        name="airbench96",
        metric=MetricFacts("train_s", "s", Goal.MINIMIZE),
        column="train_s",
        # The mean seconds of a seed: equal to train_s wherever that is given.
        stands_in="total_s",
        gates=(ReleasedGate("accuracy", 0.96, 1, Status.GATE_MISSED),),
        devices=1,
        marks=frozenset({"train_s", "accuracy"}),
    ),
)


def task_of(header: Sequence[str]) -> ReleasedTask:
    """Return the task whose columns a ``results.tsv`` has.

    Raises:
        RecipelabError: It lacks columns that every run has, or those of any task.
    """
    needed = (*REQUIRED, "hypothesis", "expected_delta", "status")
    if missing := [name for name in needed if name not in header]:
        raise RecipelabError(f"results.tsv has no column {', '.join(missing)}")
    for task in _TASKS:
        if task.marks <= set(header):
            return task
    known = "; ".join(f"{task.name}: {', '.join(sorted(task.marks))}" for task in _TASKS)
    raise RecipelabError(f"results.tsv has the columns of no known task; known: {known}")


@dataclass(frozen=True)
class Damage:
    """Damage of a row, and its repair.

    Attributes:
        file: File it is in.
        line: Line of the file; ``None`` if the row is not there at all.
        trial: The trial's name in the source; empty if it has none.
        problem: The damage, in words.
        repair: How it was repaired; ``None`` if it was not.
        text: The text as the file has it.
    """

    file: str
    line: int | None
    trial: str
    problem: str
    repair: str | None
    text: str = ""


def released_key(text: str) -> int | None:
    """Return the number in the name of a trial, as 70 for ``070`` and ``exp_070``."""
    match = re.fullmatch(r"(?:exp_)?(\d{1,18})", text.strip())
    return int(match[1]) if match else None


def number(text: str) -> float | None:
    """Return the finite number that a cell holds; ``None`` if it holds none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def is_sound(row: Row, header: Sequence[str]) -> bool:
    """Return whether a row holds a known status, and numbers where numbers belong."""
    after = header[header.index("status") + 1 :]
    figures = (row[name] for name in after if name not in TEXT_COLUMNS)
    return row["status"] in STATUSES and all(
        not text or number(text) is not None for text in figures
    )


def realign(raw: RawRow, header: Sequence[str]) -> tuple[Row, str] | None:
    """Put the cells of a damaged row back under their columns.

    The columns before the free text are in place. The status is the first cell after it that holds
    a known status with a number before it and numbers after it. What lies between is free text.

    Returns:
        The row and the columns that the file has lost; ``None`` if no status can be found.
    """
    cells, text = raw.cells, header.index("hypothesis")
    after = header[header.index("status") + 1 :]
    for at in range(text + 2, len(cells)):
        if cells[at] not in STATUSES or number(cells[at - 1] or "0") is None:
            continue
        rest = cells[at + 1 :]
        ends = [*rest[: len(after) - 1], rejoined(rest[len(after) - 1 :])]
        values = [*cells[:text], rejoined(cells[text : at - 1]), cells[at - 1], cells[at]]
        values += [unquoted(cell) for cell in ends]
        row = dict.fromkeys(header, "") | dict(zip(header, values, strict=False))
        if is_sound(row, header):
            lost = after[len(rest) :]
            return row, ", ".join(lost)
    return None


def from_tree(task: ReleasedTask, header: Sequence[str], raw: RawRow | None, tree: Row) -> Row:
    """Return a row from ``tree.tsv``, with the columns before the free text if they are known."""
    front = header[: header.index("hypothesis")]
    known = dict(zip(front, raw.cells, strict=False)) if raw is not None else {}
    row = dict.fromkeys(header, "") | known
    row |= {name: tree[name] for name in ("exp_id", "specialist", "status", "hypothesis")}
    row[task.column] = tree[task.column]
    row["delta_vs_best"] = tree.get("delta_vs_best", "")
    row["parent_exp"] = row["parent_exp"] or tree["parent_exp"]
    row["domain"] = row["domain"] or tree["specialist"]
    return row


def tree_row(raw: RawRow, header: Sequence[str]) -> Row:
    """Return a row of ``tree.tsv``, whose free text is last, so that a break shifts nothing."""
    last = len(header) - 1
    values = [*raw.cells[:last], rejoined(raw.cells[last:])]
    return dict.fromkeys(header, "") | dict(zip(header, values, strict=False))


def tree_is_sound(row: Row, task: ReleasedTask) -> bool:
    """Return whether a row of ``tree.tsv`` can stand in for one of ``results.tsv``."""
    score = row.get(task.column, "")
    return row.get("status") in STATUSES and (not score or number(score) is not None)


def problem_of(raw: RawRow, header: Sequence[str]) -> str:
    """Describe the damage of a row."""
    many = len(raw.cells)
    if many != len(header):
        counts = f"{many} cells in place of {len(header)}"
        return f"{counts}, and a line end inside" if "\n" in raw.text else counts
    return "a line end inside a cell" if "\n" in raw.text else "cells that do not fit their columns"


def score_of(row: Row, task: ReleasedTask) -> float | None:
    """Return the score of a row; a trial that missed a gate may have one too."""
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
    """Return the trial of a row.

    Args:
        row: The row.
        task: The task of the run.
        numbers: The number of each trial by the number in its name.
        rows: The rows by the number in their name.
        when: When it was recorded.
        source: Where the row stood, for the record.
    """
    key = released_key(row["exp_id"]) or 0
    parent = released_key(row["parent_exp"])
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
    """Return the time in a cell, if it holds one."""
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
    values = ((gate, number(row.get(gate.column, ""))) for gate in task.gates)
    gates = tuple(gate.judge(value, status) for gate, value in values if value is not None)
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


def _runs(row: Row, task: ReleasedTask) -> tuple[SeedRun, ...]:
    """Return one seed run that carries all figures, as the table has no more than their means."""
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
    best = rows.get(released_key(row.get("baseline_exp", "")) or 0)
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
        cause = error if broken or error != notes else f"{row['status']} without a report"
        return Failure(phase, kind, signature_of(cause), error)
    missed = next((gate for gate in gates if not gate.passed), None)
    excerpt = f"{missed.name} {missed.value:g}, limit {missed.limit:g}" if missed else row["status"]
    signature = f"{row['status']}: {missed.name}" if missed else row["status"]
    return Failure(_PHASES.get(status), _KINDS[status], signature, excerpt)
