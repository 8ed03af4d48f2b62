"""Copies whole campaigns into and out of a lineage, with the times and orders they had.

The store's other methods take the time of the call, as a running campaign needs it. Here a
campaign comes from elsewhere, and what it says of its past is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlmodel import col

from recipelab.core.errors import LineageError
from recipelab.core.trial import Proposal
from recipelab.lineage.answers import Note, UsageTotal
from recipelab.lineage.evidence import CertificateRow, FurtherRunRow
from recipelab.lineage.finding import find_campaign
from recipelab.lineage.ledgers import NoteRow, UsageTotalRow
from recipelab.lineage.records import (
    CampaignRecord,
    CertificateRecord,
    FurtherRunRecord,
    MessageRecord,
    TrialRecord,
)
from recipelab.lineage.saving import save_outcome, save_trial
from recipelab.lineage.states import TrialState
from recipelab.lineage.store import LineageStore
from recipelab.lineage.tables import CampaignRow, MessageRow, RoundRow, TrialRow
from recipelab.lineage.text import to_json
from recipelab.lineage.writing.base import lock_names
from recipelab.lineage.writing.campaigns import check_campaign
from recipelab.lineage.writing.runs import check_run, run_values

_STANDS = update(TrialRow).where(col(TrialRow.id) == bindparam("trial_id"))


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
        notes: Notes from people in order, retired ones too.
        usage: What its models took in all.
        further: Seed runs of judged trials that were made to compare others with them, by trial.
        certificates: What certifications found, oldest first.
    """

    campaign: CampaignRecord
    rounds: tuple[RoundRecord, ...]
    trials: tuple[TrialRecord, ...]
    files: Mapping[int, Mapping[str, str]]
    judged: tuple[int, ...]
    messages: tuple[MessageRecord, ...]
    notes: tuple[Note, ...] = ()
    usage: tuple[UsageTotal, ...] = ()
    further: tuple[FurtherRunRecord, ...] = ()
    certificates: tuple[CertificateRecord, ...] = ()


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
    check_campaign(name, copy.campaign.seed, copy.campaign.trials)
    for item in copy.further:
        check_run(item.run)
    with store._writing() as connection:
        lock_names(connection)
        if connection.scalar(select(col(CampaignRow.id)).where(col(CampaignRow.name) == name)):
            raise LineageError(f"there is a campaign {name} already; choose another name")
        settings = {"settings": to_json(copy.campaign.settings)}
        connection.execute(insert(CampaignRow), vars(copy.campaign) | settings)
        campaign_id = find_campaign(connection, name)["id"]
        if copy.rounds:
            rows = [{"campaign_id": campaign_id, **vars(item)} for item in copy.rounds]
            connection.execute(insert(RoundRow), rows)
        ids = _add_trials(connection, campaign_id, copy)
        _add_evidence(connection, ids, copy)
        if copy.messages:
            connection.execute(insert(MessageRow), [_row(campaign_id, m) for m in copy.messages])
        _add_all(connection, NoteRow, campaign_id, map(_note, copy.notes))
        _add_all(connection, UsageTotalRow, campaign_id, map(asdict, copy.usage))


def _add_trials(connection: Connection, campaign_id: int, copy: CampaignCopy) -> Mapping[int, int]:
    """Adds the trials; gives their ids by their numbers."""
    ids: dict[int, int] = {}
    for record in copy.trials:
        ids[record.number] = _add_trial(connection, campaign_id, record, copy, ids)
    by_number = {record.number: record for record in copy.trials}
    for number in copy.judged:
        record = by_number[number]
        if record.outcome is not None:
            at = record.judged_at
            save_outcome(connection, campaign_id, ids[number], record.outcome, at=at)
    for record in copy.trials:
        if record.state not in (TrialState.PROPOSED, TrialState.JUDGED):
            stands = {"state": record.state.value, "phase": record.phase and record.phase.value}
            connection.execute(_STANDS, {"trial_id": ids[record.number], **stands})
    return ids


def _add_evidence(connection: Connection, ids: Mapping[int, int], copy: CampaignCopy) -> None:
    further = [
        {"trial_id": ids[item.trial], "made_at": item.made_at, **run_values(item.run)}
        for item in copy.further
    ]
    found = [
        {"trial_id": ids[item.trial], "made_at": item.made_at, "found": to_json(item.found)}
        for item in copy.certificates
    ]
    for table, rows in ((FurtherRunRow, further), (CertificateRow, found)):
        if rows:
            connection.execute(insert(table), _in_order(rows))


def _in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Numbers the rows of each trial from 0."""
    counted: Counter[int] = Counter()
    placed = []
    for row in rows:
        placed.append(row | {"position": counted[row["trial_id"]]})
        counted[row["trial_id"]] += 1
    return placed


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
        at=record.proposed_at,
    )
    return trial_id


def _add_all(
    connection: Connection, table: Any, campaign_id: int, rows: Iterable[Mapping[str, Any]]
) -> None:
    values = [{"campaign_id": campaign_id, **row} for row in rows]
    if values:
        connection.execute(insert(table), values)


def _note(note: Note) -> dict[str, Any]:
    row = asdict(note)
    return row | {"trial_number": row.pop("trial")}


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
