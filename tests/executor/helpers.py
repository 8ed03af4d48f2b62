"""Short ways to run code."""

from __future__ import annotations

from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock

from recipelab import SandboxCodeExecutor
from recipelab.executor import SandboxCodeResult


def python(code: str) -> CodeBlock:
    """A block of Python."""
    return CodeBlock(code, "python")


def shell(code: str) -> CodeBlock:
    """A block for ``sh``."""
    return CodeBlock(code, "sh")


async def execute(
    executor: SandboxCodeExecutor,
    *blocks: CodeBlock,
    token: CancellationToken | None = None,
) -> SandboxCodeResult:
    """Runs blocks under a token of their own."""
    return await executor.execute_code_blocks(list(blocks), token or CancellationToken())
