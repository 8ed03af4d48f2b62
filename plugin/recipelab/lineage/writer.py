"""The part of the store that writes trials, each step of their life in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection, RowMapping, bindparam, select, update
from sqlmodel import col

from recipelab.core.errors import LineageError, unknown_name
from recipelab.core.trial import Outcome, Phase, Proposal, Status
from recipelab.lineage.finding import check_round, find_campaign, find_trial, find_trials
from recipelab.lineage.saving import drop_outcome, save_outcome, save_trial
from recipelab.lineage.states import TrialState, check_move
from recipelab.lineage.tables import TrialRow
from recipelab.lineage.writing.ledger import LedgerWriter

Named = TypeVar("Named", TrialState, Phase)

_STANDS = select(col(TrialRow.state), col(TrialRow.status)).where(
    col(TrialRow.id) == bindparam("id")
)
_MOVE = update(TrialRow).where(col(TrialRow.id) == bindparam("trial_id"))


class LineageWriter(LedgerWriter):
    """Adds trials, leads them through their states, and records how they ended.

    Args:
        engine: The open database.
    """

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
                find_campaign(connection, campaign, to_write=True),
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
            owner = find_campaign(connection, campaign, to_write=True)
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
            campaign_id = find_campaign(connection, campaign, to_write=True)["id"]
            trial_id = find_trial(connection, campaign_id, number, campaign)
            _, status = _stands(connection, trial_id)
            if status is Status.ABORTED:
                drop_outcome(connection, campaign_id, trial_id)
            elif status is not None:
                raise LineageError(f"trial {number} of {campaign} is judged already: {status}")
            save_outcome(connection, campaign_id, trial_id, outcome)

    def advance(
        self,
        campaign: str,
        number: int,
        state: TrialState | str,
        phase: Phase | str | None = None,
    ) -> None:
        """Notes where a trial stands. How it ended is for :meth:`record` to say.

        A trial goes from ``proposed`` to ``queued``, ``running`` through its phases, and
        ``measured``; from ``running`` and ``measured`` it may be queued again, and from ``judged``
        only if it was aborted, which takes its outcome away.

        Args:
            campaign: Name of the campaign.
            number: The trial's number.
            state: Where it stands from now on.
            phase: The phase that it runs, for ``running`` alone.

        Raises:
            LineageError: There is no such trial, state or phase, or the trial cannot go there; the
                message names its state and the valid ones.
        """
        then = _named(TrialState, "state", state)
        runs = None if phase is None else _named(Phase, "phase", phase)
        with self._writing() as connection:
            campaign_id = find_campaign(connection, campaign, to_write=True)["id"]
            trial_id = find_trial(connection, campaign_id, number, campaign)
            stands, status = _stands(connection, trial_id)
            told = f"trial {number} of {campaign}"
            check_move(told, stands, status, then, runs)
            if then is TrialState.JUDGED:
                raise LineageError(f"{told} becomes judged with its outcome alone: use record()")
            if stands is TrialState.JUDGED:
                drop_outcome(connection, campaign_id, trial_id)
                return
            values = {"trial_id": trial_id, "state": then.value, "phase": runs and runs.value}
            connection.execute(_MOVE, values)


def _stands(connection: Connection, trial_id: int) -> tuple[TrialState, Status | None]:
    state, status = connection.execute(_STANDS, {"id": trial_id}).one()
    return TrialState(state), None if status is None else Status(status)


def _named(kind: type[Named], what: str, name: str) -> Named:
    try:
        return kind(name)
    except ValueError:
        raise LineageError(unknown_name(what, name, kind)) from None


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
        parent_ids=find_trials(connection, campaign_id, parents, name),
        files=files,
        digest=digest,
        diff=diff,
        round_number=round_number,
    )
