"""Measures one recipe on the seeds that it is asked for, and the best beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack

from recipelab.evaluation.metric import METRIC, Reference, with_metric
from recipelab.evaluation.pairs import Pairing
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.schedule import known_good, leased, run_seeds
from recipelab.evaluation.watch import Watch
from recipelab.pack import Pack
from recipelab.recipe import Recipe
from recipelab.sandbox.slots.pool import SlotPool
from recipelab.trial import SeedRun

NewRunner = Callable[[AsyncExitStack, Recipe, Mapping[str, str], Watch], PhaseRunner]
"""Makes a runner of a recipe, whose folders go when the stack ends."""


class Measurement:
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
            pairing = Pairing(self._runner, other, self.recipe, metric, self._pool, self._done)
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
