"""Copies whole campaigns into and out of a lineage, with the times and orders they had.

The store's other methods take the time of the call, as a running campaign needs it. Here a
campaign comes from elsewhere, and what it says of its past is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlmodel import col

from recipelab.errors import LineageError
from recipelab.lineage.finding import find_campaign
from recipelab.lineage.records import CampaignRecord, MessageRecord, TrialRecord
from recipelab.lineage.saving import save_outcome, save_trial
from recipelab.lineage.store import LineageStore, _check_campaign
from recipelab.lineage.tables import CampaignRow, MessageRow, RoundRow, TrialRow
from recipelab.lineage.text import to_json
from recipelab.trial import Proposal


@dataclass(frozen=True)
class RoundRecord:
    """A round: its number from 1, and when it began and ended."""

    number: int
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class CampaignCopy:
    """All of a campaign.

    Attributes:
        campaign: What was asked for, and how it stands.
        rounds: Its rounds in order.
        trials: Its trials, numbered 0, 1, 2 and so on.
        files: The recipe of each trial by its number: path to text.
        judged: Numbers of the judged trials in the order in which they were judged.
        messages: Its messages in order.
    """

    campaign: CampaignRecord
    rounds: tuple[RoundRecord, ...]
    trials: tuple[TrialRecord, ...]
    files: Mapping[int, Mapping[str, str]]
    judged: tuple[int, ...]
    messages: tuple[MessageRecord, ...]


def rounds_of(store: LineageStore, campaign: str) -> tuple[RoundRecord, ...]:
    """The rounds of a campaign in order."""
    columns = (col(RoundRow.number), col(RoundRow.started_at), col(RoundRow.ended_at))
    with store._asking(campaign) as (connection, campaign_id):
        statement = select(*columns).where(col(RoundRow.campaign_id) == campaign_id)
        rows = connection.execute(statement.order_by(col(RoundRow.number)))
        return tuple(RoundRecord(*row) for row in rows)


def judged_order(store: LineageStore, campaign: str) -> tuple[int, ...]:
    """Numbers of the judged trials in the order in which they were judged."""
    order = col(TrialRow.judged_order)
    with store._asking(campaign) as (connection, campaign_id):
        judged = select(col(TrialRow.number)).where(
            col(TrialRow.campaign_id) == campaign_id, col(TrialRow.status).is_not(None)
        )
        return tuple(connection.scalars(judged.order_by(order)))


def add_copy(store: LineageStore, copy: CampaignCopy) -> None:
    """Adds a campaign with all that belongs to it, in one transaction.

    Raises:
        LineageError: There is a campaign of that name, or it cannot name one.
        ValueError: A figure is not a finite number.
    """
    name = copy.campaign.name
    _check_campaign(name, copy.campaign.seed, copy.campaign.trials)
    with store._writing() as connection:
        if connection.scalar(select(col(CampaignRow.id)).where(col(CampaignRow.name) == name)):
            raise LineageError(f"there is a campaign {name} already; choose another name")
        settings = {"settings": to_json(copy.campaign.settings)}
        connection.execute(insert(CampaignRow), vars(copy.campaign) | settings)
        campaign_id = find_campaign(connection, name)["id"]
        if copy.rounds:
            rows = [{"campaign_id": campaign_id, **vars(item)} for item in copy.rounds]
            connection.execute(insert(RoundRow), rows)
        _add_trials(connection, campaign_id, copy)
        if copy.messages:
            connection.execute(insert(MessageRow), [_row(campaign_id, m) for m in copy.messages])


def _add_trials(connection: Connection, campaign_id: int, copy: CampaignCopy) -> None:
    ids: dict[int, int] = {}
    for record in copy.trials:
        ids[record.number] = _add_trial(connection, campaign_id, record, copy, ids)
    by_number = {record.number: record for record in copy.trials}
    for number in copy.judged:
        record = by_number[number]
        if record.outcome is not None:
            save_outcome(connection, campaign_id, ids[number], record.outcome)
            _set_time(connection, ids[number], {"judged_at": record.judged_at})


def _add_trial(
    connection: Connection,
    campaign_id: int,
    record: TrialRecord,
    copy: CampaignCopy,
    ids: Mapping[int, int],
) -> int:
    proposal = Proposal(
        specialist=record.specialist,
        surface=record.surface,
        parent=record.parents[0] if record.parents else 0,
        hypothesis=record.hypothesis,
        expected_delta=record.expected_delta,
        edits=record.edits,
    )
    trial_id, _ = save_trial(
        connection,
        campaign_id,
        proposal,
        parent_ids=[ids[number] for number in record.parents],
        files=copy.files.get(record.number, {}),
        digest=record.digest,
        diff=record.diff,
        round_number=record.round,
    )
    _set_time(connection, trial_id, {"proposed_at": record.proposed_at})
    return trial_id


def _set_time(connection: Connection, trial_id: int, values: Mapping[str, Any]) -> None:
    connection.execute(update(TrialRow).where(col(TrialRow.id) == trial_id), values)


def _row(campaign_id: int, message: MessageRecord) -> dict[str, Any]:
    return {
        "campaign_id": campaign_id,
        "position": message.position,
        "round_number": message.round,
        "trial_number": message.trial,
        "source": message.source,
        "type": message.type,
        "payload": to_json(message.payload),
        "created_at": message.created_at,
    }
