"""An evaluator that trains nothing: a simulated terrain in place of a sandbox.

Gates, acceptance, signatures and statuses are the real ones; only the measuring is not.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from recipelab.evaluation.acceptance import PairedTwoSigma, mean_and_error
from recipelab.evaluation.failures import kind_of, signature_of
from recipelab.evaluation.gates import judge_gates, missed_gate
from recipelab.evaluation.metric import METRIC, Reference, sample_of
from recipelab.evaluation.watch import Watch
from recipelab.pack import Pack
from recipelab.recipe import Recipe
from recipelab.trial import Failure, FailureKind, Outcome, Phase, SeedRun, Status

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
        self._terrain = Terrain(seed, knobs_of(pack.baseline().files))

    async def evaluate(
        self,
        recipe: Recipe,
        reference: Callable[[], Reference] | None,
        *,
        labels: Mapping[str, str] | None = None,
        watch: Watch | None = None,
    ) -> Outcome:
        """Measures and judges a recipe as :meth:`recipelab.Evaluator.evaluate` does."""
        watch = watch or Watch()
        watch.queued()
        watch.began(Phase.TRAIN, self.pack.seeds[0])
        await asyncio.sleep(0)
        try:
            runs = tuple(self._run(recipe, seed) for seed in self.pack.seeds)
        except Diverged as error:
            return _failed(Status.CRASHED, kind_of(str(error)), str(error))
        except Overran:
            line = f"{Phase.TRAIN} was killed at its budget of {self.pack.budgets.train:g} s"
            return _failed(Status.TRAIN_OVERRUN, FailureKind.TIMEOUT, line)
        watch.measured()
        return self._judged(runs, reference() if reference else None)

    def _run(self, recipe: Recipe, seed: int) -> SeedRun:
        found = self._terrain.run(knobs_of(recipe.files), seed)
        measures = {
            METRIC: found.loss,
            "score.loss": found.loss,
            "score.calibration": found.calibration,
            "artifact.bytes": found.size,
        }
        return SeedRun(seed, (), measures)

    def _judged(self, runs: tuple[SeedRun, ...], best: Reference | None) -> Outcome:
        sample = sample_of(runs)
        score, error = mean_and_error(sample)
        gates = judge_gates(self.pack.gates, runs)
        outcome = Outcome(Status.BASELINE, "the start", runs, gates, score, error)
        if best is None:
            return outcome
        verdict = PairedTwoSigma().judge(sample, best.sample, self.pack.metric.goal)
        outcome = replace(outcome, delta=verdict.delta, delta_se=verdict.delta_se)
        if missed := missed_gate(self.pack.gates, gates):
            status, failure = missed
            return replace(outcome, status=status, reason=failure.excerpt, failure=failure)
        status = Status.KEPT if verdict.kept else Status.DISCARDED
        return replace(outcome, status=status, reason=verdict.reason)


def _failed(status: Status, kind: FailureKind, line: str) -> Outcome:
    failure = Failure(Phase.TRAIN, kind, signature_of(line), line)
    return Outcome(status, f"{Phase.TRAIN}: {failure.signature}", failure=failure)
