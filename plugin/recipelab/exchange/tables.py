"""Write a campaign's trials as a flat table, a row each: CSV and Parquet."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from recipelab.core.errors import RecipelabError
from recipelab.core.text import plain
from recipelab.exchange.campaign_copy import utc
from recipelab.exchange.metric import source_ids
from recipelab.lineage import LineageStore
from recipelab.lineage.trial_view import TABLE, TrialView

_TYPES: Mapping[str, type] = {
    **dict.fromkeys(("trial", "round", "seed_runs"), int),
    **dict.fromkeys(("expected_delta", "score", "score_se", "delta", "delta_se"), float),
    **dict.fromkeys(("worst_margin", "cpu_seconds"), float),
    **dict.fromkeys(("proposed_at", "judged_at"), datetime),
}

COLUMNS: Mapping[str, type] = {name: _TYPES.get(name, str) for name in TABLE}
"""The columns in order, and the types of their values."""

_JUDGED_CELLS: Mapping[str, Callable[[TrialView], Any]] = {
    "gates": lambda view: json.dumps({gate.name: gate.value for gate in view.gates}),
    "measures": lambda view: json.dumps(view.measures),
    "seed_runs": lambda view: len(view.seed_runs),
}
"""Cells that are empty until the trial is judged, and hold a summary of what the view holds."""

_ARROW = {int: "int64", float: "float64", str: "string"}
_FORMULA = ("=", "+", "-", "@")
_BATCH = 10_000
"""Rows that are written to Parquet together."""


def trial_rows(store: LineageStore, campaign: str) -> Iterator[dict[str, Any]]:
    """Yield the trials of a campaign, lowest number first, each with the same columns."""
    names = source_ids(store.campaign(campaign))
    for record in store.each_trial(campaign):
        view = TrialView.of_record(record, names[record.number] if names else None)
        judged = {name: cell(view) if view.status else None for name, cell in _JUDGED_CELLS.items()}
        yield (
            view.select(TABLE)
            | judged
            | {
                "parents": " ".join(map(str, view.parents)),
                "status": view.status.value if view.status else "in_flight",
                "standing": view.standing.value if view.standing else None,
                "failure_kind": view.failure_kind.value if view.failure_kind else None,
                "failure_phase": view.failure_phase.value if view.failure_phase else None,
                "proposed_at": utc(view.proposed_at),
                "judged_at": utc(view.judged_at) if view.judged_at else None,
            }
        )


def write_csv(store: LineageStore, campaign: str, file: Path) -> None:
    """Write the trials as CSV with a header, without characters that a terminal or sheet obeys."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(COLUMNS))
        writer.writeheader()
        for row in trial_rows(store, campaign):
            writer.writerow({key: _cell(value) for key, value in row.items()})


def write_parquet(store: LineageStore, campaign: str, file: Path) -> None:
    """Write the trials as Parquet, a batch at a time.

    Raises:
        RecipelabError: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise RecipelabError(
            "Parquet needs pyarrow, which is missing: pip install 'recipelab[parquet]', or "
            "take --format csv or jsonl"
        )
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    moment = arrow.timestamp("us", tz="UTC")
    schema = arrow.schema(
        [
            (name, arrow.type_for_alias(_ARROW[kind]) if kind in _ARROW else moment)
            for name, kind in COLUMNS.items()
        ]
    )
    rows = trial_rows(store, campaign)
    with parquet.ParquetWriter(os.fspath(file), schema) as writer:
        while batch := list(islice(rows, _BATCH)):
            writer.write_table(arrow.Table.from_pylist(batch, schema=schema))


def _cell(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula and no terminal for a command."""
    if isinstance(value, datetime):
        return value.isoformat()
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
