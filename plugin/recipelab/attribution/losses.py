"""What the best loses by removals, seed by seed, and sums of such losses with their errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from recipelab.attribution.keeping import Measured
from recipelab.pack_measures import Goal

CONFIDENCE = 0.95
"""Confidence of the intervals."""

Steps = tuple[int, ...]
"""Places in the chain of the steps that are left out, in order."""

Form = tuple[tuple[float, Steps], ...]
"""A sum of losses: what each removal counts, and which it is."""

_EXACT = 1e-12
"""A figure below this share of the metric is rounding."""


@dataclass(frozen=True)
class Effect:
    """A sum of losses, in the metric's unit.

    Attributes:
        value: Its mean over seeds; above zero, the best is better for what was left out.
        error: Standard error of that mean.
        low: Lower end of its 95 % interval (Student's t, by Bonferroni's rule if it is one of
            several that are looked through).
        high: Upper end.
    """

    value: float
    error: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0.0 or self.high < 0.0


class Losses:
    """How much worse the best is without some steps, by the steps and the seed.

    Args:
        goal: Which way the metric is better.
    """

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        self._by_steps: dict[Steps, Mapping[int, float]] = {}
        self._failures: dict[Steps, str] = {}
        self._none: set[Steps] = set()
        self._size = 0.0

    def __contains__(self, steps: Steps) -> bool:
        return steps in self._by_steps or steps in self._failures or steps in self._none

    def add(self, steps: Steps, measured: Measured) -> None:
        """Takes in what came of a removal."""
        if measured.failure is not None:
            self._failures[steps] = measured.failure
            return
        seeds = sorted(set(measured.candidate) & set(measured.best))
        sides = [*measured.candidate.values(), *measured.best.values()]
        self._size = max(self._size, *map(abs, sides))
        self._by_steps[steps] = {
            seed: self._goal.sign * (measured.best[seed] - measured.candidate[seed])
            for seed in seeds
        }

    def add_none(self, steps: Steps) -> None:
        """Takes in a removal that leaves the best as it is, so that nothing can be lost by it."""
        self._none.add(steps)

    def failure(self, steps: Steps) -> str | None:
        """How the best fails without some steps, in a sentence; ``None`` if it does not."""
        return self._failures.get(steps)

    def effect(self, form: Form, *, among: int = 1) -> Effect | None:
        """A sum of losses.

        It is taken seed by seed, so that the noise which its parts share, that of the best above
        all, counts as often as it is in the sum, and no more.

        Args:
            form: The sum.
            among: How many sums are looked through for one that stands out.

        Returns:
            The sum; ``None`` if one of its parts was not measured, or fails.
        """
        parts = [(weight, steps) for weight, steps in form if steps not in self._none]
        if any(steps not in self._by_steps for _, steps in parts):
            return None
        if not parts:
            return Effect(0.0, 0.0, 0.0, 0.0)
        seeds = set.intersection(*(set(self._by_steps[steps]) for _, steps in parts))
        sums = [
            math.fsum(weight * self._by_steps[steps][seed] for weight, steps in parts)
            for seed in sorted(seeds)
        ]
        return _effect(sums, _EXACT * self._size * len(parts), among)


def total(forms: Iterable[Form]) -> Form:
    """The sum of sums."""
    return tuple(part for form in forms for part in form)


def minus(form: Form, other: Form) -> Form:
    """The difference of two sums."""
    return (*form, *((-weight, steps) for weight, steps in other))


def _effect(values: Sequence[float], rounding: float, among: int) -> Effect | None:
    if len(values) < 2:
        return None
    mean, spread = fmean(values), stdev(values)
    if spread <= rounding:
        exact = 0.0 if abs(mean) <= rounding else mean
        return Effect(exact, 0.0, exact, exact)
    from scipy.stats import t

    error = spread / math.sqrt(len(values))
    reach = float(t.isf((1.0 - CONFIDENCE) / 2.0 / among, len(values) - 1)) * error
    return Effect(mean, error, mean - reach, mean + reach)
