"""The protocol of acceptance policies: what they observe, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from recipelab.acceptance.noise import Noise
from recipelab.acceptance.sample import Samples
from recipelab.core.trial import Standing
from recipelab.packs.judging_sections import Goal, Scale


@dataclass(frozen=True)
class Observations:
    """All that was observed of a candidate when a policy is asked.

    Every value is on the metric's scale: where that is ``log``, it is a logarithm.

    Attributes:
        goal: Which way the metric is better.
        screen: The metric on the seeds that a trial runs first.
        confirm: The metric on seeds that nobody had run before, candidate and best alike.
        noise: What calibration and all pairs of the campaign so far say; ``None`` if nothing does.
        history: For each earlier test of the campaign, in order, whether it ended in a claim.
        pool: All runs of the best that it was not chosen for; empty where only runs at the same
            moment, or of the same secret, can be compared.
        scale: The scale.
        at: The best's mean in the metric's unit.
        item_error: Standard error of the difference that the finite hidden set makes, on the scale;
            0 where it is not known.
        deterministic: Whether the pack says that the metric is the same for every seed.
        tried: Trials of the campaign so far. The candidate was chosen from them, and what fresh
            seeds do not draw anew, as its luck with the hidden items, was chosen with it.
    """

    goal: Goal
    screen: Samples
    confirm: Samples = field(default_factory=Samples)
    noise: Noise | None = None
    history: tuple[bool, ...] = ()
    pool: tuple[float, ...] = ()
    scale: Scale = Scale.LINEAR
    at: float = 0.0
    item_error: float = 0.0
    deterministic: bool = False
    tried: int = 1

    def words(self, value: float, *, signed: bool = True) -> str:
        """Return a difference on the scale in words, as ``+0.0123`` or ``+4.2 %``."""
        plus = "+" if signed else ""
        if self.scale is Scale.LOG:
            return f"{100.0 * value:{plus}.3g} %"
        return f"{value:{plus}.4g}"


@dataclass(frozen=True)
class Verdict:
    """The final answer of a policy.

    Attributes:
        kept: Whether the candidate is better beyond the noise.
        delta: Mean of candidate minus best, on the metric's scale.
        delta_se: Standard error of that mean.
        reason: One sentence with the figures.
        p: Chance of so large a gain without any, where it was tested.
        level: What ``p`` had to be at most, where it was tested.
        standing: How well a kept candidate is proven; ``None`` for one that is not kept.
    """

    kept: bool
    delta: float
    delta_se: float | None
    reason: str
    p: float | None = None
    level: float | None = None
    standing: Standing | None = None


@dataclass(frozen=True)
class NeedMoreSeeds:
    """The answer of a policy that needs more seed runs before its verdict.

    Attributes:
        seeds: On how many fresh seeds the candidate should have run in all.
        reason: Why, in one sentence.
        alone: Whether the candidate's runs are enough, as the best's are known from its pool.
        for_gate: Whether a gate needs them; it may ask once, as one that is looked at until it
            passes is passed by luck.
    """

    seeds: int
    reason: str
    alone: bool = False
    for_gate: bool = False


class Acceptance(Protocol):
    """Compares a candidate with the best; owns no gates, no sandbox and no store.

    A distribution registers a policy of its own by name: see
    :data:`~recipelab.acceptance.registry.AcceptanceFactory`. One with an attribute ``pools`` that
    is true reads :attr:`Observations.pool` where there is one; for any other, the best has run
    every seed that the candidate has.
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


@runtime_checkable
class LineAcceptance(Acceptance, Protocol):
    """A policy that keeps provisionally, and tests the working line as a whole."""

    screening: int | None
    """Seeds that a trial is screened on, the first of the pack's; ``None`` for all of them."""

    def is_due(self, lead: float, *, at_end: bool) -> bool:
        """Return whether the head should be tested against the certified recipe.

        Args:
            lead: Estimated lead of the head, in standard deviations of a seed run; positive is
                better.
            at_end: Whether the campaign ends, or a person asks.
        """
        ...

    def test(self, observed: Observations) -> Verdict | NeedMoreSeeds:
        """Judge the head, as the candidate, against the certified recipe, by ``confirm`` alone."""
        ...
