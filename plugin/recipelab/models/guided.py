"""Leads a model that cannot follow an order of steps by the hand: one tool after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import (
    ChatCompletionClient,
    CreateResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    RequestUsage,
    UserMessage,
)
from autogen_core.tools import BaseTool, Tool, ToolSchema
from pydantic import BaseModel

from recipelab.models.wrappers import ToolChoice, WrappedClient

CLOSING = "I have taken my turn."


class GuidedClient(WrappedClient):
    """Has the model call given tools in a given order, once each in a turn, and then stop.

    It offers one tool at a time and insists on it, so a server that holds a model to the schema of
    a forced call gets a valid one from the weakest. Arguments that may be left out are not offered,
    and where nothing is left to decide the model is not asked.

    Args:
        inner: The client inside.
        order: Names of the tools.
    """

    def __init__(self, inner: ChatCompletionClient, order: Sequence[str]) -> None:
        super().__init__(inner)
        self._order = tuple(order)

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: ToolChoice = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        """The next call of the turn, or its end."""
        done = _calls_of_turn(messages)
        step = self._order[done] if done < len(self._order) else None
        offered = [tool for tool in tools if _schema(tool)["name"] == step]
        if not offered:
            return _said(CLOSING)
        least = _least(_schema(offered[0]))
        if not least.get("parameters", {}).get("properties"):
            return _said([FunctionCall(id=f"{step}-{done}", name=str(step), arguments="{}")])
        result = await super().create(
            messages,
            tools=[least],
            tool_choice=_Forced(least),
            json_output=json_output,
            extra_create_args=extra_create_args,
            cancellation_token=cancellation_token,
        )
        return result.model_copy(update={"thought": result.thought or _thought(str(step))})


class _Nothing(BaseModel):
    """No arguments."""


class _Forced(BaseTool[_Nothing, _Nothing]):
    """Stands for a tool of another in the place where a tool is forced."""

    def __init__(self, schema: ToolSchema) -> None:
        super().__init__(_Nothing, _Nothing, schema["name"], schema.get("description", ""))
        self._told = schema

    @property
    def schema(self) -> ToolSchema:
        """The schema of the tool that it stands for."""
        return self._told

    async def run(self, args: _Nothing, cancellation_token: CancellationToken) -> _Nothing:
        """It is named, never called."""
        raise NotImplementedError(self.name)


def _said(content: str | list[FunctionCall]) -> CreateResult:
    """What is said without asking the model."""
    return CreateResult(
        finish_reason="stop" if isinstance(content, str) else "function_calls",
        content=content,
        usage=RequestUsage(prompt_tokens=0, completion_tokens=0),
        cached=False,
        thought=None if isinstance(content, str) else _thought(content[0].name),
    )


def _thought(tool: str) -> str:
    # Some servers refuse a message that has calls and no text.
    return f"I call {tool}."


def _least(schema: ToolSchema) -> ToolSchema:
    """A schema with the arguments alone that a call must have."""
    parameters = schema.get("parameters")
    if parameters is None:
        return schema
    needed = list(parameters.get("required", ()))
    offered = {name: parameters["properties"][name] for name in needed}
    return {**schema, "parameters": {**parameters, "properties": offered, "required": needed}}


def _schema(tool: Tool | ToolSchema) -> ToolSchema:
    return tool.schema if isinstance(tool, Tool) else tool


def _calls_of_turn(messages: Sequence[LLMMessage]) -> int:
    """How many calls have been answered since somebody else spoke last."""
    count = 0
    for message in messages:
        if isinstance(message, UserMessage):
            count = 0
        count += isinstance(message, FunctionExecutionResultMessage)
    return count
