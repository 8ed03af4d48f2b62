"""Waiting for one of several things."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from recipelab.budget import BudgetLimits, Ledger
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Outcome, Phase, Proposal, SeedRun, Status
from recipelab.evaluation.evaluator import Evaluator, shared_outcome
from recipelab.evaluation.metric import Reference, mean_predict, noise_of
from recipelab.evaluation.observers import LineageWatch
from recipelab.evaluation.proposals import (
    BASELINE,
    Approve,
    Candidate,
    ProposalChecker,
    Rejected,
    declined,
)
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.packs.pack import Pack


def is_set(event: asyncio.Event | None) -> bool:
    """Whether there is an event, and it is set."""
    return event is not None and event.is_set()


async def either(one: asyncio.Event, other: asyncio.Event | None) -> None:
    """Waits until one of two events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in (one, other) if event is not None]
    try:
        await asyncio.wait(waits, return_when="FIRST_COMPLETED")
    finally:
        for wait in waits:
            wait.cancel()


TrialWatch = Callable[[int, Phase, int | None], None]
"""Told trial, phase and seed when a phase begins."""

QUEUE = 2
"""Trials that may wait for each slot before agents are asked to submit no more."""

_NEW = 0.3
"""Weight of the newest trial in the mean of their lengths."""


@dataclass(frozen=True)
class Submitted:
    """What came of handing in a proposal.

    Attributes:
        number: The trial's number.
        rejection: Why it is not tried, or ``None`` if it is queued or being tried now.
        alike: Earlier trials with an edit like this one, a line each.
    """

    number: int
    rejection: Rejected | None
    alike: tuple[str, ...] = ()


