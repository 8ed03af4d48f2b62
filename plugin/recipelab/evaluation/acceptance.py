"""Policies that say whether a measured trial is really better than the best so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Protocol

from recipelab.pack import Goal

Sample = Mapping[int, float]
"""The metric of each seed."""


@dataclass(frozen=True)
class Verdict:
    """What a policy says of a candidate.

    Attributes:
        kept: Whether the candidate is better beyond the noise.
        delta: Mean of candidate minus best, in the metric's unit.
        delta_se: Standard error of that mean.
        reason: One sentence with the figures.
    """

    kept: bool
    delta: float
    delta_se: float
    reason: str


class Acceptance(Protocol):
    """Compares a candidate with the best; owns no gates and no store."""

    def judge(self, candidate: Sample, best: Sample, goal: Goal) -> Verdict:
        """Says whether the candidate is better than the best beyond the noise."""
        ...


class PairedTwoSigma:
    """Kept if the gain is more than twice the standard error of the seed-paired difference.

    With differences ``d_i = candidate_i - best_i`` over ``n`` shared seeds, the standard error is
    ``stdev(d) / sqrt(n)``. Pairing takes out what the seeds have in common.
    """

    def judge(self, candidate: Sample, best: Sample, goal: Goal) -> Verdict:
        """See :class:`Acceptance`.

        Raises:
            ValueError: Fewer than two shared seeds, so that no standard error exists.
        """
        shared = sorted(set(candidate) & set(best))
        if len(shared) < 2:
            raise ValueError("a paired comparison needs at least two shared seeds")
        differences = [candidate[seed] - best[seed] for seed in shared]
        delta = fmean(differences)
        error = stdev(differences) / math.sqrt(len(shared))
        gain = goal.sign * delta
        kept = gain > 2.0 * error
        words = "more" if kept else "not more"
        reason = f"gain {gain:+.4g} is {words} than twice its standard error ({error:.3g})"
        return Verdict(kept, delta, error, reason)


def mean_and_error(sample: Sample) -> tuple[float, float | None]:
    """Mean over seeds and its standard error (``None`` with a single seed)."""
    values = list(sample.values())
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return fmean(values), error


POLICIES: Mapping[str, type[Acceptance]] = {"paired-two-sigma": PairedTwoSigma}
"""The acceptance policies by name."""
