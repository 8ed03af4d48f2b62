"""A trial whose recipe was tried before shares what was measured then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from recipelab.acceptance import Acceptance
from recipelab.core.errors import SandboxError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Evidence, Failure, FailureKind, Outcome, SeedRun, Status
from recipelab.evaluation.failures import EvaluatorFault, PhaseFailed, signature_of
from recipelab.evaluation.integrity import FileHashes
from recipelab.evaluation.judge import Judge, Measured
from recipelab.evaluation.metric import Reference
from recipelab.evaluation.observers import Watch, observed_trial, tries_again
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.protocol import TrialProtocol, calibration_seeds
from recipelab.evaluation.seed_runs import SeedRuns
from recipelab.evaluation.workspace import Workspace
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.packs.pack import Pack
from recipelab.sandbox.base import Sandbox
from recipelab.sandbox.slots import ANYWHERE, SlotPool


def shared_outcome(store: LineageStore, campaign: str, number: int) -> Outcome | None:
    """The outcome of a trial that has the recipe of an earlier one, comments and layout aside.

    The same recipe measured twice can look better by luck; it is never a gain.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        number: The trial.

    Returns:
        What it shares; ``None`` if no earlier trial with its recipe has been judged.
    """
    twin = store.find_same(campaign, store.files(campaign, number))
    if twin is None or twin.number >= number or twin.outcome is None:
        return None
    return _shared(twin, twin.outcome, store.best_brief(campaign).number)


def _shared(twin: TrialRecord, outcome: Outcome, best: int) -> Outcome:
    same = f"the same recipe as trial {twin.number}, whose measurements it shares"
    status = outcome.status
    if status in (Status.BASELINE, Status.KEPT):
        status, same = Status.DISCARDED, f"{same}; it is no new gain"
    evidence = Evidence(against=best, planned=0, screened=0, same_as=twin.number)
    # Its seed runs stay with the twin: they took no time again.
    return replace(
        outcome, status=status, reason=same, seed_runs=(), log_tail="", evidence=evidence
    )


Work = Callable[[SeedRuns], Awaitable[Outcome]]
"""What is done with a recipe that got through its preflight."""

ATTEMPTS = 3
"""How often a trial is tried when the machinery fails."""


class Evaluator:
    """Measures and judges recipes of one pack in one sandbox.

    Args:
        pack: What is measured, under which limits.
        sandbox: Where code runs; it must have been started.
        data: Name of each data file of the pack to its path.
        acceptance: The policy that tells a gain from noise; by default the pack's own.
        pool: The slots that phases run in; by default one that is bound to no device.
        retry_seconds: First pause before a trial is tried again after the machinery failed.
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
    ) -> None:
        self.pack = pack
        self._sandbox = sandbox
        self._data = dict(data)
        self._judge = Judge(pack, acceptance)
        self._confirming = asyncio.Lock()
        self._pool = pool or SlotPool([ANYWHERE])
        self._seals = FileHashes()
        self._sealed = (*self._data.values(), pack.root / pack.evaluator.folder)
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
        """An evaluator of another pack, with the same data, sandbox and slots."""
        return Evaluator(
            pack,
            self._sandbox,
            self._data,
            pool=self._pool,
            retry_seconds=self._retry_seconds,
        )

    async def evaluate(
        self,
        recipe: Recipe,
        reference: Callable[[], Reference] | None,
        *,
        labels: Mapping[str, str] | None = None,
        watch: Watch | None = None,
    ) -> Outcome:
        """Measures a recipe and gives it its status.

        Args:
            recipe: The recipe to train.
            reference: Gives the best of the moment, which may change while the trial runs;
                ``None`` for the baseline itself.
            labels: What the trial belongs to, for the sandbox, logs and traces: ``campaign`` and
                ``trial``, and ``specialist`` if it is known.
            watch: Told how the trial gets on.

        Returns:
            The judged outcome. A failing recipe is an outcome, and so is failing machinery
            (``aborted``); only cancellation is raised.
        """

        async def work(trial: SeedRuns) -> Outcome:
            if reference is None:
                return await self._baseline(trial)
            return await TrialProtocol(self._judge, trial, reference, self._confirming).outcome()

        return await self._tried(work, recipe, labels or {}, watch or Watch())

    async def measure(
        self,
        recipe: Recipe,
        seeds: Sequence[int],
        *,
        beside: Reference | None = None,
        labels: Mapping[str, str] | None = None,
        watch: Watch | None = None,
    ) -> Outcome:
        """Measures a recipe on certain seeds, all of them, and holds it against the gates alone.

        Args:
            recipe: The recipe to train.
            seeds: The seeds.
            beside: What it runs beside, where the pack compares times side by side.
            labels: As in :meth:`evaluate`.
            watch: As in :meth:`evaluate`.

        Returns:
            The outcome: ``baseline`` if it passes all gates, else as of a trial that failed.
        """

        async def work(trial: SeedRuns) -> Outcome:
            await trial.run(seeds, beside if self.pack.metric.side_by_side else None)
            return self._passed(trial, seeds, beside)

        return await self._tried(work, recipe, labels or {}, watch or Watch())

    async def _tried(
        self, work: Work, recipe: Recipe, labels: Mapping[str, str], watch: Watch
    ) -> Outcome:
        with observed_trial(labels) as observed:
            return observed.judged(await self._repeated(work, recipe, labels, watch))

    async def _repeated(
        self, work: Work, recipe: Recipe, labels: Mapping[str, str], watch: Watch
    ) -> Outcome:
        """Does the work, again if the machinery fails."""
        try:
            async for attempt in self._attempts():
                with attempt:
                    watch.queued()
                    return await self._once(work, recipe, labels, watch)
        except (SandboxError, EvaluatorFault) as error:
            return _aborted(error)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _attempts(self) -> AsyncRetrying:
        return AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=self._retry_seconds, max=30.0),
            retry=retry_if_exception_type(SandboxError),
            before_sleep=tries_again,
            reraise=True,
        )

    async def _once(
        self, work: Work, recipe: Recipe, labels: Mapping[str, str], watch: Watch
    ) -> Outcome:
        self._check_seals()
        async with AsyncExitStack() as stack:
            trial = SeedRuns(self.pack, self._pool, stack, recipe, labels, watch, self._new_runner)
            try:
                await trial.preflight()
                outcome = await work(trial)
            except PhaseFailed as failed:
                return _failed(failed, trial.finished())
            watch.measured()
            return outcome

    async def _baseline(self, trial: SeedRuns) -> Outcome:
        """Measures the starting recipe, beside itself where trials run beside the best."""
        seeds = calibration_seeds(self.pack, trial.labels.get("campaign", ""))
        beside = self.pack.metric.side_by_side
        await trial.run(seeds, Reference(0, trial.recipe, {}) if beside else None)
        return self._passed(trial, seeds, None)

    def _passed(self, trial: SeedRuns, seeds: Sequence[int], best: Reference | None) -> Outcome:
        runs = trial.runs(seeds, best)
        measured = Measured(runs, len(seeds), log=trial.log, environment=trial.environment)
        return self._judge.baseline(measured)

    def _new_runner(
        self, stack: AsyncExitStack, recipe: Recipe, labels: Mapping[str, str], watch: Watch
    ) -> PhaseRunner:
        workspace = stack.enter_context(Workspace(self.pack, recipe, self._data))
        seals = self._seals.copy()
        seals.add(workspace.recipe)
        return PhaseRunner(self.pack, self._sandbox, workspace, seals, labels=labels, watch=watch)

    def _check_seals(self) -> None:
        """Makes sure that data and evaluator are what they were when the campaign began.

        Raises:
            EvaluatorFault: Something has changed, and so no trial can be compared any more.
        """
        if not self._seals:
            self._seals.add(*self._sealed)
        if broken := self._seals.broken():
            path, before, after = broken
            raise EvaluatorFault(
                f"{path} has changed since the campaign began "
                f"(sha256 {before[:12]} became {after[:12]}); put it back and resume"
            )


def _failed(failed: PhaseFailed, runs: tuple[SeedRun, ...]) -> Outcome:
    return Outcome(
        status=failed.status,
        reason=f"{failed.failure.phase}: {failed.failure.signature}",
        seed_runs=runs,
        failure=failed.failure,
        log_tail=failed.result.log,
        environment=failed.result.environment,
    )


def _aborted(error: Exception) -> Outcome:
    text = str(error)
    failure = Failure(None, FailureKind.INFRASTRUCTURE, signature_of(text), text[:1_600])
    reason = f"the machinery failed, not the recipe: {text.splitlines()[0] if text else error!r}"
    return Outcome(status=Status.ABORTED, reason=reason, failure=failure, log_tail=text)
