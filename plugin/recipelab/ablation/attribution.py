"""The arithmetic of an ablation: losses by seed, and sums of them with their errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from recipelab.ablation.measure import MeasuredRecipe
from recipelab.packs.judging_sections import Goal

LOSS_CONFIDENCE = 0.95
"""Confidence of the intervals."""

Steps = tuple[int, ...]
"""Places in the chain of the steps that are left out, in order."""

LossSum = tuple[tuple[float, Steps], ...]
"""A weighted sum of losses: the weight of each removal, and its steps."""

_EXACT = 1e-12
"""A figure below this share of the metric is rounding."""


@dataclass(frozen=True)
class Effect:
    """The size of a sum of losses, in the metric's unit.

    Attributes:
        value: Its mean over seeds; above zero, the best is better for what was left out.
        error: Standard error of that mean.
        low: Lower end of its 95 % interval (Student's t, by Bonferroni's rule if it is one of
            several that are looked through).
        high: Upper end.
        certain: Whether the interval leaves out zero.
    """

    value: float
    error: float
    low: float
    high: float
    certain: bool = field(init=False)

    def __post_init__(self) -> None:
        """Derive whether the interval leaves out zero."""
        object.__setattr__(self, "certain", self.low > 0.0 or self.high < 0.0)


class Losses:
    """How much worse the best is without some steps, by steps and seed.

    Args:
        goal: Which way the metric is better.
    """

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        self._by_steps: dict[Steps, Mapping[int, float]] = {}
        self._failures: dict[Steps, str] = {}
        self._unchanged: set[Steps] = set()
        self._size = 0.0

    def __contains__(self, steps: Steps) -> bool:
        return steps in self._by_steps or steps in self._failures or steps in self._unchanged

    def add(self, steps: Steps, measured: MeasuredRecipe) -> None:
        """Add what was measured without some steps."""
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

    def add_unchanged(self, steps: Steps) -> None:
        """Add steps without which the best stays as it is, so that nothing can be lost by it."""
        self._unchanged.add(steps)

    def failure(self, steps: Steps) -> str | None:
        """Return how the best fails without some steps, in a sentence; ``None`` if it works."""
        return self._failures.get(steps)

    def effect(self, loss_sum: LossSum, *, among: int = 1) -> Effect | None:
        """Return the size of a sum of losses.

        It is taken seed by seed, so that the noise which its parts share, that of the best above
        all, counts as often as it is in the sum, and no more.

        Args:
            loss_sum: The sum.
            among: How many sums are looked through for one that stands out.

        Returns:
            The size; ``None`` if one of its parts was not measured, or fails.
        """
        parts = [(weight, steps) for weight, steps in loss_sum if steps not in self._unchanged]
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


def sum_of(loss_sums: Iterable[LossSum]) -> LossSum:
    """Return the sum of sums."""
    return tuple(part for loss_sum in loss_sums for part in loss_sum)


def difference(one: LossSum, other: LossSum) -> LossSum:
    """Return the difference of two sums."""
    return (*one, *((-weight, steps) for weight, steps in other))


def _effect(values: Sequence[float], rounding: float, among: int) -> Effect | None:
    if len(values) < 2:
        return None
    mean, spread = fmean(values), stdev(values)
    if spread <= rounding:
        exact = 0.0 if abs(mean) <= rounding else mean
        return Effect(exact, 0.0, exact, exact)
    from scipy.special import stdtrit

    error = spread / math.sqrt(len(values))
    reach = -float(stdtrit(len(values) - 1, (1.0 - LOSS_CONFIDENCE) / 2.0 / among)) * error
    return Effect(mean, error, mean - reach, mean + reach)


@dataclass(frozen=True)
class StepLoss:
    """What the best loses without one step.

    Attributes:
        steps: Places of the steps that were left out: the first one, and those that build on it.
        loss: How much worse the best is without them; ``None`` if what is left fails.
        own: The part of the loss that is the first step's own, without what the others cost;
            ``None`` if one of the two fails.
        own_sum: The sum of losses that ``own`` is the size of.
        failure: How the best fails without them, in a sentence.
        changes: Whether leaving them out changes the recipe at all.
        same_as: Place of the recipe of the chain that is left, if it is one of these.
    """

    steps: Steps
    loss: Effect | None
    own: Effect | None
    own_sum: LossSum
    failure: str | None = None
    changes: bool = True
    same_as: int | None = None


@dataclass(frozen=True)
class Interaction:
    """How much more two removals cost together than one by one.

    With losses ``L``, it is ``L(i and j) - L(i) - L(j)``.

    Attributes:
        steps: What was left out on each side.
        more: The interaction; below zero, the two need each other, above, either will do.
    """

    steps: tuple[Steps, Steps]
    more: Effect


def share_of(effect: Effect | None, whole: Effect | None) -> float | None:
    """Return an effect as a share of the whole gain; ``None`` if there is no gain."""
    if effect is None or whole is None or whole.value <= 0.0:
        return None
    return effect.value / whole.value


def own_part(steps: Steps) -> LossSum:
    """Return the loss of a group without what those cost that build on its first step."""
    alone: LossSum = ((1.0, steps),)
    return difference(alone, ((1.0, steps[1:]),)) if len(steps) > 1 else alone


def unexplained(losses: Losses, whole: Steps, parts: Sequence[StepLoss]) -> Effect | None:
    """Return the whole gain minus each step's own part; ``None`` if something fails."""
    return losses.effect(difference(((1.0, whole),), sum_of(part.own_sum for part in parts)))


def interaction(losses: Losses, pair: tuple[Steps, Steps], among: int) -> Interaction | None:
    """Return how two removals interact; ``None`` if one of the three recipes fails.

    Args:
        losses: What was measured.
        pair: What was left out on each side.
        among: How many pairs were looked through.
    """
    one, other = pair
    both = tuple(sorted((*one, *other)))
    more = losses.effect(((1.0, both), (-1.0, one), (-1.0, other)), among=among)
    return None if more is None else Interaction(pair, more)
