"""The framework and a model for it that follows a script; without the framework, tests skip."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import pytest

if os.environ.get("RECIPELAB_REQUIRE_MAF") == "1":
    import_module("agent_framework")
else:
    pytest.importorskip("agent_framework")

from agent_framework import (
    Agent,
    AgentSession,
    BaseChatClient,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationLayer,
    InMemoryHistoryProvider,
    Message,
    ResponseStream,
    WorkflowBuilder,
)

from recipelab.maf import (
    FrameworkModelClient,
    LineageProvider,
    campaign_agent,
    function_tools,
    lineage_function_tools,
)

__all__ = [
    "Agent",
    "AgentSession",
    "FrameworkModelClient",
    "InMemoryHistoryProvider",
    "LineageProvider",
    "Message",
    "ScriptedClient",
    "WorkflowBuilder",
    "call",
    "campaign_agent",
    "function_tools",
    "lineage_function_tools",
]


def call(name: str, **arguments: Any) -> Content:
    """A call of a tool."""
    return Content.from_function_call(f"call-{name}", name, arguments=arguments)


class ScriptedClient(FunctionInvocationLayer[Any], BaseChatClient[Any]):
    """Answers with what it was given, one by one; the framework makes the calls of tools.

    Attributes:
        seen: The messages of each request.
    """

    def __init__(self, *answers: str | Content) -> None:
        super().__init__()
        self._answers = list(answers)
        self.seen: list[list[Message]] = []

    def _inner_get_response(
        self,
        *,
        messages: Sequence[Message],
        stream: bool,
        options: Mapping[str, Any],
        **kwargs: Any,
    ) -> Any:
        self.seen.append(list(messages))
        answer = self._answers.pop(0)
        contents = [Content.from_text(answer) if isinstance(answer, str) else answer]
        if stream:

            async def updates() -> Any:
                yield ChatResponseUpdate(role="assistant", contents=contents)

            return ResponseStream(updates(), finalizer=ChatResponse.from_updates)

        async def respond() -> ChatResponse[Any]:
            return ChatResponse(messages=[Message("assistant", contents)])

        return respond()

    @property
    def results(self) -> list[str]:
        """What tools answered, in the newest request."""
        return [
            str(content.result)
            for message in self.seen[-1]
            for content in message.contents
            if content.type == "function_result"
        ]
