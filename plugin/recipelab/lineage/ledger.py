"""Keep what is remembered beside the trials: messages, notes, usage of models, leases of slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from recipelab.core.errors import LineageError
from recipelab.lineage.database import Transaction
from recipelab.lineage.leases import note_reserved
from recipelab.lineage.lookup import check_round, trial_id_of, trial_ids_of
from recipelab.lineage.messages import MessageReads
from recipelab.lineage.records import (
    Lease,
    NewMessage,
    NewUsage,
    Note,
    UsageEntry,
    UsageTotal,
)
from recipelab.lineage.turns import note_heard
from recipelab.lineage.values import (
    HYPOTHESIS_CHARACTERS,
    LARGEST_INTEGER,
    cut,
    cut_name,
    from_optional_stamp,
    from_stamp,
    now,
    require_finite,
    to_json,
    to_stamp,
)

_USAGE = """
SELECT specialist, model, sum(calls), sum(prompt_tokens), sum(completion_tokens), sum(seconds),
  sum(cost)
FROM usage WHERE campaign_id = :campaign GROUP BY specialist, model
"""
_BOOKED = """
SELECT created_at, model, prompt_tokens + completion_tokens, seconds, cost
FROM usage WHERE campaign_id = :campaign ORDER BY created_at, id
"""
_LEASES = """
SELECT c.name, l.trial_number, l.slot, l.sandbox, l.owner, l.since
FROM lease l JOIN campaign c ON c.id = l.campaign_id
"""


class LedgerStore(MessageReads):
    """Reads and writes messages, notes, usage and leases.

    Args:
        database: The open database.
    """

    def add_message(
        self,
        campaign: str,
        *,
        round_number: int | None,
        source: str,
        type: str,
        payload: Mapping[str, Any],
        trial: int | None,
    ) -> int:
        """Add a message of the group chat.

        Args:
            campaign: Name of the campaign.
            round_number: The round in which it was said; ``None`` outside of rounds.
            source: Who said it.
            type: The class of the message in the agent framework.
            payload: The message as that framework dumped it, as plain data.
            trial: Number of the trial that it is about, if it is about one.

        Returns:
            Its place among the messages of the campaign, from 0.

        Raises:
            LineageError: There is no such campaign, round or trial.
        """
        return self.add_messages(
            campaign, [NewMessage(source, type, payload, trial)], round_number=round_number
        )

    def add_messages(
        self,
        campaign: str,
        messages: Sequence[NewMessage],
        *,
        round_number: int | None,
        usage: Sequence[NewUsage] = (),
        reserved: tuple[int, float] | None = None,
    ) -> int:
        """Add messages of the group chat, and what was used for them, all or none.

        Args:
            campaign: Name of the campaign.
            messages: The messages, in the order in which they were said.
            round_number: The round in which they were said; ``None`` outside of rounds.
            usage: What calls of models and trials used.
            reserved: Tokens and US dollars that the driver's calls have still reserved after that;
                ``None`` where nothing is reserved in the lineage.

        Returns:
            The place of the first among the messages of the campaign, from 0.

        Raises:
            LineageError: There is no such campaign, round or trial, or a number of the usage is
                negative or too large.
            ValueError: Seconds or cost of the usage is not a finite number.
        """
        for one in usage:
            _check_usage(one)
        with self._writing_to(campaign) as (transaction, campaign_id):
            if round_number is not None:
                check_round(transaction, campaign_id, round_number, campaign)
            trials = {message.trial for message in messages if message.trial is not None}
            trial_ids_of(transaction, campaign_id, sorted(trials), campaign)
            last = transaction.value(
                "SELECT max(position) FROM message WHERE campaign_id = :campaign",
                campaign=campaign_id,
            )
            position = 0 if last is None else int(last) + 1
            rows = [
                {
                    "campaign_id": campaign_id,
                    "position": place,
                    "round_number": round_number,
                    "trial_number": message.trial,
                    "source": cut_name(message.source),
                    "type": cut_name(message.type),
                    "payload": to_json(message.payload),
                    "created_at": to_stamp(message.created_at),
                }
                for place, message in enumerate(messages, start=position)
            ]
            transaction.insert_many("message", rows)
            turns = (message.turn for message in messages)
            note_heard(transaction, campaign_id, zip(turns, count(position)))
            for one in usage:
                if one.round is not None and one.round != round_number:
                    check_round(transaction, campaign_id, one.round, campaign)
                _insert_call(transaction, campaign_id, one)
            if reserved is not None and (driver := self._driving.get(campaign)) is not None:
                note_reserved(transaction, campaign_id, driver, *reserved)
            return position

    def notes(
        self, campaign: str, *, specialist: str | None = None, retired: bool = False
    ) -> tuple[Note, ...]:
        """Return the notes from people, oldest first.

        Args:
            campaign: Name of the campaign.
            specialist: Only notes for this specialist or for all; ``None`` for every note.
            retired: Whether to give those too that hold no longer.
        """
        statement = (
            "SELECT number, text, specialist, trial_number, created_at, retired_at FROM note "
            "WHERE campaign_id = :campaign"
        )
        values: dict[str, Any] = {}
        if specialist is not None:
            statement += " AND (specialist IS NULL OR specialist = :specialist)"
            values["specialist"] = specialist
        if not retired:
            statement += " AND retired_at IS NULL"
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(f"{statement} ORDER BY number", campaign=campaign_id, **values)
        return tuple(
            Note(number, text, whom, trial, from_stamp(created), from_optional_stamp(retired))
            for number, text, whom, trial, created, retired in rows
        )

    def add_note(
        self, campaign: str, text: str, specialist: str | None = None, trial: int | None = None
    ) -> Note:
        """Add a note from a person, which specialists see until it is retired.

        Args:
            campaign: Name of the campaign.
            text: What it says.
            specialist: The specialist that it is for; ``None`` for all.
            trial: Number of the trial that it is about, if it is about one.

        Raises:
            LineageError: It says nothing, or there is no such campaign or trial.
        """
        if not text.strip():
            raise LineageError("a note must say something")
        with self._writing_to(campaign) as (transaction, campaign_id):
            if trial is not None:
                trial_id_of(transaction, campaign_id, trial, campaign)
            last = transaction.value(
                "SELECT max(number) FROM note WHERE campaign_id = :campaign", campaign=campaign_id
            )
            note = Note(
                number=(last or 0) + 1,
                text=cut(text, HYPOTHESIS_CHARACTERS),
                specialist=None if specialist is None else cut_name(specialist),
                trial=trial,
                created_at=now(),
                retired_at=None,
            )
            insert_note(transaction, campaign_id, note)
            return note

    def retire_note(self, campaign: str, number: int) -> None:
        """Take a note out of sight of the specialists. A retired one stays as it is.

        Raises:
            LineageError: There is no such note; the message says which hold.
        """
        with self._writing_to(campaign) as (transaction, campaign_id):
            numbers = transaction.values(
                "SELECT number FROM note WHERE campaign_id = :campaign ORDER BY number",
                campaign=campaign_id,
            )
            if number not in numbers:
                known = ", ".join(map(str, numbers)) or "(none)"
                raise LineageError(f"campaign {campaign} has no note {number}; valid: {known}")
            transaction.run(
                "UPDATE note SET retired_at = :now "
                "WHERE campaign_id = :campaign AND number = :number AND retired_at IS NULL",
                now=to_stamp(now()),
                campaign=campaign_id,
                number=number,
            )

    def usage(self, campaign: str) -> tuple[UsageTotal, ...]:
        """Return what the calls of models took in all, by specialist and model."""
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(_USAGE, campaign=campaign_id)
        totals = [
            UsageTotal(name, model, int(calls), int(sent), int(received), seconds, cost)
            for name, model, calls, sent, received, seconds, cost in rows
        ]
        return tuple(sorted(totals, key=lambda total: (total.specialist, total.model)))

    def usage_entries(self, campaign: str) -> tuple[UsageEntry, ...]:
        """Return what each call of a model and each trial on a device used, oldest first.

        An imported campaign has one entry for each specialist and model, of the time of the import.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(_BOOKED, campaign=campaign_id)
        return tuple(UsageEntry(from_stamp(at), *rest) for at, *rest in rows)

    def add_usage(
        self,
        campaign: str,
        *,
        specialist: str,
        model: str,
        prompt_tokens: int,
        completion_tokens: int,
        seconds: float,
        cost: float = 0.0,
        round_number: int | None = None,
        reserved: tuple[int, float] | None = None,
    ) -> None:
        """Add what one call of a model took.

        Args:
            campaign: Name of the campaign.
            specialist: Who called.
            model: The model.
            prompt_tokens: Tokens sent.
            completion_tokens: Tokens received.
            seconds: Time waited, in seconds.
            cost: Cost, in the currency that the caller counts in.
            round_number: The round of the call; ``None`` outside of rounds.
            reserved: As in :meth:`add_messages`.

        Raises:
            LineageError: There is no such campaign or round, or a number is negative or too large.
            ValueError: Seconds or cost is not a finite number.
        """
        usage = NewUsage(
            specialist, model, prompt_tokens, completion_tokens, seconds, cost, round_number
        )
        self.add_messages(campaign, (), round_number=None, usage=[usage], reserved=reserved)

    def leases(self, campaign: str | None = None) -> tuple[Lease, ...]:
        """Return the slots that trials hold, in the order in which they were taken.

        Args:
            campaign: Name of a campaign; ``None`` for all.
        """
        order = "ORDER BY l.since, l.trial_number"
        if campaign is None:
            with self._reading() as transaction:
                rows = transaction.rows(f"{_LEASES} {order}")
        else:
            with self._asking(campaign) as (transaction, campaign_id):
                statement = f"{_LEASES} WHERE l.campaign_id = :campaign {order}"
                rows = transaction.rows(statement, campaign=campaign_id)
        return tuple(
            Lease(name, trial, slot, sandbox, owner, from_stamp(since))
            for name, trial, slot, sandbox, owner, since in rows
        )

    def dead_leases(self, is_alive: Callable[[str], bool]) -> tuple[Lease, ...]:
        """Return the leases of owners that are gone, as after a kill.

        Args:
            is_alive: Whether the process with an identity still lives.
        """
        return tuple(lease for lease in self.leases() if not is_alive(lease.owner))

    def lease_slot(self, campaign: str, trial: int, slot: str, *, sandbox: str, owner: str) -> None:
        """Note that a trial holds a slot, in place of what was noted of the two before.

        Args:
            campaign: Name of the campaign.
            trial: The trial's number.
            slot: Name of the slot.
            sandbox: Identity of what runs in it, as a container's name.
            owner: Identity of the process that took it.

        Raises:
            LineageError: There is no such campaign or trial.
        """
        with self._writing_trial(campaign, trial) as (transaction, campaign_id):
            trial_id_of(transaction, campaign_id, trial, campaign)
            _release(transaction, campaign_id, trial, slot)
            transaction.insert(
                "lease",
                campaign_id=campaign_id,
                trial_number=trial,
                slot=cut_name(slot),
                sandbox=cut_name(sandbox),
                owner=cut_name(owner),
                since=to_stamp(now()),
            )

    def release_slot(self, campaign: str, trial: int, slot: str | None = None) -> None:
        """Note that a trial holds a slot no more; nothing happens if it held none.

        Args:
            campaign: Name of the campaign.
            trial: The trial's number.
            slot: Name of the slot; ``None`` for all that it holds.

        Raises:
            LineageError: There is no such campaign or trial.
        """
        with self._writing_to(campaign) as (transaction, campaign_id):
            trial_id_of(transaction, campaign_id, trial, campaign)
            _release(transaction, campaign_id, trial, slot)


