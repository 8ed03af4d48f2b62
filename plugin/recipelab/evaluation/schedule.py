"""In which order the seed runs of a trial go, and which of them at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from recipelab.errors import SandboxError
from recipelab.evaluation.faults import PhaseFailed
from recipelab.evaluation.phases import PhaseRunner, sandbox_measures
from recipelab.evaluation.watch import Watch
from recipelab.recipe import Recipe
from recipelab.sandbox.base import PhaseResult
from recipelab.sandbox.slots.gpus import gpu_fault
from recipelab.sandbox.slots.pool import Slot, SlotPool
from recipelab.trial import Phase, SeedRun

BESIDE = "beside."
"""Prefix of what was measured of the best while it ran beside a trial."""

Done = Callable[[SeedRun], None]


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

    await _all(one(seed) for seed in seeds)


async def run_seeds_beside(
    runner: PhaseRunner,
    best: PhaseRunner,
    recipe: Recipe,
    seeds: Sequence[int],
    *,
    pool: SlotPool,
    predict_too: bool,
    done: Done,
) -> None:
    """Trains trial and best side by side, seed by seed, and finishes the trial's seed runs.

    Both of a pair run at the same moment on the same cores, so that the system's scheduler gives
    them turns of milliseconds and whatever slows the machine slows both alike. (On two cores of a
    shared machine that is not so: see ``docs/architecture.md`` for figures.) A seed run carries the
    best's measurements of its moment under names that begin with ``beside.``.

    Args:
        runner: Runs the phases of the trial.
        best: Runs the phases of the best.
        recipe: The trial's recipe.
        seeds: The seeds.
        pool: Where phases run.
        predict_too: Whether predict is compared as well as train.
        done: Told of each finished seed run.

    Raises:
        PhaseFailed: A phase of the trial failed; everything else was stopped.
        SandboxError: The best failed, which it did not before: the machine is to blame.
    """

    async def one(seed: int) -> None:
        others: dict[Phase, PhaseResult] = {}
        async with leased(pool, runner.watch) as slot:
            pair = (runner.train(seed, slot, sharing=2), best.train(seed, slot, sharing=2))
            others[Phase.TRAIN] = await _pair(*pair)
        # The slot goes to the next pair first: predictions can wait.
        async with leased(pool, runner.watch) as slot:
            if predict_too:
                pair = (runner.predict(seed, slot, sharing=2), best.predict(seed, slot, sharing=2))
                others[Phase.PREDICT] = await _pair(*pair)
            else:
                await runner.predict(seed, slot)
            run = await runner.finish(recipe, seed, slot)
        extra = {f"{BESIDE}{name}": value for name, value in sandbox_measures(others).items()}
        done(replace(run, measures={**run.measures, **extra}))

    await _all(one(seed) for seed in seeds)


async def _pair(
    mine: Coroutine[Any, Any, PhaseResult], best: Coroutine[Any, Any, PhaseResult]
) -> PhaseResult:
    """Runs a phase of the trial and one of the best at the same time, and gives the best's."""
    _, other = await _all((mine, _known_good(best)))
    result: PhaseResult = other
    return result


async def _known_good(phase: Awaitable[PhaseResult]) -> PhaseResult:
    try:
        return await phase
    except PhaseFailed as failed:
        raise SandboxError(f"the best, run beside the trial, failed: {failed}") from failed


async def _all(work: Any) -> list[Any]:
    """Awaits all; the first failure stops the others and is raised when they have ended."""
    coroutines: list[Coroutine[Any, Any, Any]] = list(work)
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    async with AsyncExitStack() as stack:
        # Whatever happens, nothing goes on behind the back of a judged trial.
        stack.push_async_callback(_stopped, tasks)
        results: Awaitable[list[Any]] = asyncio.gather(*tasks)
        return await results


async def _stopped(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
