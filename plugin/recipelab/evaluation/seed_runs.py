"""Which seeds are run: the pack's own for every trial, and fresh ones that nobody can foresee."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, TypeVar

from recipelab.core.errors import SandboxError
from recipelab.core.logs import logger
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Phase, SeedRun
from recipelab.evaluation.failures import PhaseFailed
from recipelab.evaluation.metric import BESIDE, METRIC, Reference, with_metric
from recipelab.evaluation.observers import Watch
from recipelab.evaluation.phases import PhaseRunner, sandbox_measures
from recipelab.packs.pack import Pack
from recipelab.packs.sections import Metric
from recipelab.sandbox.base import PhaseResult
from recipelab.sandbox.slots import Slot, SlotPool, gpu_fault

_SEEDS = 2**31
"""Seeds fit into a signed integer of 32 bits, which every library takes."""


def fresh_seeds(key: str, count: int, taken: Collection[int] = ()) -> tuple[int, ...]:
    """Seeds that follow from a key alone, and look like chance to anybody who does not know it.

    The same key gives the same seeds, so that what was interrupted is repeated as it was; a longer
    list begins with a shorter one.

    Args:
        key: What they are for, as campaign, trial and purpose.
        count: How many.
        taken: Seeds that may not be among them.
    """
    found: list[int] = []
    position = 0
    while len(found) < count:
        digest = hashlib.sha256(f"{key}/{position}".encode()).digest()
        seed = int.from_bytes(digest[:8], "big") % _SEEDS
        if seed not in taken and seed not in found:
            found.append(seed)
        position += 1
    return tuple(found)


Done = Callable[[SeedRun], None]
"""Told of each finished seed run."""

T = TypeVar("T")


@asynccontextmanager
async def leased(pool: SlotPool, watch: Watch) -> AsyncIterator[Slot]:
    """Holds a slot; one whose GPU fails is taken out of use, and the recipe is not to blame.

    Args:
        pool: Where phases run.
        watch: Told of the lease.

    Raises:
        SandboxError: The GPU no longer answers, or no slot is left.
    """
    async with pool.lease() as slot:
        try:
            with watch.holding(slot):
                yield slot
        except PhaseFailed as failed:
            for gpu in slot.gpus:
                if fault := await asyncio.to_thread(gpu_fault, gpu):
                    pool.retire(slot, fault)
                    raise SandboxError(fault) from failed
            raise


async def run_seeds(
    runner: PhaseRunner, recipe: Recipe, seeds: Sequence[int], *, pool: SlotPool, done: Done
) -> None:
    """Runs seeds one after the other, or as many at once as slots are free.

    Args:
        runner: Runs the phases of the trial.
        recipe: The trial's recipe.
        seeds: The seeds.
        pool: Where phases run.
        done: Told of each finished seed run.

    Raises:
        PhaseFailed: A phase failed; the other seed runs were stopped.
        SandboxError: The machinery failed.
    """

    async def one(seed: int) -> None:
        async with leased(pool, runner.watch) as slot:
            await runner.train(seed, slot)
            await runner.predict(seed, slot)
            done(await runner.finish(recipe, seed, slot))

    await together(one(seed) for seed in seeds)


async def known_good(work: Awaitable[T]) -> T:
    """Awaits something of the best.

    Raises:
        SandboxError: It failed, which it did not before: the machine is to blame.
    """
    try:
        return await work
    except PhaseFailed as failed:
        raise SandboxError(f"the best, run beside the trial, failed: {failed}") from failed


async def together(work: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Awaits all; the first failure stops the others and is raised when they have ended."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in work]
    async with AsyncExitStack() as stack:
        # Whatever happens, nothing goes on behind the back of a judged trial.
        stack.push_async_callback(_stopped, tasks)
        results: Awaitable[list[Any]] = asyncio.gather(*tasks)
        return await results


async def _stopped(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


DRIFT = "drift"
"""How far the best's own times were apart within one comparison, as a share of their mean."""

REPEATS = 2
"""How often a comparison is repeated because the machine drifted meanwhile."""

_log = logger(__name__)


