"""Model clients: the rule-based default, real ones by provider and name, and wrappers of both."""

from recipelab.models.answers import ThinkingClient, WholeAnswerClient
from recipelab.models.guided import GuidedClient
from recipelab.models.handed_on import HandedOnClient
from recipelab.models.metered import Meter, MeteredClient, Prices
from recipelab.models.offline import OfflineClient, OfflineConfig
from recipelab.models.open import (
    OFFLINE,
    Sampling,
    described_model,
    loaded_model,
    open_model,
    parse_models,
    saved_model,
)
from recipelab.models.wrappers import JsonRepairClient, Patience, RetryingClient

__all__ = [
    "OFFLINE",
    "GuidedClient",
    "HandedOnClient",
    "JsonRepairClient",
    "Meter",
    "MeteredClient",
    "OfflineClient",
    "OfflineConfig",
    "Patience",
    "Prices",
    "RetryingClient",
    "Sampling",
    "ThinkingClient",
    "WholeAnswerClient",
    "described_model",
    "loaded_model",
    "open_model",
    "parse_models",
    "saved_model",
]
