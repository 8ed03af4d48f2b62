"""Acceptance under noise: tells a gain from luck. It runs nothing and stores nothing."""

from recipelab.acceptance.comparison import (
    Comparison,
    compare,
    compare_by_items,
    compare_one_draw,
)
from recipelab.acceptance.confirmed import Confirmed
from recipelab.acceptance.gates import (
    BOUND,
    CERTIFIED_BOUND,
    PROVISIONAL_BOUND,
    GateBound,
    GateCall,
    gate_bound,
)
from recipelab.acceptance.items import item_difference, item_mean
from recipelab.acceptance.line import Line
from recipelab.acceptance.noise import (
    Noise,
    Spread,
    agree,
    diverged,
    noise_of_pairs,
    pooled,
    spread_of,
    unpaired,
    usual_spread,
)
from recipelab.acceptance.policy import (
    Acceptance,
    LineAcceptance,
    NeedMoreSeeds,
    Observations,
    Verdict,
)
from recipelab.acceptance.power import SmallestGain, power, smallest_gain
from recipelab.acceptance.racing import chance_to_reach, waves
from recipelab.acceptance.registry import AcceptanceFactory, acceptance_policy
from recipelab.acceptance.sample import Sample, Samples, mean_and_error
from recipelab.acceptance.sequential import LookTest
from recipelab.acceptance.simple import KeepIfBetter, PairedTwoSigma
from recipelab.acceptance.spending import level_of_next

__all__ = [
    "BOUND",
    "CERTIFIED_BOUND",
    "PROVISIONAL_BOUND",
    "Acceptance",
    "AcceptanceFactory",
    "Comparison",
    "Confirmed",
    "GateBound",
    "GateCall",
    "KeepIfBetter",
    "Line",
    "LineAcceptance",
    "LookTest",
    "NeedMoreSeeds",
    "Noise",
    "Observations",
    "PairedTwoSigma",
    "Sample",
    "Samples",
    "SmallestGain",
    "Spread",
    "Verdict",
    "acceptance_policy",
    "agree",
    "chance_to_reach",
    "compare",
    "compare_by_items",
    "compare_one_draw",
    "diverged",
    "gate_bound",
    "item_difference",
    "item_mean",
    "level_of_next",
    "mean_and_error",
    "noise_of_pairs",
    "pooled",
    "power",
    "smallest_gain",
    "spread_of",
    "unpaired",
    "usual_spread",
    "waves",
]
