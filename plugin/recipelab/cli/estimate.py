"""``recipelab run --dry-run``: what a campaign would take, without running anything."""

from __future__ import annotations

from recipelab.home import Home
from recipelab.plan import Plan


def estimate(plan: Plan, place: Home, *, as_json: bool) -> None:
    """To be written."""
    raise NotImplementedError
