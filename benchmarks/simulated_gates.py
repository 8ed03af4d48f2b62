"""A speed recipe that climbs to its accuracy gate: every faster edit trades some accuracy.

The accuracy has a spread of 1 a seed run and the gate is at 0. Times are compared in pairs, whose
difference has a spread of 1 as well.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from statistics import fmean

from simulated_campaign import Campaign, Result, Setting
from simulated_noise import Noise, Recipe

from recipelab.acceptance import (
    CERTIFIED_BOUND,
    PROVISIONAL_BOUND,
    Acceptance,
    GateCall,
    Spread,
    Verdict,
    gate_bound,
    noise_of_pairs,
    spread_of,
)
from recipelab.acceptance.gates import MOST_SEEDS

START = 3.1
"""Margin of the starting recipe, as in the demo."""


@dataclass(frozen=True)
class Trade:
    """What faster edits cost in accuracy, in standard deviations of a seed run.

    Attributes:
        mean: Their mean change of the margin.
        sd: The spread of it.
        trials: Trials of a campaign.
    """

    mean: float
    sd: float
    trials: int


TRADES = {
    "coarse steps, N(-0.3, 0.6)": Trade(-0.3, 0.6, 100),
    "fine steps, N(-0.15, 0.25)": Trade(-0.15, 0.25, 200),
    "costly steps, N(-0.5, 0.5)": Trade(-0.5, 0.5, 100),
}


@dataclass(eq=False)
class Gated(Recipe):
    """A recipe with a margin to a gate.

    Attributes:
        margin: Its true margin.
        margins: What its runs measured of it.
    """

    margin: float = START
    margins: list[float] = field(default_factory=list)


class GatedNoise(Noise):
    """Noise of time and margin, independent of one another."""

    def recipe(self, truth: float, *, changed: bool = True) -> Gated:
        """A new recipe."""
        return Gated(truth, changed=changed)

    def run(self, recipe: Recipe) -> float:
        """One seed run, which measures the margin as well."""
        assert isinstance(recipe, Gated)
        recipe.margins.append(recipe.margin + self.draw.gauss(0.0, 1.0))
        # Two runs make a pair, whose difference has a spread of 1.
        return recipe.truth + self.draw.gauss(0.0, 0.5**0.5)


class GatedCampaign(Campaign):
    """A campaign with a gate, judged by a bound over all runs of a recipe."""

    trade: Trade
    provisional, final, most = PROVISIONAL_BOUND, CERTIFIED_BOUND, MOST_SEEDS
    _gate_missed = False
    head: Gated
    certified: Gated

    def edited(self, parent: Recipe, effect: float) -> Recipe:
        """A faster recipe, or one that is the same."""
        assert isinstance(parent, Gated)
        recipe = Gated(parent.truth + effect, changed=True, margin=parent.margin)
        if effect > 0.0:
            recipe.margin += self.noise.draw.gauss(self.trade.mean, self.trade.sd)
        return recipe

    def vetoed(self, candidate: Recipe, found: Verdict | None = None) -> bool:
        """Whether the gate keeps it out; more seeds while that is not clear."""
        assert isinstance(candidate, Gated)
        if not candidate.margins:
            return False
        spread = self._spread()
        if found is None:
            return gate_bound(candidate.margins, spread).call is GateCall.MISSED
        if found.level is None:
            return not self._passes(candidate, self.provisional)
        bound = gate_bound(candidate.margins, spread, errors=self.final, most=self.most)
        for _ in range(bound.more):
            self.measure(candidate)
        self._gate_missed = not self._passes(candidate, self.final)
        return self._gate_missed

    def falls_back(self, found: Verdict) -> bool:
        """A line whose head does not hold the gate goes back, whatever its lead."""
        missed, self._gate_missed = self._gate_missed, False
        return missed or super().falls_back(found)

    def _passes(self, candidate: Gated, errors: float) -> bool:
        bound = gate_bound(candidate.margins, self._spread(), errors=errors)
        return bound.call is GateCall.PASSED

    def _spread(self) -> Spread:
        return noise_of_pairs(self._first, [self.certified.margins, self.head.margins])

    def _calibrate(self) -> None:
        super()._calibrate()
        self._first = spread_of(self.head.margins[: max(2, self.setting.calibration)])


def faster(draw: random.Random) -> float:
    """Half of the edits are faster, by 1 to 4 spreads of a pair."""
    return draw.uniform(1.0, 4.0) if draw.random() < 0.5 else 0.0


class MeanGate(GatedCampaign):
    """The rule of old: a mean on the right side of the limit, on the seeds of the last stage."""

    def vetoed(self, candidate: Recipe, found: Verdict | None = None) -> bool:
        """Whether the mean of all runs misses the gate."""
        assert isinstance(candidate, Gated)
        return fmean(candidate.margins) < 0.0


def gated(
    policy: Acceptance,
    trade: Trade,
    setting: Setting,
    seeds: range,
    kind: type[GatedCampaign] = GatedCampaign,
) -> list[tuple[Result, float]]:
    """Runs a campaign for each seed of chance.

    Returns:
        What came of each, and the true margin of the recipe that it ends with.
    """
    found = []
    for seed in seeds:
        one = type(kind.__name__, (kind,), {"trade": trade})(
            policy, GatedNoise(random.Random(seed)), faster, setting
        )
        found.append((one.run(), one.certified.margin))
    return found
