"""Read what was said: the messages of a campaign's chats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from recipelab.lineage.database import Row
from recipelab.lineage.lookup import OpenLineage, check_round, trial_id_of
from recipelab.lineage.records import MessageRecord
from recipelab.lineage.values import from_stamp

MESSAGE_PAGE = 500
"""Messages that are in memory at once while they are read one by one."""

_MESSAGES = """
SELECT position, round_number, trial_number, source, type, payload, created_at
FROM message WHERE campaign_id = :campaign
"""
_BEFORE = """
SELECT position, type FROM message
WHERE campaign_id = :campaign AND source = :source AND position < :position
ORDER BY position DESC LIMIT :limit
"""


class MessageReads(OpenLineage):
    """Reads messages.

    Args:
        database: The open database.
    """

    def messages(
        self, campaign: str, round_number: int | None = None, trial: int | None = None
    ) -> tuple[MessageRecord, ...]:
        """Return the messages of a campaign in the order in which they were said.

        Args:
            campaign: Name of the campaign.
            round_number: Only this round; ``None`` for all.
            trial: Only messages about the trial with this number; ``None`` for all.

        Raises:
            LineageError: There is no such round or trial; the message says which there are.
        """
        statement, values = _MESSAGES, dict[str, Any]()
        with self._asking(campaign) as (transaction, campaign_id):
            if round_number is not None:
                check_round(transaction, campaign_id, round_number, campaign)
                statement += " AND round_number = :round_number"
                values["round_number"] = round_number
            if trial is not None:
                trial_id_of(transaction, campaign_id, trial, campaign)
                statement += " AND trial_number = :trial"
                values["trial"] = trial
            statement += " ORDER BY position"
            rows = transaction.rows(statement, campaign=campaign_id, **values)
            return tuple(map(_message, rows))

    def newest_messages(self, campaign: str, *, type: str, limit: int) -> tuple[MessageRecord, ...]:
        """Return the newest messages of a class of the agent framework, the newest first.

        Args:
            campaign: Name of the campaign.
            type: The class.
            limit: How many at most.

        Raises:
            LineageError: There is no such campaign.
        """
        statement = f"{_MESSAGES} AND type = :type ORDER BY position DESC LIMIT :limit"
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(statement, campaign=campaign_id, type=type, limit=limit)
            return tuple(map(_message, rows))

    def some_messages(self, campaign: str, *, after: int, limit: int) -> tuple[MessageRecord, ...]:
        """Return the next messages of a campaign, in the order in which they were said.

        Args:
            campaign: Name of the campaign.
            after: Only messages with a higher position.
            limit: How many at most.
        """
        statement = f"{_MESSAGES} AND position > :after ORDER BY position LIMIT :limit"
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(statement, campaign=campaign_id, after=after, limit=limit)
            return tuple(map(_message, rows))

    def messages_before(
        self, campaign: str, source: str, position: int, *, limit: int
    ) -> list[tuple[int, str]]:
        """Return position and class of the last messages of a source before a position, in order.

        Args:
            campaign: Name of the campaign.
            source: Who said them.
            position: Only messages with a lower position.
            limit: How many at most.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(
                _BEFORE, campaign=campaign_id, source=source, position=position, limit=limit
            )
        return [(place, kind) for place, kind in reversed(rows)]

    def each_message(
        self, campaign: str, *, after: int = -1, type: str | None = None, spoken: bool = False
    ) -> Iterator[MessageRecord]:
        """Yield the messages of a campaign one by one, however many there are.

        No transaction stays open meanwhile; what is said in the meantime is given too.

        Args:
            campaign: Name of the campaign.
            after: Only messages with a higher position.
            type: Only messages of this class of the agent framework; ``None`` for all.
            spoken: Only what was said in the chat, and what is about a trial.

        Yields:
            The messages in the order in which they were said.

        Raises:
            LineageError: There is no such campaign.
        """
        statement, values = f"{_MESSAGES} AND position > :after", dict[str, Any]()
        if type is not None:
            statement += " AND type = :type"
            values["type"] = type
        if spoken:
            statement += " AND (trial_number IS NOT NULL OR type NOT LIKE '%Event')"
        statement += " ORDER BY position LIMIT :limit"
        while True:
            with self._asking(campaign) as (transaction, campaign_id):
                rows = transaction.rows(
                    statement, campaign=campaign_id, after=after, limit=MESSAGE_PAGE, **values
                )
            yield from map(_message, rows)
            if len(rows) < MESSAGE_PAGE:
                return
            after = rows[-1][0]


def _message(row: Row) -> MessageRecord:
    position, round_number, trial, source, type, payload, created_at = row
    return MessageRecord(
        position=position,
        round=round_number,
        trial=trial,
        source=source,
        type=type,
        payload=json.loads(payload),
        created_at=from_stamp(created_at),
    )
