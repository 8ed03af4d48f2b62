"""What the best loses without each step, as a share of its whole gain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from recipelab.acceptance import compare
from recipelab.attribution.measuring import Measured
from recipelab.pack import Goal

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """What one removal tells.

    Attributes:
        steps: Places of the steps that were left out.
        loss: How much worse the best is without them, in the metric's unit; ``None`` if what is
            left fails.
        loss_se: Standard error of that loss.
        low: Lower end of its 95 % interval.
        high: Upper end.
        own: The part of the loss that is the first step's own: without what the others cost alone.
        share: ``own`` as a share of the whole gain; ``None`` if there is none.
        failure: How it fails without them, in a sentence.
        changes: Whether leaving them out changes the recipe at all.
    """

    steps: tuple[int, ...]
    loss: float | None
    loss_se: float = 0.0
    low: float = 0.0
    high: float = 0.0
    own: float | None = None
    share: float | None = None
    failure: str | None = None
    changes: bool = True

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.loss is not None and (self.low > 0.0 or self.high < 0.0)


@dataclass(frozen=True)
class Interaction:
    """How much more two removals cost together than one by one.

    With losses ``L``, it is ``L(i and j) - L(i) - L(j)``; its standard error adds the three as if
    they were independent, which is on the safe side for losses that share their seeds.

    Attributes:
        steps: Places of the two steps.
        more: The interaction, in the metric's unit; below zero, either will do without the other.
        error: Its standard error.
    """

    steps: tuple[int, int]
    more: float
    error: float

    @property
    def certain(self) -> bool:
        """Whether it is more than twice its standard error."""
        return abs(self.more) > 2.0 * self.error


def share_of(steps: Sequence[int], measured: Measured, goal: Goal) -> Share:
    """What a removal tells, taken by itself.

    Args:
        steps: Places of the steps that were left out.
        measured: What came of it.
        goal: Which way the metric is better.
    """
    if measured.failure is not None:
        return Share(tuple(steps), None, failure=measured.failure)
    found = compare(measured.samples, goal)
    # Without a step that helps, the candidate is worse: its gain over the best is negative.
    ends = sorted(-goal.sign * end for end in found.interval(CONFIDENCE))
    loss = 0.0 - found.gain
    return Share(tuple(steps), loss, found.delta_se, ends[0], ends[1])


def shares_of(
    singles: Mapping[tuple[int, ...], Measured], whole: Measured, goal: Goal
) -> tuple[Share, tuple[Share, ...]]:
    """The whole gain, and the share that each removal takes of it.

    Args:
        singles: What came of each removal, by the steps that were left out.
        whole: What came of the baseline, which is without all steps.
        goal: Which way the metric is better.
    """
    total = share_of((), whole, goal)
    gain = total.loss if total.loss and total.loss > 0 else None
    alone = {steps: share_of(steps, found, goal) for steps, found in singles.items()}
    return total, tuple(_with_own(share, alone, gain) for share in alone.values())


def _with_own(share: Share, alone: Mapping[tuple[int, ...], Share], gain: float | None) -> Share:
    """Takes away what the steps that had to go with the first one cost by themselves."""
    if share.loss is None:
        return share
    others = alone.get(share.steps[1:])
    own = share.loss - (others.loss or 0.0) if others is not None else share.loss
    return replace(share, own=own, share=own / gain if gain else None)


def unexplained(total: Share, shares: Sequence[Share]) -> float | None:
    """The whole gain minus the sum of what is each step's own, if it stands out of the errors."""
    known = [share for share in shares if share.own is not None and share.changes]
    if total.loss is None or len(known) < 2:
        return None
    rest = total.loss - sum(share.own or 0.0 for share in known)
    error = math.hypot(total.loss_se, *(share.loss_se for share in known))
    return rest if abs(rest) > 2.0 * error else None


def interaction(both: Share, one: Share, other: Share) -> Interaction | None:
    """How two removals interact; ``None`` if one of the three fails."""
    if both.loss is None or one.loss is None or other.loss is None:
        return None
    more = both.loss - one.loss - other.loss
    error = math.hypot(both.loss_se, one.loss_se, other.loss_se)
    return Interaction((one.steps[0], other.steps[0]), more, error)
