"""AutoGen reads the messages back, whatever their type, and each is tied to its trial."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    CodeExecutionEvent,
    CodeGenerationEvent,
    HandoffMessage,
    MemoryQueryEvent,
    MessageFactory,
    ModelClientStreamingChunkEvent,
    MultiModalMessage,
    SelectorEvent,
    SelectSpeakerEvent,
    StopMessage,
    StructuredMessage,
    TextMessage,
    ThoughtEvent,
    ToolCallExecutionEvent,
    ToolCallRequestEvent,
    ToolCallSummaryMessage,
    UserInputRequestedEvent,
)
from autogen_core import FunctionCall
from autogen_core.code_executor import CodeBlock, CodeResult
from autogen_core.memory import MemoryContent, MemoryMimeType
from autogen_core.models import FunctionExecutionResult, RequestUsage
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from recipelab.lineage import LineageStore, MessageRecord
from recipelab.report.transcript import Transcript, TranscriptFormat, jsonl
from recipelab.report.transcript.turns import POSITION, ROUND, TRIAL
from tests.report.conversation import CAMPAIGN, two_at_once


class Plan(BaseModel):
    """A structured answer."""

    steps: list[str]


T = st.text(max_size=20)
HEAD = {
    "source": T,
    "models_usage": st.none() | st.builds(RequestUsage, st.integers(0), st.integers(0)),
    "metadata": st.dictionaries(T, T, max_size=2),
}
CALLS = st.lists(st.builds(FunctionCall, id=T, name=T, arguments=T), max_size=2)
RESULTS = st.lists(
    st.builds(FunctionExecutionResult, content=T, name=T, call_id=T, is_error=st.booleans()),
    max_size=2,
)
MEMORIES = st.builds(MemoryContent, content=T, mime_type=st.just(MemoryMimeType.TEXT))
BLOCKS = st.lists(st.builds(CodeBlock, code=T, language=T), max_size=2)
RETRY = {"retry_attempt": st.integers(0, 9)}
MESSAGES = st.one_of(
    *(
        st.builds(kind, content=T, **HEAD)
        for kind in (TextMessage, StopMessage, ThoughtEvent, ModelClientStreamingChunkEvent)
    ),
    st.builds(SelectorEvent, content=T, **HEAD),
    st.builds(HandoffMessage, content=T, target=T, **HEAD),
    st.builds(MultiModalMessage, content=st.lists(T, max_size=2), **HEAD),
    st.builds(ToolCallSummaryMessage, content=T, tool_calls=CALLS, results=RESULTS, **HEAD),
    st.builds(ToolCallRequestEvent, content=CALLS, **HEAD),
    st.builds(ToolCallExecutionEvent, content=RESULTS, **HEAD),
    st.builds(UserInputRequestedEvent, request_id=T, **HEAD),
    st.builds(MemoryQueryEvent, content=st.lists(MEMORIES, max_size=2), **HEAD),
    st.builds(SelectSpeakerEvent, content=st.lists(T, max_size=2), **HEAD),
    st.builds(CodeGenerationEvent, content=T, code_blocks=BLOCKS, **RETRY, **HEAD),
    st.builds(
        CodeExecutionEvent,
        result=st.builds(CodeResult, exit_code=st.integers(0, 255), output=T),
        **RETRY,
        **HEAD,
    ),
    st.builds(StructuredMessage[Plan], content=st.builds(Plan, steps=st.lists(T)), **HEAD),
)


def recorded(place: int, message: BaseAgentEvent | BaseChatMessage) -> MessageRecord:
    payload = json.loads(json.dumps(message.dump()))
    now = datetime.now(UTC)
    return MessageRecord(place, 3, 7, message.source, type(message).__name__, payload, now)


@given(st.lists(MESSAGES, max_size=4))
def test_every_type_of_message_reads_back(messages: list[BaseAgentEvent | BaseChatMessage]) -> None:
    factory = MessageFactory()
    factory.register(StructuredMessage[Plan])
    factory.register(SelectorEvent)
    text = "".join(jsonl(recorded(place, message) for place, message in enumerate(messages)))
    assert text.isascii()
    lines = text.splitlines()
    assert len(lines) == len(messages)
    for place, (line, message) in enumerate(zip(lines, messages, strict=True)):
        again = factory.create(json.loads(line))
        assert type(again) is type(message)
        assert again.metadata[ROUND] == "3"
        assert again.metadata[TRIAL]
        assert again.metadata.pop(POSITION) == str(place)
        ties = {key: again.metadata.pop(key) for key in (ROUND, TRIAL)}
        assert again.dump() == message.dump(), ties


@pytest.mark.parametrize(
    ("trial", "positions"), [(1, [1, 3, 6, 7, 10, 13]), (2, [2, 4, 5, 8, 9, 11, 12, 13]), (0, [])]
)
def test_the_messages_of_a_trial_are_its_turn_and_its_report(
    store: LineageStore, trial: int, positions: list[int]
) -> None:
    two_at_once(store)
    told = Transcript(store, store.campaign(CAMPAIGN), trial=trial)
    tables = [json.loads(line) for line in told.pieces(TranscriptFormat.JSONL)]
    assert [int(table["metadata"][POSITION]) for table in tables] == positions
    if trial:
        assert tables[-1]["metadata"][TRIAL] == "1,2"


def test_a_long_campaign_is_never_in_memory_as_a_whole(
    store: LineageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_at_once(store)
    monkeypatch.setattr("recipelab.lineage.messages.MESSAGE_PAGE", 2)
    pieces = Transcript(store, store.campaign(CAMPAIGN)).pieces(TranscriptFormat.JSONL)
    first = [next(pieces) for _ in range(3)]
    store.add_message(
        CAMPAIGN, round_number=None, source="late", type="TextMessage", payload={}, trial=None
    )
    rest = list(pieces)
    assert len(first) + len(rest) == 18
    assert json.loads(rest[-1]) == {"metadata": {POSITION: "17"}}
