"""Reads the counters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, func, select
from sqlmodel import col

from recipelab.core.trial import Status
from recipelab.lineage.answers import SurfaceSummary
from recipelab.lineage.ledgers import TallyRow
from recipelab.lineage.query import TrialFilter
from recipelab.lineage.tables import number_of
from recipelab.lineage.text import NAME_CHARACTERS, cut
from recipelab.lineage.writing.tallies import specialist_scope, surface_scope

_CAMPAIGN = col(TallyRow.campaign_id) == bindparam("campaign_id")
_ROWS = select(TallyRow).where(_CAMPAIGN, col(TallyRow.scope) == bindparam("scope"))
_KIND = func.substr(col(TallyRow.scope), 1, 2)
_ALIKE = select(TallyRow).where(_CAMPAIGN, bindparam("prefix") == _KIND)

Counts = dict[Status | None, int]


def counts_of(connection: Connection, campaign_id: int, scope: str = "") -> Counts:
    """Trials by status, only what there is; ``None`` counts those in flight."""
    rows = connection.execute(_ROWS, {"campaign_id": campaign_id, "scope": scope})
    return _ordered({row.status: row.trials for row in rows})


def _ordered(counts: Mapping[str, int]) -> Counts:
    known: Counts = {status: counts[status.value] for status in Status if counts.get(status.value)}
    return known | ({None: counts[""]} if counts.get("") else {})


def last_kept(connection: Connection, campaign_id: int) -> int | None:
    """The id of the trial that was kept last."""
    rows = connection.execute(_ROWS, {"campaign_id": campaign_id, "scope": ""})
    return next((row.last_id for row in rows if row.status == Status.KEPT.value), None)


def exact_total(connection: Connection, campaign_id: int, wanted: TrialFilter) -> int | None:
    """How many trials match, if the counters know."""
    plain = TrialFilter(
        statuses=wanted.statuses,
        surfaces=wanted.surfaces,
        specialists=wanted.specialists,
        in_flight=wanted.in_flight,
        order=wanted.order,
        goal=wanted.goal,
        limit=wanted.limit,
        offset=wanted.offset,
    )
    if plain != wanted or (wanted.surfaces and wanted.specialists):
        return None
    names = {
        *(surface_scope(cut(name, NAME_CHARACTERS)) for name in wanted.surfaces),
        *(specialist_scope(cut(name, NAME_CHARACTERS)) for name in wanted.specialists),
    }
    total = 0
    for scope in names or {""}:
        for status, count in counts_of(connection, campaign_id, scope).items():
            of_status = not wanted.statuses or status in wanted.statuses
            in_flight = wanted.in_flight is None or wanted.in_flight == (status is None)
            total += count if of_status and in_flight else 0
    return total


def summaries(
    connection: Connection, campaign_id: int, prefix: str, *, lowest: bool
) -> tuple[SurfaceSummary, ...]:
    """How the trials went by surface (``s:``) or by specialist (``p:``), by name."""
    found: dict[str, list[Any]] = defaultdict(list)
    for row in connection.execute(_ALIKE, {"campaign_id": campaign_id, "prefix": prefix}):
        found[row.scope].append(row)
    return tuple(_summary(scope[len(prefix) :], found[scope], lowest) for scope in sorted(found))


def _summary(name: str, rows: list[Any], lowest: bool) -> SurfaceSummary:
    counts = _ordered({row.status: row.trials for row in rows})
    kept = next((row for row in rows if row.status == Status.KEPT.value), None)
    judged = sum(count for status, count in counts.items() if status is not None)
    deltas = [row.low_delta if lowest else row.high_delta for row in rows]
    known = [delta for delta in deltas if delta is not None]
    return SurfaceSummary(
        name=name,
        tried=sum(counts.values()),
        statuses=counts,
        kept=kept.trials if kept else 0,
        best_delta=(min(known) if lowest else max(known)) if known else None,
        last_kept=number_of(kept.last_id) if kept else None,
        since_kept=max(0, judged - kept.tried) if kept else judged,
        last_tried=max(number_of(row.last_id) for row in rows if row.last_id is not None),
    )
