"""The part of the reader that sums trials up: counts, surfaces, failures, near misses."""

from __future__ import annotations

from collections.abc import Sequence

from recipelab.core.trial import FailureKind, Status
from recipelab.lineage.answers import FailureGroup, NearMiss, SurfaceSummary
from recipelab.lineage.query import GOALS, check_name, check_page
from recipelab.lineage.reading.base import Asking
from recipelab.lineage.reading.briefs import trial_briefs
from recipelab.lineage.reading.counting import counts_of, summaries
from recipelab.lineage.reading.failing import failure_groups, near_misses
from recipelab.lineage.reading.trials import best_id
from recipelab.lineage.records import Page


class SummaryReader(Asking):
    """Sums trials up. Counts are kept by the writer, so that no answer counts trials."""

    def trial_count(self, campaign: str) -> int:
        """How many trials the campaign has, those in flight included."""
        return sum(self.counts(campaign).values())

    def counts(self, campaign: str) -> dict[Status | None, int]:
        """How many trials ended in each way; ``None`` counts those in flight.

        Returns:
            Only what there is, in the order of :class:`Status`, with ``None`` last.
        """
        with self._asking(campaign) as (connection, campaign_id):
            return counts_of(connection, campaign_id)

    def surfaces(self, campaign: str, *, goal: str = "minimize") -> tuple[SurfaceSummary, ...]:
        """How the trials of each surface went, by name.

        Args:
            campaign: Name of the campaign.
            goal: Which deltas are best: ``minimize`` or ``maximize``.

        Raises:
            LineageError: There is no such goal.
        """
        return self._summaries(campaign, "s:", goal)

    def specialists(self, campaign: str, *, goal: str = "minimize") -> tuple[SurfaceSummary, ...]:
        """How the trials of each specialist went, by name.

        Args:
            campaign: Name of the campaign.
            goal: Which deltas are best: ``minimize`` or ``maximize``.

        Raises:
            LineageError: There is no such goal.
        """
        return self._summaries(campaign, "p:", goal)

    def _summaries(self, campaign: str, prefix: str, goal: str) -> tuple[SurfaceSummary, ...]:
        check_name("goal", goal, GOALS)
        with self._asking(campaign) as (connection, campaign_id):
            return summaries(connection, campaign_id, prefix, lowest=goal == "minimize")

    def failures(
        self,
        campaign: str,
        *,
        kinds: Sequence[FailureKind] = (),
        surfaces: Sequence[str] = (),
        limit: int = 50,
        offset: int = 0,
    ) -> Page[FailureGroup]:
        """The failures of a campaign by signature, the most frequent first.

        Args:
            campaign: Name of the campaign.
            kinds: Only these kinds; empty for any.
            surfaces: Only trials on these surfaces; empty for any.
            limit: How many at most, from 1 to 200.
            offset: How many to pass over.

        Raises:
            LineageError: Limit or offset is out of bounds.
        """
        check_page(limit, offset)
        with self._asking(campaign) as (connection, campaign_id):
            return failure_groups(connection, campaign_id, kinds, surfaces, limit, offset)

    def near_misses(
        self, campaign: str, *, goal: str = "minimize", limit: int = 50, offset: int = 0
    ) -> Page[NearMiss]:
        """The trials that missed a limit although they scored better than the best of now.

        Args:
            campaign: Name of the campaign.
            goal: Which scores are best: ``minimize`` or ``maximize``.
            limit: How many at most, from 1 to 200.
            offset: How many to pass over.

        Returns:
            The best score first. None while the best has no score.

        Raises:
            LineageError: The campaign has no trials yet, there is no such goal, or limit or offset
                is out of bounds.
        """
        check_page(limit, offset)
        check_name("goal", goal, GOALS)
        lowest = goal == "minimize"
        with self._asking(campaign) as (connection, campaign_id):
            best = trial_briefs(connection, [best_id(connection, campaign_id, campaign)])[0]
            if best.score is None:
                return Page((), 0)
            page = {"limit": limit, "offset": offset}
            return near_misses(connection, campaign_id, best.score, lowest=lowest, **page)
