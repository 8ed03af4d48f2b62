"""A campaign's trials in the two orders that matter, and the best at each moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from recipelab.core.trial import Outcome, Status
from recipelab.exchange.metric import MetricFacts, metric_of, source_ids
from recipelab.lineage import LineageStore, TrialRecord


@dataclass(frozen=True)
class Judged:
    """A judged trial with its outcome at hand."""

    record: TrialRecord
    outcome: Outcome

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.record.number


@dataclass(frozen=True)
class History:
    """The trials of a campaign.

    Attributes:
        campaign: Name of the campaign.
        trials: All trials by number.
        order: Numbers of the judged trials in the order in which they were judged.
        metric: What the scores are.
        names: What the trials were called in a released run; empty for other campaigns.
    """

    campaign: str
    trials: tuple[TrialRecord, ...]
    order: tuple[int, ...]
    metric: MetricFacts
    names: tuple[str, ...] = ()

    @cached_property
    def judged(self) -> tuple[Judged, ...]:
        """The judged trials in the order in which they were judged."""
        records = {record.number: record for record in self.trials}
        found = ((records[number], records[number].outcome) for number in self.order)
        return tuple(Judged(record, outcome) for record, outcome in found if outcome is not None)

    @cached_property
    def proposed(self) -> tuple[Judged, ...]:
        """The judged trials without the baseline."""
        return tuple(item for item in self.judged if item.outcome.status is not Status.BASELINE)

    @cached_property
    def place(self) -> Mapping[int, int]:
        """The place of each judged trial in the order of judging, from 0."""
        return {item.number: place for place, item in enumerate(self.judged)}

    @cached_property
    def best_before(self) -> Mapping[int, float | None]:
        """The score of the best when each trial was judged; ``None`` if there was none yet."""
        best: float | None = None
        found: dict[int, float | None] = {}
        for item in self.judged:
            found[item.number] = best
            if item.outcome.status.is_parent and item.outcome.score is not None:
                best = item.outcome.score
        return found

    def named(self, number: int) -> dict[str, int | str]:
        """A trial as JSON names it: its number, and what it was called in the source."""
        named: dict[str, int | str] = {"trial": number}
        return named | {"source_id": self.names[number]} if self.names else named


def history_of(store: LineageStore, campaign: str) -> History:
    """The history of a campaign.

    Raises:
        RecipelabError: There is no such campaign, or its pack cannot be read.
    """
    record = store.campaign(campaign)
    trials = tuple(store.each_trial(campaign))
    known = {trial.number for trial in trials}
    return History(
        campaign=record.name,
        trials=trials,
        order=tuple(n for n in store.judged_order(campaign) if n in known),
        metric=metric_of(record),
        names=source_ids(record),
    )
