"""Recipes whose measurements are drawn: their true score, and noise of many kinds around it.

Everything is in standard deviations of one seed run of normal noise, and more is better.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Recipe:
    """A recipe of known worth.

    Attributes:
        truth: Its true score.
        luck: What it has the same luck with on every seed, where the seed makes no difference.
        changed: Whether anybody changed it: some kinds of noise come with a change.
        pool: Its runs that it was not chosen for.
        screen: Its runs on the seeds of screenings, where trials are compared with those.
    """

    truth: float
    luck: float = 0.0
    changed: bool = False
    pool: list[float] = field(default_factory=list)
    screen: list[float] = field(default_factory=list)


class Noise:
    """Normal noise, the same for every run.

    Args:
        draw: Where chance comes from.
    """

    items = 0.0
    """Standard error that the finite hidden set gives a difference, if it is known."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw

    def recipe(self, truth: float, *, changed: bool = True) -> Recipe:
        """A new recipe."""
        return Recipe(truth, changed=changed)

    def run(self, recipe: Recipe) -> float:
        """One seed run."""
        return recipe.truth + self.draw.gauss(0.0, 1.0)


class Rounded(Noise):
    """Scores that are told in steps of three standard deviations or so."""

    step = 1.0 / 0.3

    def run(self, recipe: Recipe) -> float:
        """One seed run."""
        return self.step * round(super().run(recipe) / self.step)


class FinelyRounded(Rounded):
    """Scores that are told in steps of one standard deviation."""

    step = 1.0


class OneNotch(Noise):
    """Four runs of five are the same, the fifth is a notch better or worse."""

    def run(self, recipe: Recipe) -> float:
        """One seed run."""
        chance = self.draw.random()
        return recipe.truth + (1.0 if chance < 0.1 else -1.0 if chance < 0.2 else 0.0)


class OneQuestion(Noise):
    """All of a hidden set is settled but for one question, which half of the runs get right."""

    questions, share = 1, 0.5

    def run(self, recipe: Recipe) -> float:
        """One seed run: how many of the unsettled questions it gets right."""
        return recipe.truth + sum(self.draw.random() < self.share for _ in range(self.questions))


class RareQuestion(OneQuestion):
    """All is settled but for one question, which one run of ten gets right."""

    share = 0.1


class ThreeQuestions(OneQuestion):
    """All is settled but for three questions."""

    questions = 3


class Items(Noise):
    """The accuracy of twenty items, each right with a chance of 0.8."""

    chance = 0.8

    def run(self, recipe: Recipe) -> float:
        """One seed run."""
        right = sum(self.draw.random() < self.chance for _ in range(20))
        return recipe.truth + right / math.sqrt(20 * self.chance * (1.0 - self.chance))


class EasyItems(Items):
    """The same with a chance of 0.95, so that many runs tie."""

    chance = 0.95


class TwoPeaks(Noise):
    """Half of the seeds fall into a worse basin."""

    def run(self, recipe: Recipe) -> float:
        """One seed run."""
        return recipe.truth + self.draw.choice((-1.0, 1.0)) + 0.02 * self.draw.gauss(0.0, 1.0)


class Disaster(Noise):
    """Whoever changes the recipe has five seeds in a hundred that end ten deviations worse.

    The mean is that of the baseline, so that most runs of a changed recipe look better.
    """

    def run(self, recipe: Recipe) -> float:
        """One seed run."""
        shift = 0.0
        if recipe.changed:
            shift = 0.5 - (10.0 if self.draw.random() < 0.05 else 0.0)
        return super().run(recipe) + shift


class HeavyTails(Noise):
    """Student's t at 4 degrees of freedom, with a standard deviation of 1."""

    def run(self, recipe: Recipe) -> float:
        """One seed run."""
        chi = self.draw.gammavariate(2.0, 2.0)
        return recipe.truth + self.draw.gauss(0.0, 1.0) / math.sqrt(chi / 2.0)


class Drifting(Noise):
    """What one run has, the next has as well, for the most part: a machine that drifts."""

    correlation = 0.9

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self._state = draw.gauss(0.0, 1.0)

    def run(self, recipe: Recipe) -> float:
        """One seed run."""
        rest = math.sqrt(1.0 - self.correlation**2)
        self._state = self.correlation * self._state + rest * self.draw.gauss(0.0, 1.0)
        return recipe.truth + self._state


