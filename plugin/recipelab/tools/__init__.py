"""The tools that agents use, as AutoGen tools and a workbench."""

from recipelab.tools.lineage_tool import LineageQueryConfig, LineageQueryTool
from recipelab.tools.recipe_tools import CheckEditTool, ReadRecipeTool
from recipelab.tools.submit_tool import SubmitTrialTool, Turn
from recipelab.tools.workbench import SpecialistWorkbench

__all__ = [
    "CheckEditTool",
    "LineageQueryConfig",
    "LineageQueryTool",
    "ReadRecipeTool",
    "SpecialistWorkbench",
    "SubmitTrialTool",
    "Turn",
]
