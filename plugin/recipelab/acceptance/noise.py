"""Noise: how much measurements vary when nothing has changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, median, stdev

ROUNDING = 1e-12
"""A difference below this share of the values that it is between is rounding, and no noise."""

DIVERGED = 1e-4
"""Chance that a run of an unchanged recipe is called diverged, if the noise is normal."""


@dataclass(frozen=True)
class Spread:
    """The spread of one measurement over seed runs of an unchanged recipe.

    Attributes:
        mean: Its mean.
        sd: Its standard deviation; 0 if it is the same every time.
        runs: From how many seed runs.
        df: Degrees of freedom of ``sd``; one less than ``runs`` if it is not given, fewer where
            several groups of runs were pooled.
    """

    mean: float
    sd: float
    runs: int
    df: float = None  # type: ignore[assignment]  # a float from __post_init__ on

    def __post_init__(self) -> None:
        """Fill in the degrees of freedom of a single group."""
        if self.df is None:
            object.__setattr__(self, "df", float(self.runs - 1))

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the interval of the true standard deviation, if the noise is normal.

        ``sd * sqrt(df / chi2)`` with the quantiles of chi-squared at ``df`` degrees of freedom.
        """
        from scipy.special import chdtri

        tail = (1.0 - confidence) / 2.0
        low, high = (float(chdtri(self.df, q)) for q in (tail, 1.0 - tail))
        return self.sd * math.sqrt(self.df / low), self.sd * math.sqrt(self.df / high)


@dataclass(frozen=True)
class Noise:
    """The noise that calibration found, and all pairs of the campaign since.

    Attributes:
        pair: The spread of the metric of one recipe minus that of another, equally good one with
            the same seed, on the metric's scale.
        measures: The spread of each measurement of the baseline, in its own unit.
        run: The spread of the metric of one seed run, on the metric's scale.
        usual: The same without runs that diverged, which make ``run`` so large that the next one
            would not be noticed; ``None`` for no other than ``run``.
    """

    pair: Spread
    measures: Mapping[str, Spread]
    run: Spread
    usual: Spread | None = None


def agree(values: Sequence[float]) -> bool:
    """Whether two or more measurements are all the same, up to rounding."""
    return len(values) > 1 and max(values) - min(values) <= ROUNDING * max(map(abs, values))


def spread_of(values: Sequence[float]) -> Spread:
    """Return the spread of measurements.

    Raises:
        ValueError: There are fewer than two.
    """
    if len(values) < 2:
        raise ValueError("a spread needs at least two measurements")
    return _spread_of(tuple(values))


# A campaign looks at the same groups after each trial, and exact sums of fractions are slow.
@lru_cache(maxsize=1024)
def _spread_of(values: tuple[float, ...]) -> Spread:
    mean, sd = fmean(values), _stdev(values)
    return Spread(mean, 0.0 if sd <= ROUNDING * abs(mean) else sd, len(values))


@lru_cache(maxsize=1024)
def _stdev(values: tuple[float, ...]) -> float:
    return stdev(values)


def pooled(spreads: Iterable[Spread]) -> Spread:
    """Return the common spread of several groups that differ in their means alone.

    Variances are averaged with their degrees of freedom as weights, and means with their runs.

    Raises:
        ValueError: There is none.
    """
    groups = list(spreads)
    if not groups:
        raise ValueError("nothing to pool")
    runs, df = sum(group.runs for group in groups), sum(group.df for group in groups)
    mean = sum(group.runs * group.mean for group in groups) / max(runs, 1)
    variance = sum(group.df * group.sd**2 for group in groups) / df if df > 0 else 0.0
    return Spread(mean, math.sqrt(variance), runs, df)


def noise_of_pairs(calibration: Spread, groups: Iterable[Sequence[float]]) -> Spread:
    """Return a spread that calibration began and the campaign's later runs go on with.

    What a group has in common, as the gain of a trial over the best, is taken out: only the spread
    within groups counts. Groups of one tell nothing, nor do groups without any spread: a recipe
    that ignores its seed says nothing about those that do not.

    Args:
        calibration: What calibration found, on the metric's scale.
        groups: For each comparison since, the differences of its pairs; or for each recipe, its
            runs. On the metric's scale.
    """
    later = (spread_of(group) for group in groups if not agree(group) and len(group) > 1)
    found = pooled([calibration, *later])
    return Spread(calibration.mean, found.sd, found.runs, found.df)


def unpaired(spread: Spread) -> Spread:
    """Return the spread of the difference of two independent measurements: times ``sqrt(2)``.

    Shared seeds can only make it smaller, so it is on the safe side for pairs.
    """
    return Spread(0.0, math.sqrt(2.0) * spread.sd, spread.runs, spread.df)


def diverged(values: Sequence[float], spread: Spread) -> tuple[int, ...]:
    """Return the places of values that are so low that noise alone does not explain them.

    They are below the median of all by more than ``sd * t``, with Student's t at the degrees of
    freedom of the spread and :data:`DIVERGED`. Fewer than three values have no median to speak of.

    Args:
        values: A measurement of one recipe on several seeds; more is better.
        spread: The spread of one of them.
    """
    from scipy.special import stdtrit

    if len(values) < 3 or spread.sd <= 0.0:
        return ()
    limit = median(values) - spread.sd * float(stdtrit(spread.df, 1.0 - DIVERGED))
    return tuple(place for place, value in enumerate(values) if value < limit)


def usual_spread(groups: Iterable[Sequence[float]]) -> Spread | None:
    """Return the common spread of groups of runs without those that diverged, either way.

    The calmest groups come first, so that the spread is known by the time of the wild ones.

    Args:
        groups: For each recipe, its runs, on the metric's scale.

    Returns:
        The spread; ``None`` where no two runs of a recipe differ.
    """
    found = None
    varied = (tuple(group) for group in groups if len(group) > 1 and not agree(group))
    for group in sorted(varied, key=_stdev):
        usual = list(group)
        if found is not None:
            low, high = diverged(group, found), diverged([-value for value in group], found)
            usual = [value for place, value in enumerate(group) if place not in (*low, *high)]
        if len(usual) > 1:
            found = pooled([spread_of(usual), *([] if found is None else [found])])
    return found
