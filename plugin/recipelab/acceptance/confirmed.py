"""The default policy: screened on the usual seeds, confirmed on fresh ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from recipelab.acceptance.comparison import Comparison, compare
from recipelab.acceptance.policy import NeedMoreSeeds, Observations, Verdict
from recipelab.acceptance.racing import chance_to_reach
from recipelab.acceptance.sample import mean_and_error
from recipelab.acceptance.spending import level_of_next

PROMISING = 1.2
"""A screened gain of so many standard errors is promising; one trial in nine is so by luck."""

_FUTILE = (0.25, 0.1)
"""Above these values of p, the looks before the last one give up."""


@dataclass(frozen=True)
class Confirmed:
    """Keeps a gain only if it shows on seeds that nobody had run when the trial was chosen.

    A trial that looks promising on the usual seeds was chosen for its luck as well. So these seeds
    only decide whether it is worth a confirmation: candidate and best run on fresh seeds, and only
    these are tested (see :func:`~recipelab.acceptance.comparison.compare`). The level of a
    confirmation comes from :func:`~recipelab.acceptance.spending.level_of_next`, and is divided
    among the looks at growing numbers of seeds; a look that finds little gives up.

    Attributes:
        false_keep_rate: Chance that a whole campaign keeps anything if nothing is ever better.
        looks: On how many fresh seeds the test is made, one look after the other.
        half: After how many confirmations half of the rate is used.
    """

    false_keep_rate: float = 0.05
    looks: tuple[int, ...] = (4, 8, 16)
    half: int = 20

    def share(self, look: int) -> float:
        """Return the share of a level that a look has: its seeds over those of all looks.

        The last look sees most and is worth most; the first has enough to see a large gain soon.
        """
        return self.looks[look] / sum(self.looks)

    def judge(self, observed: Observations) -> Verdict | NeedMoreSeeds:
        """Judge by the confirmation once there is one, else by the screening."""
        if observed.confirm.differences:
            return self._confirmed(observed)
        return self._screened(observed)

    def promise(self, observed: Observations, seeds: int) -> float | None:
        """Return the chance that the screened gain ends up promising."""
        gains = _gains(observed)
        if observed.noise is None or not gains:
            return None
        return chance_to_reach(gains, seeds, _threshold(observed, seeds), observed.noise.pair)

    def _screened(self, observed: Observations) -> Verdict | NeedMoreSeeds:
        gains = _gains(observed)
        if not gains:
            raise ValueError("candidate and best have no seed in common")
        gain, threshold = fmean(gains), _threshold(observed, len(gains))
        if gain <= 0.0 or gain < threshold:
            words = (
                "is no gain" if gain <= 0.0 else f"is within the noise (less than {threshold:.3g})"
            )
            reason = f"gain {gain:+.4g} on {_seeds(len(gains))} {words}"
            error = mean_and_error(dict(enumerate(gains)))[1]
            return Verdict(False, observed.goal.sign * gain, error, reason)
        if _exact(observed, gains):
            reason = f"gain {gain:+.4g} on {_seeds(len(gains))}, and nothing here has any noise"
            return Verdict(True, observed.goal.sign * gain, 0.0, reason, 0.0, self._level(observed))
        return NeedMoreSeeds(
            self.looks[0], f"gain {gain:+.4g} is promising: confirmed on fresh seeds"
        )

    def _confirmed(self, observed: Observations) -> Verdict | NeedMoreSeeds:
        found = compare(observed.confirm, observed.goal)
        look = sum(found.seeds >= count for count in self.looks) - 1
        level = self._level(observed) * self.share(max(look, 0))
        last = look + 1 >= len(self.looks)
        if look >= 0 and found.gain > 0 and found.p <= level:
            return _verdict(True, found, level, "is more than luck")
        if last or (look >= 0 and found.p > _FUTILE[min(look, len(_FUTILE) - 1)]):
            return _verdict(False, found, level, "may be luck" if last else "did not show again")
        return NeedMoreSeeds(
            self.looks[look + 1], f"p {found.p:.2g} is not yet at most {level:.2g}"
        )

    def _level(self, observed: Observations) -> float:
        return level_of_next(self.false_keep_rate, observed.history, self.half)


def _gains(observed: Observations) -> tuple[float, ...]:
    return tuple(observed.goal.sign * difference for difference in observed.screen.differences)


def _threshold(observed: Observations, seeds: int) -> float:
    """Return the screened gain from which a trial is promising."""
    noise = observed.noise
    return 0.0 if noise is None else PROMISING * noise.pair.sd / math.sqrt(seeds)


def _exact(observed: Observations, gains: Sequence[float]) -> bool:
    """Whether neither the calibration nor this trial shows any noise."""
    quiet = observed.noise is not None and observed.noise.pair.sd == 0.0
    return quiet and len(gains) > 1 and compare(observed.screen, observed.goal).delta_se == 0.0


def _verdict(kept: bool, found: Comparison, level: float, words: str) -> Verdict:
    sign = "<=" if found.p <= level else ">"
    reason = (
        f"gain {found.gain:+.4g} (standard error {found.delta_se:.3g}) on {_seeds(found.seeds)} "
        f"that were fresh {words}: {found.test}, p {found.p:.2g} {sign} {level:.2g}"
    )
    return Verdict(kept, found.delta, found.delta_se, reason, found.p, level)


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"
