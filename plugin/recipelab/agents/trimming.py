"""Keeps a conversation within a bound without parting a call from its result."""

from __future__ import annotations

from collections.abc import Sequence

from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResultMessage,
    LLMMessage,
    UserMessage,
)

LEFT_OUT = "(earlier calls of this turn were left out, as they did not fit any more)"


def trimmed(messages: Sequence[LLMMessage], characters: int) -> list[LLMMessage]:
    """Drops the oldest exchanges until the rest fits.

    An exchange is a message of the assistant with the results of its calls. What others said stays,
    and so does the newest exchange, whatever its size.

    Args:
        messages: A conversation in which every result follows its call.
        characters: The bound, in characters of text and arguments.

    Returns:
        The messages that stay, in order; a note stands where something was left out.
    """
    size = sum(_size(message) for message in messages)
    if size <= characters:
        return list(messages)
    exchanges = _exchanges(messages)
    dropped: set[int] = set()
    for exchange in exchanges[:-1]:
        if size <= characters:
            break
        dropped.update(exchange)
        size -= sum(_size(messages[place]) for place in exchange)
    if not dropped:
        return list(messages)
    kept: list[LLMMessage] = []
    for place, message in enumerate(messages):
        if place == min(dropped):
            kept.append(UserMessage(content=LEFT_OUT, source="context"))
        if place not in dropped:
            kept.append(message)
    return kept


def _exchanges(messages: Sequence[LLMMessage]) -> list[list[int]]:
    """Places of the messages of each exchange."""
    found: list[list[int]] = []
    for place, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            found.append([place])
        elif isinstance(message, FunctionExecutionResultMessage) and found:
            found[-1].append(place)
    return found


def _size(message: LLMMessage) -> int:
    content = message.content
    if isinstance(content, str):
        return len(content)
    return sum(len(part) if isinstance(part, str) else _part(part) for part in content)


def _part(part: object) -> int:
    told = getattr(part, "arguments", None) or getattr(part, "content", "")
    return len(told) if isinstance(told, str) else 0
