"""Runs a trial and the best as pairs, so that a machine that drifts is no gain and no loss."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from recipelab.evaluation.metric import BESIDE
from recipelab.evaluation.phases import PhaseRunner, sandbox_measures
from recipelab.evaluation.schedule import Done, known_good, leased, together
from recipelab.log import logger
from recipelab.pack_measures import Metric
from recipelab.recipe import Recipe
from recipelab.sandbox.base import PhaseResult
from recipelab.sandbox.slots.pool import Slot, SlotPool
from recipelab.trial import Phase, SeedRun

DRIFT = "drift"
"""How far the best's own times were apart within one comparison, as a share of their mean."""

REPEATS = 2
"""How often a comparison is repeated because the machine drifted meanwhile."""

_log = logger(__name__)


@dataclass(frozen=True)
class Pairing:
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