@dataclass(frozen=True)
class SideBySide:
    """A trial and the best, which run side by side.

    Attributes:
        trial: Runs the phases of the trial.
        best: Runs the phases of the best.
        recipe: The trial's recipe.
        metric: What is compared; CPU time at the same moment, wall-clock time in turns.
        pool: Where phases run.
        done: Told of each finished seed run of the trial. It carries the best's measurements of its
            moment under names that begin with ``beside.``.
    """

    trial: PhaseRunner
    best: PhaseRunner
    recipe: Recipe
    metric: Metric
    pool: SlotPool
    done: Done

    async def run(self, seeds: Sequence[int]) -> None:
        """Runs seeds.

        Raises:
            PhaseFailed: A phase of the trial failed; everything else was stopped.
            SandboxError: The best failed, which it did not before: the machine is to blame.
        """
        if self.metric.in_turns:
            couples = [seeds[start : start + 2] for start in range(0, len(seeds), 2)]
            await together(self._in_turns(couple) for couple in couples)
        else:
            await together(self._at_once(seed) for seed in seeds)

    async def _at_once(self, seed: int) -> None:
        """Both run at the same moment on the same cores.

        The system's scheduler gives them turns of milliseconds, and whatever slows the machine
        slows both alike. (On two cores of a shared machine that is not so: see
        ``docs/architecture.md`` for figures.)
        """
        others: dict[Phase, PhaseResult] = {}
        async with leased(self.pool, self.trial.watch) as slot:
            pair = (
                self.trial.train(seed, slot, sharing=2),
                self.best.train(seed, slot, sharing=2),
            )
            others[Phase.TRAIN] = await _both(*pair)
        # The slot goes to the next pair first: predictions can wait.
        async with leased(self.pool, self.trial.watch) as slot:
            if self.metric.charge_predict:
                pair = (
                    self.trial.predict(seed, slot, sharing=2),
                    self.best.predict(seed, slot, sharing=2),
                )
                others[Phase.PREDICT] = await _both(*pair)
            else:
                await self.trial.predict(seed, slot)
            await self._finish(seed, slot, others)

    async def _in_turns(self, seeds: Sequence[int]) -> None:
        """Both run in turns on one slot, best trial trial best, with nothing else on it.

        So a drift that is steady slows both alike. Each has had a warm-up before it is timed. If
        the two times of the best are further apart than ``metric.drift``, the machine changed its
        speed in between, and the comparison is repeated.
        """
        async with leased(self.pool, self.trial.watch) as slot:
            await known_good(self.best.preflight(slot, seeds[0]))
            await self.trial.preflight(slot, seeds[0])
            for repeat in range(REPEATS + 1):
                others = await self._turns(seeds, slot)
                drift = _drift([others[seed] for seed in seeds], self.metric)
                if drift <= self.metric.drift or repeat == REPEATS:
                    break
                _log.warning("the machine drifted, the comparison is repeated", drift=drift)
                for seed in seeds:
                    self.trial.forget(seed)
                    self.best.forget(seed)
            for seed in seeds:
                await self._finish(seed, slot, others[seed], {DRIFT: drift})

    async def _turns(self, seeds: Sequence[int], slot: Slot) -> dict[int, dict[Phase, PhaseResult]]:
        others: dict[int, dict[Phase, PhaseResult]] = {seed: {} for seed in seeds}
        for seed, runner in self._order(seeds):
            train = runner.train(seed, slot)
            mine = runner is self.trial
            result = await (train if mine else known_good(train))
            if mine or self.metric.charge_predict:
                predict = runner.predict(seed, slot)
                predicted = await (predict if mine else known_good(predict))
            if not mine:
                others[seed][Phase.TRAIN] = result
                if self.metric.charge_predict:
                    others[seed][Phase.PREDICT] = predicted
        return others

    def _order(self, seeds: Sequence[int]) -> Iterator[tuple[int, PhaseRunner]]:
        for position, seed in enumerate(seeds):
            pair = (self.best, self.trial)
            for runner in pair if position % 2 == 0 else reversed(pair):
                yield seed, runner

    async def _finish(
        self,
        seed: int,
        slot: Slot,
        others: Mapping[Phase, PhaseResult],
        more: Mapping[str, float] | None = None,
    ) -> None:
        run: SeedRun = await self.trial.finish(self.recipe, seed, slot)
        beside = {f"{BESIDE}{name}": value for name, value in sandbox_measures(others).items()}
        self.done(replace(run, measures={**run.measures, **beside, **(more or {})}))


def _drift(results: Sequence[Mapping[Phase, PhaseResult]], metric: Metric) -> float:
    """How far the best's times are apart, as a share of their mean."""
    times = [sandbox_measures(found)[metric.measure] for found in results]
    return (max(times) - min(times)) / fmean(times)


