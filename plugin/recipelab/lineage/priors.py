"""Prior campaigns: those whose trials the agents of another campaign may ask about."""

from __future__ import annotations

from collections.abc import Iterable

from recipelab.core.errors import LineageError, unknown_name
from recipelab.lineage.reader import LineageReader
from recipelab.lineage.records import CampaignRecord

PRIORS = "priors"
"""Key of their names in a campaign's settings."""


def prior_campaigns(record: CampaignRecord) -> tuple[str, ...]:
    """Names of the campaigns that agents of this one may ask about besides their own."""
    names = record.settings.get(PRIORS)
    return tuple(str(name) for name in names) if isinstance(names, list | tuple) else ()


def checked_priors(store: LineageReader, names: Iterable[str], campaign: str) -> tuple[str, ...]:
    """The names of prior campaigns, each once, in the order given.

    Args:
        store: The lineage.
        names: What a user asks for.
        campaign: Name of the campaign that is to have them.

    Raises:
        LineageError: One is not in the lineage, or is the campaign itself; the message lists
            those that can be named.
    """
    there = [other.name for other in store.campaigns() if other.name != campaign]
    for name in names:
        if name not in there:
            raise LineageError(unknown_name("prior campaign", name, there))
    return tuple(dict.fromkeys(names))


def comparable(campaign: CampaignRecord, prior: CampaignRecord) -> bool:
    """Whether the scores of both mean the same: they have one pack and one profile."""
    return (campaign.pack, campaign.profile) == (prior.pack, prior.profile)


def prior_note(campaign: CampaignRecord, prior: CampaignRecord) -> str:
    """What a reader must know of a prior campaign's scores before any of its rows."""
    if comparable(campaign, prior):
        return (
            f"prior campaign {prior.name}: same pack and profile; its scores compare as far as "
            "its machine was like this one"
        )
    measured = f"{prior.pack} ({prior.profile})" if prior.profile else prior.pack
    return (
        f"prior campaign {prior.name}: it measured {measured}, so its scores must not be compared "
        "with those of this campaign; take its ideas and failures, not its numbers"
    )
