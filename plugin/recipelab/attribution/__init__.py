"""Which edit gave what share of a gain: the best recipe without each of its steps, measured."""

from recipelab.attribution.facts import attribution_facts
from recipelab.attribution.keeping import Kept, Measured
from recipelab.attribution.losses import Effect, Losses
from recipelab.attribution.measuring import Measure, Measuring, reference_of
from recipelab.attribution.removal import Chain, Removal, removal, removals
from recipelab.attribution.running import Attributing, Attribution
from recipelab.attribution.shares import Interaction, Share

__all__ = [
    "Attributing",
    "Attribution",
    "Chain",
    "Effect",
    "Interaction",
    "Kept",
    "Losses",
    "Measure",
    "Measured",
    "Measuring",
    "Removal",
    "Share",
    "attribution_facts",
    "reference_of",
    "removal",
    "removals",
]
