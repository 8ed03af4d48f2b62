"""The rows of a released run, with the damaged ones mended as far as their text allows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recipelab.exchange.released_tasks import STATUSES, ReleasedTask
from recipelab.exchange.tsv import RawRow, joined, unquoted

ROW_BEGINS = re.compile(r"(?:exp_)?(?:\d{3,}(?:\t|$)|\d+\t\d{4}-\d\d-\d\dT)")
TREE_BEGINS = re.compile(r"(?:exp_)?\d+\t(?:exp_)?\d*\t\d+\t")
TEXT_COLUMNS = frozenset({"job_name", "snapshot_path", "notes"})
"""Columns after the status that hold no number."""

Row = Mapping[str, str]


@dataclass(frozen=True)
class Damage:
    """Something that was wrong with a row, and what became of it.

    Attributes:
        file: File it is in.
        line: Line of the file; ``None`` if the row is not there at all.
        trial: The trial's name in the source; empty if it has none.
        problem: What is wrong.
        repair: How it was mended; ``None`` if it was not.
        text: The text as it stands in the file.
    """

    file: str
    line: int | None
    trial: str
    problem: str
    repair: str | None
    text: str = ""


def trial_key(text: str) -> int | None:
    """The number in the name of a trial, as 70 for ``070`` and ``exp_070``."""
    match = re.fullmatch(r"(?:exp_)?(\d{1,18})", text.strip())
    return int(match[1]) if match else None


def number(text: str) -> float | None:
    """The number that a cell holds; ``None`` if it is empty or holds another thing."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def is_sound(row: Row, header: Sequence[str]) -> bool:
    """Whether a row holds a known status, and numbers where numbers belong."""
    after = header[header.index("status") + 1 :]
    figures = (row[name] for name in after if name not in TEXT_COLUMNS)
    return row["status"] in STATUSES and all(
        not text or number(text) is not None for text in figures
    )


def realign(raw: RawRow, header: Sequence[str]) -> tuple[Row, str] | None:
    """Puts the cells of a damaged row back under their columns.

    The columns before the free text are in place. The status is the first cell after it that holds
    a known status with a number before it and numbers after it. What lies between is free text.

    Returns:
        The row and which columns the file has lost, or ``None`` if no status can be found.
    """
    cells, text = raw.cells, header.index("hypothesis")
    after = header[header.index("status") + 1 :]
    for at in range(text + 2, len(cells)):
        if cells[at] not in STATUSES or number(cells[at - 1] or "0") is None:
            continue
        rest = cells[at + 1 :]
        ends = [*rest[: len(after) - 1], joined(rest[len(after) - 1 :])]
        values = [*cells[:text], joined(cells[text : at - 1]), cells[at - 1], cells[at]]
        values += [unquoted(cell) for cell in ends]
        row = dict.fromkeys(header, "") | dict(zip(header, values, strict=False))
        if is_sound(row, header):
            lost = after[len(rest) :]
            return row, ", ".join(lost)
    return None


def from_tree(task: ReleasedTask, header: Sequence[str], raw: RawRow | None, tree: Row) -> Row:
    """A row out of what ``tree.tsv`` holds, with the columns before the free text if they stand."""
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
    """A row of ``tree.tsv``: its free text is the last column, so a break in it shifts nothing."""
    last = len(header) - 1
    values = [*raw.cells[:last], joined(raw.cells[last:])]
    return dict.fromkeys(header, "") | dict(zip(header, values, strict=False))


def tree_is_sound(row: Row, task: ReleasedTask) -> bool:
    """Whether a row of ``tree.tsv`` can stand in for one of ``results.tsv``."""
    score = row.get(task.column, "")
    return row.get("status") in STATUSES and (not score or number(score) is not None)


def problem_of(raw: RawRow, header: Sequence[str]) -> str:
    """What is wrong with a damaged row, in words."""
    many = len(raw.cells)
    if many != len(header):
        told = f"{many} cells in place of {len(header)}"
        return f"{told}, and a line end inside" if "\n" in raw.text else told
    return "a line end inside a cell" if "\n" in raw.text else "cells that do not fit their columns"
