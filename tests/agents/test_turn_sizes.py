"""What a turn of a specialist sends to its model, on the shipped packs: held to a bound.

A token counts as four characters, as it does in English text and code.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from autogen_core import FunctionCall
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
)

from recipelab.agents import load_charter
from recipelab.agents.context import CHARACTERS, TurnContext, _size
from recipelab.agents.prompt import ASK_AGAIN, charter_message, system_message
from recipelab.agents.specialist import OPENING_RECIPE, Specialist, opening_recipe, workbench_of
from recipelab.core.knobs import find_knobs
from recipelab.core.trial import Proposal
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import METRIC, PREDICT_PART, TRAIN_PART
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import LineageStore
from recipelab.models import OfflineClient
from recipelab.packs.load import load_pack, load_playbook
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox
from recipelab.tools.checks import TurnState
from recipelab.tools.names import BY_NAME

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from lineage_fill import CAMPAIGN, fill

MINIS = ("airbench96", "nanochat_d12", "parameter_golf", "play_search")
TOKEN = 4
MOST_AT_START, MOST_AT_END = 12_000, 30_000
"""Tokens of a context, schemas and instructions included."""

MOST_SCHEMAS = 8_100
"""Characters of all schemas of a specialist."""


@pytest.fixture(scope="module", params=[10, 10_000])
def lineage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lineage of so many trials."""
    path = tmp_path_factory.mktemp("sizes") / "lineage.db"
    fill(path, request.param)
    return path


def measure_as(path: Path, pack: Pack) -> None:
    """Have every trial measured by what a pack's metric and gates need."""
    names = {METRIC, TRAIN_PART, PREDICT_PART, pack.metric.measure, pack.metric.predict_measure}
    names |= {gate.measure for gate in pack.gates}
    run = [0, [["train", 60.0, 80.0, 900.0]], dict.fromkeys(sorted(names), 1.0)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE trial_text SET seed_runs = ?", [json.dumps([run])])


def queue_of(store: LineageStore, pack: Pack) -> TrialQueue:
    """The queue of a campaign that runs nothing here."""
    return TrialQueue(store, CAMPAIGN, Evaluator(pack, LocalSandbox(), {}))


@pytest.mark.parametrize("name", MINIS)
async def test_a_turn_begins_and_ends_within_its_bounds(lineage: Path, name: str) -> None:
    pack = load_pack(name)
    measure_as(lineage, pack)
    with LineageStore.open(lineage) as store:
        await hold_bounds(queue_of(store, pack), pack)


async def hold_bounds(queue: TrialQueue, pack: Pack) -> None:
    plays = load_playbook(pack)
    seen = set[tuple[str, str, str]]()
    for specialist in pack.specialists:
        charter = load_charter(specialist).on(pack.surface_names)
        agent = Specialist(charter, OfflineClient(), pack, queue, plays=plays)
        await agent._turn_context.begin_turn()
        opening = await agent._turn_context.get_messages()
        assert "What a trial is worth" in str(opening[0].content)
        assert opening[1].content == charter_message(pack, charter)
        # The recipes of this lineage are shorter than those that a turn may begin with.
        code = len(opening_recipe(charter, queue, queue.best().number, TurnState(None)))
        assert code > 0
        tools = await workbench_of(charter, queue, plays, 1).list_tools()
        schemas = len(json.dumps(tools))
        assert not {tool["name"] for tool in tools} & set(BY_NAME)
        assert schemas <= MOST_SCHEMAS
        fixed = len(system_message(pack)) + schemas
        start = fixed + sum(len(str(message.content)) for message in opening)
        start += OPENING_RECIPE - code
        assert start / TOKEN <= MOST_AT_START, (specialist, start)
        assert (fixed + CHARACTERS) / TOKEN <= MOST_AT_END, (specialist, fixed)
        seen.add((system_message(pack), json.dumps(tools), str(opening[0].content)))
    assert len(seen) == 1, "what comes before the charter is the same for all"


async def test_a_recipe_of_half_a_megabyte_does_not_fill_a_turn(desk: TrialQueue) -> None:
    text = "".join(f"VALUE_{n} = {n}  # a line of a large recipe\n" for n in range(6_000))
    files = desk.store.files("c", 0) | {f"recipe/big{n}.py": text for n in range(2)}
    assert sum(map(len, files.values())) > 500_000
    number = desk.store.propose(
        "c",
        Proposal("left", "left", 0, "a large recipe", 0.0, ()),
        parents=(0,),
        files=files,
        digest="large",
        diff="",
        round_number=None,
    )
    bench = workbench_of(load_charter("left"), desk, (), 1)
    context = TurnContext(lambda: ("view",))
    await context.begin_turn()
    fixed = len(system_message(desk.pack))
    fixed += len(json.dumps(await bench.list_tools()))
    whole = {"trial": number}
    for calls in ([whole], [whole, whole | {"path": "recipe/big0.py"}, whole], [whole]):
        asked = [
            FunctionCall(id=str(n), name="read_recipe", arguments=json.dumps(arguments))
            for n, arguments in enumerate(calls)
        ]
        answers = [
            FunctionExecutionResult(
                call_id=str(n),
                name="read_recipe",
                content=(await bench.call_tool("read_recipe", arguments)).to_text(),
            )
            for n, arguments in enumerate(calls)
        ]
        await context.add_message(AssistantMessage(content=asked, source="left"))
        await context.add_message(FunctionExecutionResultMessage(content=answers))
        sent = fixed + sum(map(_size, await context.get_messages()))
        assert sent / TOKEN <= MOST_AT_END
        assert "to_be_read_alone" in answers[0].content


def test_only_who_may_ask_the_lineage_is_told_how(desk: TrialQueue) -> None:
    told = system_message(desk.pack)
    assert "lineage_query" in told and ASK_AGAIN in told
    blind = system_message(desk.pack, blind=True)
    assert "lineage_query" not in blind and ASK_AGAIN not in blind


def test_a_recipe_opens_a_turn_where_it_is_short(
    desk: TrialQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    charter, turn = load_charter("left"), TurnState(None)
    shown = opening_recipe(charter, desk, 0, turn)
    files = desk.recipe_of(0)
    tuned = {knob.path for knob in find_knobs(files)}
    assert tuned and tuned < files.keys()
    assert all((f"--- {path}\n{text}" in shown) == (path in tuned) for path, text in files.items())
    left = ", ".join(sorted(files.keys() - tuned))
    assert shown.endswith(f"--- Not shown, as no knob is in them: {left} (read_recipe)")
    assert opening_recipe(charter.model_copy(update={"guided": True}), desk, 0, turn) == ""
    no_reader = charter.model_copy(update={"tools": ("submit_trial",)})
    assert opening_recipe(no_reader, desk, 0, turn) == ""
    monkeypatch.setattr("recipelab.agents.specialist.OPENING_RECIPE", 10)
    assert opening_recipe(charter, desk, 0, turn) == ""