async def _both(
    mine: Coroutine[Any, Any, PhaseResult], best: Coroutine[Any, Any, PhaseResult]
) -> PhaseResult:
    """Runs a phase of the trial and one of the best at the same time, and gives the best's."""
    _, other = await together((mine, known_good(best)))
    result: PhaseResult = other
    return result


NewRunner = Callable[[AsyncExitStack, Recipe, Mapping[str, str], Watch], PhaseRunner]
"""Makes a runner of a recipe, whose folders go when the stack ends."""


class SeedRuns:
    """The seed runs of one trial.

    Args:
        pack: The pack.
        pool: Where phases run.
        stack: Ends with the trial.
        recipe: The trial's recipe.
        labels: What it belongs to.
        watch: Told how it gets on.
        new_runner: Makes the runners.
    """

    def __init__(
        self,
        pack: Pack,
        pool: SlotPool,
        stack: AsyncExitStack,
        recipe: Recipe,
        labels: Mapping[str, str],
        watch: Watch,
        new_runner: NewRunner,
    ) -> None:
        self.pack = pack
        self.recipe = recipe
        self.labels = labels
        self.watch = watch
        self._pool = pool
        self._stack = stack
        self._new_runner = new_runner
        self._runner = new_runner(stack, recipe, labels, watch)
        self._others: dict[int, PhaseRunner] = {}
        self._runs: dict[int, SeedRun] = {}

    @property
    def log(self) -> str:
        """Log of the last phase."""
        return self._runner.last.log if self._runner.last else ""

    @property
    def environment(self) -> str:
        """What the last phase ran in."""
        return self._runner.last.environment if self._runner.last else ""

    def runs(
        self, seeds: Iterable[int] | None = None, best: Reference | None = None
    ) -> tuple[SeedRun, ...]:
        """The finished seed runs with their metric, in the order of the seeds.

        Args:
            seeds: Which; ``None`` for all.
            best: What they are compared with.
        """
        wanted = sorted(self._runs if seeds is None else set(seeds) & set(self._runs))
        return with_metric((self._runs[seed] for seed in wanted), self.pack.metric, best)

    def finished(self) -> tuple[SeedRun, ...]:
        """The finished seed runs as they were measured, for a trial that failed."""
        return tuple(self._runs[seed] for seed in sorted(self._runs))

    async def preflight(self) -> None:
        """One tiny step of the recipe.

        Raises:
            PhaseFailed: The recipe does not get through it.
            SandboxError: The machinery failed.
        """
        async with leased(self._pool, self.watch) as slot:
            await self._runner.preflight(slot)

    async def run(self, seeds: Sequence[int], best: Reference | None) -> None:
        """Runs seeds that have not run yet, beside the best where the pack wants that.

        Where it does not, the best runs on those seeds that it has not seen.

        Raises:
            PhaseFailed: A phase failed.
            SandboxError: The machinery failed, or the best.
        """
        seeds = [seed for seed in seeds if seed not in self._runs]
        if best is not None and self.pack.metric.side_by_side:
            other, metric = self._other(best), self.pack.metric
            pairing = SideBySide(self._runner, other, self.recipe, metric, self._pool, self._done)
            await pairing.run(seeds)
            return
        await run_seeds(self._runner, self.recipe, seeds, pool=self._pool, done=self._done)
        if best is not None:
            await self.run_best(best, seeds)

    async def run_best(self, best: Reference, seeds: Iterable[int]) -> None:
        """Runs the best on the seeds that it has not seen, where it does not run beside trials.

        Raises:
            SandboxError: The best failed, which it did not before: the machine is to blame.
        """
        missing = [seed for seed in seeds if seed not in best.runs]
        if self.pack.metric.side_by_side or not missing:
            return
        other = self._other(best)
        found: list[SeedRun] = []
        await known_good(run_seeds(other, best.recipe, missing, pool=self._pool, done=found.append))
        best.add(with_metric(found, self.pack.metric, best))

    def _other(self, best: Reference) -> PhaseRunner:
        if best.number not in self._others:
            labels = {**self.labels, "beside": str(best.number)}
            watch = self.watch.of_the_best()
            self._others[best.number] = self._new_runner(self._stack, best.recipe, labels, watch)
        return self._others[best.number]

    def _done(self, run: SeedRun) -> None:
        self._runs[run.seed] = run


def metric_of(runs: Iterable[SeedRun]) -> dict[int, float]:
    """The metric by seed."""
    return {run.seed: run.measures[METRIC] for run in runs}
