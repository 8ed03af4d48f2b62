"""Samples: the metric of each seed, of one recipe or of two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, stdev

Sample = Mapping[int, float]
"""The metric of each seed."""


@dataclass(frozen=True)
class Samples:
    """The metric of a candidate and of the best, each by seed.

    Attributes:
        candidate: Of the recipe that wants to be kept.
        best: Of the best so far.
    """

    candidate: Sample = field(default_factory=dict[int, float])
    best: Sample = field(default_factory=dict[int, float])

    @property
    def differences(self) -> tuple[float, ...]:
        """Candidate minus best, for each seed that both have run, in the order of the seeds."""
        shared = sorted(set(self.candidate) & set(self.best))
        return tuple(self.candidate[seed] - self.best[seed] for seed in shared)


def mean_and_error(sample: Sample) -> tuple[float, float | None]:
    """Return the mean over seeds and its standard error (``None`` with a single seed)."""
    values = list(sample.values())
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return fmean(values), error
