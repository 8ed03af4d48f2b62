"""Trackers of experiments: campaigns and trials as runs of MLflow, W&B and TensorBoard."""

from recipelab.trackers.base import CampaignEnd, Opened, Tracker, opened_tracker
from recipelab.trackers.facts import CampaignFacts, ProgressPoint, TrialFacts
from recipelab.trackers.sending import Follower, Sender

__all__ = [
    "CampaignEnd",
    "CampaignFacts",
    "Follower",
    "Opened",
    "ProgressPoint",
    "Sender",
    "Tracker",
    "TrialFacts",
    "opened_tracker",
]
