"""Finds campaigns, trials and rounds by the names people know, or says which there are."""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, Select, func, select
from sqlmodel import col

from recipelab.errors import LineageError, unknown_name
from recipelab.lineage.query import LARGEST
from recipelab.lineage.tables import CampaignRow, RoundRow, TrialRow
from recipelab.lineage.text import clean


def find_campaign(connection: Connection, name: str) -> RowMapping:
    """The row of a campaign.

    Raises:
        LineageError: There is none of that name; the message lists those there are.
    """
    named = select(CampaignRow).where(col(CampaignRow.name) == clean(name))
    row = connection.execute(named).mappings().first()
    if row is None:
        names = connection.scalars(select(col(CampaignRow.name)))
        raise LineageError(unknown_name("campaign", name, names))
    return row


def find_trial(connection: Connection, campaign_id: int, number: int, campaign: str) -> int:
    """The id of a trial.

    Raises:
        LineageError: There is no such trial; the message says which there are.
    """
    numbered = ids_of(campaign_id).where(col(TrialRow.number) == number)
    trial_id = connection.scalar(numbered) if 0 <= number <= LARGEST else None
    if trial_id is None:
        last = connection.scalar(
            select(func.max(col(TrialRow.number))).where(col(TrialRow.campaign_id) == campaign_id)
        )
        there = "it has none yet" if last is None else f"it has trials 0 to {last}"
        raise LineageError(f"campaign {campaign} has no trial {number}; {there}")
    return trial_id


def check_round(connection: Connection, campaign_id: int, round_number: int, campaign: str) -> None:
    """Checks that a campaign has a round.

    Raises:
        LineageError: There is no such round; the message says which there are.
    """
    rounds = select(func.max(col(RoundRow.number)))
    last = connection.scalar(rounds.where(col(RoundRow.campaign_id) == campaign_id)) or 0
    if not 1 <= round_number <= last:
        there = f"it has rounds 1 to {last}" if last else "it has none yet"
        raise LineageError(f"campaign {campaign} has no round {round_number}; {there}")


def ids_of(campaign_id: int) -> Select[int]:
    """Selects the ids of a campaign's trials."""
    return select(col(TrialRow.id)).where(col(TrialRow.campaign_id) == campaign_id)
