"""Write trials: each step of their life is one transaction that the store's rules allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from recipelab.core.errors import LineageError, unknown_name
from recipelab.core.trial import Outcome, Phase, Proposal, Status
from recipelab.lineage.database import Transaction
from recipelab.lineage.leases import check_room, end_lease, hold_trial
from recipelab.lineage.lookup import (
    OpenLineage,
    check_live,
    check_round,
    number_of,
    trial_id_of,
    trial_ids_of,
)
from recipelab.lineage.records import TrialState
from recipelab.lineage.similar import EditKeys
from recipelab.lineage.trial_rows import (
    ProposedRecipe,
    insert_trial,
    judge_trial,
    move_trial,
    reopen_trial,
    replace_recipe,
    set_parents,
)
from recipelab.lineage.trials import chain_ids
from recipelab.lineage.values import parent_numbers

Named = TypeVar("Named", TrialState, Phase)

_NEXT_STATES = {
    TrialState.QUEUED: (TrialState.RUNNING, TrialState.JUDGED),
    TrialState.RUNNING: (TrialState.RUNNING, TrialState.QUEUED, TrialState.JUDGED),
}

_PARENTS = "SELECT parents FROM trial WHERE id = :id"
_STANDING = "SELECT state, status FROM trial WHERE id = :id"


class TrialWriter(OpenLineage):
    """Adds trials, leads them through their states, and records how they ended.

    Args:
        database: The open database.
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
        turn: int | None = None,
        meaning: str | None = None,
        keys: EditKeys | None = None,
    ) -> int:
        """Add a trial, which is queued from now on.

        Args:
            campaign: Name of the campaign.
            proposal: The proposal; ``parents`` stands in place of its parent.
            parents: Numbers of the trials it was made from, the main one first; none for the
                baseline.
            files: Its recipe: path to text.
            digest: The recipe's digest.
            diff: Unified diff from its parent.
            round_number: The round in which it is proposed; ``None`` outside of rounds.
            turn: Number of the turn in which it is proposed; ``None`` outside of turns.
            meaning: The recipe's meaning, where the caller has computed it.
            keys: The keys of the diff, where the caller has computed them.

        Returns:
            The trial's number: 0 for the first of a campaign, then one more each time.

        Raises:
            LineageError: There is no such campaign, parent, round or turn.
            BudgetSpent: Drivers run the campaign, and its trials are spent or in flight.
            ValueError: The expected change is not a finite number.
        """
        recipe = ProposedRecipe(files, digest, diff, meaning, keys)
        with self._writing_to(campaign) as (transaction, campaign_id):
            if parents:
                check_room(transaction, campaign_id, campaign, self._most_device.get(campaign))
            parent_ids = _checked(transaction, campaign_id, campaign, parents, round_number)
            trial_id = insert_trial(
                transaction,
                campaign_id,
                proposal,
                parent_ids=parent_ids,
                round_number=round_number,
                recipe=recipe,
                turn=turn,
            )
            if (driver := self._driving.get(campaign)) is not None:
                check_live(transaction, campaign_id, driver)
                hold_trial(transaction, campaign_id, number_of(trial_id), driver)
            return number_of(trial_id)

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
        turn: int | None = None,
    ) -> int:
        """Add a trial that is judged already, as a proposal that is rejected at once.

        Args:
            campaign: Name of the campaign.
            proposal: As in :meth:`propose`.
            outcome: How it ended.
            parents: As in :meth:`propose`.
            files: As in :meth:`propose`; empty if no recipe came of it.
            digest: As in :meth:`propose`; empty if no recipe came of it.
            diff: As in :meth:`propose`.
            round_number: As in :meth:`propose`.
            turn: As in :meth:`propose`.

        Returns:
            The trial's number.

        Raises:
            LineageError: There is no such campaign, parent, round or turn.
            ValueError: A figure is not a finite number.
        """
        recipe = ProposedRecipe(files, digest, diff)
        with self._writing_to(campaign) as (transaction, campaign_id):
            parent_ids = _checked(transaction, campaign_id, campaign, parents, round_number)
            trial_id = insert_trial(
                transaction,
                campaign_id,
                proposal,
                parent_ids=parent_ids,
                round_number=round_number,
                recipe=recipe,
                turn=turn,
            )
            judge_trial(transaction, campaign_id, trial_id, outcome)
            return number_of(trial_id)

    def record(self, campaign: str, number: int, outcome: Outcome) -> None:
        """Record how a trial ended. Only an aborted trial can be judged again.

        Args:
            campaign: Name of the campaign.
            number: The trial's number.
            outcome: How it ended.

        Raises:
            LineageError: There is no such trial, it is judged already, or another driver has it.
            ValueError: A figure of the outcome is not a finite number.
        """
        with self._writing_trial(campaign, number, judges=True) as (transaction, campaign_id):
            trial_id = trial_id_of(transaction, campaign_id, number, campaign)
            _, status = _standing(transaction, trial_id)
            end_lease(transaction, campaign_id, number)
            if status is Status.ABORTED:
                reopen_trial(transaction, trial_id)
            elif status is not None:
                raise LineageError(f"trial {number} of {campaign} is judged already: {status}")
            judge_trial(transaction, campaign_id, trial_id, outcome)

    def begin_anew(
        self, campaign: str, number: int, *, files: Mapping[str, str], digest: str, meaning: str
    ) -> None:
        """Queue a starting recipe again that was not measured, as it is by now.

        Args:
            campaign: Name of the campaign.
            number: The trial's number.
            files: The recipe: path to text.
            digest: Its digest.
            meaning: Its meaning.

        Raises:
            LineageError: There is no such trial, it was made from another one, or it was measured.
        """
        with self._writing_to(campaign) as (transaction, campaign_id):
            trial_id = trial_id_of(transaction, campaign_id, number, campaign)
            state, status = _standing(transaction, trial_id)
            (parents,) = transaction.values(_PARENTS, id=trial_id)
            if parent_numbers(parents) or (status is not None and not status.is_failure):
                raise LineageError(
                    f"trial {number} of {campaign} cannot begin anew; valid: a starting recipe "
                    "that was not measured"
                )
            if state is TrialState.JUDGED:
                reopen_trial(transaction, trial_id)
            replace_recipe(
                transaction, campaign_id, trial_id, ProposedRecipe(files, digest, "", meaning)
            )

    def rebase(
        self,
        campaign: str,
        number: int,
        *,
        onto: int,
        files: Mapping[str, str],
        digest: str,
        diff: str,
        meaning: str | None = None,
        keys: EditKeys | None = None,
    ) -> None:
        """Move a trial in flight onto another parent, where the best has changed meanwhile.

        Its edits stay as they were proposed, and its old parents follow the new one.

        Args:
            campaign: Name of the campaign.
            number: The trial's number.
            onto: Number of the trial that its edit was merged onto; it may be the higher one.
            files: The merged recipe: path to text.
            digest: Its digest.
            diff: Unified diff from the new parent.
            meaning: Its meaning, where the caller has computed it.
            keys: The keys of the diff, where the caller has computed them.

        Raises:
            LineageError: There is no such trial, it is judged already, or the new parent is not
                on the chain of accepted recipes or descends from the trial itself.
        """
        recipe = ProposedRecipe(files, digest, diff, meaning, keys)
        with self._writing_trial(campaign, number) as (transaction, campaign_id):
            trial_id, parent_id = trial_ids_of(transaction, campaign_id, (number, onto), campaign)
            trial = f"trial {number} of {campaign}"
            _, status = _standing(transaction, trial_id)
            if status is not None:
                raise LineageError(
                    f"{trial} is judged already: {status}; only a trial in flight "
                    "can move onto another parent"
                )
            _, above = _standing(transaction, parent_id)
            if above is None or not above.is_parent:
                raise LineageError(
                    f"{trial} cannot move onto trial {onto}, which is {above or 'in flight'}; "
                    f"valid: trials that are {Status.BASELINE} or {Status.KEPT}"
                )
            if trial_id in chain_ids(transaction, parent_id):
                raise LineageError(f"{trial} cannot move onto trial {onto}, which was made from it")
            (parents,) = transaction.values(_PARENTS, id=trial_id)
            old = trial_ids_of(transaction, campaign_id, parent_numbers(parents), campaign)
            set_parents(transaction, trial_id, list(dict.fromkeys((parent_id, *old))))
            replace_recipe(transaction, campaign_id, trial_id, recipe)

    def advance(
        self,
        campaign: str,
        number: int,
        state: TrialState | str,
        phase: Phase | str | None = None,
    ) -> None:
        """Note where a trial stands. How it ended is for :meth:`record` to say.

        A trial goes from ``queued`` to ``running`` and through its phases; from ``running`` it may
        be queued again, and from ``judged`` only if it was aborted, which takes its outcome away.

        Args:
            campaign: Name of the campaign.
            number: The trial's number.
            state: Where it stands from now on.
            phase: The phase that it runs, for ``running`` alone.

        Raises:
            LineageError: There is no such trial, state or phase, or the trial cannot go there; the
                message names its state and the valid ones.
        """
        target = _named(TrialState, "state", state)
        running = None if phase is None else _named(Phase, "phase", phase)
        with self._writing_trial(campaign, number) as (transaction, campaign_id):
            trial_id = trial_id_of(transaction, campaign_id, number, campaign)
            standing, status = _standing(transaction, trial_id)
            trial = f"trial {number} of {campaign}"
            _check_move(trial, standing, status, target, running)
            if target is TrialState.JUDGED:
                raise LineageError(f"{trial} becomes judged with its outcome alone: use record()")
            if standing is TrialState.JUDGED:
                reopen_trial(transaction, trial_id)
            else:
                move_trial(transaction, trial_id, target, running)


