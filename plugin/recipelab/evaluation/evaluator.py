"""The one choke point: a recipe in, a judged outcome out.

Whatever a trial is called by, it gets its status here and nowhere else. The evaluator owns the
score: nothing that a recipe prints or writes is read as one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
)

from recipelab.errors import SandboxError
from recipelab.evaluation.acceptance import Acceptance, PairedTwoSigma, mean_and_error
from recipelab.evaluation.failures import signature_of
from recipelab.evaluation.faults import EvaluatorFault, PhaseFailed
from recipelab.evaluation.gates import judge_gates, missed_gate
from recipelab.evaluation.metric import Reference, sample_of, with_metric
from recipelab.evaluation.observing import observed_trial, tries_again
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.schedule import Done, leased, run_seeds, run_seeds_beside
from recipelab.evaluation.seals import Seals
from recipelab.evaluation.watch import Watch
from recipelab.evaluation.workspace import Workspace
from recipelab.pack import Pack
from recipelab.recipe import Recipe
from recipelab.sandbox.base import Sandbox
from recipelab.sandbox.slots.pool import ANYWHERE, SlotPool
from recipelab.trial import Failure, FailureKind, Outcome, SeedRun, Status

ATTEMPTS = 3
"""How often a trial is tried when the machinery fails."""


class Evaluator:
    """Measures and judges recipes of one pack in one sandbox.

    Args:
        pack: What is measured, under which limits.
        sandbox: Where code runs; it must have been started.
        data: Name of each data file of the pack to its path.
        acceptance: The policy that tells a gain from noise.
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
        self._acceptance = acceptance or PairedTwoSigma()
        self._pool = pool or SlotPool([ANYWHERE])
        self._seals = Seals()
        self._sealed = (*self._data.values(), pack.root / pack.evaluator.folder)
        self._retry_seconds = retry_seconds

    @property
    def slots(self) -> int:
        """How many phases may run at the same time."""
        return len(self._pool.slots)

    @property
    def sandbox_name(self) -> str:
        """Name of the kind of sandbox that trials run in."""
        return self._sandbox.name

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
            reference: Gives the best at the moment of judging, which may have changed while the
                trial ran; ``None`` for the baseline itself.
            labels: What the trial belongs to, for the sandbox, logs and traces: ``campaign`` and
                ``trial``, and ``specialist`` if it is known.
            watch: Told how the trial gets on.

        Returns:
            The judged outcome. A failing recipe is an outcome, and so is failing machinery
            (``aborted``); only cancellation is raised.
        """
        labels = labels or {}
        with observed_trial(labels) as observed:
            return observed.judged(await self._tried(recipe, reference, labels, watch or Watch()))

    async def _tried(
        self,
        recipe: Recipe,
        reference: Callable[[], Reference] | None,
        labels: Mapping[str, str],
        watch: Watch,
    ) -> Outcome:
        try:
            async for attempt in self._attempts():
                with attempt:
                    watch.queued()
                    return await self._evaluate(recipe, reference, labels, watch)
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

    async def _evaluate(
        self,
        recipe: Recipe,
        reference: Callable[[], Reference] | None,
        labels: Mapping[str, str],
        watch: Watch,
    ) -> Outcome:
        start = reference() if reference is not None else None
        self._check_seals()
        async with AsyncExitStack() as stack:
            runner = self._runner(stack, recipe, labels, watch)
            runs: list[SeedRun] = []
            try:
                async with leased(self._pool, watch) as slot:
                    await runner.preflight(slot)
                await self._seed_runs(stack, runner, recipe, start, labels, runs.append)
            except PhaseFailed as failed:
                return _failed(failed, _ordered(runs))
            watch.measured()
            log = runner.last.log if runner.last else ""
            environment = runner.last.environment if runner.last else ""
            measured = with_metric(_ordered(runs), self.pack.metric, start)
            best = reference() if reference is not None else None
            return self._judge(measured, best, log, environment)

    def _runner(
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

    async def _seed_runs(
        self,
        stack: AsyncExitStack,
        runner: PhaseRunner,
        recipe: Recipe,
        start: Reference | None,
        labels: Mapping[str, str],
        done: Done,
    ) -> None:
        seeds = self.pack.seeds
        if start is None or not self.pack.metric.side_by_side:
            await run_seeds(runner, recipe, seeds, pool=self._pool, done=done)
            return
        beside = {**labels, "beside": str(start.number)}
        best = self._runner(stack, start.recipe, beside, Watch())
        await run_seeds_beside(
            runner,
            best,
            recipe,
            seeds,
            pool=self._pool,
            predict_too=self.pack.metric.charge_predict,
            done=done,
        )

    def _judge(
        self,
        runs: tuple[SeedRun, ...],
        reference: Reference | None,
        log: str,
        environment: str,
    ) -> Outcome:
        sample = sample_of(runs)
        score, score_se = mean_and_error(sample)
        gates = judge_gates(self.pack.gates, runs)
        missed = missed_gate(self.pack.gates, gates)
        verdict = None
        if reference is not None:
            verdict = self._acceptance.judge(sample, reference.sample, self.pack.metric.goal)
        if missed is not None:
            status, failure = missed
            reason = failure.excerpt
        elif verdict is None:
            status, failure, reason = Status.BASELINE, None, "the starting recipe"
        else:
            status = Status.KEPT if verdict.kept else Status.DISCARDED
            failure, reason = None, verdict.reason
        return Outcome(
            status=status,
            reason=reason,
            seed_runs=runs,
            gates=gates,
            score=score,
            score_se=score_se,
            delta=verdict.delta if verdict else None,
            delta_se=verdict.delta_se if verdict else None,
            failure=failure,
            log_tail=log,
            environment=environment,
        )


def _ordered(runs: list[SeedRun]) -> tuple[SeedRun, ...]:
    return tuple(sorted(runs, key=lambda run: run.seed))


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
