"""Seed runs: train, predict and score with one seed after the other, on the slots that are free."""

from __future__ import annotations

from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TypeVar

from recipelab.core.recipe import Recipe
from recipelab.core.trial import SeedRun
from recipelab.evaluation.artifacts import TrainedArtifact
from recipelab.evaluation.curves import CurveBook, CurveRace, race_against
from recipelab.evaluation.failures import PhaseFailed
from recipelab.evaluation.metric import Incumbent, is_deterministic, with_metric
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.projection import NOTHING_EXPECTED, refusal
from recipelab.evaluation.seeds import SeedSource
from recipelab.evaluation.side_by_side import (
    SideBySide,
    blame_machine,
    hold_slot,
    in_turns,
    run_together,
)
from recipelab.packs.pack import Pack
from recipelab.sandbox.base import PhaseResult
from recipelab.sandbox.slots import ANYWHERE, Slot, SlotPool

T = TypeVar("T")

NewRunner = Callable[[AsyncExitStack, Recipe, Mapping[str, str], TrialObserver], PhaseRunner]
"""Makes the runner of a recipe, whose folders are removed when the stack ends."""


class SeedRuns:
    """The seed runs of one trial, and those of the incumbent that it is compared with.

    Args:
        pack: The pack.
        pool: The slots that phases run in.
        stack: Ends with the trial.
        recipe: The trial's recipe.
        labels: What the trial belongs to: ``campaign`` and ``trial``.
        observer: Told of the trial's steps.
        new_runner: Makes the runners of the trial's recipe and of the incumbent's.
        seeds: Draws fresh seeds.
        curves: The curves of the campaign's finished runs; ``None`` where the pack has none.
        short_runner: Makes the runners of short trainings, where the pack has them.
        control_runner: Makes the runners of control runs, where the pack has them.
    """

    def __init__(
        self,
        pack: Pack,
        pool: SlotPool,
        stack: AsyncExitStack,
        recipe: Recipe,
        labels: Mapping[str, str],
        observer: TrialObserver,
        new_runner: NewRunner,
        seeds: SeedSource,
        curves: CurveBook | None = None,
        short_runner: NewRunner | None = None,
        control_runner: NewRunner | None = None,
    ) -> None:
        self.pack = pack
        self.recipe = recipe
        self.labels = labels
        self.observer = observer
        self.seeds = seeds
        self.curves = curves
        self._short_runner = short_runner
        self._control_runner = control_runner
        self._pool = pool
        self._stack = stack
        self._new_runner = new_runner
        self._runner = new_runner(stack, recipe, labels, observer)
        self._incumbents: dict[int, PhaseRunner] = {}
        self._runs: dict[int, SeedRun] = {}
        self._of_former: frozenset[int] = frozenset()
        self._may_stop: Incumbent | None = None
        self._beside: int | None = None
        self._is_whole = True

    def shortened(self) -> SeedRuns:
        """Return the short trainings of the same recipe, with folders of their own."""
        return self._others(self.pack.shortened(), self._short_runner)

    def controlled(self) -> SeedRuns:
        """Return the control runs of the same recipe, with folders of their own."""
        return self._others(self.pack.controlled(), self._control_runner)

    def _others(self, pack: Pack, new_runner: NewRunner | None) -> SeedRuns:
        others = SeedRuns(
            pack,
            self._pool,
            self._stack,
            self.recipe,
            self.labels,
            self.observer,
            new_runner or self._new_runner,
            self.seeds,
        )
        others._is_whole = False
        return others

    @property
    def name(self) -> str:
        """The trial's number, as it is labeled; empty outside of any campaign."""
        return self.labels.get("trial", "")

    @property
    def log(self) -> str:
        """Log of the last phase."""
        return self._runner.last.log if self._runner.last else ""

    @property
    def last(self) -> PhaseResult | None:
        """The result of the last phase; ``None`` before the first."""
        return self._runner.last

    @property
    def environment(self) -> str:
        """What the last phase ran in."""
        return self._runner.environment

    def finished(self) -> tuple[SeedRun, ...]:
        """Return the finished seed runs with their metric, in the order of their seeds."""
        return tuple(self._runs[seed] for seed in sorted(self._runs))

    def runs(self, seeds: Collection[int]) -> tuple[SeedRun, ...]:
        """Return the finished ones among some seed runs with their metric."""
        return tuple(run for run in self.finished() if run.seed in seeds)

    def artifact(self) -> TrainedArtifact | None:
        """Return what the first seed run of the recipe left here; ``None`` if none has."""
        own = (seed for seed in self._runs if seed not in self._of_former)
        return next((found for seed in own if (found := self._runner.artifact(seed))), None)

    async def rebase(self, recipe: Recipe, *, forget: bool = False) -> None:
        """Go on with another recipe: what the trial changes, merged onto a new best.

        Args:
            recipe: The merged recipe.
            forget: Whether the seeds that have run will run again; otherwise they stay as they
                are, and only others may run from here on.

        Raises:
            PhaseFailed: The merged recipe does not get through its preflight.
            SandboxError: The machinery failed.
        """
        self.recipe = recipe
        self._runner = self._new_runner(self._stack, recipe, self.labels, self.observer)
        self._of_former = frozenset() if forget else frozenset(self._runs)
        if forget:
            self._runs.clear()
        await self.preflight()

    @property
    def ignores_seed(self) -> bool:
        """Whether the recipe was the same for two seeds, byte for byte, so that more tell nothing.

        Never where a time is measured, which is another every time, or where each seed run has a
        hidden round of its own.
        """
        if self.pack.metric.is_clock or self.pack.has_rounds:
            return False
        runs = [run for seed, run in self._runs.items() if seed not in self._of_former]
        return is_deterministic(runs)

    async def preflight(self, expected: Mapping[str, float] = NOTHING_EXPECTED) -> None:
        """Run one tiny step of the recipe, and hold what it projects to the limits.

        Args:
            expected: What it has to project, as the best does, and by what to correct it; and what
                the best's own preflight took.

        Raises:
            PhaseFailed: The recipe does not get through it, or need not be trained.
            SandboxError: The machinery failed.
        """
        async with hold_slot(self._pool, self.observer) as slot:
            projection = await self._runner.preflight(slot, usual=expected)
        seed, last = self.pack.seeds[0], self._runner.last
        refused = refusal(self.pack, self.recipe, projection, expected, seed=seed)
        if refused is not None and last is not None:
            raise PhaseFailed(*refused, last)

    async def run(
        self,
        seeds: Sequence[int],
        incumbent: Incumbent | None,
        *,
        alone: bool = False,
        may_stop: bool = False,
    ) -> None:
        """Run the seeds that have not run yet, and the incumbent on the same.

        The incumbent runs beside the trial where the pack compares times side by side. Elsewhere it
        runs only on seeds that it has not run yet, and then in turns with the trial: whatever
        changes slowly, as a machine that slows down, meets both alike.

        Args:
            seeds: The seeds.
            incumbent: What the trial is compared with; ``None`` for nothing.
            alone: Whether the incumbent need not run, as it is known well enough.
            may_stop: Whether a run whose curve is hopeless is stopped.

        Raises:
            StoppedOnCurve: A training was stopped, and with it all that ran beside it.
            PhaseFailed: A phase failed.
            SandboxError: The machinery failed, or the incumbent did.
        """
        paired = None if alone else incumbent
        is_beside = paired is not None and self.pack.metric.side_by_side
        self._beside = paired.number if paired is not None and is_beside else None
        self._take_up(seeds, None if is_beside else paired)
        missing = [seed for seed in seeds if seed not in self._runs]
        self._may_stop = incumbent if may_stop else None
        if incumbent is not None and is_beside:
            other, metric = self._incumbent_runner(incumbent), self.pack.metric
            done = partial(self._add, incumbent=incumbent)
            pair = SideBySide(
                self._runner, other, self.recipe, metric, self._pool, done, self._race
            )
            await pair.run(missing)
            return
        done = partial(self._add, incumbent=incumbent)
        known = incumbent.runs if incumbent is not None else {}
        new = [seed for seed in missing if paired is not None and seed not in known]
        work = [
            self._run_one(self._runner, self.recipe, seed, done)
            for seed in missing
            if seed not in new
        ]
        if incumbent is not None and new:
            both = partial(self._take_turns, incumbent, done)
            work += [both(new[start : start + 2]) for start in range(0, len(new), 2)]
        await run_together(work)

    def _take_up(self, seeds: Sequence[int], paired: Incumbent | None) -> None:
        """Take up the seed runs that had finished when the last attempt at the trial ended.

        Args:
            seeds: Those that are wanted.
            paired: What runs the same seeds in turns with the trial: where one of the two runs is
                missing, both are made.
        """
        if not self._is_whole:
            return
        found = self.observer.finished_runs(self.recipe.digest, beside=self._beside)
        for seed in seeds:
            if seed in self._runs or seed not in found:
                continue
            if paired is None or seed in paired.runs:
                self._runs[seed] = found[seed]
                self._add_curve(self.name, found[seed])

    async def beside_start(self, other: Incumbent, seeds: Sequence[int]) -> tuple[SeedRun, ...]:
        """Run an incumbent beside the starting recipe, where the pack compares times side by side.

        Args:
            other: The incumbent.
            seeds: Seeds that it has not run here.

        Returns:
            Its seed runs, with the metric as it is in proportion to the start's now.

        Raises:
            SandboxError: The machinery failed, or one of the two did.
        """
        if other.start is None:
            raise ValueError(f"nobody said what trial {other.number} started from")
        runs = {run.seed: run for run in other.baseline}
        start, found = Incumbent(0, other.start, runs, other.baseline), list[SeedRun]()
        runners = (self._incumbent_runner(other), self._incumbent_runner(start))
        pair = SideBySide(*runners, other.recipe, self.pack.metric, self._pool, found.append)
        await blame_machine(pair.run(seeds))
        return with_metric(found, self.pack.metric, start)

    async def _run_one(
        self, runner: PhaseRunner, recipe: Recipe, seed: int, done: Callable[[SeedRun], None]
    ) -> None:
        async with hold_slot(self._pool, runner.observer) as slot:
            if runner is self._runner and self.ignores_seed:
                like = next(iter(reversed(self._runs.values())))
                done(replace(like, seed=seed, timings=()))
                return
            await runner.train(seed, slot, curve=self._race())
            await runner.predict(seed, slot)
            if not slot.gpus:
                done(await runner.finish(recipe, seed, slot))
                return
        # Scoring needs no GPU: the next training has it meanwhile.
        with runner.observer.resting():
            done(await runner.finish(recipe, seed, ANYWHERE))

    def _race(self) -> CurveRace | None:
        """Return what one more run is held against; ``None`` to let it train to its end."""
        if self._may_stop is None or self.curves is None:
            return None
        is_check = self.seeds.is_check(self.name)
        return race_against(self.curves, self.pack, self._may_stop, is_check=is_check)

    async def _take_turns(
        self,
        incumbent: Incumbent,
        done: Callable[[SeedRun], None],
        seeds: Sequence[int],
    ) -> None:
        """Run both on one slot: incumbent trial trial incumbent."""
        other, order = self._incumbent_runner(incumbent), tuple(in_turns(seeds))

        async def score(seed: int, slot: Slot, *, is_trial: bool) -> None:
            if is_trial:
                done(await self._runner.finish(self.recipe, seed, slot))
                return
            run = await blame_machine(other.finish(incumbent.recipe, seed, slot))
            incumbent.add(with_metric([run], self.pack.metric, incumbent))
            self._add_curve(str(incumbent.number), run)

        async with hold_slot(self._pool, self.observer) as slot:
            for seed, is_trial in order:
                runner, blame = (self._runner, _nobody) if is_trial else (other, blame_machine)
                await blame(runner.train(seed, slot, curve=self._race() if is_trial else None))
                await blame(runner.predict(seed, slot))
                if not slot.gpus:
                    await score(seed, slot, is_trial=is_trial)
        if slot.gpus:
            with self.observer.resting():
                for seed, is_trial in order:
                    await score(seed, ANYWHERE, is_trial=is_trial)

    def _incumbent_runner(self, incumbent: Incumbent) -> PhaseRunner:
        if incumbent.number not in self._incumbents:
            labels = {**self.labels, "beside": str(incumbent.number)}
            observer = self.observer.of_incumbent()
            runner = self._new_runner(self._stack, incumbent.recipe, labels, observer)
            self._incumbents[incumbent.number] = runner
        return self._incumbents[incumbent.number]

    def _add(self, run: SeedRun, *, incumbent: Incumbent | None) -> None:
        (run,) = with_metric([run], self.pack.metric, incumbent)
        self._runs[run.seed] = run
        self._add_curve(self.name, run)
        if self._is_whole:
            self.observer.finished(self.recipe.digest, run, beside=self._beside)

    def _add_curve(self, name: str, run: SeedRun) -> None:
        if self.curves is not None and run.timings:
            self.curves.add(name, [run])


async def _nobody(work: Awaitable[T]) -> T:
    return await work
