"""The tools that agents use, as AutoGen tools and workbenches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipelab.tools.knob_menu import TurnKnobTool
    from recipelab.tools.lineage import LineageConfig, LineageQueryTool, LineageScope, lineage_tools
    from recipelab.tools.recipe import ReadRecipeTool
    from recipelab.tools.submit import (
        CheckEditTool,
        MoreSeedsTool,
        SubmitTrialTool,
        TurnState,
        WaitForTool,
    )
    from recipelab.tools.workbench import LineageWorkbench, SpecialistWorkbench

_MODULES = {
    "CheckEditTool": "submit",
    "LineageConfig": "lineage",
    "LineageQueryTool": "lineage",
    "LineageScope": "lineage",
    "LineageWorkbench": "workbench",
    "MoreSeedsTool": "submit",
    "ReadRecipeTool": "recipe",
    "SpecialistWorkbench": "workbench",
    "SubmitTrialTool": "submit",
    "TurnKnobTool": "knob_menu",
    "TurnState": "submit",
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
