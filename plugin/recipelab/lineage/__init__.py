"""The lineage: every trial of every campaign, with its parents, its edits and its outcome."""

from recipelab.lineage.answers import (
    FailureGroup,
    Lease,
    MissedGate,
    NearMiss,
    Note,
    Similar,
    SurfaceSummary,
    TrialBrief,
    UsageTotal,
)
from recipelab.lineage.priors import prior_campaigns
from recipelab.lineage.query import TrialFilter
from recipelab.lineage.records import (
    CampaignRecord,
    CertificateRecord,
    FurtherRunRecord,
    MessageRecord,
    NewMessage,
    NewUsage,
    Page,
    TrialRecord,
)
from recipelab.lineage.states import TrialState
from recipelab.lineage.store import LineageStore
from recipelab.lineage.writing.campaigns import PAUSED

__all__ = [
    "PAUSED",
    "CampaignRecord",
    "CertificateRecord",
    "FailureGroup",
    "FurtherRunRecord",
    "Lease",
    "LineageStore",
    "MessageRecord",
    "MissedGate",
    "NearMiss",
    "NewMessage",
    "NewUsage",
    "Note",
    "Page",
    "Similar",
    "SurfaceSummary",
    "TrialBrief",
    "TrialFilter",
    "TrialRecord",
    "TrialState",
    "UsageTotal",
    "prior_campaigns",
]
