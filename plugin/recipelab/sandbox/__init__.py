"""Sandboxes, which run commands under limits: their contract, and those that ship."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recipelab.sandbox.base import Ending, Input, PhaseLimits, PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.local.sandbox import LocalSandbox

if TYPE_CHECKING:
    from recipelab.sandbox.docker.sandbox import DockerSandbox

__all__ = [
    "DockerSandbox",
    "Ending",
    "Input",
    "LocalSandbox",
    "PhaseLimits",
    "PhaseRequest",
    "PhaseResult",
    "Sandbox",
]


def __getattr__(name: str) -> object:
    """Import the Docker sandbox when it is first used, because its SDK takes a while to load."""
    if name == "DockerSandbox":
        from recipelab.sandbox.docker.sandbox import DockerSandbox

        return DockerSandbox
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
