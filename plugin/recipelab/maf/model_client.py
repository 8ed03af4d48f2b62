"""A chat client of the framework as an AutoGen model client, for specialists to think with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal

from agent_framework import (
    ChatResponse,
    Content,
    FunctionTool,
    Message,
    SupportsChatGetResponse,
)
from autogen_core import CancellationToken, FunctionCall, Image
from autogen_core.models import (
    AssistantMessage,
    ChatCompletionClient,
    CreateResult,
    FinishReasons,
    FunctionExecutionResultMessage,
    LLMMessage,
    ModelCapabilities,
    ModelFamily,
    ModelInfo,
    RequestUsage,
    SystemMessage,
)
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

REMAINING = 1_000_000
"""Tokens that are said to be left: the framework tells no model's bound."""

CHARACTERS_A_TOKEN = 4
"""An estimate for texts that no model has counted."""

_FINISHED: Mapping[str, FinishReasons] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "function_calls",
    "content_filter": "content_filter",
}


class FrameworkModelClient(ChatCompletionClient):
    """A model client of AutoGen that asks a chat client of the framework.

    Calls of tools are handed to the caller: the framework is told what the tools are, and runs none
    of them. Whoever opened the chat client closes it.

    Args:
        client: The chat client.
        model_info: What the model can do; ``None`` for calls of tools and nothing else.
    """

    component_type = "model"

    def __init__(
        self, client: SupportsChatGetResponse, *, model_info: ModelInfo | None = None
    ) -> None:
        self._client = client
        self._info = model_info or ModelInfo(
            vision=False,
            function_calling=True,
            json_output=False,
            family=ModelFamily.UNKNOWN,
            structured_output=False,
        )
        self._total = RequestUsage(prompt_tokens=0, completion_tokens=0)

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: Tool | Literal["auto", "required", "none"] = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        """Return the answer of the chat client."""
        options = _options(tools, tool_choice, json_output, extra_create_args)
        asked = self._client.get_response(_messages(messages), options=options)
        answer = asyncio.ensure_future(asked)
        if cancellation_token is not None:
            cancellation_token.link_future(answer)
        return self._result(await answer)

    async def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: Tool | Literal["auto", "required", "none"] = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[str | CreateResult, None]:
        """Yield the text as it comes, and the whole answer at last."""
        options = _options(tools, tool_choice, json_output, extra_create_args)
        asked = self._client.get_response(_messages(messages), stream=True, options=options)
        async with asked as updates:
            iterator = aiter(updates)
            while True:
                coming = asyncio.ensure_future(_next_or_none(iterator))
                if cancellation_token is not None:
                    cancellation_token.link_future(coming)
                update = await coming
                if update is None:
                    break
                if update.text:
                    yield update.text
            yield self._result(await updates.get_final_response())

    def _result(self, response: ChatResponse) -> CreateResult:
        contents = [content for message in response.messages for content in message.contents]
        calls = [
            FunctionCall(
                id=one.call_id or "", name=one.name or "", arguments=_arguments(one.arguments)
            )
            for one in contents
            if one.type == "function_call"
        ]
        thought = "".join(one.text or "" for one in contents if one.type == "text_reasoning")
        text = "".join(one.text or "" for one in contents if one.type == "text")
        told = response.usage_details or {}
        usage = RequestUsage(
            prompt_tokens=told.get("input_token_count") or 0,
            completion_tokens=told.get("output_token_count") or 0,
        )
        self._total = RequestUsage(
            prompt_tokens=self._total.prompt_tokens + usage.prompt_tokens,
            completion_tokens=self._total.completion_tokens + usage.completion_tokens,
        )
        why = _FINISHED.get(str(response.finish_reason), "unknown")
        return CreateResult(
            finish_reason="function_calls" if calls and why != "length" else why,
            content=calls or text,
            usage=usage,
            cached=False,
            thought=(thought or text if calls else thought) or None,
        )

    async def close(self) -> None:
        """Do nothing: whoever opened the chat client closes it."""

    def actual_usage(self) -> RequestUsage:
        """Return the tokens that the model has counted."""
        return self._total

    def total_usage(self) -> RequestUsage:
        """Return the tokens that the model has counted."""
        return self._total

    def count_tokens(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()
    ) -> int:
        """Return an estimate, by the length of the messages."""
        return sum(len(str(message.content)) for message in messages) // CHARACTERS_A_TOKEN

    def remaining_tokens(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()
    ) -> int:
        """Return a number that no conversation of a turn reaches."""
        return REMAINING

    @property
    def capabilities(self) -> ModelCapabilities:
        """See :attr:`model_info`."""
        info = self._info
        return ModelCapabilities(
            vision=info["vision"],
            function_calling=info["function_calling"],
            json_output=info["json_output"],
        )

    @property
    def model_info(self) -> ModelInfo:
        """What the model can do."""
        return self._info


async def _next_or_none(iterator: Any) -> Any:
    return await anext(iterator, None)


def _arguments(given: Any) -> str:
    return given if isinstance(given, str) else json.dumps(given or {})


def _options(
    tools: Sequence[Tool | ToolSchema],
    tool_choice: Tool | Literal["auto", "required", "none"],
    json_output: bool | type[BaseModel] | None,
    extra: Mapping[str, Any],
) -> Any:
    """Return the options of a request to a chat client, whose type is each client's own."""
    options = dict(extra)
    if tools:
        schemas = [one.schema if isinstance(one, Tool) else one for one in tools]
        # Without a function, so that the framework runs none.
        options["tools"] = [
            FunctionTool(
                name=schema["name"],
                description=schema.get("description", ""),
                input_model=json.loads(json.dumps(schema.get("parameters", {"type": "object"}))),
            )
            for schema in schemas
        ]
        options["tool_choice"] = (
            {"mode": "required", "required_function_name": tool_choice.name}
            if isinstance(tool_choice, Tool)
            else tool_choice
        )
    if isinstance(json_output, type):
        options["response_format"] = json_output
    return options


def _messages(messages: Sequence[LLMMessage]) -> list[Message]:
    """Return the messages of a request as the framework has them."""
    found: list[Message] = []
    for message in messages:
        if isinstance(message, SystemMessage):
            found.append(Message("system", [message.content]))
        elif isinstance(message, AssistantMessage):
            found.append(Message("assistant", _said(message), author_name=message.source))
        elif isinstance(message, FunctionExecutionResultMessage):
            # A message each: some services take no more than one result in one.
            found += [
                Message("tool", [Content.from_function_result(one.call_id, result=one.content)])
                for one in message.content
            ]
        else:
            given = [message.content] if isinstance(message.content, str) else message.content
            parts = [_seen(part) for part in given]
            found.append(Message("user", parts, author_name=message.source))
    return found


def _said(message: AssistantMessage) -> list[Content]:
    if isinstance(message.content, str):
        return [Content.from_text(message.content)]
    before = [Content.from_text(message.thought)] if message.thought else []
    return before + [
        Content.from_function_call(call.id, call.name, arguments=call.arguments)
        for call in message.content
    ]


def _seen(part: str | Image) -> Content:
    if isinstance(part, str):
        return Content.from_text(part)
    return Content.from_uri(part.data_uri, media_type="image/png")
