"""Finds campaigns, trials and rounds by the names people know, or says which there are."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, bindparam, func, select
from sqlmodel import col

from recipelab.core.errors import LineageError, unknown_name
from recipelab.lineage.tables import (
    LARGEST_NUMBER,
    CampaignRow,
    RoundRow,
    TrialRow,
    number_of,
    trial_key,
)
from recipelab.lineage.text import clean

_CAMPAIGN = select(CampaignRow).where(col(CampaignRow.name) == bindparam("name"))
# On PostgreSQL this is what makes the writers of a campaign take turns.
_CAMPAIGN_TO_WRITE = _CAMPAIGN.with_for_update()
_THERE = select(col(TrialRow.id)).where(
    col(TrialRow.id).in_(bindparam("ids", expanding=True)),
)
_LAST = select(func.max(col(TrialRow.id))).where(
    col(TrialRow.id).between(bindparam("low"), bindparam("high"))
)
_LAST_ROUND = select(func.max(col(RoundRow.number))).where(
    col(RoundRow.campaign_id) == bindparam("campaign_id")
)


def find_campaign(connection: Connection, name: str, *, to_write: bool = False) -> RowMapping:
    """The row of a campaign.

    Args:
        connection: Where to look.
        name: Name of the campaign.
        to_write: Whether something of it is to be written: other writers then wait.

    Raises:
        LineageError: There is none of that name; the message lists those there are.
    """
    statement = _CAMPAIGN_TO_WRITE if to_write else _CAMPAIGN
    row = connection.execute(statement, {"name": clean(name)}).mappings().first()
    if row is None:
        names = connection.scalars(select(col(CampaignRow.name)))
        raise LineageError(unknown_name("campaign", name, names))
    return row


def find_trial(connection: Connection, campaign_id: int, number: int, campaign: str) -> int:
    """The id of a trial.

    Raises:
        LineageError: There is no such trial; the message says which there are.
    """
    return find_trials(connection, campaign_id, [number], campaign)[0]


def find_trials(
    connection: Connection, campaign_id: int, numbers: Sequence[int], campaign: str
) -> list[int]:
    """The ids of trials.

    Raises:
        LineageError: There is no such trial; the message says which there are.
    """
    asked = [trial_key(campaign_id, n) for n in numbers if 0 <= n <= LARGEST_NUMBER]
    there = set(connection.scalars(_THERE, {"ids": asked})) if asked else set()
    for number in numbers:
        if not 0 <= number <= LARGEST_NUMBER or trial_key(campaign_id, number) not in there:
            last = last_trial(connection, campaign_id)
            told = "it has none yet" if last is None else f"it has trials 0 to {number_of(last)}"
            raise LineageError(f"campaign {campaign} has no trial {number}; {told}")
    return asked


def last_trial(connection: Connection, campaign_id: int) -> int | None:
    """The id of the newest trial of a campaign; ``None`` if it has none yet."""
    first = trial_key(campaign_id, 0)
    last: int | None = connection.scalar(_LAST, {"low": first, "high": first + LARGEST_NUMBER})
    return last


def last_round(connection: Connection, campaign_id: int) -> int:
    """The number of the newest round of a campaign; 0 if it has none yet."""
    return connection.scalar(_LAST_ROUND, {"campaign_id": campaign_id}) or 0


def check_round(connection: Connection, campaign_id: int, round_number: int, campaign: str) -> None:
    """Checks that a campaign has a round.

    Raises:
        LineageError: There is no such round; the message says which there are.
    """
    last = last_round(connection, campaign_id)
    if not 1 <= round_number <= last:
        there = f"it has rounds 1 to {last}" if last else "it has none yet"
        raise LineageError(f"campaign {campaign} has no round {round_number}; {there}")
