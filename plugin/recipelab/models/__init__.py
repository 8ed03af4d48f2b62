"""Model clients: the rule-based default, real ones by provider and name, and wrappers of both."""

from recipelab.models.answers import ThinkingClient, WholeAnswerClient
from recipelab.models.guided import GuidedClient
from recipelab.models.metered import Meter, MeteredClient, Prices
from recipelab.models.offline import OfflineClient, OfflineConfig
from recipelab.models.open import (
    OFFLINE,
    Sampling,
    loaded_model,
    open_model,
    parse_models,
    saved_model,
)
from recipelab.models.wrappers import JsonRepairClient, RetryingClient

__all__ = [
    "OFFLINE",
    "GuidedClient",
    "JsonRepairClient",
    "Meter",
    "MeteredClient",
    "OfflineClient",
    "OfflineConfig",
    "Prices",
    "RetryingClient",
    "Sampling",
    "ThinkingClient",
    "WholeAnswerClient",
    "loaded_model",
    "open_model",
    "parse_models",
    "saved_model",
]
