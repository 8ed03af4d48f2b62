"""The trials of a campaign, in the order of their judging, with the best so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from recipelab.core.trial import Status
from recipelab.exchange.metric import MetricFacts, metric_of, source_ids
from recipelab.lineage import LineageStore, PastTrial


@dataclass(frozen=True)
class History:
    """The trials of a campaign.

    Attributes:
        campaign: Name of the campaign.
        trials: All trials; each stands at the place of its number.
        order: Numbers of the judged trials in the order in which they were judged.
        metric: The metric of the scores.
        names: Names of the trials in a released run, by number; empty for other campaigns.
    """

    campaign: str
    trials: tuple[PastTrial, ...]
    order: tuple[int, ...]
    metric: MetricFacts
    names: tuple[str, ...] = ()

    @cached_property
    def judged(self) -> tuple[PastTrial, ...]:
        """The judged trials in the order in which they were judged."""
        by_number = {trial.number: trial for trial in self.trials}
        found = (by_number[number] for number in self.order)
        return tuple(trial for trial in found if trial.status is not None)

    @cached_property
    def proposed(self) -> tuple[PastTrial, ...]:
        """The judged trials without the baseline."""
        return tuple(trial for trial in self.judged if trial.status is not Status.BASELINE)

    @cached_property
    def best_before(self) -> Mapping[int, float | None]:
        """The score of the best when each trial was judged; ``None`` if there was none yet."""
        best: float | None = None
        found: dict[int, float | None] = {}
        for trial in self.judged:
            found[trial.number] = best
            if trial.is_parent and trial.score is not None:
                best = trial.score
        return found

    def named(self, number: int) -> dict[str, int | str]:
        """Return a trial as JSON names it: its number, and its name in the released run."""
        named: dict[str, int | str] = {"trial": number}
        return named | {"source_id": self.names[number]} if self.names else named


def history_of(store: LineageStore, campaign: str) -> History:
    """Return the history of a campaign; only the slim forms of its trials are kept in memory.

    Raises:
        RecipelabError: The campaign does not exist, or its pack cannot be read.
    """
    record = store.campaign(campaign)
    trials = tuple(store.each_past_trial(campaign))
    return History(
        campaign=record.name,
        trials=trials,
        # A trial may have been proposed and judged after the others were read.
        order=tuple(n for n in store.judged_order(campaign) if n < len(trials)),
        metric=metric_of(record),
        names=source_ids(record),
    )
