"""Run a trial and the incumbent at the same moment or in turns, on slots that are held."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, TypeVar

from recipelab.core.errors import SandboxError
from recipelab.core.logs import logger
from recipelab.core.recipe import Recipe
from recipelab.core.trial import FailureKind, Phase, SeedRun
from recipelab.evaluation.curves import CurveRace
from recipelab.evaluation.failures import MachineSuspected, PhaseFailed
from recipelab.evaluation.metric import BESIDE
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.phases import PhaseRunner, sandbox_measures
from recipelab.packs.judging_sections import Metric
from recipelab.sandbox.base import PhaseResult
from recipelab.sandbox.gpus import gpu_fault
from recipelab.sandbox.slots import ANYWHERE, Slot, SlotPool

DRIFT = "drift"
"""Measurement: how far the incumbent's times of one comparison lie apart, over their mean."""

REPEATS = 2
"""How often a comparison is repeated because the machine drifted meanwhile."""

T = TypeVar("T")

_log = logger(__name__)


@dataclass(frozen=True)
class SideBySide:
    """A trial and the incumbent, run side by side so that their times can be compared.

    A time means little on a machine that drifts, so both meet the same moment. **CPU times** are
    measured while both run at once on the same cores: the system's scheduler gives them turns of
    milliseconds, and whatever slows the machine slows both alike. **Wall-clock times** are measured
    in turns on one slot, incumbent trial trial incumbent, with nothing else on it, each after a
    warm-up: a steady drift then slows both alike. If the incumbent's two times still lie further
    apart than ``metric.drift``, the machine changed its speed in between, and the comparison is
    repeated. (CPU times of two cores of a shared machine do drift apart: the figures are in
    ``docs/architecture.md``.)

    Attributes:
        trial: Runs the phases of the trial.
        incumbent: Runs the phases of the incumbent.
        recipe: The trial's recipe.
        metric: What is compared.
        pool: The slots that phases run in.
        done: Told of each finished seed run of the trial. It carries the incumbent's measurements
            of its moment under names that begin with ``beside.``.
        race: Returns what a training of the trial is held against.
    """

    trial: PhaseRunner
    incumbent: PhaseRunner
    recipe: Recipe
    metric: Metric
    pool: SlotPool
    done: Callable[[SeedRun], None]
    race: Callable[[], CurveRace | None] = lambda: None

    async def run(self, seeds: Sequence[int]) -> None:
        """Run both on seeds.

        Raises:
            PhaseFailed: A phase of the trial failed; everything else was stopped.
            SandboxError: The incumbent failed, which it did not before: the machine is to blame.
        """
        if self.metric.in_turns:
            pairs = [seeds[start : start + 2] for start in range(0, len(seeds), 2)]
            await run_together(self._in_turns(pair) for pair in pairs)
        else:
            await run_together(self._at_once(seed) for seed in seeds)

    async def _at_once(self, seed: int) -> None:
        """Run both at the same moment on the same cores."""
        beside: dict[Phase, PhaseResult] = {}
        async with hold_slot(self.pool, self.trial.observer) as slot:
            # Neither may begin while the other warms up.
            await blame_machine(self.incumbent.warm_up(slot))
            # Nor may one prepare while the other trains.
            await run_together(
                runner.prepare(seed, slot) for runner in (self.trial, self.incumbent)
            )
            _, beside[Phase.TRAIN] = await run_together(
                (
                    self.trial.train(seed, slot, sharing=2, curve=self.race()),
                    blame_machine(self.incumbent.train(seed, slot, sharing=2)),
                )
            )
            # Before the next pair trains, this one is finished: a kill then costs no more than one.
            if self.metric.charge_predict:
                _, beside[Phase.PREDICT] = await run_together(
                    (
                        self.trial.predict(seed, slot, sharing=2),
                        blame_machine(self.incumbent.predict(seed, slot, sharing=2)),
                    )
                )
            else:
                await self.trial.predict(seed, slot)
            await self._finish(seed, slot, beside)

    async def _in_turns(self, seeds: Sequence[int]) -> None:
        """Run both in turns on one slot, and once more if the machine drifted."""
        async with hold_slot(self.pool, self.trial.observer) as slot:
            await blame_machine(self.incumbent.preflight(slot, seeds[0]))
            await self.trial.preflight(slot, seeds[0])
            beside, drift = await self._take_turns(seeds, slot)
            repeats = 0
            while drift > self.metric.drift and repeats < REPEATS:
                _log.warning("the machine drifted, the comparison is repeated", drift=drift)
                for seed in seeds:
                    self.trial.forget(seed)
                    self.incumbent.forget(seed)
                beside, drift = await self._take_turns(seeds, slot)
                repeats += 1
            if not slot.gpus:
                for seed in seeds:
                    await self._finish(seed, slot, beside[seed], {DRIFT: drift})
                return
        # Scoring needs no GPU: the next pair has it meanwhile.
        with self.trial.observer.resting():
            for seed in seeds:
                await self._finish(seed, ANYWHERE, beside[seed], {DRIFT: drift})

    async def _take_turns(
        self, seeds: Sequence[int], slot: Slot
    ) -> tuple[dict[int, dict[Phase, PhaseResult]], float]:
        """Return what the incumbent measured, by seed and phase, and its drift meanwhile."""
        beside: dict[int, dict[Phase, PhaseResult]] = {seed: {} for seed in seeds}
        for seed, is_trial in in_turns(seeds):
            if is_trial:
                await self.trial.train(seed, slot, curve=self.race())
                await self.trial.predict(seed, slot)
                continue
            beside[seed][Phase.TRAIN] = await blame_machine(self.incumbent.train(seed, slot))
            if self.metric.charge_predict:
                predicted = await blame_machine(self.incumbent.predict(seed, slot))
                beside[seed][Phase.PREDICT] = predicted
        times = [sandbox_measures(beside[seed])[self.metric.measure] for seed in seeds]
        return beside, (max(times) - min(times)) / fmean(times)

    async def _finish(
        self,
        seed: int,
        slot: Slot,
        beside: Mapping[Phase, PhaseResult],
        more: Mapping[str, float] | None = None,
    ) -> None:
        """Score the trial's predictions and hand on its seed run."""
        run = await self.trial.finish(self.recipe, seed, slot)
        others = {f"{BESIDE}{name}": value for name, value in sandbox_measures(beside).items()}
        self.done(replace(run, measures={**run.measures, **others, **(more or {})}))


