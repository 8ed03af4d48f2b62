"""The part of the store that writes trials and messages, each in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, func, insert, select
from sqlmodel import col

from recipelab.errors import LineageError
from recipelab.lineage.database import writing
from recipelab.lineage.finding import check_round, find_campaign, find_trial
from recipelab.lineage.reader import LineageReader
from recipelab.lineage.saving import drop_outcome, now, save_outcome, save_trial
from recipelab.lineage.tables import MessageRow, TrialRow
from recipelab.lineage.text import NAME_CHARACTERS, cut, to_json
from recipelab.trial import Outcome, Proposal, Status


class LineageWriter(LineageReader):
    """Adds trials, their outcomes, and messages.

    Args:
        engine: The open database.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._write_engine = writing(engine)
        self._turn = threading.Lock()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._turn, self._write_engine.begin() as connection:
            yield connection

    def propose(
        self,
        campaign: str,
        proposal: Proposal,
        *,
        parents: Sequence[int],
        files: Mapping[str, str],
        digest: str,
        diff: str,
        round_number: int | None,
    ) -> int:
        """Adds a trial in flight.

        Args:
            campaign: Name of the campaign.
            proposal: What is proposed; ``parents`` stands in place of its parent.
            parents: Numbers of the trials it was made from, the main one first; none for the
                baseline.
            files: Its recipe: path to text.
            digest: The recipe's digest.
            diff: Unified diff from its parent.
            round_number: The round in which it is proposed; ``None`` outside of rounds.

        Returns:
            The trial's number: 0 for the first of a campaign, then one more each time.

        Raises:
            LineageError: There is no such campaign, parent or round.
            ValueError: The expected change is not a finite number.
        """
        with self._writing() as connection:
            return _propose(
                connection,
                find_campaign(connection, campaign),
                proposal,
                parents=parents,
                files=files,
                digest=digest,
                diff=diff,
                round_number=round_number,
            )[1]

    def propose_and_record(
        self,
        campaign: str,
        proposal: Proposal,
        outcome: Outcome,
        *,
        parents: Sequence[int],
        files: Mapping[str, str],
        digest: str,
        diff: str,
        round_number: int | None,
    ) -> int:
        """Adds a trial that is judged already, as a proposal that is rejected at once.

        Args:
            campaign: Name of the campaign.
            proposal: As in :meth:`propose`.
            outcome: How it ended.
            parents: As in :meth:`propose`.
            files: As in :meth:`propose`; empty if no recipe came of it.
            digest: As in :meth:`propose`; empty if no recipe came of it.
            diff: As in :meth:`propose`.
            round_number: As in :meth:`propose`.

        Returns:
            The trial's number.

        Raises:
            LineageError: There is no such campaign, parent or round.
            ValueError: A figure is not a finite number.
        """
        with self._writing() as connection:
            owner = find_campaign(connection, campaign)
            trial_id, number = _propose(
                connection,
                owner,
                proposal,
                parents=parents,
                files=files,
                digest=digest,
                diff=diff,
                round_number=round_number,
            )
            save_outcome(connection, owner["id"], trial_id, outcome)
            return number

    def record(self, campaign: str, number: int, outcome: Outcome) -> None:
        """Records how a trial ended. Only an aborted trial can be judged again.

        Args:
            campaign: Name of the campaign.
            number: The trial's number.
            outcome: How it ended.

        Raises:
            LineageError: There is no such trial, or it is judged already.
            ValueError: A figure of the outcome is not a finite number.
        """
        with self._writing() as connection:
            campaign_id = find_campaign(connection, campaign)["id"]
            trial_id = find_trial(connection, campaign_id, number, campaign)
            status = connection.scalar(
                select(col(TrialRow.status)).where(col(TrialRow.id) == trial_id)
            )
            if status == Status.ABORTED:
                drop_outcome(connection, trial_id)
            elif status is not None:
                raise LineageError(f"trial {number} of {campaign} is judged already: {status}")
            save_outcome(connection, campaign_id, trial_id, outcome)

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
        with self._writing() as connection:
            campaign_id = find_campaign(connection, campaign)["id"]
            if round_number is not None:
                check_round(connection, campaign_id, round_number, campaign)
            if trial is not None:
                find_trial(connection, campaign_id, trial, campaign)
            positions = select(func.max(col(MessageRow.position)))
            last = connection.scalar(positions.where(col(MessageRow.campaign_id) == campaign_id))
            position = 0 if last is None else last + 1
            values = {
                "campaign_id": campaign_id,
                "position": position,
                "round_number": round_number,
                "trial_number": trial,
                "source": cut(source, NAME_CHARACTERS),
                "type": cut(type, NAME_CHARACTERS),
                "payload": to_json(payload),
                "created_at": now(),
            }
            connection.execute(insert(MessageRow), values)
            return position


def _propose(
    connection: Connection,
    campaign: RowMapping,
    proposal: Proposal,
    *,
    parents: Sequence[int],
    files: Mapping[str, str],
    digest: str,
    diff: str,
    round_number: int | None,
) -> tuple[int, int]:
    """Adds a trial and gives its id and number."""
    campaign_id, name = campaign["id"], campaign["name"]
    if round_number is not None:
        check_round(connection, campaign_id, round_number, name)
    return save_trial(
        connection,
        campaign_id,
        proposal,
        parent_ids=[find_trial(connection, campaign_id, number, name) for number in parents],
        files=files,
        digest=digest,
        diff=diff,
        round_number=round_number,
    )
