"""The lineage: every trial of every campaign, with its parents, its edits and its outcome."""

from recipelab.lineage.priors import prior_campaigns
from recipelab.lineage.query import TrialFilter
from recipelab.lineage.records import CampaignRecord, MessageRecord, Page, TrialRecord
from recipelab.lineage.store import LineageStore

__all__ = [
    "CampaignRecord",
    "LineageStore",
    "MessageRecord",
    "Page",
    "TrialFilter",
    "TrialRecord",
    "prior_campaigns",
]
