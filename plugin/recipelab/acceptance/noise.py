"""Noise: how much measurements vary when nothing has changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Spread:
    """The spread of one measurement over seed runs of an unchanged recipe.

    Attributes:
        mean: Its mean.
        sd: Its standard deviation; 0 if it is the same every time.
        runs: From how many seed runs.
    """

    mean: float
    sd: float
    runs: int

    @property
    def df(self) -> int:
        """Degrees of freedom of ``sd``."""
        return self.runs - 1

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
    """The noise that calibration found.

    Attributes:
        pair: The spread of the metric of one recipe minus that of another, equally good one with
            the same seed.
        measures: The spread of each measurement of the baseline.
    """

    pair: Spread
    measures: Mapping[str, Spread]


def spread_of(values: Sequence[float]) -> Spread:
    """Return the spread of measurements.

    Raises:
        ValueError: There are fewer than two.
    """
    if len(values) < 2:
        raise ValueError("a spread needs at least two measurements")
    mean = fmean(values)
    sd = stdev(values)
    # Rounding is no noise.
    return Spread(mean, 0.0 if sd <= 1e-12 * abs(mean) else sd, len(values))


def unpaired(spread: Spread) -> Spread:
    """Return the spread of the difference of two independent measurements: times ``sqrt(2)``.

    Shared seeds can only make it smaller, so it is on the safe side for pairs.
    """
    return Spread(0.0, math.sqrt(2.0) * spread.sd, spread.runs)
