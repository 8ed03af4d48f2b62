"""What is in a message's payload, read with care: an imported campaign may hold anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from recipelab.lineage import MessageRecord
from recipelab.tool_names import SUBMITTING

Table = Mapping[str, Any]


def is_event(record: MessageRecord) -> bool:
    """Whether a message is an event on the way and not what an agent says in the chat."""
    return record.type.endswith("Event")


def items_of(record: MessageRecord) -> list[Table]:
    """The tables in a message's content: tool calls, or their answers."""
    content = record.payload.get("content")
    found = content if isinstance(content, list) else []
    return [item for item in found if isinstance(item, Mapping)]


def text_of(record: MessageRecord) -> str:
    """What a message says: pictures are left out, other content is told as JSON."""
    content = record.payload.get("content", "")
    if record.type == "MultiModalMessage" and isinstance(content, list):
        return "\n".join(item if isinstance(item, str) else "(a picture)" for item in content)
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def table_of(text: object) -> dict[str, Any]:
    """A JSON object out of text; empty if the text is none."""
    try:
        table = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return {}
    return dict(table) if isinstance(table, Mapping) else {}


def tokens_of(record: MessageRecord) -> tuple[int, int]:
    """Tokens of the prompt and of the completion; zeros where a message tells of none."""
    usage = record.payload.get("models_usage")
    usage = usage if isinstance(usage, Mapping) else {}
    return number_of(usage.get("prompt_tokens")) or 0, number_of(
        usage.get("completion_tokens")
    ) or 0


def number_of(value: object) -> int | None:
    """A whole number from 0 up that a payload holds, as text or as a number; else ``None``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    return None


def submitted(record: MessageRecord) -> tuple[int, ...]:
    """Numbers of the trials that a message's tool answers say were taken or rejected."""
    answers = [
        table_of(item.get("content"))
        for item in items_of(record)
        if item.get("name") in SUBMITTING and not item.get("is_error")
    ]
    return _numbers(answer.get("trial") for answer in answers)


def reported(record: MessageRecord) -> tuple[int, ...]:
    """Numbers of the trials whose end a message of the chat tells."""
    metadata = record.payload.get("metadata")
    told = metadata.get("trials") if isinstance(metadata, Mapping) and not is_event(record) else ""
    return _numbers(str(told or "").split(","))


def trials_of(record: MessageRecord) -> tuple[int, ...]:
    """Numbers of all trials that a message is about."""
    found = submitted(record) or reported(record)
    return found or (() if record.trial is None else (record.trial,))


def _numbers(values: Any) -> tuple[int, ...]:
    found = (number_of(value) for value in values)
    return tuple(number for number in found if number is not None)
