"""The lineage as AutoGen tools: ten questions that agents can ask, and a workbench of them."""

from recipelab.tools.lineage.query import LineageQueryConfig, LineageQueryTool
from recipelab.tools.lineage.scope import Scope
from recipelab.tools.lineage.workbench import (
    LineageWorkbench,
    LineageWorkbenchConfig,
    lineage_tools,
)

__all__ = [
    "LineageQueryConfig",
    "LineageQueryTool",
    "LineageWorkbench",
    "LineageWorkbenchConfig",
    "Scope",
    "lineage_tools",
]
