"""Which edit gave what share of a gain: the best recipe without each of its steps, measured."""

from recipelab.ablation.attribution import Effect, Interaction, Losses, Share
from recipelab.ablation.measure import (
    Chain,
    Kept,
    Measure,
    MeasuredRecipe,
    Measuring,
    Removal,
    reference_of,
    removal,
    removals,
)
from recipelab.ablation.run import Attributing, Attribution, attribution_facts

__all__ = [
    "Attributing",
    "Attribution",
    "Chain",
    "Effect",
    "Interaction",
    "Kept",
    "Losses",
    "Measure",
    "MeasuredRecipe",
    "Measuring",
    "Removal",
    "Share",
    "attribution_facts",
    "reference_of",
    "removal",
    "removals",
]
