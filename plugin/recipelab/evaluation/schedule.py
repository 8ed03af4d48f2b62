"""In which order the seed runs of a trial go, and which of them at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from recipelab.errors import SandboxError
from recipelab.evaluation.faults import PhaseFailed
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.watch import Watch
from recipelab.recipe import Recipe
from recipelab.sandbox.slots.gpus import gpu_fault
from recipelab.sandbox.slots.pool import Slot, SlotPool
from recipelab.trial import SeedRun

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
