"""How a trial is tried: screened on the usual seeds, and confirmed on fresh ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from recipelab.acceptance import NeedMoreSeeds, waves
from recipelab.core.trial import Outcome
from recipelab.evaluation.judge import Judge, Measured
from recipelab.evaluation.metric import Reference
from recipelab.evaluation.seed_runs import SeedRuns, fresh_seeds
from recipelab.packs.pack import Pack


class TrialProtocol:
    """Tries one trial.

    Args:
        judge: Gives it its status.
        measurement: Runs its seeds.
        reference: Gives the best of the moment, which may change while the trial runs.
        confirming: Held while a trial is confirmed.
    """

    def __init__(
        self,
        judge: Judge,
        measurement: SeedRuns,
        reference: Callable[[], Reference],
        confirming: asyncio.Lock,
    ) -> None:
        self._judge = judge
        self._trial = measurement
        self._reference = reference
        self._confirming = confirming
        self._pack = measurement.pack
        self._fresh: tuple[int, ...] = ()

    async def outcome(self) -> Outcome:
        """Runs what it takes to give the trial its status.

        Raises:
            PhaseFailed: A phase of the trial failed.
            SandboxError: The machinery failed, or the best.
        """
        start = self._reference()
        screened = screening_seeds(self._pack, start, self._campaign)
        await self._screen(screened, start)
        best = self._reference()
        await self._trial.run_best(best, self._ran(screened))
        found = self._judge.trial(self._measured(screened, best), best)
        return await self._confirmed(screened) if isinstance(found, NeedMoreSeeds) else found

    @property
    def _campaign(self) -> str:
        return self._trial.labels.get("campaign", "")

    async def _screen(self, seeds: tuple[int, ...], best: Reference) -> None:
        """Runs the seeds in portions, and stops as soon as the rest could not change a thing."""
        done = 0
        races = best.noise is not None and self._pack.acceptance.racing_error > 0.0
        # In turns, two seeds make one comparison.
        first = 2 if self._pack.metric.in_turns else 1
        for wave in waves(seeds, first=first) if races else [seeds]:
            await self._trial.run(wave, best)
            done += len(wave)
            runs = self._trial.runs(seeds[:done], best)
            if done < len(seeds) and self._judge.hopeless(runs, len(seeds), best):
                return

    async def _confirmed(self, screened: tuple[int, ...]) -> Outcome:
        """Runs trial and best on fresh seeds until the policy is content.

        One trial at a time: the best may not change meanwhile, and each confirmation uses up some
        of the campaign's false-keep rate. Whoever holds the lock gives its outcome to the lineage
        before anybody else is let in, as nothing is awaited in between.
        """
        async with self._confirming:
            best = self._reference()
            await self._trial.run_best(best, self._ran(screened))
            found = self._judge.trial(self._measured(screened, best), best)
            while isinstance(found, NeedMoreSeeds):
                self._fresh = self._seeds(found.seeds, screened)
                await self._trial.run(self._fresh, best)
                found = self._judge.trial(self._measured(screened, best), best)
            return found

    def _seeds(self, count: int, screened: tuple[int, ...]) -> tuple[int, ...]:
        key = f"{self._pack.name}/{self._campaign}/confirm/{self._trial.labels.get('trial', '')}"
        return fresh_seeds(key, count, taken={*self._pack.seeds, *screened})

    def _ran(self, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(run.seed for run in self._trial.finished() if run.seed in seeds)

    def _measured(self, screened: tuple[int, ...], best: Reference) -> Measured:
        return Measured(
            screen=self._trial.runs(screened, best),
            planned=len(screened),
            confirm=self._trial.runs(self._fresh, best),
            log=self._trial.log,
            environment=self._trial.environment,
        )


def calibration_seeds(pack: Pack, campaign: str) -> tuple[int, ...]:
    """The seeds of the baseline: those of the pack, and as many more as the noise takes."""
    missing = pack.acceptance.calibration - len(pack.seeds)
    key = f"{pack.name}/{campaign}/calibration"
    return (*pack.seeds, *fresh_seeds(key, max(0, missing), taken=pack.seeds))


def screening_seeds(pack: Pack, best: Reference, campaign: str) -> tuple[int, ...]:
    """The seeds that every trial runs while a certain one is the best.

    A best that was kept on some seeds was lucky on them; its followers are held against it on
    others. That is of no use where the best runs anew beside every trial, or where nothing has any
    noise.
    """
    quiet = best.noise is None or best.noise.pair.sd == 0.0
    if best.number == 0 or quiet or pack.metric.side_by_side:
        return pack.seeds
    key = f"{pack.name}/{campaign}/screen/{best.number}"
    return fresh_seeds(key, len(pack.seeds), taken=pack.seeds)
