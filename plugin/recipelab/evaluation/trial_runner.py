"""One trial, from a person's word to its recorded outcome, and the test of the working line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from recipelab.budget import Ledger
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Checkpoint, Outcome, Phase, Status
from recipelab.evaluation.artifacts import ArtifactStore
from recipelab.evaluation.campaign_line import CampaignLine
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.live import LiveBoard
from recipelab.evaluation.log_book import LogBook
from recipelab.evaluation.metric import counts_code
from recipelab.evaluation.observers import LineageObserver
from recipelab.evaluation.proposals import (
    BASELINE,
    Approve,
    ProposalChecker,
    Rejected,
    declined,
    killed,
)
from recipelab.evaluation.protocol import Rebase
from recipelab.evaluation.seeds import SeedSource
from recipelab.lineage import LineageStore

OnPhase = Callable[[int, Phase, int | None], None]
"""Called with trial, phase and seed when a phase begins; the seed is ``None`` in preflight."""


class TrialRunner:
    """Runs trials of a campaign and records what came of them; the queue says which, and when.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        evaluator: Judges recipes; its sandbox must have been started.
        checker: Knows the recipes, and what may be tried.
        ledger: Books what trials take.
        approve: Asked before a proposal is tried; ``None`` asks nobody.
        live: Shows people what runs; ``None`` for nobody.
        artifacts: Keeps the artifacts of the best; ``None`` keeps none.
        logs: Keeps the logs of trials; ``None`` keeps none.
        on_phase: Called when a phase begins.
        on_checkpoint: Called when the working line was tested.
        on_rest: Called when a trial needs no slot for now, and when it needs one again.
        on_judged: Called when a trial is recorded; the line may be tested after that.

    Attributes:
        seeds: The seeds of the campaign.
        line: The working line of the campaign.
    """

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        evaluator: Evaluator,
        checker: ProposalChecker,
        ledger: Ledger,
        *,
        approve: Approve | None,
        live: LiveBoard | None,
        artifacts: ArtifactStore | None,
        logs: LogBook | None,
        on_phase: OnPhase,
        on_checkpoint: Callable[[Checkpoint], None],
        on_rest: Callable[[int, bool], None] = lambda number, resting: None,
        on_judged: Callable[[int], None] = lambda number: None,
    ) -> None:
        self.seeds = SeedSource(evaluator.pack, campaign, store.secret(campaign))
        self.line = CampaignLine(store, campaign, evaluator, self._told_checkpoint)
        self._store = store
        self._campaign = campaign
        self._evaluator = evaluator
        self._checker = checker
        self._ledger = ledger
        self._approve = approve
        self._live = live
        self._artifacts = artifacts
        self._logs = logs
        self._on_phase = on_phase
        self._on_checkpoint = on_checkpoint
        self._on_rest = on_rest
        self._on_judged = on_judged
        self._killed: set[int] = set()
        self._recorded: dict[int, Outcome] = {}
        self._scored: dict[int, dict[int, None]] = {}
        self._tested: list[Checkpoint] = []

    def kill(self, number: int) -> None:
        """Note that a person wants a trial ended, whose task is cancelled for that."""
        self._killed.add(number)

    def seeds_done(self, number: int) -> tuple[int, ...]:
        """Return the seeds on which a running trial has been scored so far, in order."""
        return tuple(self._scored.get(number, ()))

    def take_checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return the checkpoints since the last call, in order."""
        found, self._tested = tuple(self._tested), []
        return found

    async def run(self, number: int, specialist: str, recipe: Recipe | None) -> None:
        """Run one trial from approval to recorded outcome, and settle it in the ledger.

        Args:
            number: The trial.
            specialist: Who proposed it.
            recipe: Its recipe; ``None`` if it was proposed elsewhere or before, and is read.
        """
        observer = LineageObserver(
            self._store,
            self._campaign,
            number,
            self._evaluator.sandbox_name,
            partial(self._told_phase, number),
            is_queued=recipe is not None,  # It was proposed here, and nobody has run it.
            live=self._live,
            artifacts=self._artifacts,
            logs=self._logs,
            on_rest=partial(self._on_rest, number),
        )
        outcome = None
        try:
            outcome = await self._outcome(number, specialist, recipe, observer)
            if number not in self._recorded:
                self._store.record(self._campaign, number, outcome)
            outcome = self._recorded.get(number, outcome)
        finally:
            self._recorded.pop(number, None)
            self._scored.pop(number, None)
            self._told_confirmed(number)
            self._ledger.ended(number, specialist, outcome, observer.device_seconds)
        self._on_judged(number)
        self.line.learn(outcome)
        if outcome.status is Status.KEPT:
            # Others may join the line while it is tested, which then may be due again.
            while await self.check_line(at_end=False) is not None:
                pass
            self._settle_artifacts()

    async def _outcome(
        self, number: int, specialist: str, recipe: Recipe | None, observer: LineageObserver
    ) -> Outcome:
        """Return what came of a trial: of a person's word, of its twin, or of its evaluation."""
        try:
            refusal = await self._refusal(number, observer)
            if refusal is not None:
                return declined(refusal)
            if shared := self._checker.shared(number):
                return shared
            return await self._evaluate(number, specialist, recipe, observer)
        except asyncio.CancelledError:
            if number not in self._killed:
                raise
            # Only this trial was to end, and all of its phases have.
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            return killed(self._live.last_log(number) if self._live is not None else "")
        finally:
            self._killed.discard(number)
            if self._live is not None:
                self._live.last_log(number)

    async def _evaluate(
        self, number: int, specialist: str, recipe: Recipe | None, observer: LineageObserver
    ) -> Outcome:
        labels = {"campaign": self._campaign, "trial": str(number), "specialist": specialist}
        earlier = self._checker.measured_before(number)

        def told(outcome: Outcome) -> Outcome:
            if earlier is None:
                return outcome
            words = f"trial {earlier.number} again, on fresh seeds"
            return replace(outcome, reason=f"{words}: {outcome.reason}")

        def record(outcome: Outcome) -> None:
            if number not in self._recorded:  # The machinery may fail, and be tried again, later.
                self._store.record(self._campaign, number, told(outcome))
                self._recorded[number] = told(outcome)

        outcome = await self._evaluator.evaluate(
            recipe or Recipe(self._store.files(self._campaign, number)),
            None if number == BASELINE else self.line.head,
            seeds=self.seeds if earlier is None else replace(self.seeds, again=True),
            rebase=None if number == BASELINE else self._rebase(number),
            labels=labels,
            observer=observer,
            record=record,
        )
        return told(outcome)

    def _rebase(self, number: int) -> Rebase | None:
        """Return how a trial moves to a new best; ``None`` if it was not proposed on the best."""
        parent = self._store.proposed_on_head(self._campaign, number)
        if parent is None:
            return None

        def accept(onto: int, merged: Recipe) -> str | None:
            refused = self._checker.check_merged(onto, merged)
            if isinstance(refused, Rejected):
                return refused.reason
            self._store.rebase(
                self._campaign,
                number,
                onto=onto,
                files=merged.files,
                digest=merged.digest,
                diff=refused.diff,
                meaning=merged.meaning,
                keys=refused.keys,
            )
            return None

        by_bytes = counts_code(self._evaluator.pack)
        return Rebase(parent, Recipe(self._checker.recipe_of(parent)), accept, by_bytes)

    async def check_line(self, *, at_end: bool) -> Checkpoint | None:
        """Test the working line if that is due, record what was found, and book what it took.

        Args:
            at_end: Whether anything untested is to be tested, as when a campaign ends.

        Returns:
            What was found; ``None`` if there was nothing to test, or the machinery failed.
        """
        number = self._store.best_brief(self._campaign).number
        holder = LineageObserver(
            self._store,
            self._campaign,
            number,
            self._evaluator.sandbox_name,
            partial(self._on_phase, number),
            is_queued=True,
            live=self._live,
            artifacts=self._artifacts,
        )
        try:
            found = await self._evaluator.checkpoint(
                self.line.now,
                partial(self._store.add_checkpoint, self._campaign),
                at_end=at_end,
                seeds=self.seeds,
                labels={"campaign": self._campaign, "trial": str(number), "purpose": "checkpoint"},
                # The head was judged long ago: it holds slots, but goes through no states again.
                observer=holder.of_incumbent(),
            )
        finally:
            self._told_confirmed(number)
            self._ledger.used_device("checkpoint", holder.device_seconds)
        if found is not None:
            self._told_checkpoint(found)
            self._settle_artifacts()
        return found

    def _settle_artifacts(self) -> None:
        """Remove the artifacts that are neither the head's nor the certified recipe's any more."""
        if self._artifacts is not None:
            head = self._store.best_brief(self._campaign).number
            certified = self._store.winner_brief(self._campaign).number
            self._artifacts.settle({head, certified})

    async def _refusal(self, number: int, observer: LineageObserver) -> str | None:
        """Return why a person declines a trial; ``None`` if it is approved or nobody is asked."""
        if self._approve is None or number == BASELINE:
            return None
        with observer.resting():
            return await self._approve(self._store.trial(self._campaign, number))

    def _told_checkpoint(self, found: Checkpoint) -> None:
        self._tested.append(found)
        self._on_checkpoint(found)
        self._ledger.best = self._store.best_brief(self._campaign).score

    def _told_confirmed(self, number: int) -> None:
        if self._live is not None:
            self._live.now.confirmed(number)

    def _told_phase(self, number: int, phase: Phase, seed: int | None) -> None:
        """Note the seeds that come to their score, and tell whoever listens."""
        if phase is Phase.SCORE and seed is not None:
            self._scored.setdefault(number, {})[seed] = None
        self._on_phase(number, phase, seed)