def _check_usage(usage: NewUsage) -> None:
    require_finite("seconds", usage.seconds)
    require_finite("cost", usage.cost)
    for name in ("prompt_tokens", "completion_tokens", "seconds", "cost"):
        value = getattr(usage, name)
        if not 0 <= value <= LARGEST_INTEGER:
            raise LineageError(f"{name} must be from 0 to {LARGEST_INTEGER}, not {value}")


def _insert_call(transaction: Transaction, campaign_id: int, usage: NewUsage) -> None:
    total = UsageTotal(
        cut_name(usage.specialist),
        cut_name(usage.model),
        1,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.seconds,
        usage.cost,
    )
    insert_usage(transaction, campaign_id, total, usage.round)


def _release(transaction: Transaction, campaign_id: int, trial: int, slot: str | None) -> None:
    statement = "DELETE FROM lease WHERE campaign_id = :campaign AND trial_number = :trial"
    if slot is None:
        transaction.run(statement, campaign=campaign_id, trial=trial)
    else:
        statement += " AND slot = :slot"
        transaction.run(statement, campaign=campaign_id, trial=trial, slot=cut_name(slot))


def insert_note(transaction: Transaction, campaign_id: int, note: Note) -> None:
    """Add a note as it is."""
    transaction.insert(
        "note",
        campaign_id=campaign_id,
        number=note.number,
        text=note.text,
        specialist=note.specialist,
        trial_number=note.trial,
        created_at=to_stamp(note.created_at),
        retired_at=None if note.retired_at is None else to_stamp(note.retired_at),
    )


def insert_usage(
    transaction: Transaction, campaign_id: int, total: UsageTotal, round_number: int | None
) -> None:
    """Add what calls took as one row."""
    transaction.insert(
        "usage",
        campaign_id=campaign_id,
        round_number=round_number,
        created_at=to_stamp(now()),
        **vars(total),
    )
