"""Campaigns of trials whose measurements are drawn, driven as the evaluator drives them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from simulated_noise import Effect, Noise, Recipe

from recipelab import acceptance
from recipelab.acceptance import (
    Acceptance,
    LineAcceptance,
    NeedMoreSeeds,
    Observations,
    Samples,
    Verdict,
    noise_of_pairs,
    spread_of,
    unpaired,
    waves,
)
from recipelab.packs.sections import Goal

HOPELESS = 0.02
"""The chance at which a screening stops, as in a pack."""


@dataclass(frozen=True)
class Setting:
    """How a campaign is run.

    Attributes:
        seeds: Seeds of a screening.
        calibration: Seed runs of the baseline.
        side_by_side: Whether the best trains beside every seed run.
        pool: Whether trials are held against all runs of the best; else against its runs on the
            same seeds, as policies of old did.
        learns: Whether the spread is pooled with what later trials show.
        in_flight: Trials that are under way when one is kept.
        rebase: Whether their edits are merged onto the new head.
        trials: Trials at most.
        budget: Seed runs at most.
    """

    seeds: int = 2
    calibration: int = 4
    side_by_side: bool = False
    pool: bool = True
    learns: bool = True
    in_flight: int = 0
    rebase: bool = True
    trials: int = 200
    budget: int = 10**9


@dataclass(frozen=True)
class Result:
    """What came of a campaign.

    Attributes:
        gain: True gain of the recipe that it ends with.
        runs: Seed runs, those of the best included.
        trials: Trials.
        kept: Trials that were kept, provisionally or not.
        worthless: Those of them that were worth nothing or less.
        claims: Tests that ended in a claim.
        false: Claims that were not true: the recipe is no better than the one before.
        tests: Tests.
        hopeless: Seed runs of a trial that is worth nothing or less, on average.
    """

    gain: float
    runs: int
    trials: int
    kept: int
    worthless: int
    claims: int
    false: int
    tests: int
    hopeless: float


class Campaign:
    """One campaign.

    Args:
        policy: The policy.
        noise: Noise of the measurements.
        effect: What edits are worth.
        setting: How it is run.
    """

    def __init__(self, policy: Acceptance, noise: Noise, effect: Effect, setting: Setting) -> None:
        self.policy, self.noise, self.effect, self.setting = policy, noise, effect, setting
        self.runs = self.kept = self.worthless = self.claims = self.false = self.trials = 0
        self.history: list[bool] = []
        self.head = self.certified = noise.recipe(0.0, changed=False)
        self.since_checkpoint = 0
        self._summed = 0.0
        self._hopeless: list[int] = []
        self._calibrate()

    def run(self) -> Result:
        """Runs it to its end."""
        setting = self.setting
        heads = [self.head]
        while self.trials < setting.trials and self.runs < setting.budget:
            self.trials += 1
            self.trial(heads[-1 - min(setting.in_flight, len(heads) - 1)])
            self.checkpoint(at_end=False)
            heads.append(self.head)
        self.checkpoint(at_end=True)
        return Result(
            self.certified.truth,
            self.runs,
            self.trials,
            self.kept,
            self.worthless,
            self.claims,
            self.false,
            len(self.history),
            fmean(self._hopeless) if self._hopeless else 0.0,
        )

    def trial(self, parent: Recipe) -> None:
        """Tries an edit of a parent, which need not be the head any more."""
        effect, before = self.effect(self.noise.draw), self.runs
        self._try(parent, effect)
        if effect <= 0.0:
            self._hopeless.append(self.runs - before)

    def _try(self, parent: Recipe, effect: float) -> None:
        candidate = self.edited(parent, effect)
        screen, found = self.screen(candidate, parent)
        if self.head is not parent:
            if self.setting.rebase:
                if isinstance(found, NeedMoreSeeds):
                    candidate = self.edited(self.head, effect)
            elif found is not None:
                # As it was: judged by the same runs, but against a best that it was not built on.
                found = self.policy.judge(self.observed(screen, Samples(), self.head))
        confirm = Samples({}, {})
        while isinstance(found, NeedMoreSeeds):
            if self.vetoed(candidate):
                found = None
                break
            confirm = self.more(candidate, self.head, confirm, found)
            found = self.policy.judge(self.observed(screen, confirm, self.head))
        if found is None:
            return
        tested = found.level is not None
        if tested:
            self.history.append(found.kept)
        self._learn(confirm)
        if found.kept and not self.vetoed(candidate, found):
            self._keep(candidate, found, screen, confirm)

    def edited(self, parent: Recipe, effect: float) -> Recipe:
        """A recipe with an edit on it."""
        return self.noise.recipe(parent.truth + effect)

    def vetoed(self, candidate: Recipe, found: Verdict | None = None) -> bool:
        """Whether a gate keeps a recipe out, at last (with a verdict) or on the way."""
        return False

    def screen(
        self, candidate: Recipe, best: Recipe
    ) -> tuple[Samples, Verdict | NeedMoreSeeds | None]:
        """Runs the first seeds, and stops where they are hopeless (``None``)."""
        seeds = self.setting.seeds
        if isinstance(self.policy, LineAcceptance) and self.policy.screening is not None:
            seeds = self.policy.screening
        samples = Samples({}, {})
        for wave in waves(range(seeds)):
            own = {**samples.candidate}
            beside = {**samples.best}
            for seed in wave:
                own[seed] = self.measure(candidate)
                if self.setting.side_by_side:
                    beside[seed] = self.measure(best)
                elif not self.setting.pool:
                    beside[seed] = self._screened(best, seed)
            samples = Samples(own, beside)
            if len(own) < seeds:
                observed = self.observed(samples, Samples(), best)
                promise = self.policy.promise(observed, seeds)
                if promise is not None and promise < HOPELESS:
                    return samples, None
        return samples, self.policy.judge(self.observed(samples, Samples(), best))

    def more(
        self, candidate: Recipe, best: Recipe, confirm: Samples, asked: NeedMoreSeeds
    ) -> Samples:
        """Runs fresh seeds in turns: best trial trial best."""
        own, beside = dict(confirm.candidate), dict(confirm.best)
        for seed in range(len(own), asked.seeds):
            if asked.alone:
                own[seed] = self.measure(candidate)
            elif seed % 2 == 0:
                beside[seed] = self.measure(best)
                own[seed] = self.measure(candidate)
            else:
                own[seed] = self.measure(candidate)
                beside[seed] = self.measure(best)
        return Samples(own, beside)

    def checkpoint(self, *, at_end: bool) -> None:
        """Tests the working line if that is due."""
        policy = self.policy
        if not isinstance(policy, LineAcceptance) or not self.since_checkpoint:
            return
        if self.head is self.certified or not policy.is_due(self.lead(), at_end=at_end):
            return
        self.since_checkpoint = 0
        confirm = Samples({}, {})
        found: Verdict | NeedMoreSeeds = policy.test(
            self.observed(Samples(), confirm, self.certified)
        )
        while isinstance(found, NeedMoreSeeds):
            confirm = self.more(self.head, self.certified, confirm, found)
            found = policy.test(self.observed(Samples(), confirm, self.certified))
        self.history.append(found.kept)
        self._learn(confirm)
        if not self.setting.side_by_side:
            self.head.pool.extend(confirm.candidate.values())
            self.certified.pool.extend(confirm.best.values())
        self._summed = found.delta
        if found.kept and not self.vetoed(self.head, found):
            self._claim(self.head)
            self._summed = 0.0
        elif self.falls_back(found):
            self.head, self._summed = self.certified, 0.0

    def falls_back(self, found: Verdict) -> bool:
        """Whether a line whose checkpoint failed is given up: where its seeds show no lead."""
        return self.lead() <= 0.0

    def lead(self) -> float:
        """The estimated lead of the head, in standard deviations of a seed run."""
        unit = self.spreads.run.sd or 1.0
        if self.setting.side_by_side or not self.head.pool:
            return self._summed / unit
        return (fmean(self.head.pool) - fmean(self.certified.pool)) / unit

    def measure(self, recipe: Recipe) -> float:
        """One seed run."""
        self.runs += 1
        return self.noise.run(recipe)

    def observed(self, screen: Samples, confirm: Samples, best: Recipe) -> Observations:
        """What the policy sees."""
        pooled_best = self.setting.pool and not self.setting.side_by_side
        return Observations(
            goal=Goal.MAXIMIZE,
            screen=screen,
            confirm=confirm,
            noise=self.spreads,
            history=tuple(self.history),
            pool=tuple(best.pool) if pooled_best else (),
            item_error=self.noise.items,
            tried=max(self.trials, 1),
        )

    def _calibrate(self) -> None:
        count = max(self.setting.calibration, self.setting.seeds)
        first = [self.measure(self.head) for _ in range(count)]
        self.head.pool, self.head.screen = list(first), first[: self.setting.seeds]
        run = spread_of(first)
        pair = unpaired(run)
        if self.setting.side_by_side:
            pair = spread_of([value - self.measure(self.head) for value in first])
        self.spreads = acceptance.Noise(pair, {}, run)

    def _learn(self, confirm: Samples) -> None:
        """Pools the spread with that of what was run."""
        if not self.setting.learns:
            return
        pair = noise_of_pairs(self.spreads.pair, [confirm.differences])
        sides = [tuple(side.values()) for side in (confirm.candidate, confirm.best)]
        self.spreads = acceptance.Noise(pair, {}, noise_of_pairs(self.spreads.run, sides))

    def _screened(self, best: Recipe, seed: int) -> float:
        while len(best.screen) <= seed:
            best.screen.append(self.measure(best))
        return best.screen[seed]

    def _keep(self, candidate: Recipe, found: Verdict, screen: Samples, confirm: Samples) -> None:
        self.kept += 1
        self.worthless += candidate.truth <= self.head.truth
        chosen_by = confirm.candidate or screen.candidate
        candidate.pool = list(chosen_by.values())
        self.since_checkpoint += 1
        self._summed += found.delta
        if not isinstance(self.policy, LineAcceptance):
            self._claim(candidate)
            if not confirm.candidate:
                candidate.screen = list(screen.candidate.values())
        self.head = candidate

    def _claim(self, recipe: Recipe) -> None:
        self.claims += 1
        self.false += recipe.truth <= self.certified.truth
        self.certified = recipe


def campaigns(
    policy: Acceptance,
    noise: type[Noise],
    effect: Effect,
    setting: Setting,
    seeds: Sequence[int],
    kind: type[Campaign] = Campaign,
) -> list[Result]:
    """Runs a campaign for each seed of chance."""
    return [kind(policy, noise(random.Random(seed)), effect, setting).run() for seed in seeds]
