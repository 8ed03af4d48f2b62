"""A client that leads a model through its tools, for models that cannot keep an order of steps."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

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

from recipelab.models.wrappers import ModelRequest, Piece, SendRequest, WrappedClient

CLOSING = "I have taken my turn."


class GuidedClient(WrappedClient):
    """Makes the model call given tools in a given order, once each in a turn, and then stop.

    Each request offers one tool and forces its call, so that a server that holds a model to the
    schema of a forced call gets a valid call even from the weakest one. Optional arguments are not
    offered, and where no argument is left to choose the model is not asked at all.

    Args:
        inner: The client inside.
        order: Names of the tools.
    """

    def __init__(self, inner: ChatCompletionClient, order: Sequence[str]) -> None:
        super().__init__(inner)
        self._order = tuple(order)

    async def around(self, request: ModelRequest, send: SendRequest) -> AsyncGenerator[Piece, None]:
        """Answer with the next call of the turn, or with the words that end it."""
        step = _calls_of_turn(request.messages)
        name = self._order[step] if step < len(self._order) else ""
        schemas = [tool.schema if isinstance(tool, Tool) else tool for tool in request.tools]
        schema = next((schema for schema in schemas if schema["name"] == name), None)
        if schema is None:
            yield _answer(CLOSING)
            return
        schema = _required_only(schema)
        if not schema.get("parameters", {}).get("properties"):
            yield _answer([FunctionCall(id=f"{name}-{step}", name=name, arguments="{}")])
            return
        forced = replace(request, tools=[schema], tool_choice=_ForcedTool(schema))
        async for piece in send(forced):
            if isinstance(piece, CreateResult) and not piece.thought:
                piece = piece.model_copy(update={"thought": _thought(name)})
            yield piece


class _NoArguments(BaseModel):
    """No arguments."""


class _ForcedTool(BaseTool[_NoArguments, _NoArguments]):
    """A tool that can be named as the choice of tool, where there is only the schema of one."""

    def __init__(self, schema: ToolSchema) -> None:
        super().__init__(_NoArguments, _NoArguments, schema["name"], schema.get("description", ""))
        self._schema = schema

    @property
    def schema(self) -> ToolSchema:
        """The given schema."""
        return self._schema

    async def run(self, args: _NoArguments, cancellation_token: CancellationToken) -> _NoArguments:
        """Raise an error: the tool is named, never called."""
        raise NotImplementedError(self.name)


def _answer(content: str | list[FunctionCall]) -> CreateResult:
    """Return an answer that no model was asked for."""
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


def _required_only(schema: ToolSchema) -> ToolSchema:
    """Return the schema without its optional arguments."""
    parameters = schema.get("parameters")
    if parameters is None:
        return schema
    required = list(parameters.get("required", ()))
    properties = {name: parameters["properties"][name] for name in required}
    return {
        **schema,
        "parameters": {**parameters, "properties": properties, "required": required},
    }


def _calls_of_turn(messages: Sequence[LLMMessage]) -> int:
    """Count the answered calls since the last message from outside, which began the turn."""
    count = 0
    for message in messages:
        if isinstance(message, UserMessage):
            count = 0
        elif isinstance(message, FunctionExecutionResultMessage):
            count += 1
    return count
