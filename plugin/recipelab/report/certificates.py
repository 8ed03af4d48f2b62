"""Certificates in words, and the leaderboard: search score and certified score side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from recipelab.lineage import LineageStore, TrialRecord
from recipelab.pack_measures import Goal
from recipelab.shown import short


def certificate_words(record: TrialRecord, found: Mapping[str, Any]) -> str:
    """What a certification found, in some lines."""
    head = f"Trial {record.number}: {found['status'].replace('_', ' ')}; {found['reason']}."
    if found.get("delta") is None:
        return head
    search = record.outcome.score if record.outcome is not None else None
    where = "held-out answers and fresh seeds" if found["held_out"] else "fresh seeds"
    return "\n".join(
        (
            head,
            f"search score {_number(search)}, certified score {_number(found['score'])} "
            f"(baseline {_number(found['baseline_score'])}) on {found['seeds']} seeds: {where}",
            f"against the baseline {found['delta']:+.5g}, 95 % interval "
            f"{found['delta_low']:+.5g} to {found['delta_high']:+.5g}, p {found['p']:.2g} "
            f"({found['test']})",
        )
    )


def leaderboard_rows(store: LineageStore, campaign: str, goal: Goal) -> list[dict[str, Any]]:
    """The newest certificate of each trial, best certified score first; failed ones last."""
    newest = {item.trial: item for item in store.certificates(campaign)}
    rows = []
    for number, item in newest.items():
        record = store.trial(campaign, number)
        outcome = record.outcome
        rows.append(
            {
                "trial": number,
                "specialist": record.specialist,
                "hypothesis": record.hypothesis,
                "search_score": outcome.score if outcome else None,
                "made_at": item.made_at.isoformat(),
                **item.found,
            }
        )
    return sorted(rows, key=lambda row: _rank(row, goal))


def newest_words(store: LineageStore, campaign: str, number: int) -> str:
    """The newest certificate of a trial in words; how to make one, if there is none."""
    found = [item.found for item in store.certificates(campaign) if item.trial == number]
    if found:
        return certificate_words(store.trial(campaign, number), found[-1])
    return "certify it on seeds and answers that no trial had: recipelab verify best"


def _rank(row: Mapping[str, Any], goal: Goal) -> tuple[bool, float]:
    failed = row.get("delta") is None or row.get("score") is None
    return failed, 0.0 if failed else -goal.sign * float(row["score"])


def leaderboard_table(rows: Sequence[Mapping[str, Any]], *, title: str) -> Table:
    """The leaderboard for a terminal."""
    table = Table(title=Text(title), title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for head in ("trial", "certified", "search", "against the baseline", "seeds"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("hypothesis", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row["trial"]),
            _number(row.get("score")),
            _number(row["search_score"]),
            _interval(row),
            str(row["seeds"]),
            str(row["status"]).replace("_", " "),
            Text(short(row["hypothesis"], 40)),
        )
    return table


def _interval(row: Mapping[str, Any]) -> str:
    if row.get("delta") is None:
        return "-"
    return f"{row['delta']:+.4g} ({row['delta_low']:+.4g} to {row['delta_high']:+.4g})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"
