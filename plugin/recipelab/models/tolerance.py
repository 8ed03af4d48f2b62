"""Takes what servers of the user's own send beside the standard, where the library would not."""

from __future__ import annotations

import json
from typing import Any


async def without_function_call(response: Any) -> None:
    """Takes the old ``function_call`` out of an answer that has tool calls as well.

    The server of llama-cpp-python sends both, and AutoGen's client refuses what has the old one.
    For use as an event hook of an HTTP client.

    Args:
        response: The answer, as the HTTP library of the OpenAI package has it.
    """
    if "application/json" not in response.headers.get("content-type", ""):
        return
    body = await response.aread()
    if b'"function_call"' not in body:
        return
    table = json.loads(body)
    for choice in table.get("choices", ()):
        message = choice.get("message") or {}
        if message.get("tool_calls"):
            message["function_call"] = None
            choice["finish_reason"] = "tool_calls"
    response._content = json.dumps(table).encode()