class DriftingLittle(Drifting):
    """Half of what one run has, the next has as well."""

    correlation = 0.5


class DriftingSlowly(Drifting):
    """Nearly all of what one run has, the next has as well."""

    correlation = 0.99


class SpeedSteps(Noise):
    """A machine whose speed changes by three deviations now and then, one run in twenty."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self._speed = 0.0

    def run(self, recipe: Recipe) -> float:
        """One seed run."""
        if self.draw.random() < 0.05:
            self._speed = self.draw.gauss(0.0, 3.0)
        return super().run(recipe) + self._speed


class Seedless(Noise):
    """Recipes that ignore their seed: what is left is the luck with a finite hidden set."""

    def recipe(self, truth: float, *, changed: bool = True) -> Recipe:
        """A new recipe, with luck of its own."""
        return Recipe(truth, self.draw.gauss(0.0, 1.0), changed)

    def run(self, recipe: Recipe) -> float:
        """One seed run."""
        return recipe.truth + recipe.luck


class SeedlessItems(Seedless):
    """The same, where the scorer leaves its losses by item, so that this luck is known."""

    items = math.sqrt(2.0)


class FixedSeed(Noise):
    """Whoever changes the recipe fixes its seed as well, and keeps the luck of that one."""

    def recipe(self, truth: float, *, changed: bool = True) -> Recipe:
        """A new recipe, with luck of its own."""
        return Recipe(truth, self.draw.gauss(0.0, 1.0), changed)

    def run(self, recipe: Recipe) -> float:
        """One seed run."""
        return recipe.truth + recipe.luck if recipe.changed else super().run(recipe)


NOISES: dict[str, type[Noise]] = {
    "normal": Noise,
    "rounded to 3.3 sd": Rounded,
    "rounded to 1 sd": FinelyRounded,
    "one notch": OneNotch,
    "one question": OneQuestion,
    "one rare question": RareQuestion,
    "three questions": ThreeQuestions,
    "20 items, 0.8": Items,
    "20 items, 0.95": EasyItems,
    "two peaks": TwoPeaks,
    "5 % of seeds 10 sd worse": Disaster,
    "heavy tails (t, 4 df)": HeavyTails,
    "AR(1) 0.5": DriftingLittle,
    "AR(1) 0.9": Drifting,
    "AR(1) 0.99": DriftingSlowly,
    "speed steps": SpeedSteps,
    "seeds ignored": Seedless,
    "seeds ignored, items known": SeedlessItems,
    "seed fixed by the candidate": FixedSeed,
}

Effect = Callable[[random.Random], float]
"""Draws what an edit is truly worth."""


def _null(draw: random.Random) -> float:
    return 0.0


def _mix(draw: random.Random) -> float:
    chance = draw.random()
    if chance < 0.40:
        return 0.0
    if chance < 0.80:
        return -draw.expovariate(1.0 / 1.5)
    return draw.uniform(0.5, 1.0) if chance < 0.95 else 2.0 + draw.expovariate(2.0)


def _small(draw: random.Random) -> float:
    chance = draw.random()
    if chance < 0.80:
        return 0.0 if chance < 0.40 else -draw.expovariate(1.0 / 1.5)
    return draw.uniform(0.2, 1.0)


def _tuned(draw: random.Random) -> float:
    chance = draw.random()
    if chance < 0.95:
        return 0.0 if chance < 0.35 else -draw.expovariate(0.5)
    return draw.uniform(0.3, 0.8)


def _easy(draw: random.Random) -> float:
    chance = draw.random()
    if chance < 0.90:
        return 0.0 if chance < 0.40 else -draw.expovariate(0.25)
    return draw.uniform(2.0, 6.0)


LANDSCAPES: dict[str, Effect] = {
    "null": _null,
    "realistic mix": _mix,
    "small gains": _small,
    "tuned": _tuned,
    "easy": _easy,
}
"""What edits are worth: 15 % at 0.5 to 1 and 5 % above 2; 20 % at 0.2 to 1; 5 % at 0.3 to 0.8; 10 %
at 2 to 6. The rest is nothing or a loss."""
