"""The metric of a campaign, and the mark of an imported one: its origin and its metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from recipelab.core.errors import RecipelabError
from recipelab.lineage import CampaignRecord
from recipelab.lineage.lookup import MARK, METRIC
from recipelab.packs.judging_sections import Goal


def foreign_campaign(
    name: str,
    pack: str,
    settings: Mapping[str, Any],
    *,
    reason: str,
    began: datetime,
    ended: datetime,
) -> CampaignRecord:
    """Return the finished campaign of somebody else's program, of whose plan nothing is known.

    Args:
        name: Its name in the lineage.
        pack: What it worked on, as ``released/TASK``.
        settings: Its settings, with the mark under :data:`MARK`.
        reason: Why it ended, which says where it is from.
        began: When its first trial was made.
        ended: When its last one was.
    """
    return CampaignRecord(
        name=name,
        pack=pack,
        profile="",
        model="",
        sandbox="",
        seed=0,
        trials=None,
        hours=None,
        settings=settings,
        state="finished",
        stop_reason=reason,
        created_at=began,
        ended_at=ended,
    )


@dataclass(frozen=True)
class MetricFacts:
    """The metric of a campaign, apart from its pack.

    Attributes:
        name: Name of the metric.
        unit: Its unit; empty for none.
        goal: Which way the metric is better.
    """

    name: str
    unit: str
    goal: Goal

    def to_json(self) -> dict[str, str]:
        """Return the facts as plain data."""
        return {key: str(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> MetricFacts:
        """Return the facts that plain data holds.

        Raises:
            RecipelabError: A key is missing, or the goal is not valid.
        """
        try:
            return cls(str(table["name"]), str(table["unit"]), Goal(table["goal"]))
        except (KeyError, ValueError, TypeError) as error:
            raise RecipelabError(
                f"not a metric (name, unit, goal: minimize or maximize): {error}"
            ) from None


def mark_of(campaign: CampaignRecord) -> Mapping[str, Any] | None:
    """Return the mark of an imported campaign; ``None`` for one that ran here."""
    mark = campaign.settings.get(MARK)
    return mark if isinstance(mark, Mapping) else None


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check what an export says of its metric, and of where its campaign was imported from before.

    Raises:
        ValueError: It is not as this program writes it; the message names the key.
    """
    place, mark = f"settings.{MARK}", settings.get(MARK)
    _check_metric(settings.get(METRIC), f"settings.{METRIC}")
    while mark is not None:
        if not isinstance(mark, Mapping):
            raise ValueError(f"{place}: it must be a table")
        _check_metric(mark.get("metric"), f"{place}.metric")
        if not isinstance(mark.get("source_ids", []), list):
            raise ValueError(f"{place}.source_ids: it must be a list")
        before = mark.get("original")
        if before is not None and not _is_sound(before):
            raise ValueError(f"{place}.original: it must have name, state, stop_reason, ended_at")
        place, mark = f"{place}.earlier", mark.get("earlier")


def _is_sound(before: Any) -> bool:
    """Return whether it is what a mark keeps of a campaign's state before its import."""
    try:
        if before["ended_at"] is not None:
            datetime.fromisoformat(before["ended_at"])
        words = before["name"], before["state"], before["stop_reason"] or ""
    except (KeyError, ValueError, TypeError):
        return False
    return all(isinstance(word, str) for word in words)


def _check_metric(facts: Any, place: str) -> None:
    if facts:
        try:
            MetricFacts.from_json(facts)
        except RecipelabError as error:
            raise ValueError(f"{place}: {error}") from None


def metric_of(campaign: CampaignRecord) -> MetricFacts:
    """Return what a campaign measures, from the lineage if it says so, else from its pack.

    Raises:
        RecipelabError: The lineage does not say it, and the pack cannot be read.
    """
    mark = mark_of(campaign)
    facts = (mark and mark.get("metric")) or campaign.settings.get(METRIC)
    if facts:
        return MetricFacts.from_json(facts)
    from recipelab.packs.load import load_pack

    metric = load_pack(campaign.pack, campaign.profile).metric
    return MetricFacts(metric.name, metric.unit, metric.goal)


def source_ids(campaign: CampaignRecord) -> tuple[str, ...]:
    """Return the names that trials had in a released run, by number; empty for other campaigns."""
    mark: Mapping[str, Any] | None = mark_of(campaign)
    while mark is not None:
        if mark.get("source_ids"):
            return tuple(map(str, mark["source_ids"]))
        mark = mark.get("earlier")
    return ()
