"""What a provider's client hands on: an answer that an agent can read, or an error in words."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from autogen_agentchat.base import TaskResult
from autogen_agentchat.messages import ToolCallExecutionEvent
from autogen_core import FunctionCall
from autogen_core.models import CreateResult, RequestUsage, UserMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipelab.agents import Specialist, load_charter
from recipelab.core.errors import ModelError
from recipelab.evaluation.queue import TrialQueue
from recipelab.models import HandedOnClient, JsonRepairClient, OfflineClient
from recipelab.models.handed_on import MOST_TOKENS, sound_calls, sound_result, sound_usage

ASKED = [UserMessage(content="Hello?", source="user")]
USAGE = RequestUsage(prompt_tokens=3, completion_tokens=4)


def answer(content: Any, **further: Any) -> CreateResult:
    """An answer whose parts nobody has checked, as clients make them of what a server sent."""
    parts = {"finish_reason": "stop", "usage": USAGE, "cached": False, "thought": None}
    return CreateResult.model_construct(content=content, logprobs=None, **(parts | further))


def call(**parts: Any) -> FunctionCall:
    return FunctionCall(**({"id": "c1", "name": "read_recipe", "arguments": "{}"} | parts))


class Scripted(OfflineClient):
    """Hands on what it was given, whatever that is."""

    def __init__(self, *handed: Any) -> None:
        super().__init__()
        self._handed = list(handed)

    async def create(self, *messages: Any, **further: Any) -> Any:
        return self._handed.pop(0)

    async def create_stream(self, *messages: Any, **further: Any) -> AsyncGenerator[Any, None]:
        while self._handed:
            yield self._handed.pop(0)


async def test_a_sound_answer_is_handed_on_as_it_is() -> None:
    calls = [call(id="a", arguments='{"trial": 0}'), call(id="b")]
    for content in ("Hello.", calls, []):
        sent = answer(content, thought="Let me see.", finish_reason="function_calls", cached=True)
        assert await HandedOnClient(Scripted(sent)).create(ASKED) == sent


@pytest.mark.parametrize(
    ("handed", "told"),
    [
        (None, "it is a NoneType"),
        ({"content": "Hello."}, "it is a dict"),
        ("Hello.", "it ended without a result"),
        (answer(None), "its content is a NoneType"),
        (answer({"text": "x"}), "its content is a dict"),
        (answer([call(), "read_recipe"]), "its tool call 2 is a str read_recipe"),
        (answer([call(name=None)]), "the name of its tool call 1 is a NoneType"),
    ],
)
async def test_what_is_no_answer_is_told(handed: Any, told: str) -> None:
    with pytest.raises(ModelError, match="handed on no answer: ") as error:
        await HandedOnClient(Scripted(handed)).create(ASKED)
    assert told in str(error.value)


async def test_a_stream_without_an_end_is_told() -> None:
    for handed in ((), ("Hel", "lo."), ("Hel", None)):
        with pytest.raises(ModelError, match="handed on no answer: it "):
            async for _ in HandedOnClient(Scripted(*handed)).create_stream(ASKED):
                pass


async def test_half_a_character_can_be_sent_on() -> None:
    said = answer("a\ud800b", thought="\udfff")
    pieces = [one async for one in HandedOnClient(Scripted("\ud83d", said)).create_stream(ASKED)]
    assert pieces == ["\ufffd", answer("a\ufffdb", thought="\ufffd")]
    (one,) = sound_calls([call(id="\ud800", name="\ud800", arguments='{"a": "\ud800"}')])
    assert (one.id, one.name, one.arguments) == ("\ufffd", "\ufffd", '{"a": "\ufffd"}')
    # A whole character that UTF-16 writes in two halves stays.
    assert sound_result(answer("\U0001f600")).content == "\U0001f600"


@pytest.mark.parametrize(
    ("given_ids", "own"),
    [
        (["a", "b"], ["a", "b"]),
        ([None, None], ["call_1", "call_2"]),
        (["a", "a"], ["a", "call_2"]),
        (["call_2", "", 7], ["call_2", "call_3", "call_4"]),
    ],
)
def test_every_call_has_an_id_of_its_own(given_ids: list[Any], own: list[str]) -> None:
    assert [one.id for one in sound_calls([call(id=each) for each in given_ids])] == own


def test_arguments_that_are_a_table_are_written_out() -> None:
    written = [
        one.arguments for one in sound_calls([call(arguments={"trial": 0}), call(arguments=None)])
    ]
    assert json.loads(written[0]) == {"trial": 0}
    assert written[1] == ""


@pytest.mark.parametrize(
    "tokens", [None, -1, True, 0.5, math.nan, math.inf, "7", 2**63, MOST_TOKENS + 1, [], {}]
)
def test_tokens_that_cannot_be_count_as_not_told(tokens: Any) -> None:
    for usage in (RequestUsage(tokens, 1), RequestUsage(1, tokens), tokens):
        assert sound_usage(usage) == RequestUsage(prompt_tokens=0, completion_tokens=0)
    assert sound_usage(RequestUsage(MOST_TOKENS, 0)).prompt_tokens == MOST_TOKENS


ODD: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
CALLS = st.lists(
    st.builds(FunctionCall, id=ODD, name=ODD | st.text(), arguments=ODD) | ODD, max_size=3
)


# A busy machine draws slowly, and that is no fault of what is drawn.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ODD | CALLS, ODD, ODD, ODD, st.builds(RequestUsage, ODD, ODD) | ODD)
def test_whatever_is_handed_on_is_an_answer_or_an_error_in_words(
    content: Any, thought: Any, reason: Any, cached: Any, usage: Any
) -> None:
    handed = answer(content, thought=thought, finish_reason=reason, cached=cached, usage=usage)
    try:
        sound = sound_result(handed)
    except ModelError as error:
        assert str(error).encode()
        return
    # AutoGen's own model takes it, and it can be sent and written down.
    assert CreateResult.model_validate_json(sound.model_dump_json()) == sound
    if isinstance(sound.content, list):
        assert len({one.id for one in sound.content} - {""}) == len(sound.content)


@pytest.mark.parametrize("parts", [{"id": None}, {"name": 7}, {"arguments": {"trial": 0}}])
async def test_a_turn_ends_whatever_a_call_is_made_of(
    parts: dict[str, Any], desk: TrialQueue
) -> None:
    client = JsonRepairClient(HandedOnClient(Scripted(answer([call(**parts)]), answer("Done."))))
    agent = Specialist(load_charter("left"), client, desk.pack, desk, round_number=1)
    # AutoGen waits for ever for a call whose id or name is no text.
    result = await asyncio.wait_for(agent.run(task="Go."), 60)
    assert_ended(result, "handed on no answer" if "name" in parts else "Done.")


def assert_ended(result: TaskResult, words: str) -> None:
    said: Sequence[Any] = result.messages
    assert words in said[-1].to_text()
    answers = [
        one for each in said if isinstance(each, ToolCallExecutionEvent) for one in each.content
    ]
    assert all(not one.is_error for one in answers)
