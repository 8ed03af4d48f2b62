"""An evaluator that trains nothing: a simulated terrain in place of a sandbox.

Gates, acceptance, signatures and statuses are the real ones; only the measuring is not.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from recipelab.acceptance import NeedMoreSeeds
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Failure, FailureKind, Outcome, Phase, SeedRun, Status
from recipelab.evaluation.failures import kind_of, signature_of
from recipelab.evaluation.judge import Judge, TrialRuns
from recipelab.evaluation.metric import METRIC, Incumbent
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.protocol import calibration_seeds, screening_seeds
from recipelab.evaluation.seed_runs import fresh_seeds
from recipelab.packs.pack import Pack

PACK = Path(__file__).parent / "landscape"
sys.path.insert(0, str(PACK / "evaluator"))

from terrain import Diverged, Overran, Terrain, knobs_of  # noqa: E402


class TerrainEvaluator:
    """Judges recipes of the simulated pack.

    Args:
        pack: The pack.
        seed: Which terrain.
        slots: How many trials may run at the same time.
    """

    sandbox_name = "simulated"

    def __init__(self, pack: Pack, seed: int, *, slots: int = 1) -> None:
        self.pack = pack
        self.slots = slots
        self._judge = Judge(pack)
        self._terrain = Terrain(seed, knobs_of(pack.baseline().files))

    async def evaluate(
        self,
        recipe: Recipe,
        incumbent: Callable[[], Incumbent] | None,
        *,
        labels: Mapping[str, str] | None = None,
        observer: TrialObserver | None = None,
    ) -> Outcome:
        """Measures and judges a recipe as :meth:`recipelab.Evaluator.evaluate` does."""
        observer = observer or TrialObserver()
        observer.queued()
        observer.began(Phase.TRAIN, self.pack.seeds[0])
        await asyncio.sleep(0)
        try:
            outcome = self._tried(recipe, incumbent() if incumbent else None, labels or {})
        except Diverged as error:
            return _failed(Status.CRASHED, kind_of(str(error)), str(error))
        except Overran:
            line = f"{Phase.TRAIN} was killed at its budget of {self.pack.budgets.train:g} s"
            return _failed(Status.TRAIN_OVERRUN, FailureKind.TIMEOUT, line)
        return outcome

    def _tried(self, recipe: Recipe, best: Incumbent | None, labels: Mapping[str, str]) -> Outcome:
        campaign = labels.get("campaign", "")
        if best is None:
            runs = self._runs(recipe, calibration_seeds(self.pack, campaign))
            return self._judge.baseline(TrialRuns(runs, len(runs)))
        seeds = screening_seeds(self.pack, best, campaign)
        self._run_best(best, seeds)
        screen = self._runs(recipe, seeds)
        measured = TrialRuns(screen, len(seeds))
        found = self._judge.trial(measured, best)
        while isinstance(found, NeedMoreSeeds):
            key = f"{campaign}/confirm/{labels.get('trial', '')}"
            fresh = fresh_seeds(key, found.seeds, taken=seeds)
            self._run_best(best, fresh)
            measured = TrialRuns(screen, len(seeds), confirm=self._runs(recipe, fresh))
            found = self._judge.trial(measured, best)
        return found

    def _run_best(self, best: Incumbent, seeds: tuple[int, ...]) -> None:
        missing = tuple(seed for seed in seeds if seed not in best.runs)
        if missing:
            best.add(self._runs(best.recipe, missing))

    def _runs(self, recipe: Recipe, seeds: tuple[int, ...]) -> tuple[SeedRun, ...]:
        return tuple(self._run(recipe, seed) for seed in seeds)

    def _run(self, recipe: Recipe, seed: int) -> SeedRun:
        found = self._terrain.run(knobs_of(recipe.files), seed)
        measures = {
            METRIC: found.loss,
            "score.loss": found.loss,
            "score.calibration": found.calibration,
            "artifact.bytes": found.size,
        }
        return SeedRun(seed, (), measures)


def _failed(status: Status, kind: FailureKind, line: str) -> Outcome:
    failure = Failure(Phase.TRAIN, kind, signature_of(line), line)
    return Outcome(status, f"{Phase.TRAIN}: {failure.signature}", failure=failure)
