"""Read the messages of a group chat: as AutoGen's JSON lines, and as turns of its agents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from recipelab.core.text import read_table
from recipelab.lineage import MessageRecord
from recipelab.tools.names import SUBMITTING

ROUND, TRIAL, POSITION = "recipelab.round", "recipelab.trial", "recipelab.position"
"""Keys in a message's metadata that tie it to the campaign."""

_REPEATING = ("ModelClientStreamingChunkEvent", "ToolCallSummaryMessage")
"""Messages that repeat others: pieces of a text that follows whole, and answers of tools."""

Table = Mapping[str, Any]


def jsonl(messages: Iterable[MessageRecord]) -> Iterator[str]:
    """Yield one line a message: AutoGen's own dump, with its ties in the metadata.

    AutoGen takes metadata of texts only, so numbers are written as such; of several trials they
    are parted by commas. Lines are plain ASCII: nothing in them can steer a terminal, and nothing
    that some reader takes for the end of a line stands within one.
    """
    for message in messages:
        yield json.dumps(tied(message)) + "\n"


def tied(message: MessageRecord) -> dict[str, Any]:
    """Return a message's dump with its round, trials and position in its metadata."""
    metadata = message.payload.get("metadata")
    kept = dict(metadata) if isinstance(metadata, Mapping) else {}
    ties = {
        ROUND: "" if message.round is None else str(message.round),
        TRIAL: ",".join(map(str, trials_of(message))),
        POSITION: str(message.position),
    }
    return message.payload | {"metadata": kept | {key: tie for key, tie in ties.items() if tie}}


