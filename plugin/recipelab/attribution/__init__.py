"""Which edit gave what share of a gain: the best recipe without each of its steps, measured."""

from recipelab.attribution.measuring import Measured, measure_removals
from recipelab.attribution.removal import Chain, Removal, removals
from recipelab.attribution.shares import Share, shares_of

__all__ = [
    "Chain",
    "Measured",
    "Removal",
    "Share",
    "measure_removals",
    "removals",
    "shares_of",
]
