"""What the best loses by removals, seed by seed, and sums of such losses with their errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from recipelab.ablation.measure import MeasuredRecipe
from recipelab.packs.sections import Goal

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

    def add(self, steps: Steps, measured: MeasuredRecipe) -> None:
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


@dataclass(frozen=True)
class Share:
    """What one removal tells.

    Attributes:
        steps: Places of the steps that were left out: the first one, and those that build on it.
        loss: How much worse the best is without them; ``None`` if what is left fails.
        own: The part of the loss that is the first step's own, without what the others cost;
            ``None`` if one of the two fails.
        form: How ``own`` is made of losses.
        failure: How the best fails without them, in a sentence.
        changes: Whether leaving them out changes the recipe at all.
        same_as: Place of the recipe of the chain that is left, if it is one of these.
    """

    steps: Steps
    loss: Effect | None
    own: Effect | None
    form: Form
    failure: str | None = None
    changes: bool = True
    same_as: int | None = None

    def of(self, whole: Effect | None) -> float | None:
        """What is its own, as a share of the whole gain; ``None`` if there is none."""
        return share_of(self.own, whole)


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
    """An effect as a share of the whole gain; ``None`` if there is no gain."""
    if effect is None or whole is None or whole.value <= 0.0:
        return None
    return effect.value / whole.value


def own_form(steps: Steps) -> Form:
    """The loss of a group without what those cost that build on its first step."""
    alone: Form = ((1.0, steps),)
    return minus(alone, ((1.0, steps[1:]),)) if len(steps) > 1 else alone


def unexplained(losses: Losses, whole: Steps, shares: Sequence[Share]) -> Effect | None:
    """The whole gain minus what is each step's own.

    Returns:
        What is left; ``None`` if that cannot be told, because something fails.
    """
    return losses.effect(minus(((1.0, whole),), total(share.form for share in shares)))


def interaction(losses: Losses, pair: tuple[Steps, Steps], among: int) -> Interaction | None:
    """How two removals interact; ``None`` if one of the three fails.

    Args:
        losses: What was measured.
        pair: What was left out on each side.
        among: How many pairs were looked through.
    """
    one, other = pair
    both = tuple(sorted((*one, *other)))
    more = losses.effect(((1.0, both), (-1.0, one), (-1.0, other)), among=among)
    return None if more is None else Interaction(pair, more)
