"""Keeps the counters up to date, so that no answer needs to count trials."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, text
from sqlmodel import col

from recipelab.core.trial import Status
from recipelab.lineage.ledgers import TallyRow

HOUR = 3_600

_LESS = "excluded.low_delta < tally.low_delta OR tally.low_delta IS NULL"
_MORE = "excluded.high_delta > tally.high_delta OR tally.high_delta IS NULL"
_ADD = text(
    f"""
    INSERT INTO tally
      (campaign_id, scope, status, trials, last_id, tried, low_delta, high_delta)
    VALUES
      (:campaign_id, :scope, :status, :trials, :last_id, :tried, :delta, :delta)
    ON CONFLICT (campaign_id, scope, status) DO UPDATE SET
      trials = tally.trials + excluded.trials,
      last_id = coalesce(excluded.last_id, tally.last_id),
      tried = CASE WHEN excluded.last_id IS NULL THEN tally.tried ELSE excluded.tried END,
      low_delta = CASE WHEN {_LESS} THEN excluded.low_delta ELSE tally.low_delta END,
      high_delta = CASE WHEN {_MORE} THEN excluded.high_delta ELSE tally.high_delta END
    """
)
_HOUR = text(
    """
    INSERT INTO hour (campaign_id, hour, first_id, last_id)
    VALUES (:campaign_id, :hour, :trial_id, :trial_id)
    ON CONFLICT (campaign_id, hour) DO UPDATE SET
      first_id = CASE WHEN excluded.first_id < hour.first_id
                 THEN excluded.first_id ELSE hour.first_id END,
      last_id = CASE WHEN excluded.last_id > hour.last_id
                THEN excluded.last_id ELSE hour.last_id END
    """
)
_JUDGED = (
    select(col(TallyRow.scope), func.sum(col(TallyRow.trials)))
    .where(
        col(TallyRow.campaign_id) == bindparam("campaign_id"),
        col(TallyRow.scope).in_(bindparam("scopes", expanding=True)),
        col(TallyRow.status) != "",
    )
    .group_by(col(TallyRow.scope))
)
_NEWEST = select(col(TallyRow.last_id)).where(
    col(TallyRow.campaign_id) == bindparam("campaign_id"),
    col(TallyRow.scope) == bindparam("scope"),
    col(TallyRow.status) == "",
)


def surface_scope(surface: str) -> str:
    """The scope of the counters of a surface."""
    return f"s:{surface}"


def specialist_scope(specialist: str) -> str:
    """The scope of the counters of a specialist."""
    return f"p:{specialist}"


def scopes_of(surface: str, specialist: str) -> tuple[str, str, str]:
    """All scopes in which a trial is counted."""
    return "", surface_scope(surface), specialist_scope(specialist)


def newest_by(connection: Connection, campaign_id: int, specialist: str) -> int | None:
    """The id of the newest trial of a specialist."""
    scope = specialist_scope(specialist)
    newest: int | None = connection.scalar(_NEWEST, {"campaign_id": campaign_id, "scope": scope})
    return newest


def count_proposed(
    connection: Connection,
    campaign_id: int,
    trial_id: int,
    scopes: tuple[str, ...],
    proposed_at: datetime,
) -> None:
    """Counts a new trial, in flight."""
    connection.execute(_ADD, [_row(campaign_id, scope, "", 1, trial_id) for scope in scopes])
    count_hour(connection, campaign_id, trial_id, proposed_at)


def count_hour(
    connection: Connection, campaign_id: int, trial_id: int, proposed_at: datetime
) -> None:
    """Notes that a trial was proposed within an hour."""
    hour = int(proposed_at.timestamp()) // HOUR
    values = {"campaign_id": campaign_id, "hour": hour, "trial_id": trial_id}
    connection.execute(_HOUR, values)


def count_judged(
    connection: Connection,
    campaign_id: int,
    trial_id: int,
    scopes: tuple[str, ...],
    status: Status,
    delta: float | None,
) -> None:
    """Counts a trial in flight as judged."""
    judged: dict[str, int] = {}
    if status is Status.KEPT:
        asked = {"campaign_id": campaign_id, "scopes": list(scopes)}
        judged = {scope: int(count) for scope, count in connection.execute(_JUDGED, asked)}
    counted = delta if status in (Status.KEPT, Status.DISCARDED) else None
    rows = [_row(campaign_id, scope, "", -1, None) for scope in scopes]
    rows += [
        _row(campaign_id, scope, status.value, 1, trial_id, judged.get(scope, 0) + 1, counted)
        for scope in scopes
    ]
    connection.execute(_ADD, rows)


def count_reopened(
    connection: Connection, campaign_id: int, scopes: tuple[str, ...], status: str
) -> None:
    """Counts a judged trial as in flight again."""
    rows = [_row(campaign_id, scope, status, -1, None) for scope in scopes]
    rows += [_row(campaign_id, scope, "", 1, None) for scope in scopes]
    connection.execute(_ADD, rows)


def _row(
    campaign_id: int,
    scope: str,
    status: str,
    trials: int,
    last_id: int | None,
    tried: int = 0,
    delta: float | None = None,
) -> dict[str, Any]:
    return {
        "campaign_id": campaign_id,
        "scope": scope,
        "status": status,
        "trials": trials,
        "last_id": last_id,
        "tried": tried,
        "delta": delta,
    }
