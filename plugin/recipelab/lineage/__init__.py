"""The lineage: every trial of every campaign, with its parents, its edits and its outcome."""

from recipelab.lineage.campaigns import PAUSED, prior_campaigns
from recipelab.lineage.filter import TrialFilter
from recipelab.lineage.past import PastTrial
from recipelab.lineage.records import (
    CampaignRecord,
    CertificateRecord,
    CheckpointRecord,
    FurtherRunRecord,
    Lease,
    MessageRecord,
    NewMessage,
    NewUsage,
    Note,
    Page,
    RoundRecord,
    TrialBrief,
    TrialRecord,
    TrialState,
    UsageEntry,
    UsageTotal,
)
from recipelab.lineage.similar import EditKeys, keys_of
from recipelab.lineage.store import LineageStore
from recipelab.lineage.summary_records import (
    BankedMargin,
    Comparison,
    FailureGroup,
    MissedGate,
    NearMiss,
    Similar,
    SurfaceSummary,
)
from recipelab.lineage.turns import TurnRecord, ViewRecord

__all__ = [
    "PAUSED",
    "BankedMargin",
    "CampaignRecord",
    "CertificateRecord",
    "CheckpointRecord",
    "Comparison",
    "EditKeys",
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
    "PastTrial",
    "RoundRecord",
    "Similar",
    "SurfaceSummary",
    "TrialBrief",
    "TrialFilter",
    "TrialRecord",
    "TrialState",
    "TurnRecord",
    "UsageEntry",
    "UsageTotal",
    "ViewRecord",
    "keys_of",
    "prior_campaigns",
]