class TrialQueue:
    """Takes proposals into a queue and runs their trials, at most ``slots`` at the same time.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        evaluator: Judges recipes; its sandbox must have been started.
        slots: How many trials may run at once.
        ledger: Says what may still be spent; by default there is no bound.
        approve: Asked before a proposal is tried; ``None`` asks nobody.
        repeats: Whether a recipe may be tried twice; see :class:`ProposalChecker`.
        watch: Told when a phase begins.
    """

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        evaluator: Evaluator,
        *,
        slots: int = 1,
        ledger: Ledger | None = None,
        approve: Approve | None = None,
        repeats: bool = False,
        watch: TrialWatch = lambda number, phase, seed: None,
    ) -> None:
        self.store = store
        self.campaign = campaign
        self.slots = slots
        self.ledger = ledger or Ledger(
            store, campaign, BudgetLimits(), goal=evaluator.pack.metric.goal
        )
        self.trial_seconds: float | None = None
        self._checker = ProposalChecker(store, campaign, evaluator.pack, repeats=repeats)
        self._evaluator = evaluator
        self._approve = approve
        self._watch = watch
        self._paused = False
        self._waiting: deque[int] = deque()
        self._owners: dict[int, str] = {}
        self._recipes: dict[int, Recipe] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._ended: deque[int] = deque()
        self._changed = asyncio.Event()

    @property
    def pack(self) -> Pack:
        """The pack of the campaign."""
        return self._evaluator.pack

    @property
    def in_flight(self) -> tuple[int, ...]:
        """Numbers of the trials that wait for a slot or run."""
        return (*self._running, *self._waiting)

    @property
    def running(self) -> tuple[int, ...]:
        """Numbers of the trials that were submitted and not yet collected."""
        return (*self._ended, *self.in_flight)

    @property
    def is_full(self) -> bool:
        """Whether so many trials wait that agents should submit no more for now."""
        return len(self._waiting) >= QUEUE * self.slots

    def owners(self) -> Counter[str]:
        """How many trials of each specialist are in flight."""
        return Counter(self._owners.values())

    @property
    def remaining(self) -> int | None:
        """Trials that may still be submitted; ``None`` without a bound."""
        return self.ledger.remaining

    @property
    def paused(self) -> bool:
        """Whether no trial is begun for now; those that run go on."""
        return self._paused

    @paused.setter
    def paused(self, value: bool) -> None:
        self._paused = value
        self._changed.set()
        self._fill()

    def best(self) -> TrialRecord:
        """The best trial so far: the last one kept, or the baseline."""
        return self.store.best(self.campaign)

    def check(self, parent: int, edits: tuple[Edit, ...]) -> Candidate | Rejected:
        """Checks edits as :meth:`submit` would, without recording anything.

        Raises:
            LineageError: There is no such parent.
        """
        return self._checker.check(parent, edits)

    def recipe_of(self, number: int) -> dict[str, str]:
        """The files of a trial's recipe.

        Raises:
            LineageError: There is no such trial, or it was rejected and so has no recipe.
        """
        return self._checker.recipe_of(number)

    def submit(self, proposal: Proposal, *, round_number: int | None) -> Submitted:
        """Hands in a proposal: it is recorded, and queued unless it is rejected at once.

        Raises:
            LineageError: There is no such parent.
        """
        number, checked = self._checker.take(proposal, round_number=round_number)
        if isinstance(checked, Rejected):
            return Submitted(number, checked)
        self._queue(number, proposal.specialist, checked.recipe)
        return Submitted(number, None, checked.alike)

    def propose_baseline(self) -> None:
        """Records the starting recipe as trial 0 and runs it."""
        number, recipe = self._checker.take_baseline()
        self._queue(number, "campaign", recipe)

    def retry(self, number: int) -> None:
        """Runs a recorded trial again that never got its outcome, or was aborted."""
        self._queue(number, self.store.brief(self.campaign, number).specialist)

    def adopt(self) -> tuple[int, ...]:
        """Queues trials that somebody else wrote to the lineage, as a person does.

        Returns:
            Their numbers.
        """
        known = set(self.running)
        found = self.store.in_flight_briefs(self.campaign)
        new = [brief for brief in found if brief.number not in known]
        for brief in new:
            self._queue(brief.number, brief.specialist)
        return tuple(brief.number for brief in new)

    async def next_ended(self, until: asyncio.Event | None = None) -> tuple[TrialRecord, ...]:
        """Waits for the next trials to end and gives their records, lowest number first.

        Args:
            until: Set to end the waiting.

        Returns:
            The judged trials; empty if none is in flight and the desk is not paused, or the
            waiting was ended.

        Raises:
            Exception: What a trial's task raised; it is a fault of this program.
        """
        while not self._ended and (self.in_flight or self._paused) and not is_set(until):
            self._changed.clear()
            await either(self._changed, until)
        ended, self._ended = sorted(self._ended), deque()
        for number in ended:
            task = self._running.pop(number, None)
            if task is not None:
                task.result()
        return tuple(self.store.trial(self.campaign, number) for number in ended)

    async def stop(self) -> None:
        """Stops the running trials; they stay without an outcome and can be retried."""
        tasks = list(self._running.values())
        self._running.clear()
        self._waiting.clear()
        self._recipes.clear()
        self._ended.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _queue(self, number: int, specialist: str, recipe: Recipe | None = None) -> None:
        self._owners[number] = specialist
        if recipe is not None:
            self._recipes[number] = recipe
        self.ledger.began(number)
        self._waiting.append(number)
        self._fill()

    def _fill(self) -> None:
        """Begins trials while there are slots for them."""
        while self._waiting and len(self._running) < self.slots and not self._paused:
            number = self._waiting.popleft()
            name = f"{self.campaign}-trial-{number}"
            task = asyncio.create_task(self._run(number), name=name)
            self._running[number] = task
            task.add_done_callback(partial(self._done, number))

    def _done(self, number: int, task: asyncio.Task[None]) -> None:
        if self._running.get(number) is not task:
            return  # stopped
        if not task.cancelled() and task.exception() is None:
            del self._running[number]
        self._owners.pop(number, None)
        self._ended.append(number)
        self._changed.set()
        self._fill()

    async def _run(self, number: int) -> None:
        specialist = self._owners[number]
        clock = asyncio.get_running_loop().time
        began = clock()
        recipe = self._recipes.pop(number, None)
        watch = LineageWatch(
            self.store,
            self.campaign,
            number,
            self._evaluator.sandbox_name,
            partial(self._watch, number),
            is_queued=recipe is not None,  # It was proposed here, and nobody has run it.
        )
        outcome = None
        try:
            refusal = await self._refusal(number)
            if refusal is not None:
                outcome = declined(refusal)
            elif shared := self._shared(number):
                outcome = shared
            else:
                outcome = await self._evaluator.evaluate(
                    recipe or Recipe(self.store.files(self.campaign, number)),
                    None if number == BASELINE else self._reference,
                    labels={
                        "campaign": self.campaign,
                        "trial": str(number),
                        "specialist": specialist,
                    },
                    watch=watch,
                )
            self.store.record(self.campaign, number, outcome)
        finally:
            self.ledger.ended(number, specialist, outcome, watch.device_seconds)
        self._took(clock() - began)

    def _shared(self, number: int) -> Outcome | None:
        """What a trial shares with an earlier one, where a recipe may be tried twice."""
        if number == BASELINE or not self._checker.repeats:
            return None
        return shared_outcome(self.store, self.campaign, number)

    async def _refusal(self, number: int) -> str | None:
        """Why a person does not want a trial; ``None`` if nobody is asked, or nobody minds."""
        if self._approve is None or number == BASELINE:
            return None
        return await self._approve(self.store.trial(self.campaign, number))

    def _took(self, seconds: float) -> None:
        before = self.trial_seconds
        self.trial_seconds = seconds if before is None else before + _NEW * (seconds - before)

    def _reference(self) -> Reference:
        best = self.best()
        outcome = best.outcome
        if outcome is None or outcome.status not in (Status.BASELINE, Status.KEPT):
            raise RuntimeError("a trial cannot be judged before the baseline")
        runs = (*outcome.seed_runs, *self.store.further_runs(self.campaign, best.number))
        baseline = self._baseline()
        return Reference(
            best.number,
            Recipe(self.recipe_of(best.number)),
            {run.seed: run for run in runs},
            mean_predict(baseline),
            noise=noise_of(baseline, self.pack.metric),
            history=self.store.confirmations(self.campaign),
            kept_runs=partial(self.store.add_further_runs, self.campaign, best.number),
            judged=_judged_on(outcome),
        )

    def _baseline(self) -> tuple[SeedRun, ...]:
        outcome = self.store.trial(self.campaign, BASELINE).outcome
        return outcome.seed_runs if outcome is not None else ()


def _judged_on(outcome: Outcome) -> frozenset[int]:
    """The seeds that gave a trial its score: the fresh ones, if it was confirmed."""
    fresh = outcome.evidence.confirmed if outcome.evidence is not None else 0
    return frozenset(run.seed for run in outcome.seed_runs[-fresh:])
