"""The tools of a specialist, against a real desk with real processes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from autogen_core import CancellationToken
from autogen_core.tools import BaseTool, ToolResult
from pydantic import BaseModel

from recipelab.agents.charters import load_charter
from recipelab.agents.lineage_view import render_lineage_view
from recipelab.agents.specialist import view_context_of, workbench_of
from recipelab.budget import BudgetLimits, Ledger
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
    table: dict[str, Any] = json.loads(result.to_text())
    return table


async def refused(bench: SpecialistWorkbench, tool: str, **arguments: Any) -> str:
    result = await bench.call_tool(tool, arguments)
    assert result.is_error, result.to_text()
    return result.to_text()


def proposal(**more: Any) -> dict[str, Any]:
    base = {"parent": 0, "hypothesis": "Nearer to the bottom.", "expected_delta": -5.0}
    return {**base, "edits": [EDIT], **more}


async def test_a_proposal_needs_a_look_at_the_lineage_first(bench: SpecialistWorkbench) -> None:
    assert "another lineage tool first" in await refused(bench, "submit_trial", **proposal())
    await call(bench, "lineage_query")
    assert (await call(bench, "submit_trial", **proposal()))["status"] == "in_flight"


async def test_the_look_counts_for_its_turn_only(bench: SpecialistWorkbench) -> None:
    await call(bench, "lineage_query")
    bench.begin_turn()
    assert "another lineage tool first" in await refused(bench, "submit_trial", **proposal())


async def test_a_trial_goes_from_proposal_to_outcome(
    bench: SpecialistWorkbench, desk: TrialQueue
) -> None:
    await call(bench, "lineage_query")
    submitted = await call(bench, "submit_trial", **proposal())
    assert submitted["trial"] == 1
    flight = await call(bench, "lineage_query", surface=["left"])
    assert flight["trials"][0]["status"] == "in_flight"
    assert "1 (left by left) in flight" in render_lineage_view(
        view_context_of(load_charter("left"), desk)
    )
    (record,) = await desk.next_ended()
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
    assert {knob["name"] for knob in shown["knobs"]} == {"X", "Y", "PADDING"}
    assert [play["id"] for play in shown["playbook"]] == ["straight-there"]


async def test_a_large_recipe_is_read_file_by_file(
    bench: SpecialistWorkbench, monkeypatch: pytest.MonkeyPatch, toy: Pack
) -> None:
    files = toy.baseline().files
    longest = max(files, key=lambda path: len(files[path]))
    monkeypatch.setattr("recipelab.tools.recipe.READ_CHARACTERS", len(files[longest]) - 1)
    shown = await call(bench, "read_recipe")
    assert shown["to_be_read_alone"][longest] == len(files[longest])
    assert {**shown["files"], **shown["to_be_read_alone"]}.keys() == files.keys()
    assert {knob["name"] for knob in shown["knobs"]} == {"X", "Y", "PADDING"}
    text, line = "", 1
    while line:
        part = await call(bench, "read_recipe", path=longest, from_line=line)
        text, line = text + part["text"], part.get("next_line", 0)
    assert text == files[longest]
    assert f"valid: {', '.join(sorted(files))}" in await refused(bench, "read_recipe", path="x")
    many = await refused(bench, "read_recipe", path=longest, from_line=10_000)
    assert f"{longest} has {len(files[longest].splitlines())} lines" in many


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("lineage_ask", {}, "valid: best_chain, check_edit, children"),
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
