"""The protocol of a trial: screen it, confirm it if it is promising, and judge it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from recipelab.acceptance import NeedMoreSeeds, waves
from recipelab.core.trial import Outcome
from recipelab.evaluation.judge import Judge, TrialRuns
from recipelab.evaluation.metric import Incumbent
from recipelab.evaluation.seed_runs import SeedRuns, fresh_seeds
from recipelab.packs.pack import Pack


class TrialProtocol:
    """Runs the seeds that it takes to judge one trial against the incumbent, and no more.

    **Screen.** The trial runs the screening seeds, the same for all challengers of one incumbent
    (:func:`screening_seeds`). They run in growing portions; after each, the judge is asked whether
    a gate or a gain is out of reach, and if so the rest is left out (early stopping; the literature
    calls it racing). Nothing is kept for a screening alone, except where nothing has any noise: a
    promising trial may just be lucky on these seeds.

    **Confirm.** A promising trial and the incumbent both run on fresh seeds
    (:func:`confirmation_seeds`), which nobody had run before. The policy looks at 4, then 8, then
    16 of them, and only these decide. Each confirmation is tested at a stricter level than the one
    before, so that the chance of a false keep is bounded for the whole campaign. Hence one trial is
    confirmed at a time: the incumbent may not change meanwhile, and the levels have an order. The
    lock is held until the outcome is returned, and the caller records it before it awaits anything,
    so the next confirmation already knows the new incumbent and history.

    **Side by side.** Where the pack compares times, the incumbent runs beside the trial on every
    seed, in both stages (:class:`~recipelab.evaluation.seed_runs.SideBySide`). Everywhere else its
    earlier seed runs count, and it only runs the seeds that it has not run yet.

    **A kill** in a confirmation loses the trial's own seed runs, and nothing else: the trial is in
    flight without an outcome and no level was used up. The incumbent's new seed runs are stored at
    the end of each look, except side by side, where they belong to the trial's. When the campaign
    resumes, the trial is screened and confirmed again from the beginning. Its fresh seeds follow
    from the campaign and the trial, so they are the same again; screening seeds are the same if the
    incumbent is.

    Args:
        judge: Gives the trial its status.
        incumbent: Returns the incumbent of the moment, which may change during a screening.
        confirming: The lock that a confirmation holds, one for all trials of the evaluator.
    """

    def __init__(
        self, judge: Judge, incumbent: Callable[[], Incumbent], confirming: asyncio.Lock
    ) -> None:
        self._judge = judge
        self._incumbent = incumbent
        self._confirming = confirming

    async def run(self, trial: SeedRuns) -> Outcome:
        """Screen and, if need be, confirm a trial that passed its preflight.

        Raises:
            PhaseFailed: A phase of the trial failed.
            SandboxError: The machinery failed, or the incumbent did.
        """
        screened = await self._screen(trial)
        found = await self._judge_screening(trial, screened, self._incumbent())
        if not isinstance(found, NeedMoreSeeds):
            return found
        async with self._confirming:
            # The incumbent may have changed while this trial waited for the lock.
            incumbent = self._incumbent()
            found = await self._judge_screening(trial, screened, incumbent)
            while isinstance(found, NeedMoreSeeds):
                fresh = confirmation_seeds(trial, found.seeds, screened)
                await trial.run(fresh, incumbent)
                found = self._judge.trial(_runs(trial, screened, fresh, incumbent), incumbent)
            return found

    async def _screen(self, trial: SeedRuns) -> tuple[int, ...]:
        """Run the screening seeds, and stop as soon as the rest cannot change the result.

        Returns:
            The seeds of the whole screening.
        """
        incumbent, pack = self._incumbent(), trial.pack
        seeds = screening_seeds(pack, incumbent, trial.campaign)
        may_stop = incumbent.noise is not None and pack.acceptance.racing_error > 0.0
        # In turns, two seeds make one comparison.
        portions = waves(seeds, first=2 if pack.metric.in_turns else 1) if may_stop else [seeds]
        done = 0
        for portion in portions:
            await trial.run(portion, incumbent)
            done += len(portion)
            runs = trial.runs(seeds[:done], incumbent)
            if done < len(seeds) and self._judge.hopeless(runs, len(seeds), incumbent):
                break
        return seeds

    async def _judge_screening(
        self, trial: SeedRuns, screened: tuple[int, ...], incumbent: Incumbent
    ) -> Outcome | NeedMoreSeeds:
        """Judge the trial by its screening, against the incumbent on the same seeds."""
        await trial.run_incumbent(
            incumbent, [run.seed for run in trial.finished() if run.seed in screened]
        )
        return self._judge.trial(_runs(trial, screened, (), incumbent), incumbent)


def _runs(
    trial: SeedRuns, screened: tuple[int, ...], fresh: tuple[int, ...], incumbent: Incumbent
) -> TrialRuns:
    return TrialRuns(
        screen=trial.runs(screened, incumbent),
        planned=len(screened),
        confirm=trial.runs(fresh, incumbent),
        log=trial.log,
        environment=trial.environment,
    )


def calibration_seeds(pack: Pack, campaign: str) -> tuple[int, ...]:
    """Return the seeds of the baseline: those of the pack, and as many more as calibration asks."""
    missing = pack.acceptance.calibration - len(pack.seeds)
    key = f"{pack.name}/{campaign}/calibration"
    return (*pack.seeds, *fresh_seeds(key, max(0, missing), taken=pack.seeds))


def screening_seeds(pack: Pack, incumbent: Incumbent, campaign: str) -> tuple[int, ...]:
    """Return the seeds that every challenger of an incumbent is screened on.

    An incumbent that was kept on some seeds was lucky on them, so its challengers are compared with
    it on others. That is of no use where the incumbent runs anew beside every trial, or where
    nothing has any noise.
    """
    has_no_noise = incumbent.noise is None or incumbent.noise.pair.sd == 0.0
    if incumbent.number == 0 or has_no_noise or pack.metric.side_by_side:
        return pack.seeds
    key = f"{pack.name}/{campaign}/screen/{incumbent.number}"
    return fresh_seeds(key, len(pack.seeds), taken=pack.seeds)


def confirmation_seeds(trial: SeedRuns, count: int, screened: tuple[int, ...]) -> tuple[int, ...]:
    """Return the fresh seeds that a trial is confirmed on; more of them begin with the fewer."""
    key = f"{trial.pack.name}/{trial.campaign}/confirm/{trial.labels.get('trial', '')}"
    return fresh_seeds(key, count, taken={*trial.pack.seeds, *screened})
