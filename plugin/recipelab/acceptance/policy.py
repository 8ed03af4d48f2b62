"""The protocol of acceptance policies: what they observe, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from recipelab.acceptance.noise import Noise
from recipelab.acceptance.sample import Samples
from recipelab.packs.sections import Goal


@dataclass(frozen=True)
class Observations:
    """All that was observed of a candidate when a policy is asked.

    Attributes:
        goal: Which way the metric is better.
        screen: The metric on the seeds that every trial runs.
        confirm: The metric on seeds that nobody had run before, candidate and best alike.
        noise: What calibration found; ``None`` if there was none.
        history: For each earlier confirmation of the campaign, in order, whether it was kept.
    """

    goal: Goal
    screen: Samples
    confirm: Samples = field(default_factory=Samples)
    noise: Noise | None = None
    history: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The final answer of a policy.

    Attributes:
        kept: Whether the candidate is better beyond the noise.
        delta: Mean of candidate minus best, in the metric's unit.
        delta_se: Standard error of that mean.
        reason: One sentence with the figures.
        p: Chance of so large a gain without any, where it was tested.
        level: What ``p`` had to be at most, where it was tested.
    """

    kept: bool
    delta: float
    delta_se: float | None
    reason: str
    p: float | None = None
    level: float | None = None


@dataclass(frozen=True)
class NeedMoreSeeds:
    """The answer of a policy that needs more seed runs before its verdict.

    Attributes:
        seeds: On how many fresh seeds both should have run in all.
        reason: Why, in one sentence.
    """

    seeds: int
    reason: str


class Acceptance(Protocol):
    """Compares a candidate with the best; owns no gates, no sandbox and no store.

    A distribution registers a policy of its own by name: see
    :data:`~recipelab.acceptance.registry.AcceptanceFactory`.
    """

    def judge(self, observed: Observations) -> Verdict | NeedMoreSeeds:
        """Return the verdict on the candidate, or how many fresh seeds have to run first."""
        ...

    def promise(self, observed: Observations, seeds: int) -> float | None:
        """Return the chance that a candidate is promising when its whole screening has run.

        Args:
            observed: What was observed so far.
            seeds: Seeds of the whole screening.

        Returns:
            The chance, between 0 and 1; ``None`` if the policy does not say.
        """
        ...
