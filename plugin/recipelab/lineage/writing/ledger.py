"""The part of the store that writes messages, notes, usage and leases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, text, update
from sqlmodel import col

from recipelab.core.errors import LineageError
from recipelab.lineage.answers import Note
from recipelab.lineage.finding import check_round, find_campaign, find_trial, find_trials
from recipelab.lineage.ledgers import LeaseRow, NoteRow, UsageRow
from recipelab.lineage.query import LARGEST
from recipelab.lineage.records import NewMessage, NewUsage
from recipelab.lineage.saving import now
from recipelab.lineage.tables import MessageRow
from recipelab.lineage.text import HYPOTHESIS_CHARACTERS, NAME_CHARACTERS, cut, to_json
from recipelab.lineage.writing.base import Writing
from recipelab.lineage.writing.runs import require_finite

_ADD_MESSAGE = insert(MessageRow)
_ADD_USAGE = insert(UsageRow)
_LAST_MESSAGE = select(func.max(col(MessageRow.position))).where(
    col(MessageRow.campaign_id) == bindparam("campaign_id")
)
_ADD_UP = text(
    """
    INSERT INTO usage_total (campaign_id, specialist, model, calls, prompt_tokens,
                             completion_tokens, seconds, cost)
    VALUES (:campaign_id, :specialist, :model, 1, :prompt_tokens, :completion_tokens,
            :seconds, :cost)
    ON CONFLICT (campaign_id, specialist, model) DO UPDATE SET
      calls = usage_total.calls + 1,
      prompt_tokens = usage_total.prompt_tokens + excluded.prompt_tokens,
      completion_tokens = usage_total.completion_tokens + excluded.completion_tokens,
      seconds = usage_total.seconds + excluded.seconds,
      cost = usage_total.cost + excluded.cost
    """
)


class LedgerWriter(Writing):
    """Adds messages, notes, usage and leases."""

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
        """Adds a message of the group chat.

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
    ) -> int:
        """Adds messages of the group chat, and what was used for them, all or none.

        Args:
            campaign: Name of the campaign.
            messages: The messages, in the order in which they were said.
            round_number: The round in which they were said; ``None`` outside of rounds.
            usage: What calls of models and trials used.

        Returns:
            The place of the first among the messages of the campaign, from 0.

        Raises:
            LineageError: There is no such campaign, round or trial, or a number of the usage is
                negative or too large.
            ValueError: Seconds or cost of the usage is not a finite number.
        """
        for one in usage:
            _check_usage(one)
        with self._writing() as connection:
            campaign_id = _checked(connection, campaign, round_number, None)
            trials = {message.trial for message in messages if message.trial is not None}
            find_trials(connection, campaign_id, sorted(trials), campaign)
            last = connection.scalar(_LAST_MESSAGE, {"campaign_id": campaign_id})
            position = 0 if last is None else int(last) + 1
            rows = [
                {
                    "campaign_id": campaign_id,
                    "position": position + place,
                    "round_number": round_number,
                    "trial_number": message.trial,
                    "source": cut(message.source, NAME_CHARACTERS),
                    "type": cut(message.type, NAME_CHARACTERS),
                    "payload": to_json(message.payload),
                    "created_at": message.created_at,
                }
                for place, message in enumerate(messages)
            ]
            if rows:
                connection.execute(_ADD_MESSAGE, rows)
            for one in usage:
                if one.round is not None and one.round != round_number:
                    check_round(connection, campaign_id, one.round, campaign)
                _insert_usage(connection, campaign_id, one)
            return position

    def add_note(
        self, campaign: str, text: str, specialist: str | None = None, trial: int | None = None
    ) -> Note:
        """Adds a note from a person, which specialists see until it is retired.

        Args:
            campaign: Name of the campaign.
            text: What it says.
            specialist: Whom it is for; ``None`` for all.
            trial: Number of the trial that it is about, if it is about one.

        Raises:
            LineageError: It says nothing, or there is no such campaign or trial.
        """
        if not text.strip():
            raise LineageError("a note must say something")
        with self._writing() as connection:
            campaign_id = _checked(connection, campaign, None, trial)
            numbers = select(func.max(col(NoteRow.number)))
            last = connection.scalar(numbers.where(col(NoteRow.campaign_id) == campaign_id)) or 0
            note = Note(
                number=last + 1,
                text=cut(text, HYPOTHESIS_CHARACTERS),
                specialist=None if specialist is None else cut(specialist, NAME_CHARACTERS),
                trial=trial,
                created_at=now(),
                retired_at=None,
            )
            values = {
                "campaign_id": campaign_id,
                "number": note.number,
                "text": note.text,
                "specialist": note.specialist,
                "trial_number": trial,
                "created_at": note.created_at,
            }
            connection.execute(insert(NoteRow), values)
            return note

    def retire_note(self, campaign: str, number: int) -> None:
        """Takes a note out of sight of the specialists. A retired one stays as it is.

        Raises:
            LineageError: There is no such note; the message says which hold.
        """
        with self._writing() as connection:
            campaign_id = find_campaign(connection, campaign, to_write=True)["id"]
            number_there, of = col(NoteRow.number), col(NoteRow.campaign_id) == campaign_id
            numbers = list(connection.scalars(select(number_there).where(of)))
            if number not in numbers:
                told = ", ".join(map(str, sorted(numbers))) or "(none)"
                raise LineageError(f"campaign {campaign} has no note {number}; valid: {told}")
            statement = update(NoteRow).where(of, number_there == number)
            holds = col(NoteRow.retired_at).is_(None)
            connection.execute(statement.where(holds).values(retired_at=now()))

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
    ) -> None:
        """Adds what one call of a model took.

        Args:
            campaign: Name of the campaign.
            specialist: Who called.
            model: The model.
            prompt_tokens: Tokens sent.
            completion_tokens: Tokens received.
            seconds: Time waited, in seconds.
            cost: Cost, in the currency that the caller counts in.
            round_number: The round of the call; ``None`` outside of rounds.

        Raises:
            LineageError: There is no such campaign or round, or a number is negative or too large.
            ValueError: Seconds or cost is not a finite number.
        """
        usage = NewUsage(
            specialist, model, prompt_tokens, completion_tokens, seconds, cost, round_number
        )
        self.add_messages(campaign, (), round_number=None, usage=[usage])

    def lease_slot(self, campaign: str, trial: int, slot: str, *, sandbox: str, owner: str) -> None:
        """Notes that a trial holds a slot, in place of what was noted of the two before.

        Args:
            campaign: Name of the campaign.
            trial: The trial's number.
            slot: Name of the slot.
            sandbox: Identity of what runs in it, as a container's name.
            owner: Identity of the process that took it.

        Raises:
            LineageError: There is no such campaign or trial.
        """
        with self._writing() as connection:
            campaign_id = _checked(connection, campaign, None, trial)
            _release(connection, campaign_id, trial, slot)
            values = {
                "campaign_id": campaign_id,
                "trial_number": trial,
                "slot": cut(slot, NAME_CHARACTERS),
                "sandbox": cut(sandbox, NAME_CHARACTERS),
                "owner": cut(owner, NAME_CHARACTERS),
                "since": now(),
            }
            connection.execute(insert(LeaseRow), values)

    def release_slot(self, campaign: str, trial: int, slot: str | None = None) -> None:
        """Notes that a trial holds a slot no more; nothing happens if it held none.

        Args:
            campaign: Name of the campaign.
            trial: The trial's number.
            slot: Name of the slot; ``None`` for all that it holds.

        Raises:
            LineageError: There is no such campaign or trial.
        """
        with self._writing() as connection:
            campaign_id = _checked(connection, campaign, None, trial)
            _release(connection, campaign_id, trial, slot)


