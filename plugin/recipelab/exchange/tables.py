"""A campaign's trials as a flat table, a row each: CSV and Parquet."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

from recipelab.core.errors import RecipelabError
from recipelab.core.text import plain
from recipelab.core.trial import Outcome
from recipelab.exchange.campaign_copy import each_trial, utc
from recipelab.exchange.metric import source_ids
from recipelab.lineage import LineageStore, TrialRecord

COLUMNS: dict[str, type] = {
    "trial": int,
    "source_id": str,
    "round": int,
    "specialist": str,
    "surface": str,
    "parents": str,
    "hypothesis": str,
    "expected_delta": float,
    "status": str,
    "reason": str,
    "score": float,
    "score_se": float,
    "delta": float,
    "delta_se": float,
    "gates": str,
    "worst_margin": float,
    "failure_kind": str,
    "failure_phase": str,
    "signature": str,
    "seed_runs": int,
    "measures": str,
    "cpu_seconds": float,
    "digest": str,
    "proposed_at": datetime,
    "judged_at": datetime,
}
"""The columns in order, and what they hold where they are not empty."""

_ARROW = {int: "int64", float: "float64", str: "string"}
_FORMULA = ("=", "+", "-", "@")


def trial_rows(store: LineageStore, campaign: str) -> Iterator[dict[str, Any]]:
    """The trials of a campaign, lowest number first, each with the same columns."""
    names = source_ids(store.campaign(campaign))
    for record in each_trial(store, campaign):
        yield _row(record, names[record.number] if names else None)


def write_csv(store: LineageStore, campaign: str, file: Path) -> None:
    """Writes the trials as CSV with a header; what a terminal or sheet would obey is taken out."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(COLUMNS))
        writer.writeheader()
        for row in trial_rows(store, campaign):
            writer.writerow({key: _cell(value) for key, value in row.items()})


def write_parquet(store: LineageStore, campaign: str, file: Path) -> None:
    """Writes the trials as Parquet.

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
    fields = [
        (name, arrow.type_for_alias(_ARROW[kind]) if kind in _ARROW else moment)
        for name, kind in COLUMNS.items()
    ]
    rows = list(trial_rows(store, campaign))
    table = arrow.Table.from_pylist(rows, schema=arrow.schema(fields))
    parquet.write_table(table, os.fspath(file))


def _row(record: TrialRecord, source_id: str | None) -> dict[str, Any]:
    proposed = {
        "trial": record.number,
        "source_id": source_id,
        "round": record.round,
        "specialist": record.specialist,
        "surface": record.surface,
        "parents": " ".join(map(str, record.parents)),
        "hypothesis": record.hypothesis,
        "expected_delta": record.expected_delta,
        "digest": record.digest,
        "proposed_at": utc(record.proposed_at),
        "judged_at": utc(record.judged_at) if record.judged_at else None,
    }
    ended = _ended(record.outcome) if record.outcome else {"status": "in_flight"}
    row = proposed | ended
    return {name: row.get(name) for name in COLUMNS}


def _ended(outcome: Outcome) -> dict[str, Any]:
    failure = outcome.failure
    return {
        "status": outcome.status.value,
        "reason": outcome.reason,
        "score": outcome.score,
        "score_se": outcome.score_se,
        "delta": outcome.delta,
        "delta_se": outcome.delta_se,
        "gates": json.dumps({gate.name: gate.value for gate in outcome.gates}),
        "worst_margin": min((gate.margin for gate in outcome.gates), default=None),
        "failure_kind": failure.kind.value if failure else None,
        "failure_phase": failure.phase.value if failure and failure.phase else None,
        "signature": failure.signature if failure else None,
        "seed_runs": len(outcome.seed_runs),
        "measures": json.dumps(measure_means(outcome)),
        "cpu_seconds": outcome.cpu_seconds,
    }


def measure_means(outcome: Outcome) -> dict[str, float]:
    """Each measurement's mean over the seed runs that have it, in order of the names."""
    names = sorted({name for run in outcome.seed_runs for name in run.measures})
    runs = [run.measures for run in outcome.seed_runs]
    return {name: fmean(found[name] for found in runs if name in found) for name in names}


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula and no terminal for a command."""
    if isinstance(value, datetime):
        return value.isoformat()
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
