"""The comparison of two recipes: how large is the gain, and could noise alone have made it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from recipelab.acceptance.sample import Samples
from recipelab.packs.sections import Goal

PAIRED, WELCH = "paired by seed", "Welch"

_EXACT = 1e-12
"""A spread below this share of the values is rounding: both measurements have no noise."""


@dataclass(frozen=True)
class Comparison:
    """The result of a test of a candidate against the best.

    Attributes:
        delta: Mean of candidate minus best, in the metric's unit.
        delta_se: Standard error of that mean.
        gain: The same with its sign turned so that more is better.
        p: Chance of so large a gain, or a larger one, if there were none (one-sided).
        df: Degrees of freedom of the test.
        seeds: How many seeds each side has at least.
        test: How it was compared: paired by seed, or by Welch's test.
    """

    delta: float
    delta_se: float
    gain: float
    p: float
    df: float
    seeds: int
    test: str

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the interval of the true delta: Student's t at ``df`` degrees of freedom."""
        from scipy.special import stdtrit

        reach = float(stdtrit(self.df, 0.5 + confidence / 2.0)) * self.delta_se
        return self.delta - reach, self.delta + reach


def compare(samples: Samples, goal: Goal) -> Comparison:
    """Compare a candidate with the best.

    Seeds that both have run are compared in pairs (Student's paired t-test), which takes out what
    the seeds have in common. Where fewer than two are shared, Welch's test is used, which does not
    suppose that both are equally noisy (Welch, Biometrika 34, 1947).

    Args:
        samples: The metric of both, by seed.
        goal: Which way the metric is better.

    Raises:
        ValueError: Fewer than two seeds on a side, so that no spread is known.
    """
    differences = samples.differences
    if len(differences) >= 2:
        return _paired(differences, goal, _size(samples))
    if min(len(samples.candidate), len(samples.best)) >= 2:
        return _welch(samples, goal)
    raise ValueError("a comparison needs at least two seeds of both")


def _size(samples: Samples) -> float:
    return max(map(abs, (*samples.candidate.values(), *samples.best.values())))


def _paired(differences: Sequence[float], goal: Goal, size: float) -> Comparison:
    delta, spread = fmean(differences), _spread(differences)
    count = len(differences)
    if spread <= _EXACT * size:
        return _exact(delta, goal, count, PAIRED)
    from scipy.special import stdtr

    error, gain = spread / math.sqrt(count), goal.sign * delta
    p = float(stdtr(count - 1, -gain / error))
    return Comparison(delta, error, gain, p, count - 1, count, PAIRED)


def _welch(samples: Samples, goal: Goal) -> Comparison:
    candidate, best = list(samples.candidate.values()), list(samples.best.values())
    delta, seeds = fmean(candidate) - fmean(best), min(len(candidate), len(best))
    spreads = [_spread(side) for side in (candidate, best)]
    parts = [spread**2 / len(side) for spread, side in zip(spreads, (candidate, best), strict=True)]
    error = math.sqrt(sum(parts))
    if error <= _EXACT * _size(samples):
        return _exact(delta, goal, seeds, WELCH)
    # scipy.special has the distributions that scipy.stats is built on, for half the start-up time.
    from scipy.special import stdtr

    # Degrees of freedom after Welch and Satterthwaite.
    df = error**4 / (parts[0] ** 2 / (len(candidate) - 1) + parts[1] ** 2 / (len(best) - 1))
    gain = goal.sign * delta
    return Comparison(delta, error, gain, float(stdtr(df, -gain / error)), df, seeds, WELCH)


def _exact(delta: float, goal: Goal, seeds: int, test: str) -> Comparison:
    gain = goal.sign * delta
    return Comparison(delta, 0.0, gain, 0.0 if gain > 0 else 1.0, seeds - 1, seeds, test)


def _spread(values: Sequence[float]) -> float:
    """Return the standard deviation about the mean as it is rounded elsewhere."""
    mean = fmean(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
