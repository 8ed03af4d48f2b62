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
                TurnResult.REFUSED,
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
PASS = TurnOutcome("right", TurnResult.PASSED)


def silent_in(silence: Silence, *, slot_waits: bool = False) -> set[str]:
    return set(SURFACES) - set(
        silence.among(SURFACES, nothing_goes_on=False, slot_waits=slot_waits)
    )


def test_a_wait_for_a_trial_that_still_runs_is_no_pass() -> None:
    reader = TurnReader(["left"])
    reader.read(answered("left", {"trial": 3, "note": "it still runs"}, name="wait_for"))
    turn = reader.read(said("left"))
    assert turn is not None
    assert (turn.result, turn.waited) == (TurnResult.WAITED, True)
    reader.read(answered("left", {"trial": 3, "status": "kept"}, name="wait_for"))
    turn = reader.read(said("left"))
    assert turn is not None
    assert (turn.result, turn.waited) == (TurnResult.PASSED, True)


@pytest.mark.parametrize(
    ("words", "after"),
    [
        ("Nothing of mine beats the noise.", None),
        ("The time is full.\nAsk me again after: right, best", {"right", "best"}),
        ("**Ask me again after:** `right`.", {"right"}),
        ("Ask me again after: left\nNo:\n- ask me again after nothing", {"nothing"}),
    ],
)
def test_a_pass_may_say_what_must_change(words: str, after: set[str] | None) -> None:
    turn = TurnReader(["left"]).read(TextMessage(content=words, source="left"))
    assert turn is not None
    assert turn.ask_again == after


def test_who_has_nothing_to_say_is_asked_again_when_something_has_changed() -> None:
    silence = Silence(SURFACES)
    changes = (
        lambda: silence.trial_judged(Status.KEPT, "left"),
        lambda: silence.trial_judged(Status.DISCARDED, "right"),
        lambda: silence.notes_are({1}),
        lambda: silence.turn_ended(TurnOutcome("right", TurnResult.SUBMITTED, (1,))),
        lambda: silence.turn_ended(TurnOutcome("right", TurnResult.REFUSED)),
    )
    for change in changes:
        silence.turn_ended(TurnOutcome("right", TurnResult.SUBMITTED, (1,)))
        silence.turn_ended(PASS)
        silence.trial_judged(Status.DISCARDED, "left")
        silence.turn_ended(TurnOutcome("left", TurnResult.REJECTED, (), (2,)))
        assert silent_in(silence) == {"right"}
        change()
        assert silent_in(silence) == set()


def test_passes_in_a_row_take_more_and_more_news() -> None:
    silence = Silence(SURFACES)
    silence.turn_ended(TurnOutcome("right", TurnResult.SUBMITTED, (1,)))
    for needed in (1, 2, 4, 8, 8):
        silence.turn_ended(PASS)
        for _ in range(needed - 1):
            silence.trial_judged(Status.KEPT, "left")
            assert silent_in(silence) == {"right"}
        silence.trial_judged(Status.KEPT, "left")
        assert silent_in(silence) == set()
    silence.turn_ended(TurnOutcome("right", TurnResult.SUBMITTED, (1,)))
    silence.turn_ended(PASS)
    silence.trial_judged(Status.KEPT, "left")
    assert silent_in(silence) == set()


def test_a_slot_that_nobody_thinks_for_is_offered_to_who_has_heard_any_news() -> None:
    silence = Silence(SURFACES)
    for name in (*SURFACES, "right"):
        silence.turn_ended(TurnOutcome(name, TurnResult.PASSED))
    assert silent_in(silence, slot_waits=True) == {"left", "right"}
    silence.trial_judged(Status.DISCARDED, "right")
    assert silent_in(silence) == {"left", "right"}
    assert silent_in(silence, slot_waits=True) == {"left"}


@pytest.mark.parametrize(
    ("after", "heard"),
    [
        (None, {"left", "right"}),
        ({"left"}, {"left", "right"}),
        ({"nothing"}, {"right"}),
        ({"best", "nothing"}, {"left", "right"}),
        ({"wonders"}, {"left", "right"}),
    ],
)
def test_who_says_what_must_change_hears_of_that_alone(
    after: set[str] | None, heard: set[str]
) -> None:
    for surface in SURFACES:
        silence = Silence(SURFACES)
        said_so = None if after is None else frozenset(after)
        silence.turn_ended(TurnOutcome("right", TurnResult.PASSED, ask_again=said_so))
        silence.trial_judged(Status.KEPT, surface)
        assert (silent_in(silence) == set()) == (surface in heard)


def test_what_happens_during_a_turn_is_news_after_it() -> None:
    silence = Silence(SURFACES)
    silence.turn_began("right")
    silence.trial_judged(Status.KEPT, "left")
    silence.turn_ended(PASS)
    assert silent_in(silence) == set()


def test_who_waits_for_a_trial_is_asked_again_after_any() -> None:
    silence = Silence(SURFACES)
    silence.turn_ended(TurnOutcome("right", TurnResult.WAITED))
    assert silent_in(silence) == {"right"}
    silence.trial_judged(Status.CRASHED, "left")
    assert silent_in(silence) == set()


def test_who_only_ever_passed_is_asked_again_when_its_surface_has_changed() -> None:
    silence = Silence(SURFACES)
    for _ in range(2):
        silence.turn_ended(PASS)
        for _ in range(2):
            silence.trial_judged(Status.KEPT, "left")
    assert silent_in(silence) == {"right"}
    for _ in range(2):
        silence.trial_judged(Status.KEPT, "left", {"right"})
    assert silent_in(silence) == set()
    silence.turn_ended(TurnOutcome("right", TurnResult.PASSED, ask_again=frozenset({"left"})))
    for _ in range(4):
        assert silent_in(silence) == {"right"}
        silence.trial_judged(Status.KEPT, "left")
    assert silent_in(silence) == set(), "what it has named is news to it"


def test_who_is_refused_twice_in_a_row_has_passed() -> None:
    silence = Silence(SURFACES)
    for expected in (set(), {"right"}, {"right"}):
        silence.turn_ended(TurnOutcome("right", TurnResult.REFUSED))
        assert silent_in(silence) == expected
        silence.trial_judged(Status.KEPT, "left")


def test_where_all_are_silent_one_is_asked_once_more_in_a_round() -> None:
    silence = Silence(SURFACES)
    for name in SURFACES:
        silence.turn_ended(TurnOutcome(name, TurnResult.PASSED))
    for asked in (["left", "right"], ["left"]):
        assert silence.among(SURFACES, nothing_goes_on=False) == []
        assert silence.among(SURFACES, nothing_goes_on=True) == asked
        silence.turn_ended(PASS)
        assert silence.among(SURFACES, nothing_goes_on=True) == []
        silence.start_round()


def test_the_order_of_turns_tells_the_blind_nothing() -> None:
    silence = Silence(SURFACES, blind=True)
    silence.turn_ended(PASS)
    silence.trial_judged(Status.DISCARDED, "left")
    assert silent_in(silence) == set()
