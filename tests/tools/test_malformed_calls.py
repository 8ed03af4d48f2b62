"""Malformed tool calls: what is mended, and what a small model is told of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.messages import ToolCallExecutionEvent
from autogen_core.tools import ToolSchema
from hypothesis import given
from hypothesis import strategies as st

from recipelab.agents import load_charter
from recipelab.agents.specialist import workbench_of
from recipelab.evaluation.queue import TrialQueue
from recipelab.models import JsonRepairClient, open_model
from recipelab.models.wrappers import repaired_arguments
from recipelab.tools import SpecialistWorkbench
from recipelab.tools.base import repaired
from recipelab.tools.submit import SubmitTrialArguments

from ..models.server import Reply, serving

EDIT = {"path": "recipe/train.py", "search": "X = 1.0", "replace": "X = 3.0"}
GOOD = {
    "parent": 0,
    "hypothesis": "Nearer to the bottom.",
    "expected_delta": -5.0,
    "edits": [EDIT],
}


@pytest.fixture
def bench(desk: TrialQueue) -> SpecialistWorkbench:
    return workbench_of(load_charter("left"), desk, (), 1)


@pytest.mark.parametrize(
    "slip",
    [
        {"edits": json.dumps([EDIT])},
        {"parent": "0", "expected_delta": "-5"},
        {"surface": "null"},
        {"surface": ""},
    ],
)
async def test_slips_of_form_are_mended(bench: SpecialistWorkbench, slip: dict[str, Any]) -> None:
    await bench.call_tool("lineage_query", {})
    result = await bench.call_tool("submit_trial", GOOD | slip)
    assert json.loads(result.to_text())["status"] == "in_flight", result.to_text()


@pytest.mark.parametrize(
    ("slip", "told"),
    [
        ({"edits": "X = 3.0"}, '- edits: Input should be a valid list (given: "X = 3.0")'),
        ({"parent": "best"}, "- parent: Input should be a valid integer"),
        ({"expected_delta": "much"}, "- expected_delta: "),
        ({"idea": "more"}, "- idea: Extra inputs are not permitted"),
        ({"edits": [{"path": "a"}]}, "- edits.0.replace: Field required"),
    ],
)
async def test_what_cannot_be_mended_is_explained_with_an_example(
    bench: SpecialistWorkbench, slip: dict[str, Any], told: str
) -> None:
    result = await bench.call_tool("submit_trial", GOOD | slip)
    text = result.to_text()
    assert result.is_error
    assert told in text
    example = text.split("Call it like this: submit_trial(")[1].split(")\n")[0]
    # The example itself fits.
    assert set(json.loads(example)) == {"parent", "edits", "hypothesis", "expected_delta"}
    assert "May be left out: check, surface, go_on." in text


@given(
    st.fixed_dictionaries(
        {
            "parent": st.integers(0, 10),
            "hypothesis": st.text(min_size=10, max_size=60),
            "expected_delta": st.floats(-10, 10),
            "edits": st.lists(
                st.fixed_dictionaries({"path": st.text(max_size=9), "replace": st.text()}),
                min_size=1,
                max_size=3,
            ),
        }
    ),
    st.sets(st.sampled_from(["parent", "expected_delta", "edits"])),
)
def test_right_arguments_are_left_alone_and_quoted_ones_read(
    arguments: dict[str, Any], quoted: set[str]
) -> None:
    schema: ToolSchema = {
        "name": "submit_trial",
        "parameters": SubmitTrialArguments.model_json_schema(),  # type: ignore[typeddict-item]
    }
    given_ = {k: json.dumps(v) if k in quoted else v for k, v in arguments.items()}
    found = SubmitTrialArguments.model_validate(repaired(given_, schema))
    assert found == SubmitTrialArguments.model_validate(arguments)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("submit_trial", "{'parent': 0}"), "hypothesis: Field required"),
        (("submit_trial", '{"parent": 0,}'), "hypothesis: Field required"),
        (("submit_trial", "parent is 0"), "unreadable_arguments: Extra inputs are not permitted"),
        (("submit_a_trial", "{}"), "submit_a_trial"),
        (("check_edit", json.dumps({"parent": 0})), "edits: Field required"),
    ],
)
async def test_a_model_over_http_is_answered_and_can_mend_its_call(
    bench: SpecialistWorkbench, call: tuple[str, str], told: str
) -> None:
    good = Reply(calls=[("check_edit", json.dumps({"parent": 0, "edits": [EDIT]}))])
    with serving(Reply(calls=[call]), good, Reply("Done.")) as server:
        client = JsonRepairClient(open_model("openai:small", seed=0, base_url=server.url))
        agent = AssistantAgent("left", client, workbench=bench, max_tool_iterations=5)
        result = await agent.run(task="Go.")
        await client.close()
    answers = [
        one for m in result.messages if isinstance(m, ToolCallExecutionEvent) for one in m.content
    ]
    assert [answer.is_error for answer in answers] == [True, False]
    assert told in answers[0].content
    assert json.loads(answers[1].content)["ok"]
    # What the server was sent next holds the answer to the bad call.
    assert told in json.dumps(server.requests[1]["messages"])


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists)))
def test_json_and_python_tables_are_read_as_what_they_say(table: dict[str, Any]) -> None:
    for text in (json.dumps(table), f"```json\n{json.dumps(table)}\n```", repr(table)):
        assert json.loads(repaired_arguments(text)) == table
    assert repaired_arguments(json.dumps(json.dumps(table))) == json.dumps(table)


@given(st.text())
def test_whatever_is_written_becomes_a_table(text: str) -> None:
    assert isinstance(json.loads(repaired_arguments(text)), dict)