def _named(kind: type[Named], what: str, name: str) -> Named:
    try:
        return kind(name)
    except ValueError:
        raise LineageError(unknown_name(what, name, kind)) from None


def _standing(transaction: Transaction, trial_id: int) -> tuple[TrialState, Status | None]:
    ((state, status),) = transaction.rows(_STANDING, id=trial_id)
    return TrialState(state), None if status is None else Status(status)


def _check_move(
    trial: str, state: TrialState, status: Status | None, target: TrialState, phase: Phase | None
) -> None:
    """Check that a trial may go on to a state.

    Args:
        trial: The trial in words, for the message.
        state: Where it stands.
        status: How it ended, if it is judged.
        target: Where it is to go.
        phase: The phase it is to run, given for ``running`` alone.

    Raises:
        LineageError: It may not; the message names its state and the valid ones.
    """
    if state is TrialState.JUDGED:
        valid: tuple[TrialState, ...] = (TrialState.QUEUED,) if status is Status.ABORTED else ()
    else:
        valid = _NEXT_STATES[state]
    if target not in valid:
        standing = f"{state} ({status})" if status else str(state)
        known = ", ".join(valid) or "(none)"
        raise LineageError(f"{trial} is {standing} and cannot become {target}; valid: {known}")
    if (phase is None) == (target is TrialState.RUNNING):
        needed = f"one of {', '.join(Phase)}" if phase is None else "none"
        raise LineageError(f"{trial}: the state {target} takes a phase: {needed}")


def _checked(
    transaction: Transaction,
    campaign_id: int,
    campaign: str,
    parents: Sequence[int],
    round_number: int | None,
) -> list[int]:
    """Check the round and the parents of a proposal, and return the ids of the parents."""
    if round_number is not None:
        check_round(transaction, campaign_id, round_number, campaign)
    return trial_ids_of(transaction, campaign_id, parents, campaign) if parents else []
