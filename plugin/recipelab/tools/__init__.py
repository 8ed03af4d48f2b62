"""The tools that agents use, as AutoGen tools and workbenches."""

from recipelab.tools.lineage import (
    LineageQueryConfig,
    LineageQueryTool,
    LineageWorkbench,
    LineageWorkbenchConfig,
    Scope,
    lineage_tools,
)
from recipelab.tools.recipe import (
    CheckEditTool,
    ReadRecipeTool,
    SubmitTrialTool,
    Turn,
    TurnKnobTool,
)
from recipelab.tools.workbench import SpecialistWorkbench

__all__ = [
    "CheckEditTool",
    "LineageQueryConfig",
    "LineageQueryTool",
    "LineageWorkbench",
    "LineageWorkbenchConfig",
    "ReadRecipeTool",
    "Scope",
    "SpecialistWorkbench",
    "SubmitTrialTool",
    "Turn",
    "TurnKnobTool",
    "lineage_tools",
]
