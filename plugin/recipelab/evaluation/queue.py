"""The queue of trials: proposals go in, judged trials come out."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from recipelab.budget import BudgetLimits, Ledger
from recipelab.core.errors import RecipelabError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import (
    Checkpoint,
    Edit,
    FailureKind,
    Proposal,
    Status,
)
from recipelab.evaluation.artifacts import ArtifactStore
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.live import LiveBoard
from recipelab.evaluation.log_book import LogBook
from recipelab.evaluation.metric import Incumbent
from recipelab.evaluation.now import NowBoard
from recipelab.evaluation.pace import Pace
from recipelab.evaluation.proposals import (
    BASELINE,
    Approve,
    Candidate,
    ProposalChecker,
    Rejected,
    killed,
)
from recipelab.evaluation.scratch import ScratchBench
from recipelab.evaluation.seal import carried_over
from recipelab.evaluation.trial_runner import OnPhase, TrialRunner
from recipelab.lineage import LineageStore, TrialBrief, TrialFilter, TrialRecord
from recipelab.packs.pack import Pack
from recipelab.sandbox.processes import is_dead

WAITING_PER_SLOT = 2
"""Trials that may wait for each slot before agents are asked to submit no more."""

MAX_RETRIED = 200
"""Aborted trials that a resumed campaign runs again at most."""


@dataclass(frozen=True)
class Submitted:
    """The result of submitting a proposal.

    Attributes:
        number: The trial's number.
        rejection: Why it is not tried, or ``None`` if it is queued or being tried now.
        alike: Earlier trials with a similar edit, a line each.
    """

    number: int
    rejection: Rejected | None
    alike: tuple[str, ...] = ()


class TrialQueue:
    """Takes proposals in and runs their trials, at most ``slots`` of them at the same time.

    A proposal is checked and recorded when it is submitted. Its trial then waits for a slot, runs
    in a task of its own, and is recorded with its outcome before anybody hears of it. The caller
    collects ended trials with :meth:`next_ended`.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        evaluator: Judges recipes; its sandbox must have been started.
        slots: How many trials may run at once.
        ledger: Knows what may still be spent; by default nothing is bounded.
        approve: Asked before a proposal is tried; ``None`` asks nobody.
        repeats: Whether a recipe may be tried twice; see :class:`ProposalChecker`.
        follows: The campaign of the epoch before this one, whose best is the first trial.
        live: Shows people what runs, and says which trials they want ended; by default nobody can.
        artifacts: Keeps the artifacts of the best; by default none is kept.
        logs: Keeps the logs of trials; by default none is kept.
        on_phase: Called when a phase begins.
        on_checkpoint: Called when the working line was tested.

    Attributes:
        logs: The logs of its trials; ``None`` where none are kept.
        now: Where people see what goes on.
        pace: How long trials take, and when those that run may end.
        waited_for: How many callers of :meth:`wait_for` wait right now.
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
        follows: str | None = None,
        live: LiveBoard | None = None,
        artifacts: ArtifactStore | None = None,
        logs: LogBook | None = None,
        on_phase: OnPhase = lambda number, phase, seed: None,
        on_checkpoint: Callable[[Checkpoint], None] = lambda found: None,
    ) -> None:
        self.store = store
        self.campaign = campaign
        self.slots = slots
        self.ledger = ledger or Ledger(
            store, campaign, BudgetLimits(), goal=evaluator.pack.metric.goal
        )
        self.pace = Pace()
        self.waited_for = 0
        self._checker = ProposalChecker(store, campaign, evaluator.pack, repeats=repeats)
        self._runner = TrialRunner(
            store,
            campaign,
            evaluator,
            self._checker,
            self.ledger,
            approve=approve,
            live=live,
            artifacts=artifacts,
            logs=logs,
            on_phase=on_phase,
            on_checkpoint=on_checkpoint,
            on_rest=self._rests,
            on_judged=self.pace.judged,
        )
        self._evaluator = evaluator
        self._follows = follows
        self._live = live
        self.now = live.now if live is not None else NowBoard()
        self.logs = logs
        self._paused = False
        self._waiting: deque[int] = deque()
        self._owners: dict[int, str] = {}
        self._recipes: dict[int, Recipe] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._begun: set[int] = set()
        self._ended: deque[int] = deque()
        self._changed = asyncio.Event()
        self._ends: dict[int, asyncio.Event] = {}

    @property
    def pack(self) -> Pack:
        """The pack of the campaign."""
        return self._evaluator.pack

    def head(self) -> Incumbent:
        """Return the head of the working line with its seed runs, and the noise of the moment."""
        return self._runner.line.head()

    @property
    def bench(self) -> ScratchBench | None:
        """Where code runs in the campaign's sandbox that is no trial; ``None`` for nowhere."""
        # An evaluator of an app's own need not have one.
        bench = getattr(self._evaluator, "bench", None)
        return bench(self._runner.seeds.secret_number) if bench is not None else None

    @property
    def in_flight(self) -> tuple[int, ...]:
        """Numbers of the trials that wait for a slot or run."""
        return (*self._running, *self._waiting)

    @property
    def flying(self) -> int:
        """How many trials wait for a slot or run."""
        return len(self._running) + len(self._waiting)

    @property
    def running(self) -> tuple[int, ...]:
        """Numbers of the trials that were submitted and not yet collected."""
        return (*self._ended, *self.in_flight)

    @property
    def waiting(self) -> tuple[int, ...]:
        """Numbers of the trials that wait for a slot, in order."""
        return tuple(self._waiting)

    @property
    def trial_seconds(self) -> float | None:
        """Mean length of the newest trials, in seconds; ``None`` before the first has ended."""
        return self.pace.lengths.mean

    def free_slots(self, coming: Iterable[float] = ()) -> list[float]:
        """Return when slots will be free for more trials than those in flight; see :class:`Pace`.

        Args:
            coming: When further trials will come, in seconds from now, the first one first.
        """
        return self.pace.free_slots(self.slots, len(self._waiting), coming)

    @property
    def is_full(self) -> bool:
        """Whether so many trials wait that agents should submit no more for now."""
        return len(self._waiting) >= WAITING_PER_SLOT * self.slots

    def owners(self) -> Counter[str]:
        """Return how many trials of each specialist are in flight."""
        return Counter(self._owners.values())

    @property
    def remaining(self) -> int | None:
        """Trials that may still be submitted; ``None`` without a bound."""
        return self.ledger.remaining

    @property
    def paused(self) -> bool:
        """Whether no new trial begins for now; those that run go on."""
        return self._paused

    @paused.setter
    def paused(self, value: bool) -> None:
        self._paused = value
        self._changed.set()
        self._fill()

    def best(self) -> TrialRecord:
        """Return the head of the working line: the last trial kept on it, or the baseline."""
        return self.store.best(self.campaign)

    def take_checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return the checkpoints since the last call, in order."""
        return self._runner.take_checkpoints()

    async def settle(self) -> Checkpoint | None:
        """Test the working line now, if anything on it is untested, as when a campaign ends.

        Returns:
            What was found; ``None`` if there was nothing to test, or the machinery failed.
        """
        return await self._runner.check_line(at_end=True)

    def check(self, parent: int, edits: tuple[Edit, ...]) -> Candidate | Rejected:
        """Check edits as :meth:`submit` would, without recording anything.

        Raises:
            LineageError: There is no such parent.
        """
        return self._checker.check(parent, edits)

    def recipe_of(self, number: int) -> dict[str, str]:
        """Return the files of a trial's recipe.

        Raises:
            LineageError: There is no such trial, or it was rejected and so has no recipe.
        """
        return self._checker.recipe_of(number)

    def submit(
        self, proposal: Proposal, *, round_number: int | None, turn: int | None = None
    ) -> Submitted:
        """Record a proposal, and queue its trial unless it is rejected at once.

        The arguments are those of :meth:`ProposalChecker.take`.

        Raises:
            LineageError: There is no such parent.
        """
        number, checked = self._checker.take(proposal, round_number=round_number, turn=turn)
        if isinstance(checked, Rejected):
            return Submitted(number, checked)
        self._queue(number, proposal.specialist, checked.recipe)
        return Submitted(number, None, checked.alike)

    def submit_again(
        self,
        trial: int,
        specialist: str,
        hypothesis: str,
        *,
        round_number: int | None,
        turn: int | None = None,
    ) -> int:
        """Queue a trial that measures an earlier recipe on fresh seeds, and return its number.

        Args:
            trial: The earlier trial.
            specialist: Who asks for it.
            hypothesis: What the answer decides.
            round_number: The round of the turn; ``None`` outside of rounds.
            turn: Number of the turn; ``None`` outside of turns.

        Raises:
            LineageError: There is no such trial, or nothing can be learned by measuring it again.
        """
        number, recipe = self._checker.take_again(
            trial, specialist, hypothesis, round_number=round_number, turn=turn
        )
        self._queue(number, specialist, recipe)
        return number

    def propose_baseline(self) -> None:
        """Record the starting recipe as trial 0, and queue it."""
        number, recipe = self._checker.take_baseline()
        self._queue(number, "campaign", recipe)

    def ensure_baseline(self) -> None:
        """Queue the baseline, unless it was measured before; one that failed is read anew."""
        if not self.store.counts(self.campaign):
            self.propose_baseline()
        elif self.store.brief(self.campaign, BASELINE).status is not Status.BASELINE:
            # Whoever goes on with a baseline that failed has mended the pack meanwhile.
            self._checker.renew_baseline()
            self.retry(BASELINE)

    def checked_baseline(self) -> TrialRecord:
        """Return the measured baseline.

        Raises:
            RecipelabError: The baseline misses one of its own gates, by more than its noise allows.
        """
        record = self.store.trial(self.campaign, BASELINE)
        if record.status is not Status.BASELINE:
            reason = record.outcome.reason if record.outcome else "it has no outcome"
            raise RecipelabError(f"the baseline of {self.pack.name} fails: {reason}")
        return record

    def requeue_unfinished(self) -> tuple[int, ...]:
        """Queue what a dead process left in flight or was aborted, and return the numbers.

        In a new epoch the best of the one before comes first.
        """
        self._carry_over()
        self._release_dead_slots()
        aborted = TrialFilter(statuses=(Status.ABORTED,), order="oldest", limit=MAX_RETRIED)
        unfinished = (
            *self.store.in_flight_briefs(self.campaign),
            *self.store.briefs(self.campaign, aborted).items,
        )
        known = set(self.running)
        again = [
            brief
            for brief in unfinished
            if brief.number not in known and brief.failure_kind is not FailureKind.KILLED
        ]
        for brief in again:
            self._queue(brief.number, brief.specialist)
        return tuple(brief.number for brief in again)

    def _carry_over(self) -> None:
        """Submit the best of the epoch before, if this one begins."""
        if self._follows is not None and sum(self.store.counts(self.campaign).values()) == 1:
            here, surfaces = Recipe(self.recipe_of(BASELINE)), self.pack.surface_names
            best = carried_over(self.store, self._follows, here, surfaces)
            if best is not None:
                self.submit(best, round_number=None)

    def _release_dead_slots(self) -> None:
        """Forget the slots that processes held which are dead."""
        for lease in self.store.dead_leases(lambda owner: not is_dead(owner)):
            self.store.release_slot(lease.campaign, lease.trial, lease.slot)

    def retry(self, number: int) -> None:
        """Queue a recorded trial again that never got its outcome, or was aborted."""
        self._queue(number, self.store.brief(self.campaign, number).specialist)

    adopted: ClassVar[str] = "was proposed from outside"
    """What :meth:`adopt` found of a trial, in words."""

    def adopt(self) -> tuple[int, ...]:
        """Queue trials that another process wrote to the lineage, as a person's submission.

        Returns:
            Their numbers.
        """
        known = set(self.running)
        in_flight = self.store.in_flight_briefs(self.campaign)
        new = [brief for brief in in_flight if brief.number not in known]
        for brief in new:
            self._queue(brief.number, brief.specialist)
        return tuple(brief.number for brief in new)

    async def next_ended(self, until: asyncio.Event | None = None) -> tuple[TrialRecord, ...]:
        """Wait for the next trials to end, and return their records, lowest number first.

        Args:
            until: Ends the waiting when it is set.

        Returns:
            The judged trials; empty if none is in flight and the queue is not paused, or if the
            waiting was ended.

        Raises:
            Exception: What a trial's task raised; it is a fault of this program.
        """
        while not self._ended and (self.in_flight or self._paused):
            if until is not None and until.is_set():
                break
            self._changed.clear()
            await _first_of(self._changed, until)
        ended, self._ended = sorted(self._ended), deque()
        for number in ended:
            task = self._running.pop(number, None)
            if task is not None:
                task.result()
        return tuple(self.store.trial(self.campaign, number) for number in ended)

    async def wait_for(
        self, number: int, *, seconds: float, until: asyncio.Event | None = None
    ) -> None:
        """Wait until a trial is no longer in flight; it is not collected by that.

        Args:
            number: The trial's number.
            seconds: Waits so long at most, in seconds.
            until: Ends the waiting when it is set.
        """
        ended = self._ends.get(number)
        if ended is None:
            return
        self.waited_for += 1
        try:
            await _first_of(ended, until, seconds=seconds)
        finally:
            self.waited_for -= 1

    def seeds_done(self, number: int) -> tuple[int, ...]:
        """Return the seeds on which a running trial has been scored so far, in order."""
        return self._runner.seeds_done(number)

    def _told_end(self, number: int) -> None:
        """Tell whoever waits for a trial that it is no longer in flight."""
        if (ended := self._ends.pop(number, None)) is not None:
            ended.set()

    async def stop(self) -> None:
        """Stop the running trials; they stay without an outcome and can be retried."""
        tasks = list(self._running.values())
        self._running.clear()
        self._begun.clear()
        self._waiting.clear()
        self._recipes.clear()
        self._ended.clear()
        for number in tuple(self._ends):
            self._told_end(number)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def take_stop(self) -> bool:
        """Return whether somebody has asked for the end of the campaign since it was last asked."""
        return self._live is not None and self._live.take_stop()

    def take_kills(self) -> tuple[int, ...]:
        """End the trials that people want ended, and return their numbers.

        Each is recorded as ``aborted``, with the kind ``killed``. The baseline cannot be spared,
        and a trial that is judged is left alone.
        """
        asked = self._kills_asked()
        found = [n for n in asked if n in self.in_flight and n != BASELINE]
        ended = [n for n in found if self.store.brief(self.campaign, n).status is None]
        for number in ended:
            self._runner.kill(number)
            if (task := self._running.get(number)) is not None:
                task.cancel()
            else:
                self._waiting.remove(number)
                self._recipes.pop(number, None)
                specialist = self._owners.pop(number)
                outcome = killed("")
                self.store.record(self.campaign, number, outcome)
                self.ledger.ended(number, specialist, outcome, 0.0)
                self._ended.append(number)
                self._changed.set()
                self._told_end(number)
        return tuple(ended)

    def _kills_asked(self) -> tuple[int, ...]:
        return self._live.take_kills() if self._live is not None else ()

    # What a queue that shares its campaign with other drivers does, and one alone has no need for.

    def refresh(self) -> None:
        """Take in what other drivers of the campaign did."""

    def take_others(self) -> tuple[TrialBrief, ...]:
        """Return the trials that other drivers had judged since the last call, in order."""
        return ()

    async def baseline_elsewhere(self) -> None:
        """Wait until another driver has measured the baseline, or it is this one's to measure."""

    async def wait_for_others(self, *, idle: bool) -> None:
        """Wait while nothing can be done here, and the trials of other drivers may change that.

        Args:
            idle: Whether nobody here had anything to propose.
        """

    def is_last(self, state: str, reason: str) -> bool:
        """Return whether no other driver is there to end the campaign; if one is, leave."""
        return True

    def end(self, state: str, reason: str) -> None:
        """Write to the lineage how the campaign ends.

        Args:
            state: ``stopped`` if it may go on, ``finished`` if its budget is spent.
            reason: Why it ended.
        """
        self.store.end_campaign(self.campaign, state, reason)

    def _queue(self, number: int, specialist: str, recipe: Recipe | None = None) -> None:
        self._owners[number] = specialist
        self._ends.setdefault(number, asyncio.Event())
        if recipe is not None:
            self._recipes[number] = recipe
        self.ledger.began(number)
        self._waiting.append(number)
        self._fill()

    def _fill(self) -> None:
        """Begin trials while there are slots for them.

        A trial that needs none for now, as it waits for a person or its turn to be judged, or is
        scored without a device, keeps no other from beginning.
        """
        while self._waiting and self._needing < self.slots and not self._paused:
            number = self._waiting.popleft()
            name = f"{self.campaign}-trial-{number}"
            task = asyncio.create_task(self._run(number), name=name)
            self._running[number] = task
            self._begun.add(number)
            task.add_done_callback(partial(self._done, number))

    def _done(self, number: int, task: asyncio.Task[None]) -> None:
        if self._running.get(number) is not task:
            return  # The queue was stopped meanwhile.
        self._begun.discard(number)
        if not task.cancelled() and task.exception() is None:
            del self._running[number]
        self._owners.pop(number, None)
        self._ended.append(number)
        self._changed.set()
        self._told_end(number)
        self._fill()

    @property
    def _needing(self) -> int:
        """How many trials need a slot, or have only just begun."""
        return self.pace.needing + len(self._begun)

    def _rests(self, number: int, resting: bool) -> None:
        self.pace.rests(number, resting=resting)
        if resting:
            self._fill()

    async def _run(self, number: int) -> None:
        """Run one trial until its outcome is recorded, and note how long that took."""
        with self.pace.trial(number):
            self._begun.discard(number)
            await self._runner.run(number, self._owners[number], self._recipes.pop(number, None))


async def _first_of(
    one: asyncio.Event, other: asyncio.Event | None, *, seconds: float | None = None
) -> None:
    """Wait until one of the events is set, or for so many seconds."""
    waits = [asyncio.ensure_future(event.wait()) for event in (one, other) if event is not None]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when="FIRST_COMPLETED")
    finally:
        for wait in waits:
            wait.cancel()
