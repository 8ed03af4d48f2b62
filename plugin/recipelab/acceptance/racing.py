"""Racing: stops a screening early whose result is clear before all seeds have run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from recipelab.acceptance.noise import Spread


def chance_to_reach(values: Sequence[float], total: int, limit: float, spread: Spread) -> float:
    """Return the chance that the mean over all seeds will be at least a limit.

    With ``k`` of ``n`` values known, their mean ``m`` and ``r = n - k`` to come, the mean of those
    that come has to be ``(n * limit - k * m) / r``. What comes differs from what is known by noise
    alone, ``sd * sqrt(1 / r + 1 / k)``, and the chance is that of Student's t at the degrees of
    freedom of ``sd``. This is the predictive probability of interim analyses in clinical trials
    (Spiegelhalter, Freedman and Blackburn, Controlled Clinical Trials 7, 1986) with a flat prior.

    Args:
        values: What was measured so far; at least one.
        total: How many there will be in all.
        limit: What their mean has to reach from below.
        spread: The noise of one measurement.
    """
    known, mean = len(values), fmean(values)
    rest = total - known
    if rest <= 0:
        return float(mean >= limit)
    distance = (total * limit - known * mean) / rest - mean
    scale = spread.sd * math.sqrt(1.0 / rest + 1.0 / known)
    if scale == 0.0:
        return float(distance <= 0.0)
    from scipy.special import stdtr

    return float(stdtr(spread.df, -distance / scale))


def waves(seeds: Sequence[int], *, first: int = 1) -> list[tuple[int, ...]]:
    """Return seeds in portions of 1, 1, 2, 2, 2 ..., so that a hopeless trial shows early.

    Args:
        seeds: All of them.
        first: How many the first two portions have.
    """
    sizes = [first, first] + [2] * len(seeds)
    found, start = [], 0
    for size in sizes:
        if start >= len(seeds):
            break
        found.append(tuple(seeds[start : start + size]))
        start += size
    return found
