"""The policy that keeps only what is proven: screened first, then confirmed on fresh seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recipelab.acceptance.policy import NeedMoreSeeds, Observations, Verdict
from recipelab.acceptance.screening import Screened
from recipelab.acceptance.sequential import LookTest, count_of
from recipelab.acceptance.spending import level_of_next

PROMISING = 1.2
"""A screened gain of so many standard errors is promising; one trial in nine is so by luck."""


@dataclass(frozen=True)
class Confirmed:
    """Keeps a gain only if it shows on seeds that nobody had run when the trial was chosen.

    A trial that looks promising on the usual seeds was chosen for its luck as well. So these seeds
    only decide whether it is worth a confirmation: candidate and best run on fresh seeds, in turns,
    and only these are tested (:class:`~recipelab.acceptance.sequential.LookTest`). The level of a
    confirmation comes from :func:`~recipelab.acceptance.spending.level_of_next`. Nothing is kept
    unconfirmed, unless the pack says that its metric is the same for every seed.

    Attributes:
        false_keep_rate: Chance that a whole campaign keeps anything if nothing is ever better.
        looks: On how many fresh seeds the test is made, one look after the other.
        half: After how many confirmations half of the rate is used.
    """

    false_keep_rate: float = 0.05
    looks: tuple[int, ...] = (4, 8, 16, 32)
    half: int = 40

    pools: ClassVar[bool] = True

    def judge(self, observed: Observations) -> Verdict | NeedMoreSeeds:
        """Judge by the confirmation once there is one, else by the screening."""
        if observed.confirm.differences or observed.deterministic:
            level = level_of_next(self.false_keep_rate, observed.history, self.half)
            return LookTest(self.looks).judge(observed, level)
        return self._screened(observed)

    def promise(self, observed: Observations, seeds: int) -> float | None:
        """Return the chance that the screened gain ends up promising."""
        if observed.noise is None or not observed.screen.candidate:
            return None
        return Screened.of(observed, observed.screen).promise(seeds, PROMISING)

    def _screened(self, observed: Observations) -> Verdict | NeedMoreSeeds:
        found = Screened.of(observed, observed.screen)
        if (verdict := screened_out(observed, found, PROMISING)) is not None:
            return verdict
        gain = observed.words(found.gain)
        return NeedMoreSeeds(self.looks[0], f"gain {gain} is promising: confirmed on fresh seeds")


def screened_out(observed: Observations, found: Screened, errors: float) -> Verdict | None:
    """Return the verdict on a candidate whose first seeds promise nothing, else ``None``.

    Args:
        observed: What was observed.
        found: Its gains on those seeds.
        errors: Standard errors that a promising gain has at least.
    """
    gain, error = found.gain, found.error()
    limit = 0.0 if found.spread is None or error is None else errors * error
    if gain > 0.0 and gain >= limit:
        return None
    words = (
        "is no gain"
        if gain <= 0.0
        else f"is within the noise (less than {observed.words(limit, signed=False)})"
    )
    reason = f"gain {observed.words(gain)} on {count_of(len(found.gains))} {words}"
    return Verdict(False, observed.goal.sign * gain, error, reason)
