"""The power of a policy: how small a gain it can see, with the settings of a pack."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from recipelab.acceptance.comparison import PRIOR_DF
from recipelab.acceptance.confirmed import PROMISING, Confirmed
from recipelab.acceptance.line import Line
from recipelab.acceptance.noise import Spread
from recipelab.acceptance.sequential import LookTest, futile
from recipelab.acceptance.spending import level_of_next

_DRAWS = 4000
_STEPS = 24


@dataclass(frozen=True)
class SmallestGain:
    """The smallest true gain that a policy sees with a given chance, on the metric's scale.

    Attributes:
        gain: It, if the spread is what was measured.
        low: It, if the spread is at the lower end of its interval.
        high: It, if the spread is at the upper end.
    """

    gain: float
    low: float
    high: float


def power(
    policy: Confirmed | Line, gain: float, pair: Spread, seeds: int, tested: int = 0
) -> float:
    """Return the chance that a true gain is claimed.

    Normal noise is drawn, always the same, and goes through the test as it is: its looks, where it
    gives up, and a prior of as few degrees of freedom as the calibration has. With ``confirmed``
    the gain has to look promising on the usual seeds first; with ``line`` it is the lead of a line
    at a checkpoint.

    Args:
        policy: The policy.
        gain: The true gain, on the metric's scale.
        pair: The noise of a pair's difference, taken as the truth.
        seeds: Seeds of the screening.
        tested: How many tests the campaign had before.
    """
    if pair.sd == 0.0:
        return float(gain > 0.0)
    return _power(policy, gain / pair.sd, pair.df, seeds, tested)


def smallest_gain(
    policy: Confirmed | Line,
    pair: Spread,
    seeds: int,
    *,
    chance: float = 0.8,
    tested: int = 0,
    confidence: float = 0.8,
) -> SmallestGain:
    """Return the smallest true gain that is claimed with a given chance.

    A spread from few runs is itself uncertain, so the gain is a range: that of the interval of the
    standard deviation (:meth:`~recipelab.acceptance.noise.Spread.interval`).

    Args:
        policy: The policy.
        pair: The noise of a pair's difference.
        seeds: Seeds of the screening.
        chance: The chance.
        tested: How many tests the campaign had before.
        confidence: Confidence of the interval of the standard deviation.
    """
    if pair.sd == 0.0:
        return SmallestGain(0.0, 0.0, 0.0)
    size = _smallest(policy, pair.df, seeds, tested, chance)
    low, high = pair.interval(confidence)
    return SmallestGain(size * pair.sd, size * low, size * high)


@lru_cache(maxsize=64)
def _smallest(policy: Confirmed | Line, df: float, seeds: int, tested: int, chance: float) -> float:
    # Beyond so many standard deviations a single look at four seeds would do.
    low, high = 0.0, 50.0
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        enough = _power(policy, middle, df, seeds, tested) >= chance
        low, high = (low, middle) if enough else (middle, high)
    return high


def _power(policy: Confirmed | Line, size: float, df: float, seeds: int, tested: int) -> float:
    from scipy.special import ndtr

    level = level_of_next(policy.false_keep_rate, (False,) * tested, policy.half)
    test = LookTest(policy.looks)
    passed = _passed(size, _draws(policy.looks[-1], df), df, test, level)
    if isinstance(policy, Line):
        return passed
    return float(ndtr(size * math.sqrt(seeds) - PROMISING)) * passed


@lru_cache(maxsize=8)
def _draws(seeds: int, df: float) -> tuple[Any, Any]:
    """Return differences of pairs with a spread of 1, and what calibration says of its square."""
    import numpy as np

    draw = np.random.default_rng(1)
    return draw.standard_normal((_DRAWS, seeds)), draw.chisquare(df, _DRAWS) / df


def _passed(size: float, draws: tuple[Any, Any], df: float, test: LookTest, level: float) -> float:
    """Return the share of draws that pass the test, moved by a gain of so many spreads."""
    import numpy as np
    from scipy.special import stdtr

    noise, prior = draws
    passed, going = np.zeros(len(noise), bool), np.ones(len(noise), bool)
    for count in test.stops:
        look = sum(count >= seeds for seeds in test.looks) - 1
        seen = noise[:, :count]
        own = seen.var(axis=1, ddof=1)
        known = np.where(prior > own, df, min(df, PRIOR_DF))
        total = known + count - 1
        variance = (known * prior + (count - 1) * own) / total
        p = stdtr(total, -(size + seen.mean(axis=1)) / np.sqrt(variance / count))
        if count in test.looks:
            passed |= going & (p <= level * test.share(look))
        going &= ~passed & (p <= futile(look))
    return float(passed.mean())