def _check_usage(usage: NewUsage) -> None:
    require_finite({"seconds": usage.seconds, "cost": usage.cost})
    for name in ("prompt_tokens", "completion_tokens", "seconds", "cost"):
        figure = getattr(usage, name)
        if not 0 <= figure <= LARGEST:
            raise LineageError(f"{name} must be from 0 to {LARGEST}, not {figure}")


def _insert_usage(connection: Connection, campaign_id: int, usage: NewUsage) -> None:
    values = {
        "campaign_id": campaign_id,
        "specialist": cut(usage.specialist, NAME_CHARACTERS),
        "model": cut(usage.model, NAME_CHARACTERS),
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "seconds": usage.seconds,
        "cost": usage.cost,
    }
    connection.execute(_ADD_USAGE, values | {"round_number": usage.round, "created_at": now()})
    connection.execute(_ADD_UP, values)


def _checked(
    connection: Connection, campaign: str, round_number: int | None, trial: int | None
) -> int:
    """The id of a campaign that has the round and the trial."""
    campaign_id = find_campaign(connection, campaign, to_write=True)["id"]
    if round_number is not None:
        check_round(connection, campaign_id, round_number, campaign)
    if trial is not None:
        find_trial(connection, campaign_id, trial, campaign)
    return int(campaign_id)


def _release(connection: Connection, campaign_id: int, trial: int, slot: str | None) -> None:
    statement = delete(LeaseRow).where(
        col(LeaseRow.campaign_id) == campaign_id, col(LeaseRow.trial_number) == trial
    )
    if slot is not None:
        statement = statement.where(col(LeaseRow.slot) == cut(slot, NAME_CHARACTERS))
    connection.execute(statement)
