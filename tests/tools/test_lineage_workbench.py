"""The ten tools that read the lineage, on a small campaign with a known history."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent
from autogen_core import CancellationToken, ComponentModel, FunctionCall
from autogen_core.models import CreateResult, RequestUsage
from autogen_core.tools import BaseTool, StaticWorkbench, Workbench
from autogen_ext.models.replay import ReplayChatCompletionClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipelab import LineageQueryTool, LineageWorkbench
from recipelab.core.errors import LineageError
from recipelab.core.trial import Edit, FailureKind
from recipelab.lineage import LineageStore, TrialFilter
from recipelab.packs.judging_sections import Goal
from recipelab.tools.base import ANSWER_CHARACTERS
from recipelab.tools.lineage_arguments import LISTS, LineageQueryArguments
from recipelab.tools.names import LINEAGE_TOOLS

from .history import add_campaign, failed, propose, propose_baseline, tell

NAMES = [
    "lineage_query",
    "lineage_failures",
    "near_misses",
    "trial_detail",
    "diff_trials",
    "best_chain",
    "children",
    "in_flight",
    "similar_trials",
    "surface_summary",
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LineageStore]:
    """A campaign of seven trials: see :func:`tell`."""
    with LineageStore.open(tmp_path / "lineage.db", create=True) as opened:
        add_campaign(opened, "c")
        tell(opened, "c")
        yield opened


@pytest.fixture
def bench(store: LineageStore) -> LineageWorkbench:
    return LineageWorkbench(store, "c")


async def call(bench: Workbench, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await bench.call_tool(tool, arguments)
    assert not result.is_error, result.to_text()
    table: dict[str, Any] = json.loads(result.to_text())
    return table


async def refused(bench: Workbench, tool: str, **arguments: Any) -> str:
    result = await bench.call_tool(tool, arguments)
    assert result.is_error, result.to_text()
    return result.to_text()


def numbers(answer: dict[str, Any], rows: str = "trials") -> list[int]:
    return [row["trial"] for row in answer[rows]]


async def test_there_are_ten_tools(bench: LineageWorkbench) -> None:
    assert [schema["name"] for schema in await bench.list_tools()] == NAMES


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, [6, 5, 4, 3, 2, 1, 0]),
        ({"status": ["kept"]}, [1]),
        ({"surface": ["arch"]}, [6, 3]),
        ({"status": ["in_flight"]}, [6]),
        ({"specialist": ["opt"], "order": "oldest"}, [1, 2, 4, 5]),
        ({"failure_kind": ["oom"]}, [3]),
        ({"signature": "memory"}, [3]),
        ({"min_score": 5.0, "max_score": 8.5}, [4, 1]),
        ({"parent": 1}, [6, 5, 4]),
        ({"ancestor": 0}, [6, 5, 4, 3, 2, 1]),
        ({"text": "wider"}, [6, 3]),
        ({"text": "out of memory"}, [3]),
        ({"order": "best", "limit": 2}, [4, 1]),
        ({"until": "2000-01-01T00:00:00"}, []),
        ({"since": "2000-01-01T00:00:00", "status": ["baseline"]}, [0]),
    ],
)
async def test_filters(bench: LineageWorkbench, filters: dict[str, Any], found: list[int]) -> None:
    answer = await call(bench, "lineage_query", **filters)
    assert numbers(answer) == found
    assert answer["best"]["trial"] == 1
    assert answer["counts"] == {
        "baseline": 1,
        "kept": 1,
        "discarded": 2,
        "crashed": 1,
        "gate_missed": 1,
        "in_flight": 1,
    }


async def test_a_row_says_what_was_turned_and_why_it_failed(bench: LineageWorkbench) -> None:
    (row,) = (await call(bench, "lineage_query", status=["crashed"]))["trials"]
    assert row["changes"] == ["WIDTH: 8 -> 16"]
    assert row["failure"] == {
        "phase": "train",
        "kind": "oom",
        "signature": "MemoryError: out of memory in model.py:build",
    }


async def test_pages_say_how_much_more_there_is(bench: LineageWorkbench) -> None:
    first = await call(bench, "lineage_query", limit=5)
    assert (first["total"], first["more"]) == (7, "2 more; ask with offset=5")
    second = await call(bench, "lineage_query", limit=5, offset=5)
    assert numbers(second) == [1, 0]
    assert "more" not in second


async def test_failures_are_counted_with_what_got_past_them(bench: LineageWorkbench) -> None:
    answer = await call(bench, "lineage_failures")
    by_kind = {row["kind"]: row for row in answer["failures"]}
    assert set(by_kind) == {"oom", "gate"}
    oom = by_kind["oom"]
    assert (oom["count"], oom["first_trial"], oom["last_trial"]) == (1, 3, 3)
    assert "MemoryError: out of memory" in oom["excerpt"]
    only = await call(bench, "lineage_failures", failure_kind=["gate"], surface=["opt"])
    assert [row["last_trial"] for row in only["failures"]] == [4]


async def test_a_near_miss_tells_the_excess_to_remove(bench: LineageWorkbench) -> None:
    (row,) = (await call(bench, "near_misses"))["near_misses"]
    assert row["trial"] == 4
    assert row["gain_over_best"] == pytest.approx(2.0)
    assert row["missed"] == [
        {"gate": "accuracy", "value": 0.78, "limit": 0.8, "excess_to_remove": pytest.approx(0.02)}
    ]


async def test_in_flight_stands_alone_among_statuses(bench: LineageWorkbench) -> None:
    told = await refused(bench, "lineage_query", status=["kept", "in_flight"])
    assert "in_flight stands alone" in told


async def test_schemas_hold_what_a_model_needs_and_no_more(store: LineageStore) -> None:
    (query, *_) = await LineageWorkbench(store, "c").list_tools()
    assert query["parameters"]["properties"]["parent"] == {
        "type": "integer",
        "description": "Children of this trial.",
    }
    assert "campaign" not in query["parameters"]["properties"]
    (query, *_) = await LineageWorkbench(store, "c", priors=("c",)).list_tools()
    assert query["parameters"]["properties"]["campaign"]["type"] == "string"
    # What the schema leaves out is read all the same.
    assert numbers(await call(LineageWorkbench(store, "c"), "lineage_query", campaign="c"))


async def test_detail_and_its_pages(bench: LineageWorkbench) -> None:
    detail = await call(bench, "trial_detail", trial=4)
    assert detail["gates"] == [
        {"gate": "accuracy", "value": 0.78, "limit": 0.8, "margin": pytest.approx(-0.02)}
    ]
    assert detail["measured"] == {"seed": [1], "train.cpu_seconds": [6]}
    assert "seed_runs" not in detail, "what they measured is told by name, once"
    assert "diff" not in detail
    assert detail["diff_more"].endswith("characters; ask with diff=true")
    assert "+RATE = 0.4" in (await call(bench, "trial_detail", trial=4, diff=True))["diff"]
    assert (await call(bench, "trial_detail", trial=4, offset=10**9))["diff"] == ""
    assert "has no trial 99" in await refused(bench, "trial_detail", trial=99)


async def test_two_trials_side_by_side(bench: LineageWorkbench) -> None:
    answer = await call(bench, "diff_trials", before=0, after=4)
    assert "-RATE = 0.1" in answer["diff"]
    assert "+RATE = 0.4" in answer["diff"]
    assert answer["before"] == {"trial": 0, "status": "baseline", "score": 10.0}


async def test_relatives(bench: LineageWorkbench) -> None:
    assert numbers(await call(bench, "best_chain")) == [1, 0]
    chain = await call(bench, "best_chain", trial=4, limit=2)
    assert numbers(chain) == [4, 1]
    assert chain["more"] == "1 more; ask with trial=0"
    assert numbers(await call(bench, "children", trial=1)) == [6, 5, 4]
    flight = await call(bench, "in_flight")
    assert (numbers(flight), flight["trials"][0]["status"]) == ([6], "in_flight")


async def test_has_this_been_tried(bench: LineageWorkbench) -> None:
    edit = {"path": "recipe/train.py", "search": "RATE = 0.1", "replace": "RATE  =  0.2"}
    found = (await call(bench, "similar_trials", edits=[edit], parent=0))["trials"]
    assert found[0]["trial"] == 1
    assert found[0]["why"] in ("same edit", "same knob and value")
    by_words = (await call(bench, "similar_trials", text="a wider network"))["trials"]
    assert {row["trial"] for row in by_words} >= {3, 6}
    assert "give edits or text" in await refused(bench, "similar_trials")


async def test_surfaces_and_specialists(bench: LineageWorkbench) -> None:
    answer = await call(bench, "surface_summary")
    surfaces = {row["surface"]: row for row in answer["surfaces"]}
    assert (surfaces["opt"]["tried"], surfaces["opt"]["kept"]) == (4, 1)
    assert surfaces["opt"]["last_kept"] == 1
    assert surfaces["opt"]["since_kept"] == 3
    assert surfaces["arch"]["statuses"] == {"crashed": 1, "in_flight": 1}
    assert {row["specialist"] for row in answer["specialists"]} >= {"opt", "arch"}


async def test_prior_campaigns_are_marked_and_others_refused(store: LineageStore) -> None:
    add_campaign(store, "old", pack="another")
    tell(store, "old")
    bench = LineageWorkbench(store, "c", priors=("old",))
    answer = await call(bench, "best_chain", campaign="old")
    assert answer["prior_campaign"] == "old"
    assert "it measured another (mini), so its scores must not be compared" in answer["note"]
    assert "prior_campaign" not in await call(bench, "best_chain")
    told = await refused(LineageWorkbench(store, "c"), "best_chain", campaign="old")
    assert "valid: c" in told


async def test_it_dumps_and_loads(store: LineageStore) -> None:
    bench = LineageWorkbench(store, "c", priors=("c",))
    dumped = ComponentModel.model_validate_json(bench.dump_component().model_dump_json())
    loaded = Workbench.load_component(dumped)
    assert await call(loaded, "best_chain") == await call(bench, "best_chain")
    assert loaded.dump_component().model_dump_json() == dumped.model_dump_json()


@pytest.mark.parametrize(("goal", "best"), [("minimize", 4), ("maximize", 2)])
async def test_the_goal_is_that_of_each_campaign(store: LineageStore, goal: str, best: int) -> None:
    add_campaign(store, "other", goal=goal)
    tell(store, "other")
    bench = LineageWorkbench(store, "other", priors=("c",))
    loaded = Workbench.load_component(bench.dump_component())
    tool = LineageQueryTool(store.url, "other")
    for ask in (bench, loaded, StaticWorkbench([tool])):
        assert numbers(await call(ask, "lineage_query", order="best", limit=1)) == [best]
    assert numbers(await call(bench, "lineage_query", order="best", limit=1, campaign="c")) == [4]
    assert numbers(await call(bench, "near_misses"), "near_misses") == [4] * (best == 4)
    surfaces = {row["surface"]: row for row in (await call(bench, "surface_summary"))["surfaces"]}
    assert surfaces["opt"]["best_delta"] == (-2.0 if best == 4 else 2.0)
    told = LineageWorkbench(store, "other", goal=Goal.MINIMIZE)
    assert numbers(await call(told, "lineage_query", order="best", limit=1)) == [4]


async def test_before_the_first_trial_answers_are_empty(store: LineageStore) -> None:
    add_campaign(store, "new")
    bench = LineageWorkbench(store, "new")
    answer = await call(bench, "lineage_query")
    assert (answer["counts"], answer["best"], answer["trials"]) == ({}, None, [])
    for tool, rows in (("best_chain", "trials"), ("near_misses", "near_misses")):
        assert (await call(bench, tool))[rows] == []
    propose_baseline(store, "new")
    assert numbers(await call(bench, "lineage_query")) == [0]


def test_a_mistyped_path_is_an_error_and_makes_nothing(tmp_path: Path) -> None:
    wrong = tmp_path / "no/lineage.db"
    config = {"lineage": str(wrong), "campaign": "c"}
    for provider in ("LineageWorkbench", "LineageQueryTool"):
        model = ComponentModel(provider=f"recipelab.tools.{provider}", config=config)
        kind = Workbench if provider == "LineageWorkbench" else BaseTool
        with pytest.raises(LineageError, match="no lineage at"):
            kind.load_component(model)
    with pytest.raises(LineageError, match="no lineage at"):
        LineageWorkbench(wrong, "c")
    assert list(tmp_path.iterdir()) == []


async def test_stopping_closes_what_was_opened_here_alone(store: LineageStore) -> None:
    path = store.url.removeprefix("sqlite:///")

    def opened() -> int:
        links = (os.readlink(file) for file in Path("/proc/self/fd").iterdir() if file.is_symlink())
        return sum(link == path for link in links)

    store.close()
    assert opened() == 0
    async with LineageWorkbench(path, "c") as bench:
        assert numbers(await call(bench, "in_flight")) == [6]
        assert opened() == 1
    assert opened() == 0
    assert numbers(await call(bench, "in_flight")) == [6]
    await bench.stop()
    assert opened() == 0
    with LineageStore.open(path) as own:
        async with LineageWorkbench(own, "c") as given:
            await call(given, "in_flight")
        assert opened() == 1


async def test_every_answer_stays_below_the_cap(store: LineageStore) -> None:
    bench = LineageWorkbench(store, "c")
    long = "wide \N{GRINNING FACE} " * 2_000
    for n in range(60):
        edit = Edit("recipe/train.py", "RATE = 0.1", f"RATE = {n + 1}.0")
        tell_one(store, n, long, edit)
    calls: dict[str, dict[str, Any]] = {
        "lineage_query": {"limit": 100},
        "lineage_failures": {"limit": 100},
        "children": {"trial": 0, "limit": 100},
        "similar_trials": {"text": "wide", "limit": 50},
    }
    for tool, arguments in calls.items():
        result = await bench.call_tool(tool, arguments)
        assert not result.is_error
        assert len(result.to_text()) < 1.5 * ANSWER_CHARACTERS


def tell_one(store: LineageStore, n: int, words: str, edit: Edit) -> None:
    number = propose(store, "c", 0, words, edit, digest=f"long-{n}")
    store.record("c", number, failed(f"Error {'x' * n}", FailureKind.VALUE, words))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "campaign",
        "limit",
        "offset",
        "status",
        "surface",
        "trial",
        "text",
        "order",
        "since",
        "edits",
        "parent",
        "before",
        "after",
    ]
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    tool=st.sampled_from(NAMES) | st.text(max_size=5),
    arguments=st.dictionaries(KEYS | st.text(max_size=4), JSON | st.integers(0, 8), max_size=4),
)
def test_nothing_that_a_model_sends_raises(
    bench: LineageWorkbench, tool: str, arguments: dict[str, Any]
) -> None:
    result = asyncio.run(bench.call_tool(tool, arguments))
    assert result.is_error or json.loads(result.to_text())


async def test_a_cancelled_call_comes_back_though_the_database_does_not(
    bench: LineageWorkbench, store: LineageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = threading.Event()
    monkeypatch.setattr(store, "in_flight_briefs", lambda campaign: locked.wait(30) and ())
    token = CancellationToken()
    call = asyncio.create_task(bench.call_tool("in_flight", {}, token))
    await asyncio.sleep(0)
    token.cancel()
    result = await asyncio.wait_for(call, 5)
    locked.set()
    assert (result.is_error, result.to_text()) == (True, "cancelled")


async def test_an_agent_uses_it(bench: LineageWorkbench) -> None:
    asked = FunctionCall(id="1", name="near_misses", arguments="{}")
    usage = RequestUsage(prompt_tokens=0, completion_tokens=0)
    client = ReplayChatCompletionClient(
        [
            CreateResult(
                finish_reason="function_calls", content=[asked], usage=usage, cached=False
            ),
            "Repair trial 4.",
        ],
        model_info={
            "vision": False,
            "function_calling": True,
            "json_output": False,
            "family": "unknown",
            "structured_output": False,
        },
    )
    agent = AssistantAgent("reviewer", client, workbench=bench, max_tool_iterations=2)
    ended = await agent.run(task="What is nearly there?")
    assert ended.messages[-1].to_text() == "Repair trial 4."
    assert any("excess_to_remove" in message.to_text() for message in ended.messages[:-1])


def test_a_model_can_use_every_filter_of_the_lineage() -> None:
    fields = {field.name for field in dataclasses.fields(TrialFilter)} - {"goal", "in_flight"}
    assert fields == {LISTS.get(name, name) for name in LineageQueryArguments.model_fields} - {
        "campaign"
    }


def test_charters_name_the_same_ten_tools() -> None:
    assert tuple(NAMES) == LINEAGE_TOOLS
