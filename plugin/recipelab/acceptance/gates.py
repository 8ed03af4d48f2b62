"""Gates with bounds: what the runs of a recipe say about the side of a limit that it is on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from recipelab.acceptance.noise import ROUNDING, Spread, pooled, spread_of

BOUND = 1.64
"""Standard errors by which a gate is clearly missed: one recipe in twenty that holds it is so far
off by luck."""

CERTIFIED_BOUND = 2.33
"""Standard errors by which a certified recipe holds its gates. One in a hundred would do so by
luck; a campaign that climbs to a gate tries it often, and ends with a lucky one in 1 to 4 %."""

PROVISIONAL_BOUND = 1.0
"""Standard errors by which a recipe holds its gates before it joins the working line."""

MOST_SEEDS = 16
"""Seed runs of a recipe up to which an unclear gate asks for more."""


class GateCall(StrEnum):
    """What a gate's margins say. The list is closed."""

    PASSED = "passed"
    MISSED = "missed"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class GateBound:
    """The margin of a recipe to a gate's limit, with its error.

    Attributes:
        margin: Mean margin over all runs; negative on the wrong side of the limit.
        error: Standard error of it; 0 for what never moves.
        call: The side that it is on, or that it is not clear.
        more: Seed runs that should settle an unclear one if its mean stays where it is; 0 for any
            other.
    """

    margin: float
    error: float
    call: GateCall
    more: int = 0

    @property
    def low(self) -> float:
        """The margin that a recipe like this has at least, in all cases but one in twenty."""
        return self.margin - BOUND * self.error


def gate_bound(
    margins: Sequence[float],
    spread: Spread | None = None,
    *,
    limit_error: float = 0.0,
    errors: float = CERTIFIED_BOUND,
    most: int = MOST_SEEDS,
) -> GateBound:
    """Return what the margins of all runs of a recipe say about a gate.

    The mean has to be ``errors`` standard errors on the right side to pass, and is missed at
    :data:`BOUND` on the wrong one. What is the same in every run, as a size, has no error. Ask for
    more runs once, and then take what is not passed as missed: a gate that is looked at until it
    passes is passed by luck.

    Args:
        margins: Signed distance of each run to the limit, negative when it is missed; all runs of
            the recipe.
        spread: The spread of that measurement, from calibration or pooled; ``None`` if it is not
            known.
        limit_error: Standard error of the limit, where that was measured, too.
        errors: Standard errors that a pass takes.
        most: Runs beyond which none is asked for.

    Raises:
        ValueError: There is no run.
    """
    if not margins:
        raise ValueError("a gate needs at least one run")
    count, mean = len(margins), fmean(margins)
    error = math.hypot(_sd(margins, spread) / math.sqrt(count), limit_error)
    # A limit may be met exactly.
    if mean >= errors * error:
        return GateBound(mean, error, GateCall.PASSED)
    if mean <= -BOUND * error:
        return GateBound(mean, error, GateCall.MISSED)
    reach = (BOUND if mean < 0.0 else errors) * error
    far = math.sqrt(most / count) * abs(mean) < reach
    wanted = most if far else math.ceil(count * (reach / mean) ** 2)
    return GateBound(mean, error, GateCall.UNCLEAR, max(0, wanted - count))


def _sd(margins: Sequence[float], spread: Spread | None) -> float:
    """Return the spread of one margin: the recipe's own, pooled with what was known before."""
    own = [spread_of(margins)] if len(margins) > 1 else []
    if own and own[0].sd <= ROUNDING * max(map(abs, margins)) and not (spread and spread.sd):
        return 0.0
    known = [spread] if spread is not None and spread.sd > 0.0 else []
    groups = [*known, *own]
    return pooled(groups).sd if groups else 0.0
