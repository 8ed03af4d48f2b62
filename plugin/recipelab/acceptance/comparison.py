"""The comparison of two recipes: how large is the gain, and could noise alone have made it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from recipelab.acceptance.noise import ROUNDING, Spread
from recipelab.acceptance.sample import Samples
from recipelab.packs.judging_sections import Goal

PAIRED, WELCH, FLIPS = "paired by seed", "Welch", "sign flips"
ITEMS, ONE_DRAW = "over items", "one draw of the noise"

PRIOR_DF = 10.0
"""Degrees of freedom that earlier, smaller measurements of the noise have at most."""

COARSE = 1.5
"""Steps between scores below which their spread is coarse. With more, t is right to the third digit
of p, as rounding to whole numbers shows."""

_EXACT_FLIPS = 32
"""Differences up to which sign flips are counted one by one."""


@dataclass(frozen=True)
class Comparison:
    """The result of a test of a candidate against the best.

    Attributes:
        delta: Mean of candidate minus best, on the scale of the samples.
        delta_se: Standard error of that mean; never 0.
        gain: The same with its sign turned so that more is better.
        p: Chance of so large a gain, or a larger one, if there were none (one-sided); never 0.
        df: Degrees of freedom of the standard error.
        seeds: How many seeds each side has at least.
        test: How it was compared.
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
        reach = -_quantile(self.df, 0.5 - confidence / 2.0) * self.delta_se
        return self.delta - reach, self.delta + reach


def compare(
    samples: Samples, goal: Goal, prior: Spread | None = None, *, item_error: float = 0.0
) -> Comparison:
    """Compare a candidate with the best.

    Seeds that both have run are compared in pairs (Student's paired t-test), which takes out what
    the seeds have in common. Where fewer than two are shared, Welch's test is used, which does not
    suppose that both are equally noisy (Welch, Biometrika 34, 1947).

    With a prior, the variance of the differences is that of both, weighted by their degrees of
    freedom (:func:`moderated`; moderated t: Smyth, Statistical Applications in Genetics and
    Molecular Biology 3, 2004).

    Two equal differences have no business in normal noise: scores are rounded, or counted. Where
    the differences spread over less than :data:`COARSE` such steps, the signs of all of them are
    flipped, too, which supposes nothing but that candidate and best could be exchanged, and the
    larger of the two p counts (Fisher, The Design of Experiments, 1935, section 21).

    Args:
        samples: The metric of both, by seed.
        goal: Which way the metric is better.
        prior: What is known of the noise: the spread of a pair's difference, or, where no two
            seeds are shared, of one seed run. One that is 0 says nothing.
        item_error: Standard error of the difference that the finite hidden set makes. It adds in
            quadrature, and the degrees of freedom with it (Satterthwaite).

    Raises:
        ValueError: Fewer than two seeds on a side, so that no spread is known.
    """
    differences = samples.differences
    if len(differences) >= 2:
        return _paired(differences, goal, _size(samples), prior, item_error)
    if min(len(samples.candidate), len(samples.best)) >= 2:
        return _welch(samples, goal, prior, item_error)
    raise ValueError("a comparison needs at least two seeds of both")


def compare_by_items(delta: float, error: float, goal: Goal, seeds: int) -> Comparison:
    """Compare by the hidden items alone, where the seed makes no difference.

    Args:
        delta: Candidate minus best.
        error: Standard error of it, from the losses by item of both.
        goal: Which way the metric is better.
        seeds: How many seeds each side has.
    """
    return _found(delta, error, goal, math.inf, seeds, ITEMS)


def compare_one_draw(
    samples: Samples, goal: Goal, run: Spread, *, item_error: float = 0.0
) -> Comparison:
    """Compare a candidate that ignores its seed: all its runs are one draw of the noise.

    A recipe that fixes its own seed measures the same every time and yet owes its score to that
    seed's luck, as any other run does. So its error is that of one run, however many there are.

    Args:
        samples: The metric of both, by seed.
        goal: Which way the metric is better.
        run: The spread of one seed run.
        item_error: Standard error of the difference that the finite hidden set makes.
    """
    candidate, best = samples.candidate.values(), samples.best.values()
    error = run.sd * math.sqrt(1.0 + 1.0 / len(best))
    total, df = _with_items(error, run.df, item_error)
    delta = fmean(candidate) - fmean(best)
    return _found(delta, total, goal, df, min(len(candidate), len(best)), ONE_DRAW)


def moderated(sd: float, df: float, prior: Spread | None) -> tuple[float, float]:
    """Return a standard deviation and its degrees of freedom, with a prior's counted in.

    ``s2 = (d0 * s0**2 + d * s**2) / (d0 + d)`` (Smyth, 2004). A smaller prior counts
    :data:`PRIOR_DF` degrees of freedom at most, so that a noisy recipe is not taken for a steady
    one. A larger prior counts in full, as what went wrong with other recipes may only not have
    shown yet with this one.
    """
    if prior is None or prior.sd <= 0.0 or prior.df <= 0.0:
        return sd, df
    known = prior.df if prior.sd > sd else min(prior.df, PRIOR_DF)
    return math.sqrt((known * prior.sd**2 + df * sd**2) / (known + df)), known + df


