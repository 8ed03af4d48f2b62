"""The tools that agents use, as AutoGen tools and workbenches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipelab.tools.checks import CheckEditTool, TurnState
    from recipelab.tools.knob_menu import TurnKnobTool
    from recipelab.tools.lineage import LineageConfig, LineageQueryTool, LineageScope, lineage_tools
    from recipelab.tools.recipe import ReadRecipeTool
    from recipelab.tools.submit import MoreSeedsTool, SubmitTrialTool, WaitForTool
    from recipelab.tools.workbench import LineageWorkbench, SpecialistWorkbench

_MODULES = {
    "CheckEditTool": "checks",
    "LineageConfig": "lineage",
    "LineageQueryTool": "lineage",
    "LineageScope": "lineage",
    "LineageWorkbench": "workbench",
    "MoreSeedsTool": "submit",
    "ReadRecipeTool": "recipe",
    "SpecialistWorkbench": "workbench",
    "SubmitTrialTool": "submit",
    "TurnKnobTool": "knob_menu",
    "TurnState": "checks",
    "WaitForTool": "submit",
    "lineage_tools": "lineage",
}

__all__ = [
    "CheckEditTool",
    "LineageConfig",
    "LineageQueryTool",
    "LineageScope",
    "LineageWorkbench",
    "MoreSeedsTool",
    "ReadRecipeTool",
    "SpecialistWorkbench",
    "SubmitTrialTool",
    "TurnKnobTool",
    "TurnState",
    "WaitForTool",
    "lineage_tools",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
