"""Ablation: which edit gave what share of a gain, by measuring the best without each of them."""

from recipelab.ablation.ablate import (
    ABLATION_FILE,
    AblationReport,
    Attribution,
    ChainAblation,
    ablate_campaign,
    ablation_report,
)
from recipelab.ablation.attribution import Effect, Interaction, Losses, StepLoss
from recipelab.ablation.chain import Chain, Removal, records_of_chain, removal, removals
from recipelab.ablation.measure import Measure, MeasuredRecipe, MeasurementFile, RecipeMeasurer

__all__ = [
    "ABLATION_FILE",
    "AblationReport",
    "Attribution",
    "Chain",
    "ChainAblation",
    "Effect",
    "Interaction",
    "Losses",
    "Measure",
    "MeasuredRecipe",
    "MeasurementFile",
    "RecipeMeasurer",
    "Removal",
    "StepLoss",
    "ablate_campaign",
    "ablation_report",
    "records_of_chain",
    "removal",
    "removals",
]
