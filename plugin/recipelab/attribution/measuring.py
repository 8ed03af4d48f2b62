"""Measures recipes on the same seeds as the best, and keeps what was measured."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recipelab.acceptance import Samples
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.measurement import metric_of
from recipelab.evaluation.metric import Reference, mean_predict
from recipelab.recipe import Recipe
from recipelab.trial import Outcome, Status


@dataclass(frozen=True)
class Measured:
    """What came of a recipe.

    Attributes:
        candidate: Its metric by seed; empty if it failed.
        best: The best's metric on the same seeds.
        failure: How it failed, in a sentence; ``None`` if it did not.
    """

    candidate: Mapping[int, float]
    best: Mapping[int, float]
    failure: str | None = None

    @property
    def samples(self) -> Samples:
        """Both, to be compared."""
        return Samples(self.candidate, self.best)


Measure = Callable[[Recipe], Awaitable[Measured]]


class Kept:
    """Measurements in a JSON file, so that nothing is measured twice.

    Args:
        file: The file; it is made with the first measurement.
        key: What all of them have in common: the best's recipe and the seeds.
    """

    def __init__(self, file: Path, key: str) -> None:
        self._file = file
        self._key = key
        self._all: dict[str, dict[str, Any]] = {}
        if file.is_file():
            self._all = json.loads(file.read_text("utf-8"))

    def get(self, recipe: Recipe) -> Measured | None:
        """What was measured of a recipe before; ``None`` if it was not."""
        found = self._all.get(self._key, {}).get(recipe.digest)
        if found is None:
            return None
        candidate, best = (
            {int(seed): value for seed, value in found[side].items()}
            for side in ("candidate", "best")
        )
        return Measured(candidate, best, found["failure"])

    def put(self, recipe: Recipe, measured: Measured) -> None:
        """Keeps what was measured; the file is whole at every moment."""
        self._all.setdefault(self._key, {})[recipe.digest] = asdict(measured)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(self._all, indent=1), "utf-8")
        os.replace(fresh, self._file)


async def measure_removals(
    evaluator: Evaluator,
    best: Recipe,
    seeds: tuple[int, ...],
    kept: Kept,
    labels: Mapping[str, str],
) -> Measure:
    """Measures the best, and gives what measures others beside it.

    Raises:
        RuntimeError: The best itself fails.
    """
    reference = await _reference(evaluator, best, seeds, labels)

    async def measure(recipe: Recipe) -> Measured:
        if (known := kept.get(recipe)) is not None:
            return known
        outcome = await evaluator.measure(recipe, seeds, beside=reference, labels=labels)
        found = _measured(evaluator, outcome, reference)
        # What the machinery did wrong is tried again next time.
        if outcome.status is not Status.ABORTED:
            kept.put(recipe, found)
        return found

    return measure


async def _reference(
    evaluator: Evaluator, best: Recipe, seeds: tuple[int, ...], labels: Mapping[str, str]
) -> Reference:
    # Side by side it runs again beside each recipe; two seeds of its own give the unit.
    own = seeds[:2] if evaluator.pack.metric.side_by_side else seeds
    outcome = await evaluator.measure(best, own, labels={**labels, "beside": "best"})
    if outcome.status is not Status.BASELINE:
        raise RuntimeError(f"the best itself fails: {outcome.status}, {outcome.reason}")
    runs = {run.seed: run for run in outcome.seed_runs}
    return Reference(-1, best, runs, mean_predict(outcome.seed_runs))


def _measured(evaluator: Evaluator, outcome: Outcome, best: Reference) -> Measured:
    if outcome.status is not Status.BASELINE:
        return Measured({}, {}, f"{outcome.status}: {outcome.reason}")
    sample = metric_of(outcome.seed_runs)
    return Measured(sample, best.sample(sample, evaluator.pack.metric))
