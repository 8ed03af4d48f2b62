"""In which order the seed runs of a trial go, and which of them at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from recipelab.errors import SandboxError
from recipelab.evaluation.phases import CoreSet, PhaseFailed, PhaseRunner, sandbox_measures
from recipelab.recipe import Recipe
from recipelab.sandbox.base import PhaseResult
from recipelab.trial import Phase, SeedRun

BESIDE = "beside."
"""Prefix of what was measured of the best while it ran beside a trial."""

Done = Callable[[SeedRun], None]


class Lanes:
    """Sets of cores, each for one piece of work at a time.

    Args:
        sets: One set of cores a lane.
    """

    def __init__(self, sets: Sequence[CoreSet]) -> None:
        self._free: asyncio.Queue[CoreSet] = asyncio.Queue()
        for cores in sets:
            self._free.put_nowait(cores)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[CoreSet]:
        """Waits for a lane; who waited longest comes first."""
        cores = await self._free.get()
        try:
            yield cores
        finally:
            self._free.put_nowait(cores)


async def run_seeds(
    runner: PhaseRunner, recipe: Recipe, seeds: Sequence[int], *, lanes: Lanes, done: Done
) -> None:
    """Runs seeds one after the other, or as many at once as there are lanes.

    Args:
        runner: Runs the phases of the trial.
        recipe: The trial's recipe.
        seeds: The seeds.
        lanes: Where phases run.
        done: Told of each finished seed run.

    Raises:
        PhaseFailed: A phase failed; the other seed runs were stopped.
    """

    async def one(seed: int) -> None:
        async with lanes.one() as cores:
            trained = await runner.train(seed, cores)
            done(await runner.finish(recipe, seed, trained, cores))

    await _all(one(seed) for seed in seeds)


async def run_seeds_beside(
    runner: PhaseRunner,
    best: PhaseRunner,
    recipe: Recipe,
    seeds: Sequence[int],
    *,
    lanes: Lanes,
    done: Done,
) -> None:
    """Trains trial and best side by side, seed by seed, and finishes the trial's seed runs.

    Both of a pair run at the same moment on the same cores, so that the system's scheduler gives
    them turns of milliseconds and whatever slows the machine slows both alike. (On two cores of a
    shared machine that is not so: see ``docs/architecture.md`` for figures.) A seed run carries the
    best's measurements of its moment under names that begin with ``beside.``.

    Args:
        runner: Runs the phases of the trial.
        best: Runs the training of the best.
        recipe: The trial's recipe.
        seeds: The seeds.
        lanes: Where phases run.
        done: Told of each finished seed run.

    Raises:
        PhaseFailed: A phase of the trial failed; everything else was stopped.
        SandboxError: The best failed, which it did not before: the machine is to blame.
    """

    async def one(seed: int) -> None:
        async with lanes.one() as cores:
            mine, other = await _all(
                (
                    runner.train(seed, cores, sharing=2),
                    _known_good(best.train(seed, cores, sharing=2)),
                )
            )
        # The lane goes to the next pair first: predictions can wait, and are not compared.
        async with lanes.one() as cores:
            run = await runner.finish(recipe, seed, mine, cores)
        measured = sandbox_measures({Phase.TRAIN: other})
        extra = {f"{BESIDE}{name}": value for name, value in measured.items()}
        done(replace(run, measures={**run.measures, **extra}))

    await _all(one(seed) for seed in seeds)


async def _known_good(training: Awaitable[PhaseResult]) -> PhaseResult:
    try:
        return await training
    except PhaseFailed as failed:
        raise SandboxError(f"the best, trained beside the trial, failed: {failed}") from failed


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
