"""Policies to compare with: the default of old, LORD++, halving; and tests that overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from simulated_campaign import Campaign
from simulated_noise import Recipe

from recipelab.acceptance import (
    NeedMoreSeeds,
    Observations,
    Samples,
    Verdict,
    chance_to_reach,
    level_of_next,
)
from recipelab.core.trial import Standing

PROMISING, FUTILE = 1.2, (0.25, 0.1)


@dataclass(frozen=True)
class OldDefault:
    """The default before the working line.

    Screened on the seeds of the pack against the best's runs on the same, confirmed by Student's
    paired t-test at 4, 8 and 16 fresh seeds, with the shares 1 : 2 : 4 of a level that alpha
    spending gives. Where the calibration and a trial happen to show no noise, it is kept at once.
    """

    rate: float = 0.05
    looks: tuple[int, ...] = (4, 8, 16)
    half: int = 20

    def judge(self, observed: Observations) -> Verdict | NeedMoreSeeds:
        """By the confirmation once there is one, else by the screening."""
        fresh = observed.confirm.differences
        return self._confirmed(observed, fresh) if fresh else self._screened(observed)

    def promise(self, observed: Observations, seeds: int) -> float | None:
        """The chance that the screening ends up promising."""
        gains = observed.screen.differences
        limit = _threshold(observed, seeds)
        return chance_to_reach(gains, seeds, limit, observed.noise.pair) if observed.noise else None

    def level(self, history: Sequence[bool]) -> float:
        """The level of the next confirmation."""
        return level_of_next(self.rate, history, self.half)

    def _screened(self, observed: Observations) -> Verdict | NeedMoreSeeds:
        gains = observed.screen.differences
        gain = fmean(gains)
        if gain <= 0.0 or gain < _threshold(observed, len(gains)):
            return Verdict(False, gain, None, "")
        quiet = observed.noise is not None and observed.noise.pair.sd == 0.0
        if quiet and len(gains) > 1 and _p(gains) == 0.0:
            return Verdict(True, gain, 0.0, "", standing=Standing.CERTIFIED)
        return NeedMoreSeeds(self.looks[0], "")

    def _confirmed(self, observed: Observations, gains: Sequence[float]) -> Verdict | NeedMoreSeeds:
        look = self.looks.index(len(gains))
        level, p, gain = self.level(observed.history), _p(gains), fmean(gains)
        share = level * self.looks[look] / sum(self.looks)
        if gain > 0.0 and p <= share:
            return Verdict(True, gain, None, "", p, share, Standing.CERTIFIED)
        last = look + 1 == len(self.looks)
        if last or p > FUTILE[min(look, 1)]:
            return Verdict(False, gain, None, "", p, share)
        return NeedMoreSeeds(self.looks[look + 1], "")


class Lord(OldDefault):
    """The same tests at the levels of LORD++, which bounds the share of false keeps.

    A. Ramdas, F. Yang, M. J. Wainwright and M. I. Jordan, Online control of the false discovery
    rate with decaying memory (2017), with their weights and half of the rate as initial wealth.
    """

    def level(self, history: Sequence[bool]) -> float:
        """The wealth that this test may spend."""
        now = len(history) + 1
        level = _weight(now) * self.rate / 2.0
        kept = [place + 1 for place, one in enumerate(history) if one]
        for place, when in enumerate(kept):
            level += _weight(now - when) * self.rate / (2.0 if place == 0 else 1.0)
        return min(level, 0.2)


def _weight(place: int) -> float:
    return 0.0772 * math.log(max(place, 2)) / (place * math.exp(math.sqrt(math.log(place))))


def _threshold(observed: Observations, seeds: int) -> float:
    spread = observed.noise.pair.sd if observed.noise is not None else 0.0
    return PROMISING * spread / math.sqrt(seeds)


def _p(gains: Sequence[float]) -> float:
    from scipy.special import stdtr

    spread = stdev(gains)
    if spread <= 1e-12 * max(map(abs, gains), default=0.0):
        return 0.0 if fmean(gains) > 0.0 else 1.0
    return float(stdtr(len(gains) - 1, -fmean(gains) / spread * math.sqrt(len(gains))))


class Halving(Campaign):
    """Successive halving: eight proposals run a seed, the best four another, the best two two more.

    The winner has four fresh seeds and joins the working line if their mean beats the head.
    Checkpoints are those of the line.
    """

    def trial(self, parent: Recipe) -> None:
        """Tries eight proposals at once."""
        self.trials += 7
        draw = self.noise.draw
        going = [self.noise.recipe(self.head.truth + self.effect(draw)) for _ in range(8)]
        found: dict[Recipe, list[float]] = {recipe: [] for recipe in going}
        for seeds, left in ((1, 4), (1, 2), (2, 1)):
            for recipe in going:
                found[recipe] += [self.measure(recipe) for _ in range(seeds)]
            going = sorted(going, key=lambda recipe: fmean(found[recipe]), reverse=True)[:left]
        (winner,) = going
        fresh = Samples({seed: self.measure(winner) for seed in range(4)}, {})
        self._learn(fresh)
        gain = fmean(fresh.candidate.values()) - fmean(self.head.pool)
        if gain > 0.0:
            verdict = Verdict(True, gain, None, "", standing=Standing.PROVISIONAL)
            self._keep(winner, verdict, Samples({}, {}), fresh)


AT_ONCE = 8
"""Trials that are confirmed at the same time, where they are."""


class Overlapping(Campaign):
    """Trials are confirmed at the same time, eight by eight, as on many slots.

    All of them are screened against the same best. Each test has its level when it begins, when no
    other has ended; they end in another order. Whoever beats that best when another was kept
    meanwhile is merged onto the new one and tested again, on fresh seeds at the same level.
    """

    begun: tuple[bool, ...] | None = None

    def trial(self, parent: Recipe) -> None:
        """Tries eight proposals at once."""
        self.trials += AT_ONCE - 1
        before = tuple(self.history)
        places = list(range(AT_ONCE))
        self.noise.draw.shuffle(places)
        head = self.head
        for place in places:
            self.begun = (*before, *[False] * place)
            effect, runs = self.effect(self.noise.draw), self.runs
            self._try(head, effect)
            if effect <= 0.0:
                self._hopeless.append(self.runs - runs)
        self.begun = None

    def _try(self, parent: Recipe, effect: float) -> None:
        candidate, best = self.edited(parent, effect), parent
        screen, wanted = self.screen(candidate, parent)
        if not isinstance(wanted, NeedMoreSeeds):
            return
        while True:
            confirm = Samples({}, {})
            found: Verdict | NeedMoreSeeds = wanted
            while isinstance(found, NeedMoreSeeds):
                confirm = self.more(candidate, best, confirm, found)
                found = self.policy.judge(self.observed(screen, confirm, best))
            if not found.kept or best is self.head:
                break
            candidate, best = self.edited(self.head, effect), self.head
        if found.level is not None:
            self.history.append(found.kept)
        self._learn(confirm)
        if found.kept:
            self._keep(candidate, found, screen, confirm)

    def observed(self, screen: Samples, confirm: Samples, best: Recipe) -> Observations:
        """What the policy sees, with the history of the test's beginning."""
        found = super().observed(screen, confirm, best)
        return found if self.begun is None else replace(found, history=self.begun)
