"""Model clients: the rule-based default and the way to any other."""

from recipelab.models.metered import Meter, MeteredClient
from recipelab.models.offline import OfflineClient, OfflineConfig
from recipelab.models.patient import PatientClient
from recipelab.models.prices import Prices
from recipelab.models.registry import OFFLINE, open_model, parse_models
from recipelab.models.saved import loaded_model, saved_model
from recipelab.models.tidy import TidyClient

__all__ = [
    "OFFLINE",
    "Meter",
    "MeteredClient",
    "OfflineClient",
    "OfflineConfig",
    "PatientClient",
    "Prices",
    "TidyClient",
    "loaded_model",
    "open_model",
    "parse_models",
    "saved_model",
]
