"""Counts what specialists did in rounds that brought no trial, for a report to people."""

from __future__ import annotations

from collections import Counter

from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    ToolCallExecutionEvent,
)

from recipelab.agents import SEAT
from recipelab.agents.specialist import FAULT

_TEXT = 160


class Tally:
    """What has happened since a trial was taken last."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begins anew."""
        self._turns = 0
        self._silent = 0
        self._acted: set[str] = set()
        self._refused: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()

    def hear(self, message: BaseAgentEvent | BaseChatMessage) -> None:
        """Takes in a message of the group chat."""
        if isinstance(message, ToolCallExecutionEvent):
            self._acted.add(message.source)
            for result in message.content:
                if result.is_error:
                    self._refused[f"{result.name}: {_short(result.content)}"] += 1
        elif isinstance(message, BaseChatMessage) and message.source not in (SEAT, "user"):
            self._turns += 1
            self._silent += message.source not in self._acted
            self._acted.discard(message.source)
            if FAULT in message.metadata:
                self._faults[_short(message.to_text())] += 1

    def told(self) -> str:
        """The report, in a sentence or two."""
        parts = [f"{self._turns} turns, {self._silent} of them without a tool call"]
        for what, counts in (("tools answered", self._refused), ("models failed", self._faults)):
            if counts:
                (most, times), total = counts.most_common(1)[0], counts.total()
                parts.append(f"{what} {total} times with an error, most often ({times}) {most!r}")
        return "; ".join(parts)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 3]}..."
