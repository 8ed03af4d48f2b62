"""The part of the reader that gives what was said in the group chat."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Select, select
from sqlmodel import col

from recipelab.lineage.finding import check_round, find_trial
from recipelab.lineage.reading.base import Asking
from recipelab.lineage.reading.loading import message_record
from recipelab.lineage.records import MessageRecord
from recipelab.lineage.tables import MessageRow

PAGE = 500
"""How many messages are in memory at once while they are read one by one."""


class MessageReader(Asking):
    """Gives messages: those of a round or trial at once, those of a campaign one by one."""

    def messages(
        self, campaign: str, round_number: int | None = None, trial: int | None = None
    ) -> tuple[MessageRecord, ...]:
        """The messages of a campaign in the order in which they were said.

        Args:
            campaign: Name of the campaign.
            round_number: Only this round; ``None`` for all.
            trial: Only what is about the trial with this number; ``None`` for all.

        Raises:
            LineageError: There is no such round or trial; the message says which there are.
        """
        with self._asking(campaign) as (connection, campaign_id):
            statement = _all(campaign_id)
            if round_number is not None:
                check_round(connection, campaign_id, round_number, campaign)
                statement = statement.where(col(MessageRow.round_number) == round_number)
            if trial is not None:
                find_trial(connection, campaign_id, trial, campaign)
                statement = statement.where(col(MessageRow.trial_number) == trial)
            rows = connection.execute(statement)
            return tuple(message_record(row) for row in rows.mappings())

    def each_message(
        self, campaign: str, *, after: int = -1, type: str | None = None
    ) -> Iterator[MessageRecord]:
        """The messages of a campaign one by one, however many there are.

        No transaction stays open meanwhile; what is said in the meantime is given too.

        Args:
            campaign: Name of the campaign.
            after: Only messages with a higher position.
            type: Only messages of this class of the agent framework; ``None`` for all.

        Yields:
            The messages in the order in which they were said.

        Raises:
            LineageError: There is no such campaign.
        """
        while True:
            with self._asking(campaign) as (connection, campaign_id):
                statement = _all(campaign_id).where(col(MessageRow.position) > after).limit(PAGE)
                if type is not None:
                    statement = statement.where(col(MessageRow.type) == type)
                page = [message_record(row) for row in connection.execute(statement).mappings()]
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].position


def _all(campaign_id: int) -> Select[MessageRow]:
    return (
        select(MessageRow)
        .where(col(MessageRow.campaign_id) == campaign_id)
        .order_by(col(MessageRow.position))
    )
