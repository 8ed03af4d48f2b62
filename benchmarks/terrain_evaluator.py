"""An evaluator that trains nothing: a simulated terrain in place of a sandbox.

Gates, acceptance, signatures and statuses are the real ones; only the measuring is not.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import cast

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Checkpoint, Failure, FailureKind, Outcome, Phase, SeedRun, Status
from recipelab.evaluation.checkpoints import LineTest, WorkingLine, is_due
from recipelab.evaluation.failures import kind_of, signature_of
from recipelab.evaluation.judge import Judge, TrialRuns
from recipelab.evaluation.metric import METRIC, Incumbent
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.protocol import Rebase, TrialProtocol
from recipelab.evaluation.scratch import ScratchBench
from recipelab.evaluation.seed_runs import SeedRuns
from recipelab.evaluation.seeds import SeedSource
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox
from recipelab.sandbox.slots import ANYWHERE, SlotPool

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
        self._confirming = asyncio.Lock()
        self._terrain = Terrain(seed, knobs_of(pack.baseline().files))

    def bench(self, secret: int) -> ScratchBench:
        """Return a bench whose sandbox was never started."""
        return ScratchBench(self.pack, LocalSandbox(), {}, SlotPool([ANYWHERE]))

    async def evaluate(
        self,
        recipe: Recipe,
        incumbent: Callable[[], Incumbent] | None,
        *,
        seeds: SeedSource | None = None,
        rebase: Rebase | None = None,
        labels: Mapping[str, str] | None = None,
        observer: TrialObserver | None = None,
    ) -> Outcome:
        """Measures and judges a recipe as :meth:`recipelab.Evaluator.evaluate` does."""
        observer = observer or TrialObserver()
        observer.queued()
        observer.began(Phase.TRAIN, self.pack.seeds[0])
        await asyncio.sleep(0)
        trial = self._trial(recipe, seeds, labels or {})
        try:
            if incumbent is None:
                chosen = trial.seeds.calibration()
                await trial.run(chosen, None)
                return self._judge.baseline(TrialRuns(trial.runs(chosen), len(chosen)))
            return await TrialProtocol(self._judge, incumbent, self._confirming, rebase).run(trial)
        except Diverged as error:
            return _failed(Status.CRASHED, kind_of(str(error)), str(error))
        except Overran:
            line = f"{Phase.TRAIN} was killed at its budget of {self.pack.budgets.train:g} s"
            return _failed(Status.TRAIN_OVERRUN, FailureKind.TIMEOUT, line)

    async def checkpoint(
        self,
        line: Callable[[], WorkingLine],
        record: Callable[[Checkpoint], None],
        *,
        at_end: bool = False,
        seeds: SeedSource | None = None,
        labels: Mapping[str, str] | None = None,
        observer: TrialObserver | None = None,
    ) -> Checkpoint | None:
        """Tests the working line as :meth:`recipelab.Evaluator.checkpoint` does."""
        async with self._confirming:
            tested = line()
            if not is_due(self._judge, tested, self.pack, at_end=at_end):
                return None
            trial = self._trial(tested.head.recipe, seeds, labels or {})
            found = await LineTest(self._judge, self.pack, tested).run(trial)
            record(found)
            return found

    def spread_group(self, outcome: Outcome) -> tuple[float, ...]:
        """What the seed runs of an outcome say about the noise."""
        return self._judge.spread_group(outcome)

    def _trial(
        self, recipe: Recipe, seeds: SeedSource | None, labels: Mapping[str, str]
    ) -> SeedRuns:
        source = seeds or SeedSource(self.pack, labels.get("campaign", ""))
        # It has what the protocol asks of the real one, and no sandbox behind it.
        return cast("SeedRuns", TerrainRuns(self._terrain, self.pack, recipe, source, labels))


class TerrainRuns:
    """The seed runs of one trial on the terrain, with the methods of the real ones.

    Args:
        terrain: The terrain.
        pack: The pack.
        recipe: The trial's recipe.
        seeds: Draws fresh seeds.
        labels: What the trial belongs to.
    """

    log = environment = ""

    def __init__(
        self,
        terrain: Terrain,
        pack: Pack,
        recipe: Recipe,
        seeds: SeedSource,
        labels: Mapping[str, str],
    ) -> None:
        self.pack = pack
        self.recipe = recipe
        self.seeds = seeds
        self.name = labels.get("trial", "")
        self._terrain = terrain
        self._runs: dict[int, SeedRun] = {}

    async def preflight(self) -> None:
        """Runs nothing."""

    async def rebase(self, recipe: Recipe, *, forget: bool = False) -> None:
        """Goes on with another recipe."""
        self.recipe = recipe
        if forget:
            self._runs.clear()

    async def run(
        self, seeds: Sequence[int], incumbent: Incumbent | None, *, alone: bool = False
    ) -> None:
        """Runs the seeds that have not run yet, and the incumbent on the same if it has to."""
        for seed in seeds:
            if seed not in self._runs:
                self._runs[seed] = self._run(self.recipe, seed)
            if incumbent is not None and not alone and seed not in incumbent.runs:
                incumbent.add((self._run(incumbent.recipe, seed),))

    def finished(self) -> tuple[SeedRun, ...]:
        """All seed runs, in the order of their seeds."""
        return tuple(self._runs[seed] for seed in sorted(self._runs))

    def runs(self, seeds: Collection[int]) -> tuple[SeedRun, ...]:
        """Those of some seeds."""
        return tuple(run for run in self.finished() if run.seed in seeds)

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
