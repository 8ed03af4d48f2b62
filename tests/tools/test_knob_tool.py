"""``turn_knob`` and guided models: legal edits from a menu that shrinks as it is tried."""

from __future__ import annotations

import json
from typing import Any

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.messages import ToolCallExecutionEvent

from recipelab.agents import load_charter
from recipelab.agents.specialist import workbench_of
from recipelab.evaluation.queue import TrialQueue
from recipelab.models import GuidedClient, open_model
from recipelab.tools import SpecialistWorkbench

from ..models.server import Reply, serving

ORDER = ("surface_summary", "turn_knob")


def bench_of(desk: TrialQueue) -> SpecialistWorkbench:
    charter = load_charter("left").model_copy(update={"tools": ORDER})
    return workbench_of(charter, desk, (), 1)


async def menu_of(bench: SpecialistWorkbench) -> list[str]:
    (schema,) = [tool for tool in await bench.list_tools() if tool["name"] == "turn_knob"]
    properties: dict[str, Any] = dict(schema["parameters"]["properties"])
    menu: list[str] = properties["change"]["enum"]
    return menu


async def test_the_menu_holds_legal_changes_that_nobody_has_tried(desk: TrialQueue) -> None:
    bench = bench_of(desk)
    menu = await menu_of(bench)
    assert menu
    assert all(change.startswith("X = ") for change in menu)
    idea = "It may be better there."
    early = await bench.call_tool("turn_knob", {"change": menu[0], "hypothesis": idea})
    assert "does not show every trial" in early.to_text()
    await bench.call_tool("surface_summary", {})
    wrong = await bench.call_tool("turn_knob", {"change": "X = 99", "hypothesis": idea})
    assert "unknown change 'X = 99'; valid: X = " in wrong.to_text()
    taken = await bench.call_tool("turn_knob", {"change": menu[0], "hypothesis": idea})
    assert json.loads(taken.to_text())["status"] == "in_flight"
    assert menu[0] not in await menu_of(bench)
    (record,) = await desk.next_ended()
    assert record.outcome is not None
    assert (record.parents, record.surface, record.hypothesis) == ((0,), "left", idea)


async def test_a_guided_model_is_led_from_tool_to_tool(desk: TrialQueue) -> None:
    bench = bench_of(desk)
    change = (await menu_of(bench))[0]
    arguments = json.dumps({"change": change, "hypothesis": "It may be better there."})
    with serving(Reply(calls=[("turn_knob", arguments)])) as server:
        inner = open_model("openai:small", seed=0, base_url=server.url)
        client = GuidedClient(inner, ORDER)
        agent = AssistantAgent("left", client, workbench=bench, max_tool_iterations=9)
        result = await agent.run(task="Go.")
        await inner.close()
    answers = [
        one for m in result.messages if isinstance(m, ToolCallExecutionEvent) for one in m.content
    ]
    assert [(answer.name, answer.is_error) for answer in answers] == [(n, False) for n in ORDER]
    # The model was asked once, for the one call that leaves something to decide.
    (request,) = server.requests
    assert request["tool_choice"]["function"]["name"] == "turn_knob"
    (tool,) = request["tools"]
    assert change in tool["function"]["parameters"]["properties"]["change"]["enum"]
