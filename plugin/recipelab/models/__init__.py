"""Model clients: the rule-based default and the way to any other."""

from recipelab.models.offline import OfflineClient, OfflineConfig
from recipelab.models.registry import OFFLINE, open_model, parse_models

__all__ = ["OFFLINE", "OfflineClient", "OfflineConfig", "open_model", "parse_models"]
