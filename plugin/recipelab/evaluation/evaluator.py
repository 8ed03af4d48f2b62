"""The evaluator: the one way from a recipe to a judged outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from recipelab.acceptance import Acceptance, Observations
from recipelab.core.errors import SandboxError
from recipelab.core.logs import logger
from recipelab.core.recipe import Recipe
from recipelab.core.trial import (
    Checkpoint,
    Failure,
    FailureKind,
    Outcome,
    SeedRun,
    Status,
)
from recipelab.evaluation.checkpoints import LineTest, WorkingLine, is_due, waiting_words
from recipelab.evaluation.control import control_run
from recipelab.evaluation.curves import CurveBook
from recipelab.evaluation.draw import Draws
from recipelab.evaluation.failures import (
    EXCERPT_CHARACTERS,
    EvaluatorFault,
    MachineSuspected,
    PhaseFailed,
    ScorerFailed,
    signature_of,
)
from recipelab.evaluation.fidelity import FidelityBook
from recipelab.evaluation.integrity import InputFiles
from recipelab.evaluation.judge import Judge, TrialRuns
from recipelab.evaluation.levels import RunningTests
from recipelab.evaluation.metric import Incumbent
from recipelab.evaluation.observers import TrialObserver, log_retry, observed_trial
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.projection import NOTHING_EXPECTED, corrections, preflight_times
from recipelab.evaluation.protocol import Rebase, TrialProtocol, told_moved
from recipelab.evaluation.scratch import ScratchBench
from recipelab.evaluation.seed_runs import NewRunner, SeedRuns
from recipelab.evaluation.seeds import SeedSource
from recipelab.evaluation.side_by_side import hold_slot
from recipelab.evaluation.warm_up import WarmUps
from recipelab.evaluation.workspace import TrainedOnce, Workspace
from recipelab.packs.pack import Pack
from recipelab.sandbox.base import Sandbox
from recipelab.sandbox.slots import ANYWHERE, SlotPool

ATTEMPTS = 3
"""How often a trial is tried if the machinery fails."""

SUSPECTED_ATTEMPTS = 2
"""How often it is tried if only the recipe's own log says that the machinery failed."""

T = TypeVar("T")

_log = logger(__name__)


