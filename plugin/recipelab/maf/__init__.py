"""recipelab for Microsoft Agent Framework: campaigns as agents, the lineage as tools and context.

The framework is an extra, ``pip install 'recipelab[maf]'``; this package imports without it.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from recipelab.core.errors import RecipelabError

if TYPE_CHECKING:
    from recipelab.maf.agent import CampaignAgent, campaign_agent
    from recipelab.maf.lineage_provider import LineageProvider
    from recipelab.maf.model_client import FrameworkModelClient
    from recipelab.maf.tools import function_tools, lineage_function_tools

_MODULES = {
    "CampaignAgent": "agent",
    "FrameworkModelClient": "model_client",
    "LineageProvider": "lineage_provider",
    "campaign_agent": "agent",
    "function_tools": "tools",
    "lineage_function_tools": "tools",
}

__all__ = [
    "CampaignAgent",
    "FrameworkModelClient",
    "LineageProvider",
    "campaign_agent",
    "function_tools",
    "lineage_function_tools",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("agent_framework") is None:
        raise RecipelabError(
            f"recipelab.maf.{name} needs Microsoft Agent Framework: pip install 'recipelab[maf]'"
        )
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
