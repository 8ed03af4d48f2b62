"""A chat client of the framework as the model of specialists."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import ToolSchema

from recipelab import Campaign

from .framework import FrameworkModelClient, ScriptedClient, call, campaign_agent

pytestmark = pytest.mark.maf

LOOK = ToolSchema(
    name="look",
    description="Look.",
    parameters={"type": "object", "properties": {"depth": {"type": "integer"}}},
)
TALK: list[LLMMessage] = [
    SystemMessage(content="Be brief."),
    UserMessage(content="Look twice.", source="user"),
    AssistantMessage(
        content=[FunctionCall(id="1", name="look", arguments='{"depth": 1}')],
        thought="First here.",
        source="opt",
    ),
    FunctionExecutionResultMessage(
        content=[FunctionExecutionResult(content="seen", name="look", call_id="1", is_error=False)]
    ),
]


async def test_calls_of_tools_come_back_and_none_is_made() -> None:
    chat = ScriptedClient(call("look", depth=2))
    result = await FrameworkModelClient(chat).create(TALK, tools=[LOOK])
    (made,) = result.content
    assert isinstance(made, FunctionCall)
    assert (made.name, json.loads(made.arguments)) == ("look", {"depth": 2})
    assert result.finish_reason == "function_calls"
    (seen,) = chat.seen
    assert [message.role for message in seen] == ["system", "user", "assistant", "tool"]
    assert [content.type for content in seen[2].contents] == ["text", "function_call"]
    assert seen[3].contents[0].result == "seen"


async def test_text_is_streamed_and_a_cancelled_call_ends() -> None:
    client = FrameworkModelClient(ScriptedClient("It is there.", "Never read."))
    pieces = [piece async for piece in client.create_stream(TALK)]
    assert pieces[0] == "It is there."
    assert pieces[-1].content == "It is there."
    token = CancellationToken()
    token.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client.create(TALK, cancellation_token=token)


@pytest.mark.slow
@pytest.mark.campaign
async def test_specialists_think_with_it(project: Path) -> None:
    chat = ScriptedClient(call("lineage_query"), *["I have nothing to say."] * 20)
    agent = campaign_agent(
        "toy",
        sandbox="local",
        slots=1,
        trials=1,
        name="night",
        model=FrameworkModelClient(chat),
    )
    response = await agent.run()
    outcome = response.additional_properties["outcome"]
    assert (outcome["finished"], outcome["trials"]) == (False, 0)
    assert any('"counts":{"baseline":1}' in text for text in map(str, told_by_tools(chat)))
    with Campaign.open("night") as campaign:
        assert "FrameworkModelClient" in campaign.plan.model_name


def told_by_tools(chat: ScriptedClient) -> list[object]:
    return [
        content.result
        for messages in chat.seen
        for message in messages
        for content in message.contents
        if content.type == "function_result"
    ]
