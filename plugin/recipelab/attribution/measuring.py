"""Measures recipes on the same seeds as the best."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from recipelab.attribution.keeping import Kept, Measured
from recipelab.errors import RecipelabError
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.measurement import metric_of
from recipelab.evaluation.metric import METRIC, Reference, mean_predict
from recipelab.recipe import Recipe
from recipelab.trial import Outcome, SeedRun, Status

Measure = Callable[[Recipe], Awaitable[Measured]]
"""Measures a recipe and the best on the same seeds."""


def reference_of(number: int, recipe: Recipe, outcome: Outcome, baseline: Outcome) -> Reference:
    """The best as its campaign measured it, which gives times their unit.

    Args:
        number: Its number.
        recipe: Its recipe.
        outcome: How it ended.
        baseline: How the campaign's baseline ended.
    """
    fresh = outcome.evidence.confirmed if outcome.evidence is not None else 0
    return Reference(
        number,
        recipe,
        {run.seed: run for run in outcome.seed_runs},
        mean_predict(baseline.seed_runs),
        judged=frozenset(run.seed for run in outcome.seed_runs[-fresh:]),
    )


@dataclass(frozen=True)
class Measuring:
    """Measures recipes against the best, as far as that was not done before.

    Attributes:
        evaluator: Runs them.
        best: The best.
        seeds: The seeds of all.
        kept: What was measured before.
        labels: What the runs belong to.
    """

    evaluator: Evaluator
    best: Reference
    seeds: tuple[int, ...]
    kept: Kept
    labels: Mapping[str, str]

    async def prepared(self) -> Measure:
        """Measures the best, where it does not run beside the others, and gives what measures.

        Raises:
            RecipelabError: The best itself fails.
        """
        if self.evaluator.pack.metric.side_by_side:
            return self._against(self.best)
        found = await self._measured(self.best.recipe, replace(self.best, runs={}))
        if found.failure is not None:
            raise RecipelabError(
                f"trial {self.best.number}, the best, fails by now, so that nothing can be "
                f"compared with it: {found.failure}"
            )
        runs = {seed: SeedRun(seed, (), {METRIC: x}) for seed, x in found.candidate.items()}
        return self._against(replace(self.best, runs=runs))

    def _against(self, best: Reference) -> Measure:
        async def measure(recipe: Recipe) -> Measured:
            return await self._measured(recipe, best)

        return measure

    async def _measured(self, recipe: Recipe, best: Reference) -> Measured:
        known = self.kept.get(recipe)
        if missing := known.missing(self.seeds):
            outcome = await self.evaluator.measure(recipe, missing, beside=best, labels=self.labels)
            known = known.plus(self._found(outcome, best))
            # What the machinery did wrong is tried again next time.
            if outcome.status is not Status.ABORTED:
                self.kept.put(recipe, known)
        return known.on(self.seeds)

    def _found(self, outcome: Outcome, best: Reference) -> Measured:
        if outcome.status is not Status.BASELINE:
            return Measured(failure=f"{outcome.status}: {outcome.reason}")
        sample = metric_of(outcome.seed_runs)
        # Without runs it is the best itself that was measured.
        own = best.sample(sample, self.evaluator.pack.metric) if best.runs else sample
        return Measured(sample, own)
