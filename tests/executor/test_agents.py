"""The executor in AutoGen's own agents and tools."""

from __future__ import annotations

import json

import pytest
from autogen_agentchat.agents import ApprovalRequest, ApprovalResponse, CodeExecutorAgent
from autogen_agentchat.base import TaskResult
from autogen_agentchat.messages import CodeExecutionEvent, TextMessage
from autogen_core import CancellationToken
from autogen_ext.models.replay import ReplayChatCompletionClient
from autogen_ext.tools.code_execution import CodeExecutionInput, PythonCodeExecutionTool

from recipelab import SandboxCodeExecutor

from .conftest import Make

MESSAGE = """Here is the code:
```python
open("data.csv", "w").write("1,2,3")
```
```sh
cat data.csv
```
"""


def approve(request: ApprovalRequest) -> ApprovalResponse:
    return ApprovalResponse(approved=True, reason="a test")


async def test_an_agent_runs_the_code_of_a_message(make: Make) -> None:
    agent = CodeExecutorAgent("runner", make(), approval_func=approve)
    message = TextMessage(content=MESSAGE, source="user")
    response = await agent.on_messages([message], CancellationToken())
    assert isinstance(response.chat_message, TextMessage)
    assert response.chat_message.content == "1,2,3"


async def test_an_agent_with_a_model_writes_runs_and_reads(make: Make) -> None:
    replies = ["```python\nprint(6 * 7)\n```", "The answer is 42."]
    model = ReplayChatCompletionClient(replies)
    agent = CodeExecutorAgent("coder", make(), model_client=model, approval_func=approve)
    seen = [each async for each in agent.run_stream(task="What is 6 times 7?")]
    outputs = [each.result.output for each in seen if isinstance(each, CodeExecutionEvent)]
    assert outputs == ["42\n"]
    assert isinstance(seen[-1], TaskResult)
    assert seen[-1].messages[-1].to_text() == "The answer is 42."


async def test_an_agent_is_rebuilt_from_json_and_runs_unstarted(make: Make) -> None:
    with pytest.warns(UserWarning, match="No approval function"):
        agent = CodeExecutorAgent("runner", make())
        text = json.dumps(agent.dump_component().model_dump(mode="json"))
        again = CodeExecutorAgent.load_component(json.loads(text))
    message = TextMessage(content=MESSAGE, source="user")
    response = await again.on_messages([message], CancellationToken())
    assert response.chat_message.to_text() == "1,2,3"
    executor = again._code_executor
    assert isinstance(executor, SandboxCodeExecutor)
    await executor.stop()


async def test_the_python_tool(make: Make) -> None:
    tool = PythonCodeExecutionTool(make(timeout=1))
    good = await tool.run(CodeExecutionInput(code="print(1)"), CancellationToken())
    assert (good.success, good.output) == (True, "1\n")
    slow = CodeExecutionInput(code="import time; time.sleep(60)")
    bad = await tool.run(slow, CancellationToken())
    assert not bad.success and "stopped after 1 seconds" in bad.output
    text = tool.dump_component().model_dump_json()
    assert isinstance(
        PythonCodeExecutionTool.load_component(json.loads(text)), PythonCodeExecutionTool
    )
