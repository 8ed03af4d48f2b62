"""A campaign's trials as a flat table, a row each: CSV and Parquet."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recipelab.errors import RecipelabError
from recipelab.exchange.campaign_copy import each_trial, utc
from recipelab.exchange.mark import source_ids
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.report.text import plain


def trial_rows(store: LineageStore, campaign: str) -> Iterator[dict[str, Any]]:
    """The trials of a campaign, lowest number first, each with the same columns."""
    names = source_ids(store.campaign(campaign))
    for record in each_trial(store, campaign):
        yield _row(record, names[record.number] if names else "")


def write_csv(store: LineageStore, campaign: str, file: Path) -> None:
    """Writes the trials as CSV with a header; what a terminal or sheet would obey is taken out."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer: csv.DictWriter[str] | None = None
        for row in trial_rows(store, campaign):
            if writer is None:
                writer = csv.DictWriter(stream, list(row))
                writer.writeheader()
            writer.writerow({key: _safe(value) for key, value in row.items()})


def write_parquet(store: LineageStore, campaign: str, file: Path) -> None:
    """Writes the trials as Parquet.

    Raises:
        RecipelabError: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise RecipelabError(
            "--format parquet needs pyarrow: pip install pyarrow; or take --format csv or jsonl"
        )
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    table = arrow.Table.from_pylist(list(trial_rows(store, campaign)))
    parquet.write_table(table, os.fspath(file))


def _row(record: TrialRecord, source_id: str) -> dict[str, Any]:
    outcome = record.outcome
    failure = outcome.failure if outcome else None
    judged = record.judged_at
    return {
        "trial": record.number,
        "source_id": source_id,
        "round": record.round,
        "specialist": record.specialist,
        "surface": record.surface,
        "parents": " ".join(map(str, record.parents)),
        "hypothesis": record.hypothesis,
        "expected_delta": record.expected_delta,
        "status": outcome.status.value if outcome else "in_flight",
        "reason": outcome.reason if outcome else "",
        "score": outcome.score if outcome else None,
        "score_se": outcome.score_se if outcome else None,
        "delta": outcome.delta if outcome else None,
        "delta_se": outcome.delta_se if outcome else None,
        "gates": " ".join(f"{g.name}={g.value!r}" for g in outcome.gates) if outcome else "",
        "worst_margin": min((g.margin for g in outcome.gates), default=None) if outcome else None,
        "failure_kind": failure.kind.value if failure else "",
        "failure_phase": failure.phase.value if failure and failure.phase else "",
        "signature": failure.signature if failure else "",
        "seed_runs": len(outcome.seed_runs) if outcome else 0,
        "cpu_seconds": outcome.cpu_seconds if outcome else None,
        "digest": record.digest,
        "proposed_at": utc(record.proposed_at).isoformat(),
        "judged_at": utc(judged).isoformat() if judged else None,
    }


def _safe(value: Any) -> Any:
    """Text that no spreadsheet takes for a formula and no terminal for a command."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
