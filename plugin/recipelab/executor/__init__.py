"""AutoGen's code execution over a sandbox: each code block in a phase of its own."""

from __future__ import annotations

from recipelab.executor.config import SandboxCodeExecutorConfig
from recipelab.executor.executor import SandboxCodeExecutor
from recipelab.executor.functions import FunctionSource
from recipelab.executor.runner import SandboxCodeResult

__all__ = [
    "FunctionSource",
    "SandboxCodeExecutor",
    "SandboxCodeExecutorConfig",
    "SandboxCodeResult",
]
