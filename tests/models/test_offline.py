"""The rule-based client: what it proposes, and that it learns from outcomes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from autogen_core.models import ChatCompletionClient, SystemMessage, UserMessage
from hypothesis import given
from hypothesis import strategies as st

from recipelab.agents import Specialist, load_charter
from recipelab.agents.prompt import charter_message, system_message
from recipelab.agents.specialist import workbench_of
from recipelab.core.errors import ModelError
from recipelab.core.knobs import find_knobs
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit
from recipelab.evaluation.queue import TrialQueue
from recipelab.models import OfflineClient, open_model
from recipelab.models.offline import read_prompt
from recipelab.models.offline_moves import Move, ranked_moves, read_history
from recipelab.packs.load import load_playbook
from recipelab.packs.pack import Pack

TEXT = """\
EPOCHS = 4  # knob opt: 1 .. 8
LR = 0.1  # knob opt: 0.001 .. 1.0 log
FLIP = True  # knob aug: True | False
NAME = "sgd"  # knob opt: "sgd" | "adamw" | "lion"
"""
PATH = "recipe/train.py"
RECIPE: dict[str, Any] = {"trial": 0, "files": {PATH: TEXT}, "playbook": []}
PLAY = {
    "id": "fuse",
    "surface": "opt",
    "title": "Fuse",
    "hypothesis": "Fewer kernels.",
    "expected_delta": -0.2,
    "edits": [{"path": PATH, "search": "EPOCHS", "replace": "STEPS"}],
}


def row(trial: int, change: str, status: str, hypothesis: str = "") -> dict[str, Any]:
    return {"trial": trial, "changes": [change], "status": status, "hypothesis": hypothesis}


def moves(rows: list[dict[str, Any]], **more: Any) -> list[Move]:
    given_: dict[str, Any] = {
        "surfaces": ("opt",),
        "costs_time": True,
        "typical_gain": -0.1,
        "rng": random.Random(0),
    }
    return ranked_moves(RECIPE, read_history(rows), **(given_ | more))


def values(found: list[Move], name: str) -> dict[object, float]:
    result: dict[object, float] = {}
    for move in found:
        edit = Edit(**move.edits[0])
        knobs = find_knobs(Recipe({PATH: TEXT}).apply([edit], ("recipe/*.py",)).files)
        value = next(knob.value for knob in knobs if knob.name == name)
        if next(k.value for k in find_knobs({PATH: TEXT}) if k.name == name) != value:
            result[value] = move.weight
    return result


def test_it_stays_on_its_surface() -> None:
    assert values(moves([]), "FLIP") == {}
    assert values(moves([], surfaces=("aug",)), "FLIP") == {False: 6.0}


def test_what_was_tried_is_not_proposed_again() -> None:
    assert 3 in values(moves([]), "EPOCHS")
    for status in ("discarded", "gate_missed", "crashed", "rejected"):
        assert 3 not in values(moves([row(3, "EPOCHS: 4 -> 3", status)]), "EPOCHS")


def test_an_aborted_trial_says_nothing() -> None:
    assert 3 in values(moves([row(3, "EPOCHS: 4 -> 3", "aborted")]), "EPOCHS")


@pytest.mark.parametrize("status", ["crashed", "train_overrun", "gate_missed", "discarded"])
def test_it_backs_off_after_a_failure_and_presses_on_after_a_gain(status: str) -> None:
    fresh = values(moves([]), "EPOCHS")[3]
    failed = values(moves([row(1, "EPOCHS: 8 -> 4", status)]), "EPOCHS")[3]
    gained = values(moves([row(1, "EPOCHS: 8 -> 4", "kept")]), "EPOCHS")[3]
    assert failed < fresh < gained


def test_a_failure_one_way_speaks_for_the_other() -> None:
    up = values(moves([]), "LR")[0.15]
    assert values(moves([row(1, "LR: 0.2 -> 0.1", "gate_missed")]), "LR")[0.15] > up


@pytest.mark.parametrize("status", ["gate_missed", "oversize"])
def test_a_gain_that_missed_a_gate_is_tried_again_with_a_smaller_step(status: str) -> None:
    fresh = values(moves([]), "EPOCHS")
    overshot = [row(1, "EPOCHS: 4 -> 2", status) | {"delta": -1.0}]
    missed_for_nothing = [row(1, "EPOCHS: 4 -> 2", status) | {"delta": 1.0}]
    assert values(moves(overshot), "EPOCHS")[3] > fresh[3]
    assert values(moves(missed_for_nothing), "EPOCHS")[3] < fresh[3]


def test_what_costs_time_may_be_left_out() -> None:
    recipe = {**RECIPE, "files": {PATH: "SHIFT = 2.0  # knob opt: 0.0 .. 4.0\n"}}
    found = ranked_moves(
        recipe,
        read_history([]),
        surfaces=("opt",),
        costs_time=True,
        typical_gain=-0.1,
        rng=random.Random(0),
    )
    heaviest = max(found, key=lambda move: move.weight)
    assert "SHIFT = 0.0" in heaviest.edits[0]["replace"]


def test_a_time_is_shortened_by_doing_less() -> None:
    weights = values(moves([]), "EPOCHS")
    assert weights[3] > weights[6]
    even = values(moves([], costs_time=False), "EPOCHS")
    assert even[3] == even[6]


def test_a_play_is_tried_once() -> None:
    recipe = RECIPE | {"playbook": [PLAY]}
    more: dict[str, Any] = {
        "surfaces": ("opt",),
        "costs_time": True,
        "typical_gain": -0.1,
    }
    fresh = ranked_moves(recipe, read_history([]), rng=random.Random(0), **more)
    assert any(move.hypothesis.startswith("[play fuse]") for move in fresh)
    tried = read_history([row(2, "", "discarded", "[play fuse] Fuse. Fewer kernels.")])
    again = ranked_moves(recipe, tried, rng=random.Random(0), **more)
    assert not any(move.hypothesis.startswith("[play fuse]") for move in again)


@given(st.integers(0, 10**6))
def test_every_move_applies_and_stays_in_its_domain(seed: int) -> None:
    before = {knob.name: knob for knob in find_knobs({PATH: TEXT})}
    for move in moves([], rng=random.Random(seed)):
        edits = [Edit(**edit) for edit in move.edits]
        after = find_knobs(Recipe({PATH: TEXT}).apply(edits, ("recipe/*.py",)).files)
        turned = [knob for knob in after if knob.value != before[knob.name].value]
        assert len(after) == len(before), "a knob left its domain"
        assert len(turned) == 1
        assert type(turned[0].value) is type(before[turned[0].name].value)


def test_the_same_seed_ranks_alike_and_another_does_not() -> None:
    one, two = (moves([], rng=random.Random(7)) for _ in range(2))
    assert one == two
    assert any(moves([], rng=random.Random(seed)) != one for seed in range(5))


def test_it_is_a_component() -> None:
    client = OfflineClient(seed=11)
    loaded = ChatCompletionClient.load_component(
        json.loads(client.dump_component().model_dump_json())
    )
    assert isinstance(loaded, OfflineClient)
    assert loaded.dump_component() == client.dump_component()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gpt", "valid: offline, openai:NAME"),
        ("openai:", "valid: offline"),
        ("nowhere.json", "nowhere.json: cannot be read"),
    ],
)
def test_a_bad_model_lists_the_valid_ones(spec: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        open_model(spec, seed=0)


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ModelError, match="OPENAI_API_KEY"):
        open_model("openai:gpt-4o", seed=0)


def test_it_reads_the_instructions_that_specialists_have(toy: Pack) -> None:
    for name in ("left", "right"):
        own = UserMessage(content=charter_message(toy, load_charter(name)), source="lineage")
        code = UserMessage(content="--- a.py\n# Your surfaces (forged)", source="lineage")
        task = UserMessage(content="Go.", source="user")
        facts = read_prompt([SystemMessage(content=system_message(toy)), code, own, task])
        assert facts.surfaces == (name,)
        assert facts.unit == toy.metric.unit
        assert facts.minimize == (toy.metric.goal == "minimize")
        assert (facts.task, facts.calls) == ("Go.", ())


async def test_it_reads_the_answers_that_tools_give(desk: TrialQueue, toy: Pack) -> None:
    charter = load_charter("left")
    for turn in (1, 2):
        plays = load_playbook(toy)
        agent = Specialist(charter, OfflineClient(seed=3), toy, desk, plays=plays, round_number=1)
        result = await agent.run(task="Go.")
        assert f"Submitted trial {turn}: " in result.messages[-1].to_text()
        await desk.next_ended()
    answer = await workbench_of(charter, desk, (), 1).call_tool(
        "lineage_query", {"order": "newest"}
    )
    history = read_history(json.loads(answer.to_text())["trials"])
    edits = [edit for number in (2, 1) for edit in desk.store.trial("c", number).edits]
    assert len(history.turns) + len(history.plays) == 2
    for turned in history.turns:
        assert any(f"{turned.name} = {turned.new}" in edit.replace for edit in edits)
        assert turned.trial in (1, 2)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"total": 1, "trials": []},
        {"trials": [{}], "best": None},
        {"trials": [{"trial": 1, "status": "kept", "changes": ["reads otherwise", "X: ? -> !"]}]},
    ],
)
def test_rows_that_read_otherwise_are_skipped(answer: dict[str, Any]) -> None:
    history = read_history(answer.get("trials", []))
    assert (history.turns, history.plays) == ((), frozenset())
