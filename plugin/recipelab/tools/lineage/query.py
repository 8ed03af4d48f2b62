"""``lineage_query``: the trials that match some filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from autogen_core import Component
from pydantic import BaseModel

from recipelab.lineage import LineageStore, TrialFilter
from recipelab.pack_measures import Goal
from recipelab.tools.answers import capped_rows
from recipelab.tools.lineage.arguments import LineageQueryArguments
from recipelab.tools.lineage.rows import brief_rows
from recipelab.tools.lineage.scope import LineageTool, Scope

DESCRIPTION = (
    "Look up past trials: what was tried, how it ended, and why. Filter by status, surface, "
    "specialist, failure_kind, signature, score, parent, ancestor, time and words of the text; all "
    "filters must hold. Ask before you propose: a proposal is refused if you have not."
)


class LineageQueryConfig(BaseModel):
    """Configuration of :class:`LineageQueryTool`.

    Attributes:
        lineage: Path or URL of the lineage.
        campaign: Name of the campaign to ask about.
        goal: Which way the metric is better, for the order "best".
        priors: Names of other campaigns that may be asked about, too.
    """

    lineage: str
    campaign: str
    goal: Goal = Goal.MINIMIZE
    priors: tuple[str, ...] = ()


class LineageQueryTool(LineageTool[LineageQueryArguments], Component[LineageQueryConfig]):
    """Answers questions about past trials from the lineage store.

    Args:
        store: An open lineage.
        campaign: Name of the campaign to ask about.
        goal: Which way the metric is better.
        priors: Names of other campaigns that may be asked about, too.
    """

    component_config_schema = LineageQueryConfig
    component_provider_override = "recipelab.tools.LineageQueryTool"

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        *,
        goal: Goal = Goal.MINIMIZE,
        priors: tuple[str, ...] = (),
    ) -> None:
        scope = Scope(store, campaign, goal, priors)
        super().__init__(LineageQueryArguments, "lineage_query", DESCRIPTION, scope)

    def look_up(self, campaign: str, args: LineageQueryArguments) -> Mapping[str, Any]:
        """Gives the counts by status, the best trial, and the matching trials."""
        page = self._store.briefs(campaign, _filter(args, self._scope.goal))
        counts = self._store.counts(campaign)
        best = self._store.best_brief(campaign)
        rows = brief_rows(self._store, campaign, (best, *page.items))
        head = {
            "counts": {str(status or "in_flight"): count for status, count in counts.items()},
            "best": rows[0],
        }
        return head | capped_rows("trials", rows[1:], page.total, args.offset, capped=page.capped)

    def _to_config(self) -> LineageQueryConfig:
        scope = self._scope
        return LineageQueryConfig(
            lineage=scope.store.url, campaign=scope.campaign, goal=scope.goal, priors=scope.priors
        )

    @classmethod
    def _from_config(cls, config: LineageQueryConfig) -> Self:
        store = LineageStore.open(config.lineage)
        return cls(store, config.campaign, goal=config.goal, priors=config.priors)


def _filter(args: LineageQueryArguments, goal: Goal) -> TrialFilter:
    return TrialFilter(
        statuses=tuple(args.status),
        surfaces=tuple(args.surface),
        specialists=tuple(args.specialist),
        failure_kinds=tuple(args.failure_kind),
        signature=args.signature,
        min_score=args.min_score,
        max_score=args.max_score,
        parent=args.parent,
        ancestor=args.ancestor,
        since=args.since,
        until=args.until,
        text=args.text,
        order=args.order,
        goal=goal,
        limit=args.limit,
        offset=args.offset,
    )