def flip_p(gains: Sequence[float]) -> float:
    """Return the share of sign flips whose sum is at least that of the gains.

    Exact up to 32 gains that are not 0: the sums of one half are sorted and those of the other half
    counted against them. Above, Hoeffding's bound ``exp(-sum**2 / (2 * sum of squares))`` is never
    smaller (Hoeffding, Journal of the American Statistical Association 58, 1963).
    """
    import numpy as np

    moved = [gain for gain in gains if gain != 0.0]
    total, size = sum(moved), sum(map(abs, moved))
    if total <= 0.0 and len(moved) > _EXACT_FLIPS:
        return 1.0
    if len(moved) > _EXACT_FLIPS:
        return math.exp(-(total**2) / (2.0 * sum(gain**2 for gain in moved)))
    half = len(moved) // 2
    first, second = (_flipped_sums(part) for part in (moved[:half], moved[half:]))
    first.sort()
    below = np.searchsorted(first, total - 1e-9 * size - second, side="left")
    return float((len(first) - below).sum() / (len(first) * len(second)))


def _flipped_sums(values: Sequence[float]) -> Any:
    import numpy as np

    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _size(samples: Samples) -> float:
    return max(map(abs, (*samples.candidate.values(), *samples.best.values())))


def _coarse(differences: Sequence[float], spread: float, size: float) -> bool:
    """Whether differences tie because they come in steps that are large beside their spread."""
    limit, ordered = ROUNDING * size, sorted((*differences, 0.0))
    gaps = [high - low for low, high in pairwise(ordered)]
    steps = [gap for gap in gaps if gap > limit]
    return len(steps) < len(gaps) and (not steps or spread < COARSE * min(steps))


def _paired(
    differences: Sequence[float], goal: Goal, size: float, prior: Spread | None, items: float
) -> Comparison:
    count, delta = len(differences), fmean(differences)
    own = _spread(differences)
    own = 0.0 if own <= ROUNDING * size else own
    sd, df = moderated(own, count - 1.0, prior)
    gains = [0.0 if abs(d) <= ROUNDING * size else goal.sign * d for d in differences]
    flips = flip_p(gains) if own == 0.0 or _coarse(differences, own, size) else None
    error = sd / math.sqrt(count)
    if own == 0.0:
        error = max(error, _error_of_equals(delta, df, count, size))
    return _tested(delta, error, goal, df, count, PAIRED, flips=flips, items=items)


def _welch(samples: Samples, goal: Goal, prior: Spread | None, items: float) -> Comparison:
    candidate, best = list(samples.candidate.values()), list(samples.best.values())
    delta, size = fmean(candidate) - fmean(best), _size(samples)
    seeds = min(len(candidate), len(best))
    parts, dfs = [], []
    for side in (candidate, best):
        own = _spread(side)
        sd, df = moderated(0.0 if own <= ROUNDING * size else own, len(side) - 1.0, prior)
        parts.append(sd**2 / len(side))
        dfs.append(df)
    error = math.sqrt(sum(parts))
    if error**4 == 0.0:  # Nothing, or so little that the degrees of freedom below have no float.
        total = float(sum(dfs))
        error = _error_of_equals(delta, total, seeds, size)
        flips = 0.5**seeds if goal.sign * delta > 0 else 1.0
        return _tested(delta, error, goal, total, seeds, WELCH, flips=flips, items=items)
    # Degrees of freedom after Welch and Satterthwaite.
    df = error**4 / sum(part**2 / df for part, df in zip(parts, dfs, strict=True))
    return _tested(delta, error, goal, df, seeds, WELCH, flips=None, items=items)


def _error_of_equals(delta: float, df: float, count: int, size: float) -> float:
    """Return the standard error with which t says of equal differences what sign flips say."""
    least = ROUNDING * size or ROUNDING
    if abs(delta) <= least:
        return least
    return abs(delta) / -_quantile(df, 0.5**count)


def _tested(
    delta: float,
    error: float,
    goal: Goal,
    df: float,
    seeds: int,
    test: str,
    *,
    flips: float | None,
    items: float,
) -> Comparison:
    error, df = _with_items(error, df, items)
    found = _found(delta, error, goal, df, seeds, test)
    if flips is None or flips <= found.p:
        return found
    return Comparison(delta, error, found.gain, flips, df, seeds, f"{test}, {FLIPS}")


def _with_items(error: float, df: float, items: float) -> tuple[float, float]:
    """Return error and degrees of freedom with the error of the items, which has many, added."""
    total = math.hypot(error, items)
    return total, df * (total / error) ** 4 if error > 0.0 else math.inf


def _found(delta: float, error: float, goal: Goal, df: float, seeds: int, test: str) -> Comparison:
    # scipy.special has the distributions that scipy.stats is built on, for half the start-up time.
    from scipy.special import ndtr, stdtr

    gain = goal.sign * delta
    score = -gain / error
    p = float(ndtr(score) if df > 1e9 else stdtr(df, score))
    # Beyond what a float can hold, p is the smallest that it can.
    return Comparison(delta, error, gain, min(max(p, 5e-324), 1.0), df, seeds, test)


def _quantile(df: float, p: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(ndtri(p) if df > 1e9 else stdtrit(df, p))


def _spread(values: Sequence[float]) -> float:
    """Return the standard deviation about the mean as it is rounded elsewhere."""
    mean = fmean(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
