"""Policies without a confirmation, to compare with and for packs that want no more."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from recipelab.acceptance.comparison import compare
from recipelab.acceptance.policy import Observations, Verdict
from recipelab.core.trial import Standing


@dataclass(frozen=True)
class PairedTwoSigma:
    """Keeps a gain of more than twice the standard error of the difference.

    It knows nothing of how many trials a campaign has: of 200 trials that change nothing, it keeps
    several.
    """

    def judge(self, observed: Observations) -> Verdict:
        """Keep a gain of more than two standard errors.

        Raises:
            ValueError: Fewer than two seeds, so that no standard error exists.
        """
        found = compare(observed.screen, observed.goal)
        kept = found.gain > 2.0 * found.delta_se
        words = "more" if kept else "not more"
        error = observed.words(found.delta_se, signed=False)
        reason = (
            f"gain {observed.words(found.gain)} is {words} than twice its standard error ({error})"
        )
        standing = Standing.UNTESTED if kept else None
        return Verdict(kept, found.delta, found.delta_se, reason, found.p, standing=standing)

    def promise(self, observed: Observations, seeds: int) -> None:
        """Return nothing: all seeds have to run."""


@dataclass(frozen=True)
class KeepIfBetter:
    """Keeps a mean that is better at all: what published systems do, for comparison."""

    def judge(self, observed: Observations) -> Verdict:
        """Keep any gain."""
        delta = fmean(observed.screen.differences)
        gain = observed.goal.sign * delta
        words = ", noise or not" if gain > 0 else " is no gain"
        standing = Standing.UNTESTED if gain > 0 else None
        reason = f"gain {observed.words(gain)}{words}"
        return Verdict(gain > 0, delta, None, reason, standing=standing)

    def promise(self, observed: Observations, seeds: int) -> None:
        """Return nothing: all seeds have to run."""
