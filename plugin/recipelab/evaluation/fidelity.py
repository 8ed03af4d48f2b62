"""Multi-fidelity: a short training first, and a whole one only for what is promising there.

Nothing is kept for a short training, and nothing in it counts as a score: it says which trials are
worth a whole one. Whether it says so truly is measured in the campaign, over the trials that have
both; where it does not, it is switched off. One trial in twenty is promoted whatever it showed, so
that the correlation is also known of those that look bad.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from recipelab.core.trial import SeedRun
from recipelab.evaluation.metric import METRIC, Incumbent
from recipelab.evaluation.seed_runs import SeedRuns
from recipelab.packs.phase_sections import FidelitySpec

LEAST_PAIRS = 3
"""Pairs without which there is no correlation."""


def correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return Pearson's correlation of pairs.

    Returns:
        The correlation; ``None`` with fewer than three pairs, or where one side does not vary.
    """
    if len(pairs) < LEAST_PAIRS:
        return None
    mean_x, mean_y = fmean(x for x, _ in pairs), fmean(y for _, y in pairs)
    sum_xx = math.fsum((x - mean_x) ** 2 for x, _ in pairs)
    sum_yy = math.fsum((y - mean_y) ** 2 for _, y in pairs)
    size = math.sqrt(sum_xx) * math.sqrt(sum_yy)
    if not size > 0.0:
        return None
    found = math.fsum((x - mean_x) * (y - mean_y) for x, y in pairs) / size
    return min(1.0, max(-1.0, found))


@dataclass(frozen=True)
class LowResult:
    """What short trainings say of a trial.

    Attributes:
        gain: Mean gain over the best at the same length; positive is better.
        error: Its standard error; 0 where nothing is known of the noise.
    """

    gain: float
    error: float

    @property
    def words(self) -> str:
        """The result in words."""
        return (
            f"not trained at full length: in short trainings it is {-self.gain:.4g} behind the best"
            + (f" (standard error {self.error:.2g})" if self.error else "")
        )

    @property
    def is_promising(self) -> bool:
        """Whether it is not surely worse: within a standard error of the best, or ahead."""
        return self.gain >= -self.error


def low_result(trial: Sequence[float], best: Sequence[float], sign: int) -> LowResult:
    """Return how short trainings of a trial compare with those of the best.

    Args:
        trial: The metric of the trial's short trainings; at least one.
        best: That of the best's, on the same seeds and in the same order.
        sign: +1 if larger is better, else -1.
    """
    gains = [sign * (one - other) for one, other in zip(trial, best, strict=True)]
    error = stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return LowResult(fmean(gains), error)


@dataclass
class FidelityBook:
    """What a campaign knows of short trainings.

    Attributes:
        spec: What the pack says of them.
        runs: The short trainings of each recipe, by the recipe's digest and the seed.
    """

    spec: FidelitySpec
    runs: dict[tuple[str, int], SeedRun] = field(default_factory=dict[tuple[str, int], SeedRun])
    _pairs: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])

    def add(self, trial: str, low: LowResult, full_gain: float) -> None:
        """Add a trial that has both: a short training, and a whole one.

        Args:
            trial: Its number.
            low: What its short trainings said.
            full_gain: Its gain over the best in whole ones; positive is better.
        """
        self._pairs[trial] = (low.gain, full_gain)

    @property
    def correlation(self) -> float | None:
        """Correlation of the gains of short and whole trainings; ``None`` if it is not known."""
        return correlation(list(self._pairs.values()))

    @property
    def off(self) -> str:
        """Why trials are not screened by short trainings any more; empty if they are."""
        found, count = self.correlation, len(self._pairs)
        if count < self.spec.trials or (found is not None and found >= self.spec.correlation):
            return ""
        told = "does not vary" if found is None else f"is {found:.2f}"
        return (
            f"short trainings are switched off: over {count} trials their correlation with whole "
            f"ones {told}, below {self.spec.correlation:g}"
        )

    def promotes(self, low: LowResult, *, is_check: bool) -> bool:
        """Return whether a trial is trained at full length.

        Args:
            low: What its short trainings said.
            is_check: Whether it is, whatever they said.
        """
        return is_check or low.is_promising or bool(self.off)


async def run_short(trial: SeedRuns, best: Incumbent, book: FidelityBook) -> LowResult:
    """Run the short trainings of a trial, and those of the best that are not known yet.

    Args:
        trial: The trial.
        best: What it is held against.
        book: Where the best's short trainings are kept.

    Raises:
        PhaseFailed: A phase of the trial failed.
        SandboxError: The machinery failed, or the incumbent did.
    """
    seeds = trial.seeds.fresh("short", book.spec.seeds)
    digest, metric = best.recipe.digest, trial.pack.metric
    known = {seed: run for seed in seeds if (run := book.runs.get((digest, seed))) is not None}
    other = Incumbent(best.number, best.recipe, known)
    short = trial.shortened()
    await short.run(seeds, other)
    book.runs |= {(digest, seed): run for seed, run in other.runs.items()}
    own = {run.seed: run.measures[METRIC] for run in short.runs(seeds)}
    values = [(own[seed], other.runs[seed].measures[METRIC]) for seed in seeds]
    scaled = [[metric.scale.on(value) for value in side] for side in zip(*values, strict=True)]
    return low_result(scaled[0], scaled[1], metric.goal.sign)
