"""Copy whole campaigns into a lineage, with the times and orders that they had.

The store's other methods take the time of the call, as a running campaign needs it. Here a
campaign comes from elsewhere, and what it says of its past is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recipelab.core.trial import Proposal
from recipelab.lineage.campaigns import check_campaign, insert_campaign
from recipelab.lineage.database import Transaction
from recipelab.lineage.evidence import (
    insert_certificate,
    insert_checkpoint,
    insert_further_run,
)
from recipelab.lineage.ledger import insert_note, insert_usage
from recipelab.lineage.records import (
    CampaignRecord,
    CertificateRecord,
    CheckpointRecord,
    FurtherRunRecord,
    MessageRecord,
    Note,
    RoundRecord,
    TrialRecord,
    TrialState,
    UsageTotal,
)
from recipelab.lineage.store import LineageStore
from recipelab.lineage.trial_rows import (
    ProposedRecipe,
    insert_trial,
    judge_trial,
    move_trial,
    set_parents,
)
from recipelab.lineage.turns import TurnRecord, insert_turn, insert_turn_trial
from recipelab.lineage.values import check_checkpoint, check_seed_run, to_json, to_stamp


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
        checkpoints: What checkpoints of the working line found, oldest first.
        turns: The turns of its specialists in order.
        views: What they were shown, by the hash that its turns name.
        secret: The bytes that its fresh seeds are made from; ``None`` for new ones.
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
    checkpoints: tuple[CheckpointRecord, ...] = ()
    turns: tuple[TurnRecord, ...] = ()
    views: Mapping[str, str] = field(default_factory=dict[str, str])
    secret: bytes | None = field(default=None, repr=False)


def add_copy(store: LineageStore, copy: CampaignCopy) -> None:
    """Add a campaign with all that belongs to it, in one transaction.

    Raises:
        LineageError: There is a campaign of that name, or it cannot name one.
        ValueError: A figure is not a finite number.
    """
    check_campaign(copy.campaign.name, copy.campaign.seed, copy.campaign.trials)
    for item in copy.further:
        check_seed_run(item.run)
    for checkpoint in copy.checkpoints:
        check_checkpoint(checkpoint.found)
    with store._writing() as transaction:
        campaign_id = insert_campaign(
            transaction, copy.campaign, "choose another name", copy.secret
        )
        for round_ in copy.rounds:
            transaction.insert(
                "round",
                campaign_id=campaign_id,
                number=round_.number,
                started_at=to_stamp(round_.started_at),
                ended_at=None if round_.ended_at is None else to_stamp(round_.ended_at),
            )
        ids = _add_trials(transaction, campaign_id, copy)
        for run in copy.further:
            insert_further_run(transaction, ids[run.trial], run)
        for certificate in copy.certificates:
            insert_certificate(transaction, ids[certificate.trial], certificate)
        for checkpoint in copy.checkpoints:
            head = ids[checkpoint.found.trial]
            insert_checkpoint(transaction, campaign_id, head, checkpoint)
        for message in copy.messages:
            _add_message(transaction, campaign_id, message)
        for turn in copy.turns:
            insert_turn(transaction, campaign_id, turn, copy.views[turn.view] if turn.view else "")
            for number in turn.trials:
                insert_turn_trial(transaction, campaign_id, ids[number], turn.number)
        for note in copy.notes:
            insert_note(transaction, campaign_id, note)
        for total in copy.usage:
            insert_usage(transaction, campaign_id, total, None)


def _add_trials(
    transaction: Transaction, campaign_id: int, copy: CampaignCopy
) -> Mapping[int, int]:
    """Add the trials and return their ids by number."""
    ids: dict[int, int] = {}
    moved: list[TrialRecord] = []
    for record in copy.trials:
        # A trial that moved onto a new head has a parent that comes later.
        later = any(number not in ids for number in record.parents)
        moved += [record] if later else []
        ids[record.number] = insert_trial(
            transaction,
            campaign_id,
            _proposal(record),
            parent_ids=() if later else [ids[number] for number in record.parents],
            round_number=record.round,
            recipe=ProposedRecipe(copy.files.get(record.number, {}), record.digest, record.diff),
            proposed_at=record.proposed_at,
        )
    for record in moved:
        set_parents(transaction, ids[record.number], [ids[number] for number in record.parents])
    by_number = {record.number: record for record in copy.trials}
    for number in copy.judged:
        record = by_number[number]
        if record.outcome is not None:
            judge_trial(
                transaction,
                campaign_id,
                ids[number],
                record.outcome,
                judged_at=record.judged_at,
                standing=record.standing,
            )
    for record in copy.trials:
        if record.state is TrialState.RUNNING:
            move_trial(transaction, ids[record.number], record.state, record.phase)
    return ids


def _proposal(record: TrialRecord) -> Proposal:
    return Proposal(
        specialist=record.specialist,
        surface=record.surface,
        parent=record.parents[0] if record.parents else 0,
        hypothesis=record.hypothesis,
        expected_delta=record.expected_delta,
        edits=record.edits,
    )


def _add_message(transaction: Transaction, campaign_id: int, message: MessageRecord) -> None:
    transaction.insert(
        "message",
        campaign_id=campaign_id,
        position=message.position,
        round_number=message.round,
        trial_number=message.trial,
        source=message.source,
        type=message.type,
        payload=to_json(message.payload),
        created_at=to_stamp(message.created_at),
    )