class Evaluator:
    """Measures and judges recipes of one pack in one sandbox.

    What happens to one trial: the pack's files are checked to be as they were when the campaign
    began; the recipe runs its preflight; then come the seeds, which
    :class:`~recipelab.evaluation.protocol.TrialProtocol` chooses for a trial. A recipe that fails
    gets the outcome of its failure. If the machinery fails (the sandbox, the incumbent, the pack's
    own evaluator), the recipe is not to blame: the trial is tried again from the beginning, and
    ``aborted`` at last.

    Args:
        pack: What is measured, under which limits.
        sandbox: Where code runs; it must have been started.
        data: Path of each data file of the pack, by its name.
        acceptance: The policy that tells a gain from noise; by default the pack's own.
        pool: The slots that phases run in; by default a single one that is bound to no device.
        retry_seconds: First pause before a trial is tried again after the machinery failed.
        warm_ups: Keeps what preflights leave, where the pack says so; by default none are there.
        trained: What trainings have left, in place of which none runs again; for one recipe alone.
        author: Whether the pack's author runs it on a recipe of his own; see :meth:`for_author`.
        tests: The tests that run, and whose turn it is to judge; by default those of this evaluator
            alone.

    Attributes:
        tests: The same; where several drivers run a campaign, they are those of all.
    """

    def __init__(
        self,
        pack: Pack,
        sandbox: Sandbox,
        data: Mapping[str, Path],
        *,
        acceptance: Acceptance | None = None,
        pool: SlotPool | None = None,
        retry_seconds: float = 1.0,
        warm_ups: WarmUps | None = None,
        author: bool = False,
        trained: TrainedOnce | None = None,
        tests: RunningTests | None = None,
    ) -> None:
        self.pack = pack
        self._sandbox = sandbox
        self._data = dict(data)
        self._author = author
        self._judge = Judge(pack, acceptance)
        self.tests = tests or RunningTests()
        self._testing_line = asyncio.Lock()
        self._pool = pool or SlotPool([ANYWHERE])
        self._inputs = InputFiles(self._data.values(), pack.root / pack.evaluator.folder)
        self._warm_ups = warm_ups or WarmUps()
        self._trained = trained
        self._draws = Draws()
        curve = pack.phases.train.curve
        self.curves = CurveBook(curve) if curve is not None else None
        self.fidelity = FidelityBook(pack.fidelity) if pack.fidelity is not None else None
        self._retry_seconds = retry_seconds

    @property
    def slots(self) -> int:
        """How many phases may run at the same time."""
        return self._pool.width

    @property
    def data(self) -> Mapping[str, Path]:
        """Path of each data file of the pack, by its name."""
        return self._data

    @property
    def image(self) -> str:
        """What its trials run in, as the sandbox names it; empty if that is unknown."""
        return self._sandbox.image_identity

    @property
    def sandbox_name(self) -> str:
        """Name of the kind of sandbox that trials run in."""
        return self._sandbox.name

    def bench(self, secret: int) -> ScratchBench:
        """Return where code runs in the same sandbox, on the same slots, that is no trial.

        Args:
            secret: The campaign's secret number, by which its data were drawn.
        """
        data = {**self._data, **self._draws[secret]}
        return ScratchBench(self.pack, self._sandbox, data, self._pool)

    def observations(self, runs: tuple[SeedRun, ...], incumbent: Incumbent) -> Observations:
        """Return what fresh seed runs of a recipe and an incumbent say; see :class:`Judge`."""
        return self._judge.observations(TrialRuns((), 0, runs), incumbent)

    def spread_group(self, outcome: Outcome) -> tuple[float, ...]:
        """Return what the seed runs of an outcome say about the noise; see :class:`Judge`."""
        return self._judge.spread_group(outcome)

    def with_pack(self, pack: Pack, *, trained: TrainedOnce | None = None) -> Evaluator:
        """Return an evaluator of another pack, with the same data, sandbox and slots.

        Args:
            pack: The pack.
            trained: What trainings have left, in place of which none runs again: for one recipe.
        """
        return Evaluator(
            pack,
            self._sandbox,
            self._data,
            pool=self._pool,
            retry_seconds=self._retry_seconds,
            warm_ups=self._warm_ups,
            author=self._author,
            trained=trained,
        )

    def for_author(self) -> Evaluator:
        """Return the same evaluator for the pack's author, whose own recipe it runs.

        Nothing of its logs is withheld, so what it returns may not be stored or shown to agents.
        """
        return Evaluator(
            self.pack,
            self._sandbox,
            self._data,
            pool=self._pool,
            retry_seconds=self._retry_seconds,
            warm_ups=self._warm_ups,
            author=True,
            trained=self._trained,
        )

    async def evaluate(
        self,
        recipe: Recipe,
        incumbent: Callable[[], Incumbent] | None,
        *,
        seeds: SeedSource | None = None,
        rebase: Rebase | None = None,
        labels: Mapping[str, str] | None = None,
        observer: TrialObserver | None = None,
        record: Callable[[Outcome], None] = lambda outcome: None,
    ) -> Outcome:
        """Measure a recipe and give it its status.

        Args:
            recipe: The recipe to train.
            incumbent: Returns the incumbent of the moment, which may change while the trial runs;
                ``None`` for the baseline itself.
            seeds: Draws the campaign's seeds; by default those of no campaign.
            rebase: Moves the trial to a new best; ``None`` if it is compared as it is.
            labels: What the trial belongs to, for the sandbox, logs and traces: ``campaign`` and
                ``trial``, and ``specialist`` if it is known.
            observer: Told of the trial's steps.
            record: Stores the outcome of a trial that was compared on fresh seeds, before any other
                is judged. Other outcomes, which change nothing for others, are returned alone.

        Returns:
            The judged outcome. A failing recipe is an outcome, and so is failing machinery
            (``aborted``); only cancellation is raised.
        """
        labels, observer = labels or {}, observer or TrialObserver()
        source = seeds or SeedSource(self.pack, labels.get("campaign", ""))
        if incumbent is None:
            return await self._evaluate(self._run_baseline, recipe, source, labels, observer)
        best, words, before = incumbent(), "", 0
        if rebase is not None and rebase.number != best.number:
            moved = rebase.onto(best, recipe)
            if moved.recipe is None:
                failure = Failure(None, FailureKind.EDIT, "the best changed meanwhile", moved.words)
                return Outcome(status=Status.REJECTED, reason=moved.words, failure=failure)
            recipe, words, before = moved.recipe, moved.words, rebase.number
            rebase = replace(rebase, number=best.number, recipe=best.recipe)
            rebase = rebase if moved.merges else None

        def told(outcome: Outcome) -> Outcome:
            return told_moved(outcome, words, before) if words else outcome

        work = TrialProtocol(
            self._judge,
            incumbent,
            self.tests,
            rebase,
            self.fidelity,
            record=lambda outcome: record(told(outcome)),
        ).run
        known = tuple(best.runs.values())
        expected = {**corrections(known), **preflight_times(known)}
        return told(await self._evaluate(work, recipe, source, labels, observer, expected, best))

    async def checkpoint(
        self,
        line: Callable[[], WorkingLine],
        record: Callable[[Checkpoint], None],
        *,
        at_end: bool = False,
        seeds: SeedSource | None = None,
        labels: Mapping[str, str] | None = None,
        observer: TrialObserver | None = None,
    ) -> Checkpoint | None:
        """Test the working line, if that is due.

        Trials are judged meanwhile, and may join the line: what is found holds for the head that
        was tested, and what it is built on. One line is tested at a time; whoever asks while that
        goes on is told nothing, unless the campaign ends.

        Args:
            line: Returns the line of the moment.
            record: Stores what was found, before any trial can be judged.
            at_end: Whether the campaign ends, or a person asks.
            seeds: As in :meth:`evaluate`.
            labels: As in :meth:`evaluate`.
            observer: As in :meth:`evaluate`.

        Returns:
            What was found; ``None`` if no checkpoint was due, or the machinery failed, or the line
            has fallen back meanwhile, so that it is due still.
        """
        labels, observer = labels or {}, observer or TrialObserver()
        source = seeds or SeedSource(self.pack, labels.get("campaign", ""))
        if self._testing_line.locked() and not at_end:
            return None
        async with self._testing_line:
            tested = line()
            if not is_due(self._judge, tested, self.pack, at_end=at_end):
                return None
            name = f"line of trial {tested.head.number}"
            async with self.tests.testing(name, lambda: line().certified.history) as history:
                work = LineTest(self._judge, self.pack, tested.with_history(history)).run
                try:
                    found: Checkpoint = await self._attempts(
                        self._attempt, work, tested.head.recipe, source, labels, observer
                    )
                except (SandboxError, EvaluatorFault) as error:
                    _log.warning("the working line could not be tested", error=str(error))
                    return None
                async with self.tests.judging():
                    if line().position != tested.position:
                        _log.info("the line fell back while it was tested", head=tested.head.number)
                        return None
                    record(found)
            return found

    async def measure(
        self,
        recipe: Recipe,
        seeds: Sequence[int],
        *,
        incumbent: Incumbent | None = None,
        paired: bool = False,
        lenient: bool = False,
        source: SeedSource | None = None,
        labels: Mapping[str, str] | None = None,
        observer: TrialObserver | None = None,
    ) -> Outcome:
        """Measure a recipe on all of the given seeds, and judge it by the gates alone.

        Args:
            recipe: The recipe to train.
            seeds: The seeds.
            incumbent: What it runs beside, where the pack compares times side by side; it knows the
                baseline that relative gates refer to.
            paired: Whether the incumbent runs the same seeds elsewhere, too, in turns with it.
            lenient: Whether it may miss a gate by what its noise allows, as a starting recipe.
            source: Has the secret numbers of hidden rounds; as in :meth:`evaluate`.
            labels: As in :meth:`evaluate`.
            observer: As in :meth:`evaluate`.

        Returns:
            The outcome: ``baseline`` if all gates pass, else that of a trial that failed.
        """
        alone = not (paired or self.pack.metric.side_by_side)
        work = partial(
            self._run_seeds, seeds=seeds, incumbent=incumbent, alone=alone, lenient=lenient
        )
        labels, observer = labels or {}, observer or TrialObserver()
        source = source or SeedSource(self.pack, labels.get("campaign", ""))
        return await self._evaluate(work, recipe, source, labels, observer)

    async def control_run(
        self,
        recipe: Recipe,
        *,
        source: SeedSource | None = None,
        labels: Mapping[str, str] | None = None,
        observer: TrialObserver | None = None,
    ) -> Outcome:
        """Find out whether a recipe knows of the hidden data what it cannot have learned.

        Args:
            recipe: The recipe.
            source: Draws the seeds; as in :meth:`evaluate`.
            labels: As in :meth:`evaluate`.
            observer: As in :meth:`evaluate`.

        Returns:
            The outcome: ``baseline`` with the figures as its reason, ``illegal`` if the recipe
            knows something, or that of a recipe that failed.
        """

        async def work(trial: SeedRuns) -> Outcome:
            return Outcome(Status.BASELINE, await control_run(trial))

        labels, observer = labels or {}, observer or TrialObserver()
        source = source or SeedSource(self.pack, labels.get("campaign", ""))
        return await self._evaluate(work, recipe, source, labels, observer)

    @property
    def _attempts(self) -> AsyncRetrying:
        return AsyncRetrying(
            stop=_enough_attempts,
            wait=wait_exponential(multiplier=self._retry_seconds, max=30.0),
            retry=retry_if_exception_type(SandboxError),
            before_sleep=log_retry,
            reraise=True,
        )

    async def _evaluate(
        self,
        work: Callable[[SeedRuns], Awaitable[Outcome]],
        recipe: Recipe,
        source: SeedSource,
        labels: Mapping[str, str],
        observer: TrialObserver,
        expected: Mapping[str, float] = NOTHING_EXPECTED,
        best: Incumbent | None = None,
    ) -> Outcome:
        """Attempt the work on a recipe, again if the machinery fails, in a span of its own.

        A run that overran because it was kept waiting, where the best is not, is tried once more.
        """
        kept_waiting = ""

        async def preflight_and_work(trial: SeedRuns) -> Outcome:
            try:
                await trial.preflight(expected)
                outcome = await work(trial)
                if (artifact := trial.artifact()) is not None:
                    await asyncio.to_thread(observer.measured, outcome.status, artifact)
                return outcome
            except PhaseFailed as failed:
                nonlocal kept_waiting
                waited = kept_waiting
                if not waited and best is not None:
                    kept_waiting = waiting_words(failed, best)
                    if kept_waiting:
                        raise SandboxError(kept_waiting) from failed
                return Outcome(
                    status=failed.status,
                    reason=f"{failed.reason}; run again, as {waited}" if waited else failed.reason,
                    seed_runs=trial.finished(),
                    failure=failed.failure,
                    log_tail=failed.result.log,
                    environment=failed.result.environment,
                )

        with observed_trial(labels) as observed:
            try:
                outcome: Outcome = await self._attempts(
                    self._attempt, preflight_and_work, recipe, source, labels, observer
                )
            except (SandboxError, EvaluatorFault) as error:
                text = str(error)
                first = text.splitlines()[0] if text else repr(error)
                outcome = Outcome(
                    status=Status.ABORTED,
                    reason=f"the machinery failed, not the recipe: {first}",
                    failure=Failure(
                        None,
                        FailureKind.INFRASTRUCTURE,
                        signature_of(text),
                        text[:EXCERPT_CHARACTERS],
                    ),
                    log_tail=text,
                )
            return observed.judged(outcome)

    async def _attempt(
        self,
        work: Callable[[SeedRuns], Awaitable[T]],
        recipe: Recipe,
        source: SeedSource,
        labels: Mapping[str, str],
        observer: TrialObserver,
    ) -> T:
        """Do the work once, in folders of its own."""
        observer.queued()
        self._inputs.check()
        async with AsyncExitStack() as stack:
            new_runner = partial(self._new_runner, self.pack, source)
            if (draw := self.pack.phases.draw) is not None:
                work_of_draw = partial(self._draw, stack, recipe, labels, observer, new_runner)
                files = await self._draws.ensure(source.secret_number, draw, work_of_draw)
                self._inputs.hashes.add(*files)
            control_runner = partial(self._new_runner, self.pack.controlled(), source)
            short_runner = partial(self._new_runner, self.pack.shortened(), source)
            return await work(
                SeedRuns(
                    self.pack,
                    self._pool,
                    stack,
                    recipe,
                    labels,
                    observer,
                    new_runner,
                    source,
                    self.curves,
                    short_runner,
                    control_runner,
                )
            )

    async def _draw(
        self,
        stack: AsyncExitStack,
        recipe: Recipe,
        labels: Mapping[str, str],
        observer: TrialObserver,
        new_runner: NewRunner,
    ) -> Path:
        async with hold_slot(self._pool, observer) as slot:
            return await new_runner(stack, recipe, labels, observer).draw(slot)

    async def _run_baseline(self, trial: SeedRuns) -> Outcome:
        """Measure the starting recipe, beside itself where trials run beside the incumbent."""
        seeds = trial.seeds.calibration()
        try:
            await trial.run(seeds, self._beside(Incumbent(0, trial.recipe, {})))
        except ScorerFailed as failed:
            raise failed.fault from failed
        return self._judge_alone(trial, seeds, lenient=True)

    async def _run_seeds(
        self,
        trial: SeedRuns,
        seeds: Sequence[int],
        incumbent: Incumbent | None,
        alone: bool,
        lenient: bool,
    ) -> Outcome:
        await trial.run(seeds, incumbent, alone=alone)
        return self._judge_alone(trial, seeds, incumbent, lenient=lenient)

    def _beside(self, incumbent: Incumbent | None) -> Incumbent | None:
        """Return what a recipe runs beside that is compared with nothing."""
        return incumbent if self.pack.metric.side_by_side else None

    def _judge_alone(
        self,
        trial: SeedRuns,
        seeds: Sequence[int],
        incumbent: Incumbent | None = None,
        *,
        lenient: bool,
    ) -> Outcome:
        runs = TrialRuns(
            trial.runs(seeds), len(seeds), log=trial.log, environment=trial.environment
        )
        return self._judge.baseline(runs, incumbent, lenient=lenient)

    def _new_runner(
        self,
        pack: Pack,
        source: SeedSource,
        stack: AsyncExitStack,
        recipe: Recipe,
        labels: Mapping[str, str],
        observer: TrialObserver,
    ) -> PhaseRunner:
        data = {**self._data, **self._draws[source.secret_number]}
        workspace = stack.enter_context(Workspace(pack, recipe, data))
        hashes = self._inputs.hashes.copy()
        hashes.add(workspace.recipe)
        preflight = pack.phases.preflight
        held = self._warm_ups.held(recipe, preflight) if preflight.keeps is not None else None
        return PhaseRunner(
            pack,
            self._sandbox,
            workspace,
            hashes,
            labels=labels,
            observer=observer,
            nonce=source.nonce,
            secret=source.secret_number,
            warm_ups=self._warm_ups,
            warm_up=stack.enter_context(held) if held is not None else None,
            author=self._author,
            trained=self._trained,
        )


def _enough_attempts(state: RetryCallState) -> bool:
    """Return whether a trial is given up after this attempt, which failed."""
    error = state.outcome.exception() if state.outcome else None
    most = SUSPECTED_ATTEMPTS if isinstance(error, MachineSuspected) else ATTEMPTS
    return state.attempt_number >= most
