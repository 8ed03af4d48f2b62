"""Reads what nanochat prints and writes, and takes nothing that it could not have written.

Every pattern covers a whole line. A line that has a word of the result and is not as nanochat
writes it is refused, so that no other number is taken for the result: least of all the CORE that
training prints by the way (`Step 02000 | CORE metric: ...`), of 500 items a task only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LOG_STEP, TABLE_STEP = 0.5e-4, 0.5e-6
"""Half of the last digit that the log and the table show."""
SLACK = 1e-9
"""For the last bit of floating point."""

_NUMBER = r"-?\d+\.\d"
_TASK = re.compile(
    r"Evaluating: (?P<label>[\w.-]+) \((?P<shots>\d+)-shot, type: (?P<type>\w+)\)\.\.\. "
    rf"accuracy: (?P<accuracy>{_NUMBER}{{4}}) \| centered: (?P<centered>{_NUMBER}{{4}}) \| "
    r"time: \d+\.\d{2}s",
    re.ASCII,
)
_CORE = re.compile(rf"CORE metric: (?P<core>{_NUMBER}{{4}})", re.ASCII)
_RESULT_WORDS = re.compile(
    r"Evaluating:(?! model|.*\.\.\. $)|CORE metric|accuracy:|centered:", re.I
)
_ROW = re.compile(
    rf"(?P<label>[\w.-]+) *, (?P<accuracy>{_NUMBER}{{6}})? *, (?P<centered>{_NUMBER}{{6}}) *",
    re.ASCII,
)
_HEADER = f"{'Task':<35}, {'Accuracy':<10}, {'Centered':<10}"
_VALIDATION = re.compile(rf"Step (\d{{5,}}) \| Validation bpb: ({_NUMBER}{{6}})", re.ASCII)
_PARTIAL = re.compile(rf"Step (\d{{5,}}) \| CORE metric: ({_NUMBER}{{4}})", re.ASCII)
_ENDINGS = {
    "least_bpb": re.compile(rf"Minimum validation bpb: ({_NUMBER}{{6}})", re.ASCII),
    "minutes": re.compile(rf"Total training time: ({_NUMBER}{{2}})m", re.ASCII),
    "peak_mib": re.compile(rf"Peak memory usage: ({_NUMBER}{{2}})MiB", re.ASCII),
}
_TRAINING_WORDS = (
    "Validation bpb:",
    "validation bpb:",
    "Total training time:",
    "Peak memory usage:",
)


class Malformed(ValueError):
    """Text that nanochat would not have written; says where."""


class Disagreement(ValueError):
    """Numbers that do not follow from each other; says which, with the line."""


@dataclass(frozen=True)
class Task:
    """A task's result.

    Attributes:
        accuracy: Share of right answers.
        centered: The same with chance at zero; below zero where chance is not reached.
        line: Where it was read, for evidence.
    """

    accuracy: float
    centered: float
    line: str


@dataclass(frozen=True)
class Result:
    """What a log or a table says: the tasks by label, and their mean as it was written."""

    tasks: Mapping[str, Task]
    core: float
    core_line: str


@dataclass(frozen=True)
class Training:
    """What a log of training says.

    Attributes:
        validation: Bits per byte by step.
        partial_core: CORE of a part of the items by step. This is never the result.
        least_bpb: The least of the bits per byte; None if training did not end.
        minutes: Training time without evaluations; None if training did not end.
        peak_mib: Peak of GPU memory; None if training did not end.
    """

    validation: Mapping[int, float] = field(default_factory=dict)
    partial_core: Mapping[int, float] = field(default_factory=dict)
    least_bpb: float | None = None
    minutes: float | None = None
    peak_mib: float | None = None


def _shown(line: str) -> str:
    return repr(line[:200])


def _lines(text: str) -> list[str]:
    # Only the line feed ends a line for nanochat; splitlines would see ends that are none.
    return text.split("\n")


def _task(row: re.Match[str], where: str, line: str) -> Task:
    accuracy, centered = float(row["accuracy"]), float(row["centered"])
    if not 0 <= accuracy <= 1:
        raise Malformed(f"{where}: an accuracy outside of 0 .. 1: {_shown(line)}")
    return Task(accuracy, centered, f"{where}: {line}")


def _add(tasks: dict[str, Task], label: str, task: Task) -> None:
    if label in tasks:
        raise Malformed(f"{label} twice: {_shown(task.line)}")
    tasks[label] = task


def read_evaluation(text: str) -> Result:
    """Read the log of base_eval.

    Raises:
        Malformed: A result is not as nanochat writes it, a task is there twice, or there
            is not exactly one CORE, behind all tasks.
    """
    tasks: dict[str, Task] = {}
    core: tuple[float, str] | None = None
    for number, line in enumerate(_lines(text), 1):
        where = f"log.txt line {number}"
        if row := _TASK.fullmatch(line):
            if core is not None:
                raise Malformed(f"{where}: a task behind the CORE metric: {_shown(line)}")
            _add(tasks, row["label"], _task(row, where, line))
        elif row := _CORE.fullmatch(line):
            if core is not None:
                raise Malformed(f"{where}: a second CORE metric: {_shown(line)}")
            core = float(row["core"]), f"{where}: {line}"
        elif _RESULT_WORDS.search(line):
            raise Malformed(f"{where}: not as nanochat writes it: {_shown(line)}")
    if core is None:
        raise Malformed("log.txt: no CORE metric of a whole evaluation")
    return Result(tasks, *core)


def read_table(text: str) -> Result:
    """Read the table of base_eval, whose last row is CORE and whose columns are padded.

    Raises:
        Malformed: Header, padding, digits or the order are not as nanochat writes them.
    """
    header, *rows = _lines(text)
    if header != _HEADER:
        raise Malformed(f"core.csv line 1: not the header: {_shown(header)}")
    if len(rows) < 2 or rows[-1] != "":
        raise Malformed("core.csv: the last row is cut off")
    tasks: dict[str, Task] = {}
    core: tuple[float, str] | None = None
    for number, line in enumerate(rows[:-1], 2):
        where = f"core.csv line {number}"
        row = _ROW.fullmatch(line)
        if row is None or line != _padded(row):
            raise Malformed(f"{where}: not as nanochat writes it: {_shown(line)}")
        if core is not None:
            raise Malformed(f"{where}: a row behind CORE: {_shown(line)}")
        if (row["label"] == "CORE") != (row["accuracy"] is None):
            raise Malformed(f"{where}: only CORE has no accuracy: {_shown(line)}")
        if row["accuracy"] is None:
            core = float(row["centered"]), f"{where}: {line}"
        else:
            _add(tasks, row["label"], _task(row, where, line))
    if core is None:
        raise Malformed("core.csv: no row CORE at the end")
    return Result(tasks, *core)


def _padded(row: re.Match[str]) -> str:
    return f"{row['label']:<35}, {row['accuracy'] or '':<10}, {row['centered']:<10}"


def read_training(text: str) -> Training:
    """Read the log of base_train.

    Raises:
        Malformed: A line with such a number is not as nanochat writes it, or is there twice.
    """
    found: dict[str, dict[int, float]] = {"validation": {}, "partial_core": {}}
    ends: dict[str, float] = {}
    for number, line in enumerate(_lines(text), 1):
        where = f"line {number}"
        for name, pattern in (("validation", _VALIDATION), ("partial_core", _PARTIAL)):
            if row := pattern.fullmatch(line):
                if int(row[1]) in found[name]:
                    raise Malformed(f"{where}: the same step twice: {_shown(line)}")
                found[name][int(row[1])] = float(row[2])
                break
        else:
            _ending(line, where, ends)
    return Training(found["validation"], found["partial_core"], **ends)


def _ending(line: str, where: str, ends: dict[str, float]) -> None:
    for name, pattern in _ENDINGS.items():
        if row := pattern.fullmatch(line):
            if name in ends:
                raise Malformed(f"{where}: there twice: {_shown(line)}")
            ends[name] = float(row[1])
            return
    if any(word in line for word in _TRAINING_WORDS):
        raise Malformed(f"{where}: not as nanochat writes it: {_shown(line)}")


def centered(accuracy: float, baseline: float) -> float:
    """Return an accuracy with chance at zero and perfection at one; the baseline is in percent."""
    return (accuracy - 0.01 * baseline) / (1 - 0.01 * baseline)


def demand_tasks(result: Result, labels: Iterable[str], name: str) -> None:
    """Check that a result has each of the tasks, and no other.

    Raises:
        Malformed: It has not.
    """
    wanted = set(labels)
    if missing := sorted(wanted - set(result.tasks)):
        raise Malformed(f"{name}: no {', '.join(missing)}")
    if strange := sorted(set(result.tasks) - wanted):
        raise Malformed(f"{name}: no such task: {', '.join(strange)}")


def demand_arithmetic(result: Result, baselines: Mapping[str, float], step: float) -> None:
    """Check that centered values follow from accuracies, and CORE from the centered values.

    Args:
        result: What was written.
        baselines: Chance in percent, by label.
        step: Half of the last digit that was written.

    Raises:
        Disagreement: They do not, by more than rounding.
    """
    for label, task in result.tasks.items():
        expected = centered(task.accuracy, baselines[label])
        # The accuracy was rounded before, and centering stretches what was lost.
        if abs(task.centered - expected) > step * (1 + 1 / (1 - 0.01 * baselines[label])) + SLACK:
            raise Disagreement(f"centered should be {expected:.4f}: {task.line}")
    mean = math.fsum(task.centered for task in result.tasks.values()) / len(result.tasks)
    if abs(result.core - mean) > 2 * step + SLACK:
        raise Disagreement(f"the mean of the tasks is {mean:.4f}: {result.core_line}")


def demand_agreement(log: Result, table: Result) -> None:
    """Check that log and table have the same accuracies.

    Raises:
        Disagreement: They do not, by more than rounding.
    """
    for label, task in table.tasks.items():
        if abs(task.accuracy - log.tasks[label].accuracy) > LOG_STEP + TABLE_STEP + SLACK:
            raise Disagreement(f"{log.tasks[label].line} but {task.line}")
    if abs(log.core - table.core) > LOG_STEP + TABLE_STEP + SLACK:
        raise Disagreement(f"{log.core_line} but {table.core_line}")
