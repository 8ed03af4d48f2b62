"""What the rule-based client reads out of a conversation: the same messages any model is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autogen_core import FunctionCall
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)

_SURFACES = re.compile(r"^# Your surfaces \(([^)\n]*)\)", re.MULTILINE)
_METRIC = re.compile(r"^Metric: (\S+) in (\S+), (minimize|maximize)", re.MULTILINE)


@dataclass(frozen=True)
class Call:
    """A tool call of this turn with its answer."""

    name: str
    arguments: dict[str, Any]
    answer: str
    is_error: bool
    id: str = ""

    def table(self) -> dict[str, Any]:
        """The answer as JSON; empty if it is an error or no table."""
        if self.is_error:
            return {}
        try:
            table = json.loads(self.answer)
        except ValueError:
            return {}
        return table if isinstance(table, dict) else {}


@dataclass(frozen=True)
class Conversation:
    """One turn as the client sees it.

    Attributes:
        surfaces: The surfaces named in the instructions.
        unit: Unit of the metric, or empty.
        minimize: Whether a smaller metric is better.
        told: The last word of somebody else, which began the turn.
        calls: The tool calls since the last word of somebody else.
    """

    surfaces: tuple[str, ...]
    unit: str
    minimize: bool
    told: str
    calls: tuple[Call, ...]

    def last(self, name: str) -> Call | None:
        """The last answered call of a tool in this turn."""
        return next((call for call in reversed(self.calls) if call.name == name), None)


def read_conversation(messages: Sequence[LLMMessage]) -> Conversation:
    """Reads the instructions and the calls of the turn."""
    told = "\n".join(m.content for m in messages if isinstance(m, SystemMessage))
    surfaces, metric = _SURFACES.search(told), _METRIC.search(told)
    return Conversation(
        surfaces=tuple(name.strip() for name in surfaces[1].split(",")) if surfaces else (),
        unit=metric[2] if metric else "",
        minimize=metric is None or metric[3] == "minimize",
        told=_told(messages),
        calls=_calls(messages),
    )


def _told(messages: Sequence[LLMMessage]) -> str:
    words = [str(m.content) for m in messages if isinstance(m, UserMessage)]
    return words[-1] if words else ""


def _calls(messages: Sequence[LLMMessage]) -> tuple[Call, ...]:
    asked: dict[str, FunctionCall] = {}
    calls: list[Call] = []
    for message in messages:
        if isinstance(message, UserMessage):
            # A new word from outside begins a new turn.
            asked, calls = {}, []
        elif isinstance(message, AssistantMessage) and isinstance(message.content, list):
            asked |= {call.id: call for call in message.content}
        elif isinstance(message, FunctionExecutionResultMessage):
            for result in message.content:
                call = asked.get(result.call_id)
                arguments = json.loads(call.arguments) if call else {}
                failed = bool(result.is_error)
                calls.append(Call(result.name, arguments, result.content, failed, result.call_id))
    return tuple(calls)
