"""Whom a view is for, and in which campaign."""

from __future__ import annotations

from dataclasses import dataclass

from recipelab.lineage import LineageStore
from recipelab.pack import Pack


@dataclass(frozen=True)
class Frame:
    """What a view is rendered from.

    Attributes:
        store: An open lineage.
        campaign: Name of the campaign.
        pack: Its pack.
        specialist: Whose turn begins.
        surfaces: The surfaces that it owns.
        remaining: Trials left in the budget; ``None`` without a bound.
        priors: Names of campaigns that serve as prior knowledge.
    """

    store: LineageStore
    campaign: str
    pack: Pack
    specialist: str
    surfaces: tuple[str, ...]
    remaining: int | None = None
    priors: tuple[str, ...] = ()

    def score(self, value: float | None) -> str:
        """A score in words."""
        metric = self.pack.metric
        return "no score" if value is None else f"{value:.4g} {metric.unit}".strip()
