"""The lineage as an AutoGen workbench, for any agent."""

from __future__ import annotations

from typing import Self

from autogen_core import Component
from pydantic import BaseModel

from recipelab.lineage import LineageStore
from recipelab.pack_measures import Goal
from recipelab.tools.bench import AnyTool, ToolBench
from recipelab.tools.lineage.detail import DiffTrialsTool, TrialDetailTool
from recipelab.tools.lineage.failures import LineageFailuresTool, NearMissesTool
from recipelab.tools.lineage.query import LineageQueryTool
from recipelab.tools.lineage.relatives import BestChainTool, ChildrenTool, InFlightTool
from recipelab.tools.lineage.scope import Scope
from recipelab.tools.lineage.similar import SimilarTrialsTool, SurfaceSummaryTool


class LineageWorkbenchConfig(BaseModel):
    """Configuration of :class:`LineageWorkbench`.

    Attributes:
        lineage: Path or URL of the lineage.
        campaign: Name of the campaign to ask about.
        goal: Which way the metric is better.
        priors: Names of other campaigns that may be asked about, too.
    """

    lineage: str
    campaign: str
    goal: Goal = Goal.MINIMIZE
    priors: tuple[str, ...] = ()


class LineageWorkbench(ToolBench, Component[LineageWorkbenchConfig]):
    """Ten tools that answer questions about a campaign. They only read.

    Calls never raise and never hang: errors, cancellation and time-outs become results.

    Args:
        store: An open lineage.
        campaign: Name of the campaign to ask about.
        goal: Which way its metric is better.
        priors: Names of other campaigns that may be asked about, too.
    """

    component_config_schema = LineageWorkbenchConfig
    component_provider_override = "recipelab.tools.LineageWorkbench"

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        *,
        goal: Goal = Goal.MINIMIZE,
        priors: tuple[str, ...] = (),
    ) -> None:
        self._scope = Scope(store, campaign, goal, priors)
        super().__init__(lineage_tools(self._scope))

    def _to_config(self) -> LineageWorkbenchConfig:
        scope = self._scope
        return LineageWorkbenchConfig(
            lineage=scope.store.url, campaign=scope.campaign, goal=scope.goal, priors=scope.priors
        )

    @classmethod
    def _from_config(cls, config: LineageWorkbenchConfig) -> Self:
        store = LineageStore.open(config.lineage)
        return cls(store, config.campaign, goal=config.goal, priors=config.priors)


def lineage_tools(scope: Scope) -> list[AnyTool]:
    """The tools that read the lineage."""
    query = LineageQueryTool(scope.store, scope.campaign, goal=scope.goal, priors=scope.priors)
    others = (
        LineageFailuresTool,
        NearMissesTool,
        TrialDetailTool,
        DiffTrialsTool,
        BestChainTool,
        ChildrenTool,
        InFlightTool,
        SimilarTrialsTool,
        SurfaceSummaryTool,
    )
    return [query, *(tool(scope) for tool in others)]
