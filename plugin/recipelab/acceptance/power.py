"""The power of a policy: how small a gain it can see."""

from __future__ import annotations

import math
from typing import cast

from recipelab.acceptance.confirmed import PROMISING, Confirmed
from recipelab.acceptance.noise import Spread
from recipelab.acceptance.spending import level_of_next


def power(policy: Confirmed, gain: float, pair: Spread, seeds: int, tested: int = 0) -> float:
    """Return the chance that a true gain is kept.

    It has to look promising on the usual seeds, ``Phi(gain * sqrt(seeds) / sd - 1.2)``, and to pass
    the last look on ``n`` fresh ones, which is the upper tail of the noncentral t distribution at
    ``n - 1`` degrees of freedom and noncentrality ``gain * sqrt(n) / sd``. Both are independent, as
    their seeds are. What racing and earlier looks give up or add is left out.

    Args:
        policy: The policy.
        gain: The true gain, in the metric's unit.
        pair: The noise of a pair's difference.
        seeds: Seeds of the screening.
        tested: How many confirmations the campaign had before.
    """
    from scipy.special import nctdtr, ndtr, stdtrit

    if pair.sd == 0.0:
        return float(gain > 0.0)
    size, last = gain / pair.sd, policy.looks[-1]
    level = policy.share(len(policy.looks) - 1) * level_of_next(
        policy.false_keep_rate, (False,) * tested, policy.half
    )
    promising = ndtr(size * math.sqrt(seeds) - PROMISING)
    bound = -stdtrit(last - 1, level)
    return float(promising * (1.0 - nctdtr(last - 1, size * math.sqrt(last), bound)))


def smallest_gain(
    policy: Confirmed, pair: Spread, seeds: int, *, chance: float = 0.8, tested: int = 0
) -> float:
    """Return the smallest true gain that is kept with a given chance, in the metric's unit.

    Args:
        policy: The policy.
        pair: The noise of a pair's difference.
        seeds: Seeds of the screening.
        chance: The chance.
        tested: How many confirmations the campaign had before.
    """
    if pair.sd == 0.0:
        return 0.0
    from scipy.optimize import brentq

    def lacks(size: float) -> float:
        return power(policy, size * pair.sd, pair, seeds, tested) - chance

    # Beyond so many standard deviations a single look at four seeds would do.
    size = cast("float", brentq(lacks, 1e-3, 50.0))
    return float(size) * pair.sd