def in_turns(seeds: Sequence[int]) -> Iterator[tuple[int, bool]]:
    """Yield seeds in the order of best trial trial best, and whether it is the trial's turn."""
    for position, seed in enumerate(seeds):
        yield from ((seed, is_trial) for is_trial in (bool(position % 2), not position % 2))


@asynccontextmanager
async def hold_slot(pool: SlotPool, observer: TrialObserver) -> AsyncIterator[Slot]:
    """Hold a slot; take it out of use if its GPU fails, which is not the recipe's fault.

    Args:
        pool: The slots that phases run in.
        observer: Told of the lease.

    Raises:
        SandboxError: The GPU no longer answers, or no slot is left.
        MachineSuspected: The log says that the machine failed.
    """
    async with _leased(pool, observer) as slot:
        try:
            with observer.holding(slot):
                yield slot
        except PhaseFailed as failed:
            # Those of another machine are asked about by their place.
            for gpu in () if slot.node else slot.gpus:
                if fault := await asyncio.to_thread(gpu_fault, gpu):
                    pool.retire(slot, fault)
                    raise SandboxError(fault) from failed
            # A disk that only the phase's own limits had filled is of another kind.
            if failed.failure.kind in (FailureKind.INFRASTRUCTURE, FailureKind.DISK):
                raise MachineSuspected(failed.failure) from failed
            raise


@asynccontextmanager
async def _leased(pool: SlotPool, observer: TrialObserver) -> AsyncIterator[Slot]:
    with observer.wanting():
        async with pool.lease() as slot:
            yield slot


async def blame_machine(work: Awaitable[T]) -> T:
    """Await a phase of the incumbent.

    Raises:
        SandboxError: It failed, which it did not before: the machine is to blame.
    """
    try:
        return await work
    except PhaseFailed as failed:
        if failed.failure.kind is FailureKind.INFRASTRUCTURE:
            raise
        raise SandboxError(f"the best, run beside the trial, failed: {failed}") from failed


async def run_together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all; the first failure stops the others, and is raised when they have ended."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        # Whatever happens, nothing goes on behind the back of a judged trial.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
