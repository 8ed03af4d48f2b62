"""The test on fresh seeds: looks at growing numbers of them, each with a share of one level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from recipelab.acceptance.comparison import (
    ITEMS,
    ONE_DRAW,
    Comparison,
    compare,
    compare_by_items,
    compare_one_draw,
)
from recipelab.acceptance.noise import ROUNDING, agree
from recipelab.acceptance.policy import NeedMoreSeeds, Observations, Verdict
from recipelab.core.trial import Standing

FUTILE = (0.25, 0.1)
"""Above these values of p, at the first look and at later ones, a test gives up."""


def futile(look: int) -> float:
    """Return the p above which a test gives up, at a look or on the way from it to the next."""
    return FUTILE[min(look, len(FUTILE) - 1)]


def look_of(seeds: int, looks: Sequence[int]) -> tuple[int, int]:
    """Return the look, from 1, for which so many fresh seeds run, and how many looks there are.

    Args:
        seeds: Fresh seeds in all.
        looks: On how many each look is made.
    """
    return min(1 + sum(count < seeds for count in looks), len(looks)), len(looks)


CANNOT = (
    "every seed gave the same, so seeds cannot confirm it: where that is meant, say [acceptance] "
    "deterministic = true, or let the scorer leave its losses by item"
)


@dataclass(frozen=True)
class LookTest:
    """One test on fresh seeds of a candidate and the best, which ends as soon as it is clear.

    Each look has a share of the level, so that all looks together have no more than the level
    (Bonferroni). A look that finds little gives up, and so does the test
    half-way between two looks: giving up early can only make false claims rarer.

    Attributes:
        looks: On how many fresh seeds the test is made, one look after the other.
    """

    looks: tuple[int, ...]

    def share(self, look: int) -> float:
        """Return the share of a level that a look has, in proportion to the root of its seeds.

        The last look sees most and is worth most; the first has enough to see a large gain soon.
        """
        return math.sqrt(self.looks[look]) / sum(map(math.sqrt, self.looks))

    def judge(self, observed: Observations, level: float) -> Verdict | NeedMoreSeeds:
        """Judge by ``observed.confirm`` alone.

        Args:
            observed: What was observed.
            level: The level of the whole test.
        """
        if observed.deterministic:
            return _deterministic(observed, level)
        count = len(observed.confirm.differences)
        if count < self.looks[0]:
            return NeedMoreSeeds(self.looks[0], "it is tested on fresh seeds")
        found = _compared(observed)
        if found is None:
            delta = _delta(observed)
            reason = f"gain {observed.words(observed.goal.sign * delta)}, but {CANNOT}"
            return Verdict(False, delta, None, reason)
        look = sum(count >= seeds for seeds in self.looks) - 1
        at_look, last = count in self.looks, look + 1 >= len(self.looks)
        own = level * self.share(look)
        charged = _charged(found, observed)
        if at_look and found.gain > 0.0 and charged.p <= own:
            return _verdict(True, observed, charged, own, "is more than luck")
        if last or found.p > futile(look) or found.test == ITEMS:
            words = "may be luck" if found.p <= FUTILE[0] else "did not show again"
            return _verdict(False, observed, charged, own, words)
        return NeedMoreSeeds(self._next(count), f"p {found.p:.2g} is not yet at most {own:.2g}")

    @property
    def stops(self) -> tuple[int, ...]:
        """At how many seeds it is asked whether to go on: each look, and half-way between two.

        The numbers half-way are even, so that candidate and best have run in whole turns.
        """
        halves = ((below + above) // 4 * 2 for below, above in pairwise(self.looks))
        between = zip(self.looks, halves, strict=False)
        return tuple(sorted({*self.looks, *(half for below, half in between if half > below)}))

    def _next(self, count: int) -> int:
        return next(seeds for seeds in self.stops if seeds > count)


def _compared(observed: Observations) -> Comparison | None:
    """Return the comparison; ``None`` where seeds cannot tell anything."""
    confirm, noise, items = observed.confirm, observed.noise, observed.item_error
    candidate = tuple(confirm.candidate.values())
    if not agree(candidate):
        prior = noise.pair if noise is not None else None
        return compare(confirm, observed.goal, prior, item_error=items)
    if noise is not None and noise.run.sd > 0.0:
        return compare_one_draw(confirm, observed.goal, noise.run, item_error=items)
    if not agree(tuple(confirm.best.values())):
        return compare(confirm, observed.goal, item_error=items)
    if items > 0.0:
        return compare_by_items(_delta(observed), items, observed.goal, len(candidate))
    return None


def _charged(found: Comparison, observed: Observations) -> Comparison:
    """Return the comparison with its p charged for the choice among all trials so far.

    Fresh seeds know nothing of how the candidate was chosen. The hidden items, and the seed that a
    recipe fixes, are those that it was chosen by: there a campaign of ``n`` trials had ``n`` tries
    (Bonferroni).
    """
    p = found.p
    if found.test in (ITEMS, ONE_DRAW):
        p *= observed.tried
    elif observed.item_error > 0.0:
        by_items = compare_by_items(found.delta, observed.item_error, observed.goal, found.seeds)
        p = max(p, by_items.p * observed.tried)
    return replace(found, p=min(p, 1.0))


def _deterministic(observed: Observations, level: float) -> Verdict | NeedMoreSeeds:
    """Judge where one run tells all: by the hidden items where they are known, else by the gain."""
    samples = observed.confirm if observed.confirm.differences else observed.screen
    differences = samples.differences
    delta = sum(differences) / len(differences)
    gain = observed.goal.sign * delta
    if observed.item_error > 0.0:
        found = compare_by_items(delta, observed.item_error, observed.goal, len(differences))
        charged = _charged(found, observed)
        passed = gain > 0.0 and charged.p <= level
        words = "is more than luck" if passed else "may be luck"
        return _verdict(passed, observed, charged, level, words)
    sizes = (*samples.candidate.values(), *samples.best.values())
    better = gain > ROUNDING * max(map(abs, sizes))
    reason = f"gain {observed.words(gain)}, the same for every seed"
    return Verdict(better, delta, None, reason, standing=Standing.CERTIFIED if better else None)


def _delta(observed: Observations) -> float:
    differences = observed.confirm.differences
    return sum(differences) / len(differences)


def _verdict(
    passed: bool, observed: Observations, found: Comparison, level: float, words: str
) -> Verdict:
    sign = "<=" if found.p <= level else ">"
    reason = (
        f"gain {observed.words(found.gain)} (standard error "
        f"{observed.words(found.delta_se, signed=False)}) on {count_of(found.seeds)} that were "
        f"fresh {words}: {found.test}, p {found.p:.2g} {sign} {level:.2g}"
    )
    standing = Standing.CERTIFIED if passed else None
    return Verdict(passed, found.delta, found.delta_se, reason, found.p, level, standing)


def count_of(seeds: int) -> str:
    """Return a number of seeds in words."""
    return f"{seeds} seed{'' if seeds == 1 else 's'}"
