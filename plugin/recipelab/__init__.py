"""recipelab: specialist AutoGen agents that improve training recipes, measured honestly.

:class:`Campaign` is the place to begin. Importing this package is cheap: what it exports is
imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipelab.budget import BudgetLimits
    from recipelab.campaign.campaign import Campaign
    from recipelab.core.trial import Edit, Proposal
    from recipelab.evaluation.evaluator import Evaluator
    from recipelab.evaluation.queue import TrialQueue
    from recipelab.executor import SandboxCodeExecutor
    from recipelab.lineage import LineageStore, TrialFilter
    from recipelab.models import OfflineClient
    from recipelab.packs.load import load_pack
    from recipelab.plan import Plan
    from recipelab.team import ResearchGroupChat, research_team
    from recipelab.tools import LineageQueryTool, LineageWorkbench

__version__ = "0.1.0"

_MODULES = {
    "BudgetLimits": "recipelab.budget",
    "Campaign": "recipelab.campaign.campaign",
    "Edit": "recipelab.core.trial",
    "Evaluator": "recipelab.evaluation.evaluator",
    "LineageQueryTool": "recipelab.tools",
    "LineageStore": "recipelab.lineage",
    "LineageWorkbench": "recipelab.tools",
    "OfflineClient": "recipelab.models",
    "Plan": "recipelab.plan",
    "Proposal": "recipelab.core.trial",
    "ResearchGroupChat": "recipelab.team",
    "SandboxCodeExecutor": "recipelab.executor",
    "TrialFilter": "recipelab.lineage",
    "TrialQueue": "recipelab.evaluation.queue",
    "load_pack": "recipelab.packs.load",
    "research_team": "recipelab.team",
}

__all__ = [
    "BudgetLimits",
    "Campaign",
    "Edit",
    "Evaluator",
    "LineageQueryTool",
    "LineageStore",
    "LineageWorkbench",
    "OfflineClient",
    "Plan",
    "Proposal",
    "ResearchGroupChat",
    "SandboxCodeExecutor",
    "TrialFilter",
    "TrialQueue",
    "__version__",
    "load_pack",
    "research_team",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
