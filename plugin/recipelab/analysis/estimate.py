"""Estimate what a campaign takes: bounds from its pack, and means of earlier campaigns."""

from __future__ import annotations

from dataclasses import dataclass

from recipelab.budget import DEVICE
from recipelab.lineage import LineageStore
from recipelab.packs.pack import Pack
from recipelab.plan import Plan


@dataclass(frozen=True)
class Experience:
    """The means of the campaigns of a lineage with the same pack and profile.

    Attributes:
        trials: Trials whose device time is known.
        device_seconds: Mean device time of a trial, in seconds; ``None`` without any.
        tokens: Mean tokens sent and received for a trial; ``None`` without any.
        money: Mean cost of a trial in US dollars, as far as prices were known.
    """

    trials: int
    device_seconds: float | None
    tokens: float | None
    money: float | None


def most_device_seconds(pack: Pack) -> float:
    """Return the longest that one trial can hold slots: every phase of every seed to its limit."""
    budgets = pack.budgets
    beside = 2 if pack.metric.side_by_side else 1
    each = budgets.train + budgets.predict + budgets.score
    return budgets.preflight + len(pack.seeds) * each * beside


def experience(store: LineageStore, pack: Pack, plan: Plan) -> Experience:
    """Return the means of the campaigns like a planned one.

    Args:
        store: The lineage.
        pack: The plan's pack.
        plan: The plan; only campaigns with its model count for tokens and money.
    """
    device_seconds, device_calls, tokens, money, asked = 0.0, 0, 0, 0.0, 0
    for campaign in store.campaigns():
        if (campaign.pack, campaign.profile) != (plan.pack, pack.profile):
            continue
        usage = store.usage(campaign.name)
        device_seconds += sum(item.seconds for item in usage if item.model == DEVICE)
        device_calls += sum(item.calls for item in usage if item.model == DEVICE)
        if campaign.model == plan.model_name:
            calls = [item for item in usage if item.model != DEVICE]
            tokens += sum(item.prompt_tokens + item.completion_tokens for item in calls)
            money += sum(item.cost for item in calls)
            asked += max(0, store.trial_count(campaign.name) - 1)
    return Experience(
        trials=device_calls,
        device_seconds=device_seconds / device_calls if device_calls else None,
        tokens=tokens / asked if asked else None,
        money=money / asked if asked else None,
    )
