"""What a campaign may spend, and what it is after."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from recipelab.pack_measures import Goal


class Limits(BaseModel):
    """Bounds of a campaign; ``None`` is no bound. The first that is reached ends it.

    Attributes:
        trials: Trials that count (see :attr:`recipelab.trial.Status.counts`).
        hours: Wall-clock hours of one run; a resumed campaign has them anew.
        device_hours: Hours that trials hold slots (a GPU or a set of cores each).
        tokens: Tokens sent to and received from models.
        money: US dollars for models, as far as prices are known.
        target: Score that is good enough.
        plateau: Judged trials in a row without one kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int | None = Field(default=None, ge=1)
    hours: float | None = Field(default=None, gt=0)
    device_hours: float | None = Field(default=None, gt=0)
    tokens: int | None = Field(default=None, ge=1)
    money: float | None = Field(default=None, gt=0)
    target: float | None = None
    plateau: int | None = Field(default=None, ge=1)

    @property
    def bounded(self) -> bool:
        """Whether a campaign under these limits comes to an end of its own."""
        # A target may never be reached, so it bounds nothing.
        return any(value is not None for name, value in self if name != "target")

    def given(self) -> dict[str, Any]:
        """The limits that are set, by name."""
        return {name: value for name, value in self if value is not None}


def reached(score: float, target: float, goal: Goal) -> bool:
    """Whether a score is at least as good as a target."""
    return goal.sign * (score - target) >= 0
