"""The default policy: a working line that is lenient inside, and strict at its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recipelab.acceptance.confirmed import screened_out
from recipelab.acceptance.policy import NeedMoreSeeds, Observations, Verdict
from recipelab.acceptance.screening import Screened
from recipelab.acceptance.sequential import LookTest, count_of
from recipelab.acceptance.spending import level_of_next
from recipelab.core.trial import Standing

WORTH_A_LOOK = 0.5
"""Standard errors by which a trial's first seeds have to beat the head."""

GIVE_UP = 0.5
"""Standard errors by which the first half of its fresh seeds may be worse than the head."""

PAIRS = 2
"""Fresh seeds where each costs a run of the head as well, and first ones where none does."""


@dataclass(frozen=True)
class Line:
    """Keeps provisionally what beats the head on few seeds, and tests the line as a whole.

    The first seeds of a trial only decide whether it is worth more; then fresh ones decide, which
    it was not chosen for. A claim is made at a checkpoint alone: the head is tested against the
    last certified recipe on fresh seeds, in turns, at a level that is shared by all checkpoints of
    the campaign. So it sees sums: five gains of 0.6 standard deviations are one of 3.

    Attributes:
        false_keep_rate: Chance that a whole campaign claims anything if nothing is ever better.
        looks: On how many fresh seeds a checkpoint tests, one look after the other.
        fresh: Fresh seeds of a promising trial before it is kept.
        lead: Lead in standard deviations of a seed run at which a checkpoint is due.
        screening: Seeds that a trial is screened on.
        half: After how many checkpoints half of the rate is used.
    """

    false_keep_rate: float = 0.05
    looks: tuple[int, ...] = (4, 8, 16, 32)
    fresh: int = 4
    lead: float = 3.0
    screening: int | None = 1
    half: int = 20

    pools: ClassVar[bool] = True

    def judge(self, observed: Observations) -> Verdict | NeedMoreSeeds:
        """Judge by the fresh seeds once there are any, else by the first ones."""
        if observed.deterministic:
            return _deterministic(observed)
        if observed.confirm.candidate:
            return self._joined(observed)
        found = Screened.of(observed, observed.screen)
        if (verdict := screened_out(observed, found, WORTH_A_LOOK)) is not None:
            return verdict
        return NeedMoreSeeds(
            min(self.fresh, PAIRS),
            f"gain {observed.words(found.gain)} is worth fresh seeds",
            alone=bool(observed.pool),
        )

    def promise(self, observed: Observations, seeds: int) -> float | None:
        """Return the chance that the first seeds end up worth more."""
        if observed.noise is None or not observed.screen.candidate:
            return None
        return Screened.of(observed, observed.screen).promise(seeds, WORTH_A_LOOK)

    def is_due(self, lead: float, *, at_end: bool) -> bool:
        """Return whether a checkpoint is due: at the lead, and at the end for any lead at all."""
        return lead > 0.0 if at_end else lead >= self.lead

    def test(self, observed: Observations) -> Verdict | NeedMoreSeeds:
        """Test the head against the certified recipe."""
        level = level_of_next(self.false_keep_rate, observed.history, self.half)
        return LookTest(self.looks).judge(observed, level)

    def _joined(self, observed: Observations) -> Verdict | NeedMoreSeeds:
        """Judge by the fresh seeds: all of them against a pool, two pairs where there is none."""
        found = Screened.of(observed, observed.confirm)
        count = len(found.gains)
        wanted = self.fresh if found.pool else min(self.fresh, PAIRS)
        gain, error = observed.words(found.gain), found.error()
        if count < wanted and found.gain > -GIVE_UP * (error or 0.0):
            reason = f"gain {gain} on {count_of(count)} that were fresh"
            return NeedMoreSeeds(wanted, reason, alone=bool(found.pool))
        kept = count >= wanted and found.gain > 0.0
        # How it stands later is told by its standing alone.
        words = "joined the working line" if kept else "did not show again"
        return Verdict(
            kept,
            observed.goal.sign * found.gain,
            error,
            f"gain {gain} over the head on {count_of(count)} that were fresh {words}",
            standing=Standing.PROVISIONAL if kept else None,
        )


def _deterministic(observed: Observations) -> Verdict:
    """Judge where one run tells all; only where hidden items are finite is there more to test."""
    found = Screened.of(observed, observed.screen)
    kept, items = found.gain > 0.0, observed.item_error
    proven = Standing.PROVISIONAL if items > 0.0 else Standing.CERTIFIED
    reason = f"gain {observed.words(found.gain)}, the same for every seed"
    delta = observed.goal.sign * found.gain
    return Verdict(kept, delta, items or None, reason, standing=proven if kept else None)
