"""Acceptance under noise: tells a gain from luck. It runs nothing and stores nothing."""

from recipelab.acceptance.comparison import Comparison, compare
from recipelab.acceptance.confirmed import Confirmed
from recipelab.acceptance.noise import Noise, Spread, spread_of, unpaired
from recipelab.acceptance.policy import Acceptance, NeedMoreSeeds, Observations, Verdict
from recipelab.acceptance.power import power, smallest_gain
from recipelab.acceptance.racing import chance_to_reach, waves
from recipelab.acceptance.registry import AcceptanceFactory, acceptance_policy
from recipelab.acceptance.sample import Sample, Samples, mean_and_error
from recipelab.acceptance.simple import KeepIfBetter, PairedTwoSigma
from recipelab.acceptance.spending import level_of_next

__all__ = [
    "Acceptance",
    "AcceptanceFactory",
    "Comparison",
    "Confirmed",
    "KeepIfBetter",
    "NeedMoreSeeds",
    "Noise",
    "Observations",
    "PairedTwoSigma",
    "Sample",
    "Samples",
    "Spread",
    "Verdict",
    "acceptance_policy",
    "chance_to_reach",
    "compare",
    "level_of_next",
    "mean_and_error",
    "power",
    "smallest_gain",
    "spread_of",
    "unpaired",
    "waves",
]
