"""Measures recipes on the same seeds as the best, and keeps what was measured in a file."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from recipelab.core.content import make_private
from recipelab.core.errors import RecipelabError, validation_problems
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Outcome, SeedRun, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import METRIC, Incumbent, metric_by_seed
from recipelab.evaluation.seeds import SeedSource


@dataclass(frozen=True)
class MeasuredRecipe:
    """The metric of a recipe beside that of the best.

    Attributes:
        candidate: Its metric by seed; empty if it failed.
        best: The best's metric on the same seeds.
        failure: How it failed, in a sentence; ``None`` if it did not.
    """

    candidate: Mapping[int, float] = field(default_factory=dict[int, float])
    best: Mapping[int, float] = field(default_factory=dict[int, float])
    failure: str | None = None

    def missing(self, seeds: Iterable[int]) -> tuple[int, ...]:
        """Return the seeds that are still to be run; none if it fails."""
        return tuple(s for s in seeds if s not in self.candidate and self.failure is None)

    def plus(self, more: MeasuredRecipe) -> MeasuredRecipe:
        """Return both together; a recipe that fails on some seeds fails."""
        if more.failure is not None:
            return more
        return MeasuredRecipe({**self.candidate, **more.candidate}, {**self.best, **more.best})

    def on(self, seeds: Iterable[int]) -> MeasuredRecipe:
        """Return what was measured on some seeds."""
        if self.failure is not None:
            return self
        chosen = [seed for seed in seeds if seed in self.candidate and seed in self.best]
        return MeasuredRecipe(
            {seed: self.candidate[seed] for seed in chosen},
            {seed: self.best[seed] for seed in chosen},
        )


Measure = Callable[[Recipe], Awaitable[MeasuredRecipe]]
"""Measures a recipe and the best on the same seeds."""

_FILE = TypeAdapter(dict[str, dict[str, MeasuredRecipe]])


class MeasurementFile:
    """A JSON file of measurements, by recipe and seed.

    Args:
        file: The file; it is made with the first measurement.
        key: What all measurements have in common: the best, and where it runs.

    Raises:
        RecipelabError: The file exists and holds something else.
    """

    def __init__(self, file: Path, key: str) -> None:
        self._file = file
        self._key = key
        self._measured = self._read()

    def get(self, recipe: Recipe) -> MeasuredRecipe:
        """Return what was measured of a recipe so far, which may be nothing."""
        return self._measured.get(self._key, {}).get(recipe.digest, MeasuredRecipe())

    def put(self, recipe: Recipe, measured: MeasuredRecipe) -> None:
        """Store what was measured of a recipe; the file is whole at every moment.

        Raises:
            RecipelabError: The file holds something else by now.
        """
        # Read anew: another process may have stored something meanwhile.
        self._measured = self._read()
        self._measured.setdefault(self._key, {})[recipe.digest] = measured
        make_private(self._file.parent)
        new = self._file.with_suffix(f".{os.getpid()}.new")
        new.write_bytes(_FILE.dump_json(self._measured, indent=1))
        os.replace(new, self._file)

    def _read(self) -> dict[str, dict[str, MeasuredRecipe]]:
        if not self._file.is_file():
            return {}
        try:
            return _FILE.validate_json(self._file.read_bytes())
        except ValidationError as error:
            problem = validation_problems(error, root="file")[0]
            raise RecipelabError(
                f"{self._file} holds no measurements of this command ({problem}); move it away to "
                "measure anew"
            ) from None


@dataclass(frozen=True)
class RecipeMeasurer:
    """Measures recipes against the best, as far as the file does not know them yet.

    Attributes:
        evaluator: Runs them.
        best: The best, as its campaign measured it.
        seeds: The seeds of all recipes.
        file: What was measured before.
        labels: What the runs belong to.
        source: Has the secret numbers of hidden rounds.
    """

    evaluator: Evaluator
    best: Incumbent
    seeds: tuple[int, ...]
    file: MeasurementFile
    labels: Mapping[str, str]
    source: SeedSource

    async def prepare(self) -> Measure:
        """Measure the best, unless it runs beside the others anyway, and return what measures.

        Raises:
            RecipelabError: The best itself fails.
        """
        best = self.best
        if not self.evaluator.pack.metric.side_by_side:
            found = await self._measure(best.recipe, replace(best, runs={}))
            if found.failure is not None:
                raise RecipelabError(
                    f"trial {best.number}, the best, fails by now, so that nothing can be "
                    f"compared with it: {found.failure}"
                )
            runs = {seed: SeedRun(seed, (), {METRIC: x}) for seed, x in found.candidate.items()}
            best = replace(best, runs=runs, chosen_on=frozenset())

        async def measure(recipe: Recipe) -> MeasuredRecipe:
            return await self._measure(recipe, best)

        return measure

    async def _measure(self, recipe: Recipe, best: Incumbent) -> MeasuredRecipe:
        known = self.file.get(recipe)
        if missing := known.missing(self.seeds):
            outcome = await self.evaluator.measure(
                recipe, missing, incumbent=best, source=self.source, labels=self.labels
            )
            known = known.plus(self._measured(outcome, best))
            # What failed through the machinery is tried again next time.
            if outcome.status is not Status.ABORTED:
                self.file.put(recipe, known)
        return known.on(self.seeds)

    def _measured(self, outcome: Outcome, best: Incumbent) -> MeasuredRecipe:
        if outcome.status is not Status.BASELINE:
            return MeasuredRecipe(failure=f"{outcome.status}: {outcome.reason}")
        sample = metric_by_seed(outcome.seed_runs)
        # Without seed runs it is the best itself that was measured.
        own = best.sample(sample, self.evaluator.pack.metric) if best.runs else sample
        return MeasuredRecipe(sample, own)
