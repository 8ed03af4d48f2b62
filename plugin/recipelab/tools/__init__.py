"""The tools that agents use, as AutoGen tools and workbenches."""

from recipelab.tools.lineage import LineageConfig, LineageQueryTool, LineageScope, lineage_tools
from recipelab.tools.recipe import (
    CheckEditTool,
    ReadRecipeTool,
    SubmitTrialTool,
    TurnKnobTool,
    TurnState,
)
from recipelab.tools.workbench import LineageWorkbench, SpecialistWorkbench

__all__ = [
    "CheckEditTool",
    "LineageConfig",
    "LineageQueryTool",
    "LineageScope",
    "LineageWorkbench",
    "ReadRecipeTool",
    "SpecialistWorkbench",
    "SubmitTrialTool",
    "TurnKnobTool",
    "TurnState",
    "lineage_tools",
]
