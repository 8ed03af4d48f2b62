"""The tools of a specialist, against a real desk with real processes."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from autogen_core import CancellationToken
from autogen_core.tools import BaseTool, ToolResult
from pydantic import BaseModel

from recipelab.agents.charters import load_charter
from recipelab.agents.lineage_view import render_lineage_view
from recipelab.agents.specialist import view_context_of, workbench_of
from recipelab.budget import BudgetLimits, Ledger
from recipelab.core.text import read_table
from recipelab.core.trial import Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.queue import TrialQueue
from recipelab.packs.load import load_playbook
from recipelab.packs.pack import Pack
from recipelab.tools import LineageQueryTool, SpecialistWorkbench, TurnState
from recipelab.tools.base import Answer, TextTool

EDIT = {"path": "recipe/train.py", "search": "X = 1.0", "replace": "X = 3.0"}


@pytest.fixture
def bench(desk: TrialQueue, toy: Pack) -> SpecialistWorkbench:
    """The tools of the specialist of the left surface."""
    return workbench_of(load_charter("left"), desk, load_playbook(toy), 1)


async def call(bench: SpecialistWorkbench, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await bench.call_tool(tool, arguments)
    assert not result.is_error, result.to_text()
    return read_table(result.to_text())


async def refused(bench: SpecialistWorkbench, tool: str, **arguments: Any) -> str:
    result = await bench.call_tool(tool, arguments)
    assert result.is_error, result.to_text()
    return result.to_text()


def proposal(**more: Any) -> dict[str, Any]:
    base = {"parent": 0, "hypothesis": "Nearer to the bottom.", "expected_delta": -5.0}
    return {**base, "edits": [EDIT], **more}


async def test_who_was_not_shown_every_trial_asks_first(bench: SpecialistWorkbench) -> None:
    bench.turn.opened(0, is_whole=False)
    assert "does not show every trial" in await refused(bench, "submit_trial", **proposal())
    await call(bench, "check_edit", parent=0, edits=[EDIT])
    assert (await call(bench, "submit_trial", **proposal()))["status"] == "in_flight"


async def test_an_opening_with_every_trial_is_a_look_at_the_lineage_for_its_turn(
    bench: SpecialistWorkbench,
) -> None:
    bench.turn.opened(0, is_whole=True)
    bench.begin_turn()
    assert "does not show every trial" in await refused(bench, "submit_trial", **proposal())
    bench.turn.opened(0, is_whole=True)
    assert (await call(bench, "submit_trial", **proposal()))["status"] == "in_flight"


async def test_calls_of_one_message_are_answered_in_order(bench: SpecialistWorkbench) -> None:
    asked, submitted = await asyncio.gather(
        bench.call_tool("lineage_query", {"text": "nearer"}),
        bench.call_tool("submit_trial", proposal()),
    )
    assert not asked.is_error
    assert json.loads(submitted.to_text())["status"] == "in_flight"


async def test_checked_edits_are_submitted_by_their_id(
    bench: SpecialistWorkbench, desk: TrialQueue
) -> None:
    checked = await call(bench, "check_edit", parent=0, edits=[EDIT])
    rest = {"hypothesis": "Nearer to the bottom.", "expected_delta": -5.0}
    unknown = await refused(bench, "submit_trial", check="c9", **rest)
    assert f"unknown check 'c9'; valid: {checked['check']}" in unknown
    assert "give check" in await refused(bench, "submit_trial", parent=0, **rest)
    assert "parent: name the trial" in await refused(bench, "submit_trial", edits=[EDIT], **rest)
    number = (await call(bench, "submit_trial", check=checked["check"], **rest))["trial"]
    record = desk.store.trial("c", number)
    assert (record.parents, [e.replace for e in record.edits]) == ((0,), ["X = 3.0"])


def in_turn(desk: TrialQueue, *, blind: bool = False) -> SpecialistWorkbench:
    """The tools of a specialist in a turn of the lineage, which knows all trials."""
    bench = workbench_of(load_charter("left"), desk, (), 1, blind=blind)
    bench.turn.number = desk.store.add_turn("c", "left", view="all", round_number=None)
    bench.turn.opened(0, is_whole=True)
    return bench


async def test_edits_go_on_top_of_a_check_and_are_sent_once(desk: TrialQueue) -> None:
    bench = in_turn(desk)
    turn = bench.turn.number
    assert (await call(bench, "check_edit", parent=0, edits=[EDIT]))["check"] == f"c{turn}.1"
    more = {"path": "recipe/train.py", "search": "X = 3.0", "replace": "X = 2.0"}
    assert (await call(bench, "check_edit", check="last", edits=[more]))["check"] == f"c{turn}.2"
    least = {"path": "recipe/train.py", "search": "X = 2.0", "replace": "X = 2.5"}
    other = await refused(bench, "check_edit", check="last", parent=1, edits=[least])
    assert "is of trial 0, not of 1: leave out parent" in other
    rest = {"hypothesis": "Nearer to the bottom.", "expected_delta": -5.0}
    number = (await call(bench, "submit_trial", check="c2", edits=[least], **rest))["trial"]
    record = desk.store.trial("c", number)
    assert [e.replace for e in record.edits] == ["X = 3.0", "X = 2.0", "X = 2.5"]
    assert "X = 2.5" in desk.recipe_of(number)["recipe/train.py"]


async def test_a_check_of_one_specialist_serves_another_and_no_blind_one(desk: TrialQueue) -> None:
    first, other = in_turn(desk), in_turn(desk)
    name = (await call(first, "check_edit", parent=0, edits=[EDIT]))["check"]
    assert "unknown check 'c1'" in await refused(other, "check_edit", check="c1", edits=[EDIT])
    assert f"valid: {name}" in await refused(other, "check_edit", check="last", edits=[EDIT])
    first.begin_turn()
    rest = {"hypothesis": "Nearer to the bottom.", "expected_delta": -5.0}
    blind = in_turn(desk, blind=True)
    assert "unknown check" in await refused(blind, "submit_trial", check=name, **rest)
    assert (await call(other, "submit_trial", check=name, **rest))["status"] == "in_flight"


async def test_a_check_counts_the_lines_that_change(bench: SpecialistWorkbench, toy: Pack) -> None:
    checked = await call(bench, "check_edit", parent=0, edits=[EDIT])
    assert checked["changed"] == {"recipe/train.py": "+1 -1"}
    text = toy.baseline().files["recipe/train.py"].replace("X = 1.0", "X = 4.0")
    whole = {"path": "recipe/train.py", "replace": text + "# one line more\n"}
    checked = await call(bench, "check_edit", parent=0, edits=[whole])
    assert checked["changed"] == {"recipe/train.py": "+2 -1"}


async def test_an_edit_of_others_and_one_that_leaves_no_knob_are_told(
    bench: SpecialistWorkbench, toy: Pack
) -> None:
    other = {"path": "recipe/train.py", "search": "Y = 2.0", "replace": "Y = 3.0"}
    (note,) = (await call(bench, "check_edit", parent=0, edits=[other]))["notes"]
    assert note == "turns knobs of others, booked on your surface: Y (right)"
    assert "notes" not in await call(bench, "check_edit", parent=0, edits=[EDIT])
    bare = [
        {"path": path, "replace": re.sub(r"# knob .*", "", text.replace("X = 1.0", "X = 5.0"))}
        for path, text in toy.baseline().files.items()
        if "# knob" in text
    ]
    (note,) = (await call(bench, "check_edit", parent=0, edits=bare))["notes"]
    assert note.startswith("no knob is left")


async def test_a_trial_is_booked_on_the_surface_whose_knob_it_turns(desk: TrialQueue) -> None:
    both = load_charter("left").model_copy(update={"surfaces": ("left", "right")})
    bench = workbench_of(both, desk, (), 1)
    other = {"path": "recipe/train.py", "search": "Y = 2.0", "replace": "Y = 3.0"}
    await call(bench, "lineage_query")
    number = (await call(bench, "submit_trial", **proposal(edits=[other])))["trial"]
    assert desk.store.trial("c", number).surface == "right"


async def test_plays_that_do_not_fit_the_recipe_are_left_out(
    bench: SpecialistWorkbench, desk: TrialQueue
) -> None:
    (play,) = (await call(bench, "read_recipe"))["playbook"]
    number = (await call(bench, "submit_trial", **proposal(edits=play["edits"])))["trial"]
    assert (await call(bench, "read_recipe", trial=number))["playbook"] == []
    assert (await call(bench, "read_recipe", trial=0))["playbook"] == [play]


async def test_it_waits_for_a_trial_and_hears_of_the_new_best(
    bench: SpecialistWorkbench, desk: TrialQueue
) -> None:
    bench.turn.opened(0, is_whole=True)
    number = (await call(bench, "submit_trial", **proposal(go_on=True)))["trial"]
    outcome = await call(bench, "wait_for", trial=number)
    assert (outcome["trial"], outcome["status"], outcome["against"]) == (number, "kept", 0)
    assert outcome["news"].startswith(f"the best is trial {number} by now")
    assert desk.waited_for == 0
    # Whoever waits takes nothing from the evaluator, and each piece of news is told once.
    assert [record.number for record in await desk.next_ended()] == [number]
    assert "news" not in await call(bench, "wait_for", trial=number)
    assert "has no trial 99" in await refused(bench, "wait_for", trial=99)


async def test_a_trial_is_measured_again_for_one_of_the_budget(
    bench: SpecialistWorkbench, desk: TrialQueue
) -> None:
    await call(bench, "lineage_query")
    edit = {"path": "recipe/train.py", "search": "X = 1.0", "replace": "X = 0.9"}
    first = (await call(bench, "submit_trial", **proposal(edits=[edit])))["trial"]
    assert "no slot is free" in await refused(bench, "more_seeds", **again(first))
    await call(bench, "wait_for", trial=first)
    bench.begin_turn()
    await call(bench, "lineage_query")
    answer = await call(bench, "more_seeds", **again(first))
    assert answer == {"trial": first + 1, "status": "in_flight", "again": first, "turn": "over"}
    outcome = await call(bench, "wait_for", trial=first + 1)
    assert outcome["reason"].startswith(f"trial {first} again, on fresh seeds: ")
    assert desk.store.trial("c", first + 1).hypothesis == "Is the loss a real one?"


def again(trial: int) -> dict[str, Any]:
    return {"trial": trial, "hypothesis": "Is the loss a real one?"}


async def test_waiting_for_a_trial_ends_with_its_seconds_the_round_or_a_cancellation(
    desk: TrialQueue,
) -> None:
    closing = asyncio.Event()
    bench = workbench_of(load_charter("left"), desk, (), 1, closing=closing)
    desk.paused = True  # so that no trial ends
    await call(bench, "lineage_query")
    number = (await call(bench, "submit_trial", **proposal(go_on=True)))["trial"]
    assert (await call(bench, "wait_for", trial=number, seconds=1))["note"] == "it still runs"
    token = CancellationToken()
    cancelled = asyncio.create_task(bench.call_tool("wait_for", {"trial": number}, token))
    await asyncio.sleep(0)
    token.cancel()
    assert (await asyncio.wait_for(cancelled, 5)).to_text() == "cancelled"
    waiting = asyncio.create_task(bench.call_tool("wait_for", {"trial": number}))
    await asyncio.sleep(0)
    closing.set()
    assert "the round ends" in (await asyncio.wait_for(waiting, 5)).to_text()


async def test_a_turn_may_bring_several_trials_while_slots_are_free(
    desk: TrialQueue, evaluator: Evaluator
) -> None:
    two = TrialQueue(desk.store, "c", evaluator, slots=2)
    two.paused = True
    bench = workbench_of(load_charter("left"), two, (), 1)
    await call(bench, "lineage_query")
    for value in ("3.0", "4.0"):
        edit = EDIT | {"replace": f"X = {value}"}
        await call(bench, "submit_trial", **proposal(edits=[edit], go_on=True))
    third = await refused(bench, "submit_trial", **proposal(edits=[EDIT | {"replace": "X = 5.0"}]))
    assert "no slot is free" in third
    state = await bench.save_state()
    assert state["submitted"] == [1, 2]
    again = workbench_of(load_charter("left"), two, (), 1)
    await again.load_state(state)
    assert "no slot is free" in await refused(again, "submit_trial", **proposal())
    await two.stop()


async def test_a_trial_goes_from_proposal_to_outcome(
    bench: SpecialistWorkbench, desk: TrialQueue
) -> None:
    await call(bench, "lineage_query")
    submitted = await call(bench, "submit_trial", **proposal())
    assert submitted["trial"] == 1
    flight = await call(bench, "lineage_query", surface=["left"])
    assert flight["trials"][0]["status"] == "in_flight"
    desk.now.took_floor("left")
    desk.now.took_floor("right")
    shown = render_lineage_view(view_context_of(load_charter("left"), desk))
    assert "1 (left by left) in flight" in shown
    assert re.search(r"a slot is free in some \d+ s\. Thinking now: right\.", shown)
    (record,) = await desk.next_ended()
    shown = render_lineage_view(view_context_of(load_charter("left"), desk))
    assert "slots free now: 1. Thinking now: right." in shown
    assert record.outcome is not None
    assert record.outcome.status is Status.KEPT
    row = (await call(bench, "lineage_query", status=["kept"]))["trials"][0]
    assert row["parents"] == [0]
    assert row["gates"]["fit"]["margin"] > 0


async def test_one_trial_a_turn_and_no_more_than_the_budget(
    desk: TrialQueue, evaluator: Evaluator
) -> None:
    desk = TrialQueue(
        desk.store, "c", evaluator, ledger=Ledger(desk.store, "c", BudgetLimits(trials=2))
    )
    bench = workbench_of(load_charter("left"), desk, (), 1)
    for value in ("3.0", "4.0"):
        bench.begin_turn()
        await call(bench, "lineage_query")
        edit = EDIT | {"replace": f"X = {value}"}
        await call(bench, "submit_trial", **proposal(edits=[edit]))
        again = await refused(bench, "submit_trial", **proposal())
        assert "in this turn" in again
        await desk.next_ended()
    bench.begin_turn()
    await call(bench, "lineage_query")
    assert "budget of trials is spent" in await refused(bench, "submit_trial", **proposal())


@pytest.mark.parametrize(
    ("edit", "kind", "words"),
    [
        (EDIT | {"search": "X = 9"}, "edit", "does not occur"),
        (EDIT | {"path": "evaluator/score.py"}, "edit", "may not be edited"),
        (EDIT | {"replace": "X = (1.0"}, "syntax", "recipe/train.py:"),
        (EDIT | {"replace": "X = 1.0"}, "duplicate", "change nothing"),
    ],
)
async def test_a_bad_edit_is_rejected_at_once_and_remembered(
    bench: SpecialistWorkbench, desk: TrialQueue, edit: dict[str, str], kind: str, words: str
) -> None:
    await call(bench, "lineage_query")
    checked = await call(bench, "check_edit", parent=0, edits=[edit])
    assert (checked["ok"], checked["kind"]) == (False, kind)
    answer = await call(bench, "submit_trial", **proposal(edits=[edit]))
    assert (answer["status"], answer["kind"]) == ("rejected", kind)
    assert words in answer["reason"]
    assert desk.running == ()
    assert desk.remaining == 10
    found = await call(bench, "lineage_query", failure_kind=[kind])
    assert [row["trial"] for row in found["trials"]] == [answer["trial"]]
    assert "no recipe" in await refused(bench, "read_recipe", trial=answer["trial"])


async def test_a_recipe_is_tried_once(bench: SpecialistWorkbench, desk: TrialQueue) -> None:
    await call(bench, "lineage_query")
    await call(bench, "submit_trial", **proposal())
    running = await call(bench, "check_edit", parent=0, edits=[EDIT])
    assert "is running now" in running["reason"]
    await desk.next_ended()
    judged = await call(bench, "check_edit", parent=0, edits=[EDIT])
    assert judged["kind"] == "duplicate"
    assert "trial 1 by left: kept" in judged["reason"]


async def test_a_recipe_shows_its_knobs_and_the_plays_of_the_surface(
    bench: SpecialistWorkbench,
) -> None:
    shown = await call(bench, "read_recipe")
    assert shown["trial"] == 0
    assert shown["knobs"] == {"left": {"X": 1.0}, "right": {"Y": 2.0, "PADDING": 10}}
    assert [play["id"] for play in shown["playbook"]] == ["straight-there"]


async def test_files_are_shown_as_they_are(bench: SpecialistWorkbench, toy: Pack) -> None:
    shown = (await bench.call_tool("read_recipe", {})).to_text()
    for path, text in toy.baseline().files.items():
        assert f"\n--- {path}\n{text}" in shown


async def test_a_large_recipe_is_read_file_by_file(
    bench: SpecialistWorkbench, monkeypatch: pytest.MonkeyPatch, toy: Pack
) -> None:
    files = toy.baseline().files
    longest = max(files, key=lambda path: len(files[path]))
    monkeypatch.setattr("recipelab.tools.recipe.READ_CHARACTERS", len(files[longest]) - 1)
    shown = await call(bench, "read_recipe")
    assert shown["to_be_read_alone"][longest] == len(files[longest])
    assert {**shown["files"], **shown["to_be_read_alone"]}.keys() == files.keys()
    assert shown["knobs"] == {"left": {"X": 1.0}, "right": {"Y": 2.0, "PADDING": 10}}
    text, line = "", 1
    while line:
        part = await call(bench, "read_recipe", path=longest, from_line=line)
        text, line = text + part["files"][longest], part.get("next_line", 0)
    assert text == files[longest]
    assert f"valid: {', '.join(sorted(files))}" in await refused(bench, "read_recipe", path="x")
    many = await refused(bench, "read_recipe", path=longest, from_line=10_000)
    assert f"{longest} has {len(files[longest].splitlines())} lines" in many


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("lineage_ask", {}, "valid: check_edit, diff_trials, "),
        ("lineage_query", {"status": ["great"]}, "'kept'"),
        ("lineage_query", {"stauts": []}, "stauts: Extra inputs"),
        ("lineage_query", {"limit": 10**30}, "limit"),
        ("read_recipe", {"trial": 99}, "99"),
        ("check_edit", {"parent": 99, "edits": [EDIT]}, "99"),
        ("check_edit", {"parent": 0, "edits": []}, "edits"),
        ("check_edit", {"parent": 0, "edits": [{"path": "x"}]}, "edits.0.replace"),
        ("submit_trial", {}, "hypothesis: Field required"),
    ],
)
async def test_bad_arguments_are_answered_with_words_that_help(
    bench: SpecialistWorkbench, tool: str, arguments: dict[str, Any], words: str
) -> None:
    assert words in await refused(bench, tool, **arguments)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"expected_delta": float("nan")}, "finite"),
        ({"hypothesis": "x"}, "hypothesis"),
        ({"surface": "right"}, "valid: left"),
        ({"parent": 7}, "7"),
    ],
)
async def test_a_proposal_that_is_none_is_not_recorded(
    bench: SpecialistWorkbench, desk: TrialQueue, more: dict[str, Any], words: str
) -> None:
    await call(bench, "lineage_query")
    assert words in await refused(bench, "submit_trial", **proposal(**more))
    assert desk.store.counts("c") == {Status.BASELINE: 1}


class Nothing(BaseModel):
    """No arguments."""


class SlowTool(TextTool[Nothing]):
    def __init__(self) -> None:
        super().__init__(Nothing, "slow", "Takes for ever.")

    async def answer(self, args: Nothing) -> str:
        await asyncio.Event().wait()
        return "never"


async def test_a_cancelled_call_ends_at_once_with_a_result() -> None:
    tools: list[BaseTool[Any, Answer]] = [SlowTool()]
    bench = SpecialistWorkbench(tools, TurnState(1))
    token = CancellationToken()
    pending: asyncio.Task[ToolResult] = asyncio.create_task(bench.call_tool("slow", {}, token))
    await asyncio.sleep(0)
    token.cancel()
    result = await asyncio.wait_for(pending, 5)
    assert (result.is_error, result.to_text()) == (True, "cancelled")


async def test_the_lineage_tool_is_a_component(desk: TrialQueue) -> None:
    tool = LineageQueryTool(desk.store, "c")
    loaded = BaseTool.load_component(json.loads(tool.dump_component().model_dump_json()))
    assert isinstance(loaded, LineageQueryTool)
    answers = [await t.run_json({}, CancellationToken()) for t in (tool, loaded)]
    assert answers[0] == answers[1]


async def test_a_file_is_sent_once_in_a_turn_as_long_as_it_is_the_same(
    bench: SpecialistWorkbench, desk: TrialQueue
) -> None:
    edit = {"path": "recipe/train.py", "search": "X = 1.0", "replace": "X = 3.0"}
    checked = await call(bench, "check_edit", parent=0, edits=[edit])
    assert checked["changed"] == {"recipe/train.py": "+1 -1"}
    number = (await call(bench, "submit_trial", **proposal(edits=[edit])))["trial"]
    start = (await call(bench, "read_recipe", trial=0))["files"]
    edited = await call(bench, "read_recipe", trial=number)
    assert edited["files"].keys() == {"recipe/train.py"}
    assert edited["as_shown_of_trial"] == dict.fromkeys(start.keys() - {"recipe/train.py"}, 0)
    assert (await call(bench, "read_recipe", trial=0))["files"] == {}
    assert (await call(bench, "read_recipe", trial=0, again=True))["files"] == start
    bench.begin_turn()
    assert (await call(bench, "read_recipe", trial=number))["files"].keys() == start.keys()
    await desk.stop()
