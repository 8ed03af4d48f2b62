"""A model client that sees to it that arguments of tool calls are JSON.

Small models write single quotes, trailing commas and raw line breaks. AutoGen answers such a call
with a message of its JSON parser, which such models cannot use.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import CreateResult, LLMMessage
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

from recipelab.models.wrapped import ToolChoice, WrappedClient

UNREADABLE = "unreadable_arguments"
"""The argument that holds what is no JSON, so that the tool itself can say how to call it."""

_KEPT = 2_000
_FENCE = re.compile(r"^\s*```(?:json)?\s*(.*?)\s*```\s*$", re.DOTALL)
_TRAILING = re.compile(r",(\s*[}\]])")


class TidyClient(WrappedClient):
    """Puts the form of arguments right, and never their content."""

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
        """See :class:`autogen_core.models.ChatCompletionClient`."""
        result = await super().create(
            messages,
            tools=tools,
            tool_choice=tool_choice,
            json_output=json_output,
            extra_create_args=extra_create_args,
            cancellation_token=cancellation_token,
        )
        if isinstance(result.content, str):
            return result
        return result.model_copy(update={"content": [_tidy(call) for call in result.content]})


def _tidy(call: FunctionCall) -> FunctionCall:
    return FunctionCall(id=call.id, name=call.name, arguments=tidied(call.arguments))


def tidied(arguments: str) -> str:
    """Arguments as the JSON of a table.

    Args:
        arguments: What a model wrote; an empty text is an empty table.

    Returns:
        The same table in proper JSON; what cannot be read is in it as text.
    """
    for read in (_plain, _unfenced, _without_trailing_commas, ast.literal_eval):
        try:
            found = read(arguments or "{}")
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, str):
            return tidied(found) if found != arguments else _unreadable(arguments)
        if isinstance(found, dict):
            return json.dumps(found) if read is not _plain else arguments or "{}"
    return _unreadable(arguments)


def _plain(text: str) -> Any:
    return json.loads(text)


def _unfenced(text: str) -> Any:
    match = _FENCE.match(text)
    return json.loads(match[1] if match else text, strict=False)


def _without_trailing_commas(text: str) -> Any:
    # A comma before a bracket inside a text would go, too; so only what is no JSON comes here.
    return json.loads(_TRAILING.sub(r"\1", text), strict=False)


def _unreadable(text: str) -> str:
    return json.dumps({UNREADABLE: text[:_KEPT]})
