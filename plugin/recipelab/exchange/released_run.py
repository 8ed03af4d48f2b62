"""Reads a released run: ``results.tsv`` and ``tree.tsv``, with an account of every row.

A run of *Auto Research with Specialist Agents* was released as tables with free text of agents in
them. Damaged rows are repaired as far as the two tables allow, and each is reported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from recipelab.core.content import read_limited
from recipelab.core.errors import RecipelabError
from recipelab.exchange.metric import foreign_campaign
from recipelab.exchange.released_trials import (
    BEGINNING,
    ROW_BEGINS,
    STATUSES,
    TREE_BEGINS,
    Damage,
    RawRow,
    ReleasedTask,
    Row,
    from_tree,
    is_sound,
    number,
    problem_of,
    read_table,
    realign,
    record_of,
    released_key,
    task_of,
    time_of,
    tree_is_sound,
    tree_row,
)
from recipelab.lineage.copy import CampaignCopy
from recipelab.lineage.lookup import MARK
from recipelab.lineage.records import CampaignRecord

RESULTS, TREE, BEST = "results.tsv", "tree.tsv", "best.json"


@dataclass
class _Reading:
    """A run while it is read: rows, and their places, by the number in their trial's name."""

    task: ReleasedTask
    header: tuple[str, ...]
    tree: Mapping[int, Row]
    rows: dict[int, Row] = field(default_factory=dict[int, Row])
    places: dict[int, str] = field(default_factory=dict[int, str])
    damage: list[Damage] = field(default_factory=list[Damage])


def read_released(folder: Path, name: str) -> tuple[CampaignCopy, tuple[Damage, ...]]:
    """Read a released run.

    Args:
        folder: Folder with ``results.tsv`` and, beside it, ``tree.tsv`` and ``best.json``.
        name: Name that the campaign gets.

    Returns:
        The campaign, and every damaged row.

    Raises:
        RecipelabError: ``results.tsv`` is missing, has no rows, or is not of a known task.
    """
    table = read_table(folder / RESULTS, ROW_BEGINS)
    task = task_of(table.header)
    reading = _Reading(task, table.header, _read_tree(folder, task))
    for stray in table.strays:
        problem = "text that begins like no row"
        reading.damage.append(Damage(RESULTS, stray.line, "", problem, None, stray.text))
    for raw in table.rows:
        _add_row(reading, raw)
    _add_missing_rows(reading)
    if not reading.rows:
        raise RecipelabError(f"{folder / RESULTS} has no rows")
    _check_best(reading, folder)
    return _copy(reading, folder, name), tuple(reading.damage)


def _read_tree(folder: Path, task: ReleasedTask) -> dict[int, Row]:
    if not (folder / TREE).is_file():
        return {}
    table = read_table(folder / TREE, TREE_BEGINS)
    needed = ("exp_id", "parent_exp", "specialist", "status", task.column, "hypothesis")
    if missing := [column for column in needed if column not in table.header]:
        raise RecipelabError(f"{folder / TREE} has no column {', '.join(missing)}")
    rows = (tree_row(raw, table.header) for raw in table.rows)
    sound = (row for row in rows if tree_is_sound(row, task))
    return {key: row for row in sound if (key := released_key(row["exp_id"])) is not None}


def _add_row(reading: _Reading, raw: RawRow) -> None:
    key = released_key(raw.cells[0]) if raw.cells else None
    if key is None or key in reading.rows:
        problem = "no name of a trial" if key is None else "a trial that has a row already"
        _report(reading, raw, problem, None)
        return
    row = dict(zip(reading.header, raw.cells, strict=False))
    if not raw.whole or not is_sound(row, reading.header):
        row = _repaired(reading, raw, key)
    reading.rows[key] = row
    reading.places[key] = f"line {raw.line} of {RESULTS}"
    _compare(reading, raw, key)


