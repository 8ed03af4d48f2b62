"""A turn whose trial is submitted ends without another call of the model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from autogen_core import FunctionCall
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    UserMessage,
)

from recipelab.agents.specialist import TurnClient, closing_words
from recipelab.models import OfflineClient

SUBMITTED = {"trial": 4, "status": "in_flight", "turn": "over"}


def after(*answers: tuple[str, Any, bool]) -> list[LLMMessage]:
    """A conversation whose last message has these results: tool, answer, whether it is an error."""
    calls = [
        FunctionCall(id=str(n), name=name, arguments='{"hypothesis": "It is better there."}')
        for n, (name, _, _) in enumerate(answers)
    ]
    results = [
        FunctionExecutionResult(
            call_id=str(n), name=name, content=json.dumps(answer), is_error=is_error
        )
        for n, (name, answer, is_error) in enumerate(answers)
    ]
    return [
        UserMessage(content="Go.", source="user"),
        AssistantMessage(content=calls, source="left"),
        FunctionExecutionResultMessage(content=results),
    ]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        (after(("submit_trial", SUBMITTED, False)), "Submitted trial 4: It is better there."),
        (
            after(("lineage_query", {}, False), ("submit_trial", SUBMITTED, False)),
            "Submitted trial 4: It is better there.",
        ),
        (after(("submit_trial", SUBMITTED | {"turn": "goes on"}, False)), None),
        (after(("submit_trial", {"trial": 4, "status": "rejected"}, False)), None),
        (after(("submit_trial", "the queue is full", True)), None),
        (after(("submit_trial", SUBMITTED, False), ("lineage_query", "cancelled", True)), None),
        (after(("lineage_query", SUBMITTED, False)), None),
        ([UserMessage(content="Go.", source="user")], None),
    ],
)
async def test_the_model_is_called_only_where_something_is_left_to_say(
    messages: list[LLMMessage], words: str | None
) -> None:
    assert closing_words(messages) == words

    class Counted(OfflineClient):
        calls = 0

        async def create(self, *args: Any, **more: Any) -> Any:
            Counted.calls += 1
            return await super().create(*args, **more)

    answer = await TurnClient(Counted()).create(messages)
    assert Counted.calls == (words is None)
    assert words is None or answer.content == words
