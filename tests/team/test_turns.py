"""The outcome of a turn, read from what agents say."""

from __future__ import annotations

import json

import pytest
from autogen_agentchat.messages import TextMessage, ToolCallExecutionEvent
from autogen_core.models import FunctionExecutionResult

from recipelab.agents.specialist import FAULT
from recipelab.core.trial import Status
from recipelab.team.turns import Silence, TurnOutcome, TurnReader, TurnResult, idle_report


def answered(source: str, content: object, *, name: str = "submit_trial", error: bool = False):  # type: ignore[no-untyped-def]
    text = content if isinstance(content, str) else json.dumps(content)
    result = FunctionExecutionResult(call_id="1", name=name, content=text, is_error=error)
    return ToolCallExecutionEvent(source=source, content=[result])


def said(source: str, **metadata: str) -> TextMessage:
    return TextMessage(content="Done.", source=source, metadata=metadata)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], TurnOutcome("left", TurnResult.PASSED)),
        (
            [answered("left", {"trial": 4, "status": "queued"})],
            TurnOutcome("left", TurnResult.SUBMITTED, (4,), called_tools=True),
        ),
        (
            [answered("left", {"trial": 4, "status": "rejected"})],
            TurnOutcome("left", TurnResult.REJECTED, (), (4,), called_tools=True),
        ),
        (
            [
                answered("left", {"trial": 4, "status": "rejected"}),
                answered("left", {"trial": 5, "status": "queued"}, name="turn_knob"),
            ],
            TurnOutcome("left", TurnResult.SUBMITTED, (5,), (4,), called_tools=True),
        ),
        (
            [answered("left", "no such\n parent", error=True)],
            TurnOutcome(
                "left",
                TurnResult.PASSED,
                called_tools=True,
                tool_errors=("submit_trial: no such parent",),
            ),
        ),
        # Of a tool that submits nothing, only errors matter; others' messages belong elsewhere.
        (
            [answered("left", {"trial": 4}, name="trial_detail"), answered("right", {"trial": 9})],
            TurnOutcome("left", TurnResult.PASSED, called_tools=True),
        ),
    ],
)
def test_a_turn_is_read_from_its_messages(messages: list, expected: TurnOutcome) -> None:  # type: ignore[type-arg]
    reader = TurnReader(["left", "right"])
    assert [reader.read(message) for message in messages] == [None] * len(messages)
    assert reader.read(said("evaluator")) is None
    assert reader.read(said("left")) == expected
    assert reader.read(said("left")) == TurnOutcome("left", TurnResult.PASSED)


def test_a_turn_whose_model_failed_says_why() -> None:
    reader = TurnReader(["left"])
    turn = reader.read(said("left", **{FAULT: "ValueError"}))
    assert turn == TurnOutcome("left", TurnResult.FAILED, fault="Done.")
    reader.read(answered("left", {"trial": 1, "status": "queued"}))
    turn = reader.read(said("left", **{FAULT: "ValueError"}))
    assert turn is not None
    assert (turn.result, turn.fault) == (TurnResult.SUBMITTED, "Done.")


def test_a_turn_that_a_round_cut_short_is_forgotten() -> None:
    reader = TurnReader(["left"])
    reader.read(answered("left", {"trial": 1, "status": "queued"}))
    reader.start_round()
    assert reader.read(said("left")) == TurnOutcome("left", TurnResult.PASSED)


def test_a_report_names_the_most_frequent_error() -> None:
    turns = [
        TurnOutcome("left", TurnResult.PASSED),
        TurnOutcome("left", TurnResult.PASSED, called_tools=True, tool_errors=("a: x", "b: y")),
        TurnOutcome("right", TurnResult.PASSED, called_tools=True, tool_errors=("b: y",)),
        TurnOutcome("right", TurnResult.FAILED, fault="The server is gone."),
    ]
    assert idle_report(turns) == (
        "4 turns, 2 of them without a tool call; tools answered 3 times with an error, "
        "most often (2) 'b: y'; models failed 1 times with an error, most often (1) "
        "'The server is gone.'"
    )


SURFACES = {"left": ("left",), "right": ("right",)}


def silent_in(silence: Silence) -> set[str]:
    return set(SURFACES) - set(silence.among(SURFACES, nothing_goes_on=False))


def test_who_has_nothing_to_say_is_asked_again_when_something_has_changed() -> None:
    silence = Silence(SURFACES)
    passed = TurnOutcome("right", TurnResult.PASSED)
    changes = (
        lambda: silence.trial_judged(Status.KEPT, "left"),
        lambda: silence.trial_judged(Status.DISCARDED, "right"),
        lambda: silence.notes_are({1}),
        lambda: silence.turn_ended(TurnOutcome("right", TurnResult.SUBMITTED, (1,))),
    )
    for change in changes:
        silence.turn_ended(passed)
        silence.trial_judged(Status.DISCARDED, "left")
        silence.turn_ended(TurnOutcome("left", TurnResult.REJECTED, (), (2,)))
        assert silent_in(silence) == {"right"}
        change()
        assert silent_in(silence) == set()


def test_where_all_are_silent_one_is_asked_once_more_in_a_round() -> None:
    silence = Silence(SURFACES)
    for name in SURFACES:
        silence.turn_ended(TurnOutcome(name, TurnResult.PASSED))
    for _ in range(2):
        assert silence.among(SURFACES, nothing_goes_on=False) == []
        assert silence.among(SURFACES, nothing_goes_on=True) == ["left", "right"]
        silence.turn_ended(TurnOutcome("right", TurnResult.PASSED))
        assert silence.among(SURFACES, nothing_goes_on=True) == []
        silence.start_round()


def test_the_order_of_turns_tells_the_blind_nothing() -> None:
    silence = Silence(SURFACES, blind=True)
    silence.turn_ended(TurnOutcome("right", TurnResult.PASSED))
    silence.trial_judged(Status.DISCARDED, "left")
    assert silent_in(silence) == set()