def _repaired(reading: _Reading, raw: RawRow, key: int) -> dict[str, str]:
    problem, header = problem_of(raw, reading.header), reading.header
    tree = reading.tree.get(key)
    aligned = realign(raw, header)
    if aligned is not None:
        row, lost = dict(aligned[0]), aligned[1]
        how = "cells put back under their columns"
        if tree is not None and lost:
            gained = [name for name in row if name in tree and tree[name] and not row[name]]
            row |= {name: tree[name] for name in gained}
            how += f"; {', '.join(gained)} from {TREE}" if gained else ""
        left = [name for name in lost.split(", ") if lost and not row[name]]
        _report(reading, raw, problem, how + (f"; lost: {', '.join(left)}" if left else ""))
        return row
    if tree is not None:
        _report(reading, raw, problem, f"outcome from {TREE}; its other columns are lost")
        return dict(from_tree(reading.task, header, raw, tree)) | {"notes": ""}
    _report(reading, raw, problem, None)
    front = dict(zip(header[: header.index("hypothesis")], raw.cells, strict=False))
    rest = "\t".join(raw.cells[header.index("hypothesis") :])
    return dict.fromkeys(header, "") | front | {"hypothesis": rest, "notes": raw.text}


def _add_missing_rows(reading: _Reading) -> None:
    for key in sorted(set(reading.tree) - set(reading.rows)):
        row = from_tree(reading.task, reading.header, None, reading.tree[key])
        reading.rows[key] = row
        reading.places[key] = TREE
        repair = f"outcome from {TREE}; its other columns are lost"
        reading.damage.append(Damage(RESULTS, None, row["exp_id"], "no row", repair))


def _compare(reading: _Reading, raw: RawRow, key: int) -> None:
    """Report where the two tables differ; ``results.tsv`` is believed."""
    row, tree, column = reading.rows[key], reading.tree.get(key), reading.task.column
    if tree is None or row["status"] not in STATUSES:
        return
    differ = row["status"] != tree["status"] or number(row[column]) != number(tree[column])
    if differ:
        other = f"{TREE} says {tree['status']} {tree[column]}".strip()
        problem = f"{row['status']} {row[column]}".strip() + f", but {other}"
        _report(reading, raw, problem, f"{RESULTS} is believed")


def _report(reading: _Reading, raw: RawRow, problem: str, repair: str | None) -> None:
    name = raw.cells[0] if raw.cells else ""
    reading.damage.append(Damage(RESULTS, raw.line, name, problem, repair, raw.text))


def _check_best(reading: _Reading, folder: Path) -> None:
    """Report a ``best.json`` that names another trial than the last one kept."""
    file = folder / BEST
    if not file.is_file():
        return
    try:
        said = str(json.loads(read_limited(file))["exp_id"])
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        reading.damage.append(Damage(BEST, None, "", "it cannot be read", None))
        return
    kept = [key for key, row in reading.rows.items() if row["status"] == "keep"]
    if released_key(said) != max(kept, default=None):
        last = reading.rows[max(kept)]["exp_id"] if kept else "none"
        problem = f"it names {said}, but the last trial kept is {last}"
        reading.damage.append(Damage(BEST, None, said, problem, f"{RESULTS} is believed"))


def _copy(reading: _Reading, folder: Path, name: str) -> CampaignCopy:
    keys = sorted(reading.rows)
    numbers = {key: number for number, key in enumerate(keys)}
    times = _times(reading, keys)
    trials = tuple(
        record_of(
            reading.rows[key],
            reading.task,
            numbers=numbers,
            rows=reading.rows,
            when=times[key],
            source=f"imported from {reading.places[key]}",
        )
        for key in keys
    )
    campaign = _campaign(reading, folder, name, keys, sorted(times.values()))
    return CampaignCopy(campaign, (), trials, {}, tuple(range(len(trials))), ())


def _times(reading: _Reading, keys: list[int]) -> dict[int, datetime]:
    """Return when each trial was recorded; a row that lost its time has that of its neighbor."""
    given = {key: time_of(reading.rows[key]["timestamp"]) for key in keys}
    last = next((when for when in given.values() if when is not None), BEGINNING)
    times: dict[int, datetime] = {}
    for key, when in given.items():
        last = times[key] = when or last
    return times


def _campaign(
    reading: _Reading, folder: Path, name: str, keys: list[int], times: list[datetime]
) -> CampaignRecord:
    task = reading.task
    mark: dict[str, Any] = {
        "from": "released run",
        "source": folder.resolve().name,
        "metric": task.metric.to_json(),
        "devices": task.devices,
        "source_ids": [reading.rows[key]["exp_id"] for key in keys],
        "damage": [asdict(item) for item in reading.damage],
    }
    return foreign_campaign(
        name,
        f"released/{task.name}",
        {MARK: mark},
        reason="imported from a released run",
        began=times[0],
        ended=times[-1],
    )
