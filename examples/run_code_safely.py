"""Runs the code that a model writes in a hardened container instead of AutoGen's stock one.

``python examples/run_code_safely.py`` takes the local sandbox if no Docker answers, and says so.
The model is a replay, so that the example needs no key: put any model client of yours in its place.
"""

from __future__ import annotations

import asyncio

from autogen_agentchat.agents import ApprovalRequest, ApprovalResponse, CodeExecutorAgent
from autogen_agentchat.ui import Console
from autogen_ext.models.replay import ReplayChatCompletionClient

from recipelab import SandboxCodeExecutor

REPLIES = [
    """I write the numbers to a file, and add them up in the next block.
```python
with open("numbers.csv", "w") as file:
    file.write("1,2,3,4")
```
```sh
python -c "print('the sum is', sum(map(int, open('numbers.csv').read().split(','))))"
```
""",
    "The sum is 10.",
]


def approve(request: ApprovalRequest) -> ApprovalResponse:
    """Says yes. An app for people would show ``request.code`` and ask."""
    return ApprovalResponse(approved=True, reason="it runs in a sandbox")


async def main() -> None:
    """Lets an agent write code, run it and read what came of it."""
    # The stock one: executor = DockerCommandLineCodeExecutor(timeout=30)
    executor = SandboxCodeExecutor(timeout=30, kind="auto", allow_local=True)
    async with executor:
        coder = CodeExecutorAgent(
            "coder",
            executor,
            model_client=ReplayChatCompletionClient(REPLIES),
            approval_func=approve,
        )
        await Console(coder.run_stream(task="What is the sum of 1, 2, 3 and 4?"))


if __name__ == "__main__":
    asyncio.run(main())
