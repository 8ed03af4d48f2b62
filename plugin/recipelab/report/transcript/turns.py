"""The turns of a round: all that one agent did from getting the floor to what it said in the chat.

Several agents may think at the same time, so the messages of their turns may be mixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from recipelab.lineage import LineageStore, MessageRecord
from recipelab.report.transcript.payloads import (
    is_event,
    items_of,
    number_of,
    reported,
    table_of,
    text_of,
    tokens_of,
)
from recipelab.tool_names import SUBMITTING

_UNTOLD = ("ModelClientStreamingChunkEvent", "ToolCallSummaryMessage")
"""What only repeats: pieces of a text that follows whole, and answers of tools."""


@dataclass(frozen=True)
class Call:
    """A call of a tool with its answer.

    Attributes:
        name: Name of the tool.
        arguments: What it was called with.
        answer: What it answered; ``None`` if the answer is not there.
        is_error: Whether the answer is an error.
    """

    name: str
    arguments: Mapping[str, Any]
    answer: str | None = None
    is_error: bool = False

    @property
    def trial(self) -> int | None:
        """The trial that this call submitted, if it did."""
        if self.name not in SUBMITTING or self.is_error:
            return None
        return number_of(table_of(self.answer).get("trial"))


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
class Turn:
    """What one agent did from getting the floor to what it said in the chat.

    Attributes:
        source: Who.
        round: Number of the round; ``None`` outside of rounds.
        began: When it got the floor, which is when the chat message before was stored.
        ended: When its last message was stored.
        steps: Calls and words, in order.
        reported: Numbers of the trials whose end it tells.
        positions: Places of its messages among those of the campaign.
        prompt_tokens: Tokens that models read for it.
        completion_tokens: Tokens that models wrote for it.
    """

    source: str
    round: int | None
    began: datetime
    ended: datetime
    steps: list[Call | Said] = field(default_factory=list[Call | Said])
    reported: tuple[int, ...] = ()
    positions: list[int] = field(default_factory=list[int])
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def calls(self) -> list[Call]:
        """The calls alone."""
        return [step for step in self.steps if isinstance(step, Call)]

    @property
    def submitted(self) -> tuple[int, ...]:
        """Numbers of the trials that it submitted, rejected ones too."""
        return tuple(call.trial for call in self.calls if call.trial is not None)

    @property
    def seconds(self) -> float:
        """From getting the floor to the last message, in seconds."""
        return (self.ended - self.began).total_seconds()


def turns_of(messages: Iterable[MessageRecord]) -> list[Turn]:
    """The turns in the messages of one round, in the order in which they began."""
    turns: list[Turn] = []
    open_turns: dict[str, _Open] = {}
    floor: datetime | None = None
    for record in messages:
        current = open_turns.get(record.source)
        if current is None:
            began = floor or record.created_at
            turn = Turn(record.source, record.round, began, record.created_at)
            turns.append(turn)
            current = open_turns[record.source] = _Open(turn)
        current.add(record)
        if not is_event(record):
            floor = record.created_at
            del open_turns[record.source]
    return turns


def rounds_of(store: LineageStore, campaign: str) -> Iterator[tuple[int | None, list[Turn]]]:
    """The rounds of a campaign with their turns, one after the other: one is in memory at once."""
    for number, messages in groupby(store.each_message(campaign), lambda record: record.round):
        yield number, turns_of(messages)


class _Open:
    """A turn that goes on, with the calls that have no answer yet."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._waiting: dict[str, list[int]] = {}

    def add(self, record: MessageRecord) -> None:
        turn = self._turn
        turn.ended = record.created_at
        turn.positions.append(record.position)
        prompt, completion = tokens_of(record)
        turn.prompt_tokens += prompt
        turn.completion_tokens += completion
        if record.type == "ToolCallRequestEvent":
            self._called(record)
        elif record.type == "ToolCallExecutionEvent":
            self._answered(record)
        elif record.type not in _UNTOLD:
            turn.steps.append(Said(text_of(record), record.type, not is_event(record)))
        turn.reported = turn.reported or reported(record)

    def _called(self, record: MessageRecord) -> None:
        for item in items_of(record):
            place = self._waiting.setdefault(str(item.get("id")), [])
            place.append(len(self._turn.steps))
            arguments = item.get("arguments")
            table = table_of(arguments) or _untidy(arguments)
            self._turn.steps.append(Call(str(item.get("name")), table))

    def _answered(self, record: MessageRecord) -> None:
        for item in items_of(record):
            waiting = self._waiting.get(str(item.get("call_id"))) or []
            if not waiting:
                waiting = [len(self._turn.steps)]
                self._turn.steps.append(Call(str(item.get("name")), {}))
            place = waiting.pop(0)
            call = self._turn.steps[place]
            if isinstance(call, Call):
                text, is_error = str(item.get("content", "")), bool(item.get("is_error"))
                self._turn.steps[place] = replace(call, answer=text, is_error=is_error)


def _untidy(arguments: object) -> dict[str, Any]:
    """Arguments that are no JSON object, as a model may write them."""
    return {} if arguments in (None, "", "{}") else {"(not an object)": arguments}
