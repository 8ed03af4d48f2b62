"""Trials whose measurements are drawn, tried as the evaluator tries them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from recipelab.acceptance import (
    Acceptance,
    NeedMoreSeeds,
    Noise,
    Observations,
    Samples,
    Verdict,
    spread_of,
    unpaired,
    waves,
)
from recipelab.packs.sections import Goal

HOPELESS = 0.02
"""The chance at which a screening stops, as in a pack."""

Draw = Callable[[random.Random], float]


def _heavy(draw: random.Random) -> float:
    """Student's t at 4 degrees of freedom, scaled to a standard deviation of 1."""
    chi = draw.gammavariate(2.0, 2.0)
    return draw.gauss(0.0, 1.0) / math.sqrt(chi / 4.0) / math.sqrt(2.0)


def _skewed(draw: random.Random) -> float:
    """An exponential, shifted and scaled: a long tail to one side, as times have it."""
    return 1.0 - draw.expovariate(1.0)


NOISES: dict[str, Draw] = {
    "normal": lambda draw: draw.gauss(0.0, 1.0),
    "heavy": _heavy,
    "skewed": _skewed,
}
"""Noise of one seed run, with a standard deviation of 1."""


@dataclass(frozen=True)
class Tried:
    """How a trial ended.

    Attributes:
        kept: Whether it was kept.
        runs: Seed runs that it took, those of the best for its sake included.
        confirmed: Whether it came to a confirmation.
    """

    kept: bool
    runs: int
    confirmed: bool


@dataclass
class Line:
    """A recipe that is the best, and candidates that are better by a known gain.

    Attributes:
        noise: Noise of one seed run.
        draw: Where chance comes from.
        level: The best's true score; more is better.
        screened: What the best scored on the seeds of screenings.
    """

    noise: Draw
    draw: random.Random
    level: float = 0.0
    screened: dict[int, float] = field(default_factory=dict)

    def run(self, gain: float) -> float:
        """One seed run of a recipe that is better than the best by a gain."""
        return self.level + gain + self.noise(self.draw)

    def new_best(self, seeds: int) -> None:
        """A trial without any gain was kept; it is measured on new seeds."""
        self.screened = {seed: self.run(0.0) for seed in range(seeds)}


def calibrated(line: Line, runs: int) -> Noise:
    """What calibration says of the noise; its runs are the best's on the seeds of screenings."""
    found = [line.run(0.0) for _ in range(runs)]
    line.screened = dict(enumerate(found))
    return Noise(unpaired(spread_of(found)), {})


def try_out(
    policy: Acceptance,
    line: Line,
    gain: float,
    seeds: int,
    noise: Noise,
    history: tuple[bool, ...],
) -> Tried:
    """Tries a candidate: its seeds in portions, then fresh ones while the policy wants more."""
    screen: dict[int, float] = {}
    best = {seed: line.screened[seed] for seed in range(seeds)}

    def observed(confirm: Samples) -> Observations:
        return Observations(Goal.MAXIMIZE, Samples(dict(screen), best), confirm, noise, history)

    for wave in waves(range(seeds)):
        screen |= {seed: line.run(gain) for seed in wave}
        if len(screen) < seeds:
            promise = policy.promise(observed(Samples()), seeds)
            if promise is not None and promise < HOPELESS:
                return Tried(False, len(screen), False)
    fresh = Samples({}, {})
    found: Verdict | NeedMoreSeeds = policy.judge(observed(fresh))
    while isinstance(found, NeedMoreSeeds):
        more = range(1000 + len(fresh.candidate), 1000 + found.seeds)
        fresh = Samples(
            {**fresh.candidate, **{seed: line.run(gain) for seed in more}},
            {**fresh.best, **{seed: line.run(0.0) for seed in more}},
        )
        found = policy.judge(observed(fresh))
    return Tried(found.kept, len(screen) + 2 * len(fresh.candidate), bool(fresh.candidate))
