"""Messages that are mixed become turns, whatever an imported campaign holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recipelab.lineage import LineageStore, MessageRecord
from recipelab.report.transcript import Said, TranscriptCall, turns_of
from recipelab.report.transcript.review import call_line
from tests.report.conversation import CAMPAIGN, two_at_once

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
ITEM = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["a", "b"]) | JSON,
        "call_id": st.sampled_from(["a", "b"]) | JSON,
        "name": st.sampled_from(["submit_trial", "read_recipe", "check_edit", "lineage_query"]),
        "arguments": st.text(max_size=5) | st.just('{"trial": 1}') | JSON,
        "content": JSON | st.sampled_from(['{"trial": 7}', '{"files": 1}', '{"ok": 0}']),
        "is_error": st.booleans(),
    },
)
PAYLOAD = st.fixed_dictionaries(
    {},
    optional={
        "content": st.lists(ITEM | JSON, max_size=3) | JSON,
        "metadata": st.fixed_dictionaries({"trials": JSON | st.just("1,2")}) | JSON,
        "models_usage": st.fixed_dictionaries({"prompt_tokens": JSON}) | JSON,
    },
)
TYPES = ["ToolCallRequestEvent", "ToolCallExecutionEvent", "ThoughtEvent", "TextMessage", "Odd"]


def test_turns_of_several_specialists_are_told_apart(store: LineageStore) -> None:
    two_at_once(store)
    messages = store.messages(CAMPAIGN)
    turns = turns_of(messages)
    assert [turn.source for turn in turns] == ["user", "left", "right", "evaluator", "left"]
    _, left, right, seat, again = turns
    assert [call.name for call in left.calls] == ["lineage_query", "submit_trial"]
    assert [call.is_error for call in right.calls] == [True, False, False]
    assert [turn.submitted for turn in turns] == [(), (1,), (2,), (), (3,)]
    assert seat.reported == (1, 2)
    assert (left.prompt_tokens, left.completion_tokens) == (2_000, 40)
    assert left.steps[-1] == Said("I submitted one.", "TextMessage", True)
    assert again.positions == [14, 15, 16]
    assert sorted(place for turn in turns for place in turn.positions) == list(range(17))
    assert left.began == messages[0].created_at <= left.ended
    assert again.seconds == (messages[16].created_at - messages[13].created_at).total_seconds()


def record(place: int, source: str, type: str, payload: dict[str, Any]) -> MessageRecord:
    return MessageRecord(place, 1, None, source, type, payload, NOON)


def test_a_call_without_an_answer_is_kept() -> None:
    item = {"id": "a", "name": "read_recipe", "arguments": "not JSON"}
    (turn,) = turns_of([record(0, "left", "ToolCallRequestEvent", {"content": [item]})])
    assert turn.steps == [TranscriptCall("read_recipe", {"(not an object)": "not JSON"})]


def test_a_picture_is_no_text() -> None:
    content = ["Look:", {"data": "iVBORw0KGgo="}]
    (turn,) = turns_of([record(0, "left", "MultiModalMessage", {"content": content})])
    assert turn.steps == [Said("Look:\n(a picture)", "MultiModalMessage", True)]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(TYPES), PAYLOAD), max_size=8))
def test_no_payload_is_too_odd(said: list[tuple[str, str, dict[str, Any]]]) -> None:
    records = [record(place, *words) for place, words in enumerate(said)]
    turns = turns_of(records)
    places = sorted(place for turn in turns for place in turn.positions)
    assert places == list(range(len(records)))
    for turn in turns:
        assert all(number >= 0 for number in (*turn.submitted, *turn.reported))
        assert all(call_line(call).startswith("- ") for call in turn.calls)
