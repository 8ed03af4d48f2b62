"""Whether two arms differ: a test on differences that are paired by seed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import product
from statistics import fmean, stdev
from typing import Any

EXACT = 14
"""Up to so many differences every pattern of signs is looked at; beyond, some are drawn."""

DRAWS = 20_000

METHOD = (
    "p: two-sided sign-flip test on differences paired by seed. If an arm made no difference, each "
    "difference would be as likely with the other sign; p is the share of patterns of signs whose "
    f"mean lies as far from zero as the one found (all patterns up to {EXACT} seeds, else {DRAWS} "
    "that are drawn). With n seeds it cannot be below 2 / 2^n: six seeds for p < 0.05, eight for "
    "p < 0.01. effect: mean difference in standard deviations of the differences"
)


def sign_flip(differences: Sequence[float]) -> float:
    """How often chance alone would give a mean as far from zero.

    Args:
        differences: One for each pair.

    Returns:
        The two-sided p-value; 1 if there is no difference at all.
    """
    values = [value for value in differences if value]
    if not values:
        return 1.0
    # Sums that are equal but for rounding are equal.
    bound = abs(math.fsum(values)) * (1.0 - 1e-9)
    if len(values) <= EXACT:
        patterns = product((1, -1), repeat=len(values))
        found = [abs(_sum(values, signs)) >= bound for signs in patterns]
        return sum(found) / len(found)
    rng = random.Random(0)
    hits = sum(
        abs(_sum(values, rng.choices((1, -1), k=len(values)))) >= bound for _ in range(DRAWS)
    )
    return (1 + hits) / (1 + DRAWS)


def paired(values: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """Compares two lists of the same length, value by value.

    Returns:
        The number of pairs, their mean difference, the effect in standard deviations of the
        differences (``None`` where it does not exist), and the p-value.
    """
    differences = [value - other for value, other in zip(values, base, strict=True)]
    spread = stdev(differences) if len(differences) > 1 else 0.0
    mean = fmean(differences) if differences else None
    return {
        "pairs": len(differences),
        "difference": mean,
        "effect": mean / spread if mean is not None and spread else None,
        "p": sign_flip(differences) if differences else None,
    }


def _sum(values: Sequence[float], signs: Sequence[int]) -> float:
    return sum(value if sign > 0 else -value for value, sign in zip(values, signs, strict=True))
