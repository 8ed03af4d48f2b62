"""The evaluator: the one way from a recipe to a judged outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from recipelab.acceptance import Acceptance
from recipelab.core.errors import SandboxError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Evidence, Failure, FailureKind, Outcome, Status
from recipelab.evaluation.failures import (
    EXCERPT_CHARACTERS,
    EvaluatorFault,
    MachineSuspected,
    PhaseFailed,
    signature_of,
)
from recipelab.evaluation.integrity import FileHashes
from recipelab.evaluation.judge import Judge, TrialRuns
from recipelab.evaluation.metric import Incumbent
from recipelab.evaluation.observers import TrialObserver, log_retry, observed_trial
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.projection import NOTHING_EXPECTED, corrections
from recipelab.evaluation.protocol import TrialProtocol, calibration_seeds
from recipelab.evaluation.seed_runs import SeedRuns
from recipelab.evaluation.warm_up import WarmUps
from recipelab.evaluation.workspace import Workspace
from recipelab.lineage import LineageStore
from recipelab.packs.pack import Pack
from recipelab.sandbox.base import Sandbox
from recipelab.sandbox.slots import ANYWHERE, SlotPool

ATTEMPTS = 3
"""How often a trial is tried if the machinery fails."""

SUSPECTED_ATTEMPTS = 2
"""How often it is tried if only the recipe's own log says that the machinery failed."""


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
    ) -> None:
        self.pack = pack
        self._sandbox = sandbox
        self._data = dict(data)
        self._judge = Judge(pack, acceptance)
        self._confirming = asyncio.Lock()
        self._pool = pool or SlotPool([ANYWHERE])
        self._hashes = FileHashes()
        self._warm_ups = warm_ups or WarmUps()
        self._retry_seconds = retry_seconds

    @property
    def slots(self) -> int:
        """How many phases may run at the same time."""
        return self._pool.width

    @property
    def sandbox_name(self) -> str:
        """Name of the kind of sandbox that trials run in."""
        return self._sandbox.name

    def with_pack(self, pack: Pack) -> Evaluator:
        """Return an evaluator of another pack, with the same data, sandbox and slots."""
        return Evaluator(
            pack,
            self._sandbox,
            self._data,
            pool=self._pool,
            retry_seconds=self._retry_seconds,
            warm_ups=self._warm_ups,
        )

    async def evaluate(
        self,
        recipe: Recipe,
        incumbent: Callable[[], Incumbent] | None,
        *,
        labels: Mapping[str, str] | None = None,
        observer: TrialObserver | None = None,
    ) -> Outcome:
        """Measure a recipe and give it its status.

        Args:
            recipe: The recipe to train.
            incumbent: Returns the incumbent of the moment, which may change while the trial runs;
                ``None`` for the baseline itself.
            labels: What the trial belongs to, for the sandbox, logs and traces: ``campaign`` and
                ``trial``, and ``specialist`` if it is known.
            observer: Told of the trial's steps.

        Returns:
            The judged outcome. A failing recipe is an outcome, and so is failing machinery
            (``aborted``); only cancellation is raised.
        """
        if incumbent is None:
            work, expected = self._run_baseline, dict[str, float]()
        else:
            work = TrialProtocol(self._judge, incumbent, self._confirming).run
            expected = corrections(tuple(incumbent().runs.values()))
        return await self._evaluate(
            work, recipe, labels or {}, observer or TrialObserver(), expected
        )

    async def measure(
        self,
        recipe: Recipe,
        seeds: Sequence[int],
        *,
        incumbent: Incumbent | None = None,
        lenient: bool = False,
        labels: Mapping[str, str] | None = None,
        observer: TrialObserver | None = None,
    ) -> Outcome:
        """Measure a recipe on all of the given seeds, and judge it by the gates alone.

        Args:
            recipe: The recipe to train.
            seeds: The seeds.
            incumbent: What it runs beside, where the pack compares times side by side.
            lenient: Whether it may miss a gate by what its noise allows, as a starting recipe.
            labels: As in :meth:`evaluate`.
            observer: As in :meth:`evaluate`.

        Returns:
            The outcome: ``baseline`` if all gates pass, else that of a trial that failed.
        """
        work = partial(self._run_seeds, seeds=seeds, incumbent=incumbent, lenient=lenient)
        return await self._evaluate(work, recipe, labels or {}, observer or TrialObserver())

    async def _evaluate(
        self,
        work: Callable[[SeedRuns], Awaitable[Outcome]],
        recipe: Recipe,
        labels: Mapping[str, str],
        observer: TrialObserver,
        expected: Mapping[str, float] = NOTHING_EXPECTED,
    ) -> Outcome:
        """Attempt the work on a recipe, again if the machinery fails, in a span of its own."""
        attempts = AsyncRetrying(
            stop=_enough_attempts,
            wait=wait_exponential(multiplier=self._retry_seconds, max=30.0),
            retry=retry_if_exception_type(SandboxError),
            before_sleep=log_retry,
            reraise=True,
        )
        with observed_trial(labels) as observed:
            try:
                outcome: Outcome = await attempts(
                    self._attempt, work, recipe, labels, observer, expected
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
        work: Callable[[SeedRuns], Awaitable[Outcome]],
        recipe: Recipe,
        labels: Mapping[str, str],
        observer: TrialObserver,
        expected: Mapping[str, float],
    ) -> Outcome:
        """Do the work once, for a recipe that gets through its preflight."""
        observer.queued()
        self._check_files()
        async with AsyncExitStack() as stack:
            trial = SeedRuns(
                self.pack, self._pool, stack, recipe, labels, observer, self._new_runner
            )
            try:
                await trial.preflight(expected)
                outcome = await work(trial)
            except PhaseFailed as failed:
                return Outcome(
                    status=failed.status,
                    reason=failed.reason,
                    seed_runs=trial.finished(),
                    failure=failed.failure,
                    log_tail=failed.result.log,
                    environment=failed.result.environment,
                )
            return outcome

    async def _run_baseline(self, trial: SeedRuns) -> Outcome:
        """Measure the starting recipe, beside itself where trials run beside the incumbent."""
        seeds = calibration_seeds(self.pack, trial.campaign)
        await trial.run(seeds, self._beside(Incumbent(0, trial.recipe, {})))
        return self._judge_alone(trial, seeds, None, lenient=True)

    async def _run_seeds(
        self, trial: SeedRuns, seeds: Sequence[int], incumbent: Incumbent | None, lenient: bool
    ) -> Outcome:
        await trial.run(seeds, self._beside(incumbent))
        return self._judge_alone(trial, seeds, incumbent, lenient=lenient)

    def _beside(self, incumbent: Incumbent | None) -> Incumbent | None:
        """Return what a recipe runs beside that is compared with nothing."""
        return incumbent if self.pack.metric.side_by_side else None

    def _judge_alone(
        self,
        trial: SeedRuns,
        seeds: Sequence[int],
        incumbent: Incumbent | None,
        *,
        lenient: bool,
    ) -> Outcome:
        runs = trial.runs(seeds, incumbent)
        return self._judge.baseline(
            TrialRuns(runs, len(seeds), log=trial.log, environment=trial.environment),
            lenient=lenient,
        )

    def _new_runner(
        self,
        stack: AsyncExitStack,
        recipe: Recipe,
        labels: Mapping[str, str],
        observer: TrialObserver,
    ) -> PhaseRunner:
        workspace = stack.enter_context(Workspace(self.pack, recipe, self._data))
        hashes = self._hashes.copy()
        hashes.add(workspace.recipe)
        preflight = self.pack.phases.preflight
        held = self._warm_ups.held(recipe, preflight) if preflight.keeps is not None else None
        return PhaseRunner(
            self.pack,
            self._sandbox,
            workspace,
            hashes,
            labels=labels,
            observer=observer,
            warm_ups=self._warm_ups,
            warm_up=stack.enter_context(held) if held is not None else None,
        )

    def _check_files(self) -> None:
        """Check that data and evaluator are what they were when the campaign began.

        Raises:
            EvaluatorFault: Something has changed, so no trial can be compared any more.
        """
        if not self._hashes:
            self._hashes.add(*self._data.values(), self.pack.root / self.pack.evaluator.folder)
        if changed := self._hashes.changed():
            path, before, now = changed
            raise EvaluatorFault(
                f"{path} has changed since the campaign began "
                f"(sha256 {before[:12]} became {now[:12]}); put it back and resume"
            )


