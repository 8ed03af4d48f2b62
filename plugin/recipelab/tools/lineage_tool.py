"""``lineage_query``: the lineage as an AutoGen tool, for this project's agents and any other."""

from __future__ import annotations

from typing import Self

from autogen_core import Component
from pydantic import BaseModel

from recipelab.lineage import LineageStore, TrialFilter
from recipelab.pack import Goal
from recipelab.tools.answers import capped_rows, to_json, trial_row
from recipelab.tools.arguments import LineageQueryArguments
from recipelab.tools.base import TextTool

DESCRIPTION = (
    "Look up past trials of this campaign: what was tried, how it ended, and why. Filter by "
    "status, surface, specialist, failure_kind, signature, parent and text; all filters must hold. "
    "Ask this before you propose: a proposal is refused if you have not."
)


class LineageQueryConfig(BaseModel):
    """Configuration of :class:`LineageQueryTool`.

    Attributes:
        lineage: Path or URL of the lineage.
        campaign: Name of the campaign to ask about.
        goal: Which way the metric is better, for the order "best".
    """

    lineage: str
    campaign: str
    goal: Goal = Goal.MINIMIZE


class LineageQueryTool(TextTool[LineageQueryArguments], Component[LineageQueryConfig]):
    """Answers questions about past trials from the lineage store.

    Args:
        store: An open lineage.
        campaign: Name of the campaign to ask about.
        goal: Which way the metric is better.
    """

    component_config_schema = LineageQueryConfig
    component_provider_override = "recipelab.tools.LineageQueryTool"

    def __init__(self, store: LineageStore, campaign: str, *, goal: Goal = Goal.MINIMIZE) -> None:
        super().__init__(LineageQueryArguments, "lineage_query", DESCRIPTION)
        self._store = store
        self._campaign = campaign
        self._goal = goal

    async def answer(self, args: LineageQueryArguments) -> str:
        """Answers with the matching trials as JSON, capped in size.

        Args:
            args: The filters.

        Returns:
            JSON with the counts by status, the best trial, the total of matches and their rows.
        """
        page = self._store.query(self._campaign, self._filter(args))
        rows = [trial_row(self._store, self._campaign, record) for record in page.items]
        counts = self._store.counts(self._campaign)
        best = self._store.best(self._campaign)
        head = {
            "counts": {status or "in_flight": count for status, count in counts.items()},
            "best": trial_row(self._store, self._campaign, best),
        }
        return to_json(head | capped_rows(rows, page.total, args.offset))

    def _filter(self, args: LineageQueryArguments) -> TrialFilter:
        return TrialFilter(
            statuses=tuple(args.status),
            surfaces=tuple(args.surface),
            specialists=tuple(args.specialist),
            failure_kinds=tuple(args.failure_kind),
            signature=args.signature,
            parent=args.parent,
            text=args.text,
            order=args.order,
            goal=self._goal,
            limit=args.limit,
            offset=args.offset,
        )

    def _to_config(self) -> LineageQueryConfig:
        return LineageQueryConfig(lineage=self._store.url, campaign=self._campaign, goal=self._goal)

    @classmethod
    def _from_config(cls, config: LineageQueryConfig) -> Self:
        return cls(LineageStore.open(config.lineage), config.campaign, goal=config.goal)
