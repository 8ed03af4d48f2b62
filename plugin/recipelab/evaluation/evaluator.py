"""The one choke point: a recipe in, a judged outcome out.

Whatever a trial is called by, it gets its status here and nowhere else. The evaluator owns the
score: nothing that a recipe prints or writes is read as one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
)

from recipelab.errors import SandboxError
from recipelab.evaluation.acceptance import (
    Acceptance,
    PairedTwoSigma,
    Sample,
    mean_and_error,
)
from recipelab.evaluation.failures import signature_of
from recipelab.evaluation.gates import judge_gates, missed_gate
from recipelab.evaluation.phases import EvaluatorFault, PhaseFailed, PhaseRunner, Watch
from recipelab.evaluation.workspace import Workspace
from recipelab.pack import Pack
from recipelab.recipe import Recipe
from recipelab.sandbox.base import Sandbox
from recipelab.trial import Failure, FailureKind, Outcome, SeedRun, Status

ATTEMPTS = 3
"""How often a trial is tried when the machinery fails."""


@dataclass(frozen=True)
class Reference:
    """The best so far, which a candidate is held against.

    Attributes:
        number: Its trial number.
        sample: Its metric by seed.
    """

    number: int
    sample: Sample


class Evaluator:
    """Measures and judges recipes of one pack in one sandbox.

    Args:
        pack: What is measured, under which limits.
        sandbox: Where code runs; it must have been started.
        data: Name of each data file of the pack to its path.
        acceptance: The policy that tells a gain from noise.
        lanes: How many seed runs of a trial go at the same time.
        retry_seconds: First pause before a trial is tried again after the machinery failed.
    """

    def __init__(
        self,
        pack: Pack,
        sandbox: Sandbox,
        data: Mapping[str, Path],
        *,
        acceptance: Acceptance | None = None,
        lanes: int = 1,
        retry_seconds: float = 1.0,
    ) -> None:
        self.pack = pack
        self._sandbox = sandbox
        self._data = dict(data)
        self._acceptance = acceptance or PairedTwoSigma()
        self._lanes = max(1, lanes)
        self._retry_seconds = retry_seconds

    async def evaluate(
        self,
        recipe: Recipe,
        reference: Callable[[], Reference] | None,
        *,
        labels: Mapping[str, str] | None = None,
        watch: Watch = lambda phase, seed: None,
    ) -> Outcome:
        """Measures a recipe and gives it its status.

        Args:
            recipe: The recipe to train.
            reference: Gives the best at the moment of judging, which may have changed while the
                trial ran; ``None`` for the baseline itself.
            labels: What the trial belongs to, for the sandbox.
            watch: Told when a phase begins.

        Returns:
            The judged outcome. A failing recipe is an outcome, and so is failing machinery
            (``aborted``); only cancellation is raised.
        """
        try:
            async for attempt in self._attempts():
                with attempt:
                    return await self._evaluate(recipe, reference, labels or {}, watch)
        except (SandboxError, EvaluatorFault) as error:
            return _aborted(error)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _attempts(self) -> AsyncRetrying:
        return AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=self._retry_seconds, max=30.0),
            retry=retry_if_exception_type(SandboxError),
            reraise=True,
        )

    async def _evaluate(
        self,
        recipe: Recipe,
        reference: Callable[[], Reference] | None,
        labels: Mapping[str, str],
        watch: Watch,
    ) -> Outcome:
        with Workspace(self.pack, recipe, self._data) as workspace:
            runner = PhaseRunner(self.pack, self._sandbox, workspace, labels=labels, watch=watch)
            runs: list[SeedRun] = []
            try:
                await runner.preflight()
                await self._seed_runs(runner, recipe, runs)
            except PhaseFailed as failed:
                return _failed(failed, _ordered(runs))
            log = runner.last.log if runner.last else ""
            environment = runner.last.environment if runner.last else ""
            best = reference() if reference is not None else None
            return self._judge(_ordered(runs), best, log, environment)

    async def _seed_runs(self, runner: PhaseRunner, recipe: Recipe, runs: list[SeedRun]) -> None:
        """Runs all seeds, some at once; the first failure stops the others."""
        lanes = asyncio.Semaphore(self._lanes)

        async def one(seed: int) -> None:
            async with lanes:
                runs.append(await runner.seed_run(recipe, seed))

        tasks = [asyncio.ensure_future(one(seed)) for seed in self.pack.seeds]
        async with AsyncExitStack() as stack:
            # Whatever happens, no seed run goes on behind the back of a judged trial.
            stack.push_async_callback(_cancelled, tasks)
            await asyncio.gather(*tasks)

    def _judge(
        self,
        runs: tuple[SeedRun, ...],
        reference: Reference | None,
        log: str,
        environment: str,
    ) -> Outcome:
        sample = {run.seed: run.measures[self.pack.metric.measure] for run in runs}
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


def reference_of(number: int, outcome: Outcome, measure: str) -> Reference:
    """The reference that a judged trial makes for those after it."""
    return Reference(number, {run.seed: run.measures[measure] for run in outcome.seed_runs})


async def _cancelled(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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
