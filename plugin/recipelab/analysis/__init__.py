"""What a campaign's lineage shows: pure functions over its trials."""

from recipelab.analysis.history import History, history_of
from recipelab.analysis.stats import campaign_stats

__all__ = ["History", "campaign_stats", "history_of"]