def table_of(text: object) -> dict[str, Any]:
    """Return the JSON object that a text holds; empty if it holds none."""
    try:
        table = read_table(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return {}
    return dict(table) if isinstance(table, Mapping) else {}


def reported(message: MessageRecord) -> tuple[int, ...]:
    """Return the numbers of the trials whose end a message of the chat reports."""
    metadata = message.payload.get("metadata")
    if _is_event(message) or not isinstance(metadata, Mapping):
        return ()
    return _numbers(str(metadata.get("trials") or "").split(","))


def submitted(message: MessageRecord) -> tuple[int, ...]:
    """Return the numbers of the trials that a message says were submitted."""
    answers = [
        table_of(item.get("content"))
        for item in _items(message)
        if item.get("name") in SUBMITTING and not item.get("is_error")
    ]
    return _numbers(answer.get("trial") for answer in answers)


def trials_of(message: MessageRecord) -> tuple[int, ...]:
    """Return the numbers of all trials that a message is about."""
    found = submitted(message) or reported(message)
    return found or (() if message.trial is None else (message.trial,))


def _is_event(message: MessageRecord) -> bool:
    """Return whether a message is an event on the way, and not heard by the others."""
    return message.type.endswith("Event")


def _items(message: MessageRecord) -> list[Table]:
    """Return the tables in a message's content: tool calls, or their answers."""
    content = message.payload.get("content")
    found = content if isinstance(content, list) else []
    return [item for item in found if isinstance(item, Mapping)]


def text_of(message: MessageRecord) -> str:
    """Return the text of a message, without pictures; other content as JSON."""
    content = message.payload.get("content", "")
    if message.type == "MultiModalMessage" and isinstance(content, list):
        return "\n".join(item if isinstance(item, str) else "(a picture)" for item in content)
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _numbers(values: Iterable[object]) -> tuple[int, ...]:
    found = (_number(value) for value in values)
    return tuple(number for number in found if number is not None)


def _number(value: object) -> int | None:
    """Return a whole number from 0 up that a payload holds, as text or number; else ``None``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    return None


@dataclass(frozen=True)
class TranscriptCall:
    """A call of a tool with its answer.

    Attributes:
        name: Name of the tool.
        arguments: Its arguments.
        answer: Its answer; ``None`` if that is not there.
        is_error: Whether the answer is an error.
    """

    name: str
    arguments: Table
    answer: str | None = None
    is_error: bool = False

    @property
    def trial(self) -> int | None:
        """The trial that this call submitted, if it did."""
        if self.name not in SUBMITTING or self.is_error:
            return None
        return _number(table_of(self.answer).get("trial"))


@dataclass(frozen=True)
class Said:
    """Something that an agent said.

    Attributes:
        text: The words.
        type: The class of the message in the agent framework.
        in_chat: Whether the others heard it.
    """

    text: str
    type: str
    in_chat: bool


@dataclass
class TranscriptTurn:
    """A turn: all that one agent did until it said something in the chat.

    Messages are added to it in the order in which they were stored; an answer of a tool is put
    beside its call, whatever lies between them.

    Attributes:
        source: Name of the agent.
        round: Number of the round; ``None`` outside of rounds.
        began: When it began, which is when the chat message before was stored.
        ended: When its last message was stored.
        steps: Calls and words, in order.
        reported: Numbers of the trials whose end it reports.
        positions: Places of its messages among those of the campaign.
        prompt_tokens: Tokens that models read for it.
        completion_tokens: Tokens that models wrote for it.
    """

    source: str
    round: int | None
    began: datetime
    ended: datetime
    steps: list[TranscriptCall | Said] = field(default_factory=list[TranscriptCall | Said])
    reported: tuple[int, ...] = ()
    positions: list[int] = field(default_factory=list[int])
    prompt_tokens: int = 0
    completion_tokens: int = 0
    _unanswered: dict[str, list[int]] = field(default_factory=dict[str, list[int]], repr=False)

    @property
    def submitted(self) -> tuple[int, ...]:
        """Numbers of the trials that it submitted, rejected ones too."""
        return tuple(call.trial for call in self.calls if call.trial is not None)

    @property
    def calls(self) -> list[TranscriptCall]:
        """The calls alone."""
        return [step for step in self.steps if isinstance(step, TranscriptCall)]

    @property
    def seconds(self) -> float:
        """How long it took, in seconds."""
        return (self.ended - self.began).total_seconds()

    def add(self, message: MessageRecord) -> None:
        """Add the next message of its agent."""
        self.ended = message.created_at
        self.positions.append(message.position)
        usage = message.payload.get("models_usage")
        if isinstance(usage, Mapping):
            self.prompt_tokens += _number(usage.get("prompt_tokens")) or 0
            self.completion_tokens += _number(usage.get("completion_tokens")) or 0
        if message.type == "ToolCallRequestEvent":
            self._add_calls(message)
        elif message.type == "ToolCallExecutionEvent":
            self._add_answers(message)
        elif message.type not in _REPEATING:
            self.steps.append(Said(text_of(message), message.type, not _is_event(message)))
        self.reported = self.reported or reported(message)

    def _add_calls(self, message: MessageRecord) -> None:
        for item in _items(message):
            places = self._unanswered.setdefault(str(item.get("id")), [])
            places.append(len(self.steps))
            arguments = item.get("arguments")
            table = table_of(arguments)
            if not table and arguments not in (None, "", "{}"):
                table = {"(not an object)": arguments}
            self.steps.append(TranscriptCall(str(item.get("name")), table))

    def _add_answers(self, message: MessageRecord) -> None:
        for item in _items(message):
            places = self._unanswered.get(str(item.get("call_id")))
            if places:
                place = places.pop(0)
            else:
                place = len(self.steps)
                self.steps.append(TranscriptCall(str(item.get("name")), {}))
            call = self.steps[place]
            if isinstance(call, TranscriptCall):
                text, is_error = str(item.get("content", "")), bool(item.get("is_error"))
                self.steps[place] = replace(call, answer=text, is_error=is_error)


def turns_of(messages: Iterable[MessageRecord]) -> list[TranscriptTurn]:
    """Return the turns in the messages of one round, in the order in which they began."""
    turns: list[TranscriptTurn] = []
    unfinished: dict[str, TranscriptTurn] = {}
    last_said: datetime | None = None
    for message in messages:
        turn = unfinished.get(message.source)
        if turn is None:
            began = last_said or message.created_at
            turn = TranscriptTurn(message.source, message.round, began, message.created_at)
            turns.append(turn)
            unfinished[message.source] = turn
        turn.add(message)
        if not _is_event(message):
            last_said = message.created_at
            del unfinished[message.source]
    return turns
