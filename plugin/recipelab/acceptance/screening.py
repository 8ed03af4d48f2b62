"""The screening: how a candidate did on its first seeds, against a pool or in pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from recipelab.acceptance.noise import Spread
from recipelab.acceptance.policy import Observations
from recipelab.acceptance.racing import chance_to_reach
from recipelab.acceptance.sample import Samples


@dataclass(frozen=True)
class Screened:
    """The gain of a candidate, and how far noise alone moves it.

    Against a pool, the candidate's runs are held against the mean of all runs of the best, which
    are many, so that no luck of a few stays for the whole campaign.

    Attributes:
        gains: The gain of each seed, more is better.
        spread: The spread of one of them; ``None`` if it is not known.
        pool: Runs of the best that they are held against together; 0 for pairs.
    """

    gains: tuple[float, ...]
    spread: Spread | None
    pool: int

    @classmethod
    def of(cls, observed: Observations, samples: Samples) -> Screened:
        """Return the gains of samples.

        Raises:
            ValueError: There is no pool, and candidate and best have no seed in common.
        """
        sign, noise = observed.goal.sign, observed.noise
        if observed.pool and samples.candidate:
            mean = fmean(observed.pool)
            gains = tuple(
                sign * (samples.candidate[seed] - mean) for seed in sorted(samples.candidate)
            )
            return cls(gains, noise.run if noise is not None else None, len(observed.pool))
        gains = tuple(sign * difference for difference in samples.differences)
        if not gains:
            raise ValueError("candidate and best have no seed in common")
        return cls(gains, noise.pair if noise is not None else None, 0)

    @property
    def gain(self) -> float:
        """The mean gain."""
        return fmean(self.gains)

    def error(self, seeds: int | None = None) -> float | None:
        """Return the standard error of the mean gain over so many seeds: ``sd * sqrt(1/n + 1/m)``.

        Without a known noise it is that of the gains themselves, if there are two.
        """
        count = seeds or len(self.gains)
        if self.spread is None:
            return _own_error(self.gains)
        return self.spread.sd * math.sqrt(1.0 / count + (1.0 / self.pool if self.pool else 0.0))

    def promise(self, seeds: int, errors: float) -> float | None:
        """Return the chance that the gain over all seeds is at least so many standard errors.

        The error of the pool's mean is the same for what is known and what comes, so the spread of
        one run alone counts. ``None`` where the noise is not known.
        """
        limit = self.error(seeds)
        if self.spread is None or limit is None:
            return None
        return chance_to_reach(self.gains, seeds, errors * limit, self.spread)


def _own_error(gains: Sequence[float]) -> float | None:
    if len(gains) < 2:
        return None
    mean = fmean(gains)
    variance = sum((gain - mean) ** 2 for gain in gains) / (len(gains) - 1)
    return math.sqrt(variance / len(gains))