def _enough_attempts(state: RetryCallState) -> bool:
    """Return whether a trial is given up after this attempt, which failed."""
    error = state.outcome.exception() if state.outcome else None
    most = SUSPECTED_ATTEMPTS if isinstance(error, MachineSuspected) else ATTEMPTS
    return state.attempt_number >= most


def shared_outcome(store: LineageStore, campaign: str, number: int) -> Outcome | None:
    """Return the outcome that a trial shares with an earlier one of the same recipe.

    Recipes are the same if they differ in comments and layout alone. The same recipe measured
    twice can look better by luck; it is never a gain.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        number: The trial.

    Returns:
        The outcome; ``None`` if no earlier trial with its recipe has been judged.
    """
    twin = store.find_same(campaign, store.files(campaign, number))
    if twin is None or twin.number >= number or twin.outcome is None:
        return None
    status = twin.outcome.status
    reason = f"the same recipe as trial {twin.number}, whose measurements it shares"
    if status in (Status.BASELINE, Status.KEPT):
        status, reason = Status.DISCARDED, f"{reason}; it is no new gain"
    best = store.best_brief(campaign).number
    return replace(
        twin.outcome,
        status=status,
        reason=reason,
        # Its seed runs stay with the twin: they took no time again.
        seed_runs=(),
        log_tail="",
        evidence=Evidence(against=best, planned=0, screened=0, same_as=twin.number),
    )
