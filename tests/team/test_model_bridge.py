"""A campaign whose model is a recording: what turns cost on the wire, and what is written down."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipelab import Plan, ResearchGroupChat, research_team
from recipelab.budget import BudgetLimits
from recipelab.core.content import Home
from recipelab.core.trial import Status
from recipelab.evaluation.session import Overrides
from recipelab.lineage import LineageStore
from recipelab.packs.load import load_pack

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LEFT = "The left specialist"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The modules of the bridge and of its figures."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    names = ("model_bridge", "strong_model")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    bridge, figures = map(importlib.import_module, names)
    return bridge, figures


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": tool, "args": arguments}


def edit(value: str) -> dict[str, str]:
    return {"path": "recipe/train.py", "search": "X = 1.0", "replace": f"X = {value}"}


PROPOSAL = {"hypothesis": "Nearer to the bottom.", "expected_delta": -5.0}
ANSWERS = [
    {"tools": [call("read_recipe"), call("check_edit", parent=0, edits=[edit("3.0")])]},
    {"tools": [call("submit_trial", check="last", **PROPOSAL)]},
    {"tools": [call("submit_trial", parent=0, edits=[edit("4.0")], **PROPOSAL)]},
]


async def test_a_recorded_campaign_is_played_again(
    bench: tuple[Any, Any], project: Path, tmp_path: Path
) -> None:
    bridge, figures = bench
    recorded = [
        bridge.Call(number, LEFT, 1, 1, 1, 1, answer, 0.0)
        for number, answer in enumerate(ANSWERS, 1)
    ]
    file = tmp_path / "calls.jsonl"
    recorder = bridge.Recorder(bridge.Replayed(recorded), file)
    with bridge.serving(recorder) as url:
        team = research_team(
            "toy", model="openai:strong", base_url=url, trials=2, sandbox="local", slots=1
        )
        await team.run()
        await team.close()
    with LineageStore.open(".recipelab/lineage.db") as store:
        trials = store.trials("toy-1", order="oldest")
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert {trial.specialist for trial in trials[1:]} == {"left"}
    calls = bridge.read_calls(file)
    assert calls == recorder.calls
    turns = [turn for turn in figures.turns_of(calls) if turn.submits]
    assert [len(turn.calls) for turn in turns] == [2, 1], "submitting ends a turn"
    first, second = turns[0].calls
    assert second.chars > first.chars and second.turn == first.turn
    traffic = figures.Traffic.of(calls)
    assert (traffic.median_calls, traffic.calls) == (1.5, len(calls))
    assert traffic.start_tokens <= 12_000 and traffic.end_tokens <= 30_000
    assert dict(traffic.rows(2))["calls of a turn that submits, median"] == "1.5"
    assert all(sum(call.parts.values()) == call.chars + call.schema_chars for call in calls)
    assert {"schemas", "rules and pack", "recipe and card", "charter", "view"} <= set(first.parts)
    assert "answers of check_edit" in second.parts and "calls of read_recipe" in second.parts
    assert any(name == "of these recipe and card" for name, _ in traffic.rows(2))


STRONG = Path(__file__).parents[2] / "examples/strong_campaign/airbench96.jsonl"


def strong_trials() -> list[dict[str, Any]]:
    """The proposals of the campaign that a strong model led, with how they ended."""
    lines = map(json.loads, STRONG.read_text().splitlines())
    trials = [line["trial"] for line in lines if line["line"] == "trial"]
    return [trial for trial in trials if trial["number"]]


class Strong:
    """Proposes what a strong model did, one after the other, whoever is asked.

    Each turn calculates beside new edits, puts a change on top of them, and submits.
    """

    def __init__(self) -> None:
        self._left = [step for trial in strong_trials() for step in self._turn(trial)]

    def _turn(self, trial: dict[str, Any]) -> list[dict[str, Any]]:
        edits = [
            {name: value for name, value in edit.items() if value is not None}
            for edit in trial["edits"]
        ]
        look = call("search_knowledge", words="time of a step")
        check = call("check_edit", parent=trial["parents"][0], edits=edits)
        proposal = {"hypothesis": trial["hypothesis"], "expected_delta": -0.1}
        path, note = "recipe/train.py", f"# Tuned for trial {trial['number']}.\n"
        text = "from __future__ import annotations\n"
        tuned = {"path": path, "search": text, "replace": text + note}
        return [
            {"tools": [look, check]},
            {"tools": [call("check_edit", check="last", edits=[tuned])]},
            {"tools": [call("submit_trial", check="last", **proposal)]},
        ]

    def answer(self, number: int, specialist: str, body: Any, new: str) -> dict[str, Any]:
        return self._left.pop(0)


async def test_what_a_strong_model_sends_is_bounded(bench: tuple[Any, Any], tmp_path: Path) -> None:
    bridge, figures = bench
    stubs = importlib.import_module("stubs")
    kept = iter(trial["outcome"]["status"] == "kept" for trial in strong_trials())

    class Judged(stubs.StubEvaluator):  # type: ignore[name-defined, misc]
        """Keeps what was kept."""

        async def evaluate(self, recipe: Any, incumbent: Any, **more: Any) -> Any:
            found = await super().evaluate(recipe, incumbent, **more)
            if incumbent is None:
                return found
            status = Status.KEPT if next(kept) else Status.DISCARDED
            return replace(found, status=status, delta=-0.1 if status is Status.KEPT else 0.1)

    recorder = bridge.Recorder(bridge_model := Strong())
    with bridge.serving(recorder) as url:
        plan = Plan(
            pack="airbench96",
            model="openai:strong",
            base_url=url,
            limits=BudgetLimits(trials=len(strong_trials())),
            slots=1,
            ahead=0,
        )
        overrides = Overrides(evaluator=Judged(load_pack("airbench96")))
        team = ResearchGroupChat(plan, home=Home(tmp_path), overrides=overrides)
        await team.run()
        await team.close()
    assert not bridge_model._left
    traffic = figures.Traffic.of(recorder.calls)
    assert (traffic.idle, traffic.turns, traffic.median_calls) == (0, 8, 3)
    assert traffic.sent / 8 <= 125_000
    assert traffic.new / 8 <= 31_000


class Cycle:
    """Answers each turn with one of three ways to come to a trial, one after the other."""

    def __init__(self) -> None:
        self._turns = 0
        self._left: dict[str, list[dict[str, Any]]] = {}

    def answer(self, number: int, specialist: str, body: Any, new: str) -> dict[str, Any]:
        left = self._left.setdefault(specialist, [])
        if not left:
            self._turns += 1
            head = "from __future__ import annotations\n"
            idea = f"{head}\nIDEA_{self._turns} = {self._turns}\n"
            edits = [{"path": "recipe/train.py", "search": head, "replace": idea}]
            of_start = {"parent": 0, "edits": edits}
            looks = (
                [call("lineage_query"), call("check_edit", **of_start)],
                [call("trial_detail", trial=0)],
                [],
            )[self._turns % 3]
            source = {"check": "c1"} if len(looks) == 2 else of_start
            left += [{"tools": looks}] if looks else []
            left.append({"tools": [call("submit_trial", **source, **PROPOSAL)]})
        return left.pop(0)


async def test_what_a_trial_sends_is_bounded(bench: tuple[Any, Any], tmp_path: Path) -> None:
    bridge, figures = bench
    stubs = importlib.import_module("stubs")
    pack = load_pack("airbench96")
    recorder = bridge.Recorder(Cycle())
    with bridge.serving(recorder) as url:
        limits = BudgetLimits(trials=9)
        team = ResearchGroupChat(
            Plan(pack="airbench96", model="openai:strong", base_url=url, limits=limits),
            home=Home(tmp_path),
            overrides=Overrides(evaluator=stubs.StubEvaluator(pack)),
        )
        await team.run()
        await team.close()
    traffic = figures.Traffic.of(recorder.calls)
    assert (traffic.idle, traffic.turns) == (0, 9)
    assert traffic.median_calls == 2
    # When each turn read the recipe 34,000 of 62,000 were new, and 21,000 while charters came
    # before it; what the machine is named varies.
    assert traffic.sent / 9 <= 61_000
    assert traffic.new / 9 <= 9_500


def test_a_bad_recording_names_its_line(bench: tuple[Any, Any], tmp_path: Path) -> None:
    bridge, _ = bench
    file = tmp_path / "calls.jsonl"
    file.write_text(json.dumps({"request": 1}) + "\n")
    with pytest.raises(ValueError, match=r"calls\.jsonl:1: not a recorded call"):
        bridge.read_calls(file)


def test_a_call_is_answered_by_a_file(bench: tuple[Any, Any], tmp_path: Path) -> None:
    bridge, _ = bench
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0001.json").write_text('{"tool": "lineage_query", "args": {}}')
    recorder = bridge.Recorder(bridge.ByHand(tmp_path))
    own = "# Your surfaces (left)\n- left: x\n\n# Your charter: The left specialist\nbody"
    code = "--- train.py\n# Your surfaces (right)\n# Your charter: Forged"
    messages = [{"role": "system", "content": "rules"}]
    messages += [{"role": "user", "content": text} for text in (code, own)]
    body = {"model": "m", "messages": messages, "tools": []}
    answer = recorder.complete(body)["choices"][0]["message"]
    assert answer["tool_calls"][0]["function"]["name"] == "lineage_query"
    assert own in (tmp_path / "q" / "0001.txt").read_text()
    assert recorder.calls[0].specialist == LEFT


def test_turns_of_one_specialist_at_the_same_time_are_told_apart(bench: tuple[Any, Any]) -> None:
    bridge, _ = bench

    class Asks:
        def answer(self, number: int, *about: Any) -> dict[str, Any]:
            return {"tools": [call("curve", trial=number)]}

    recorder = bridge.Recorder(Asks())
    system = {"role": "system", "content": f"# Your surfaces (left)\n# Your charter: {LEFT}\n"}
    one, other = ([system, {"role": "user", "content": text}] for text in ("Turn 1", "Turn 2"))
    asked = {"role": "assistant", "content": None, "tool_calls": []}
    for messages in (one, other, [*one, asked], [*other, asked], [*one, asked, asked], one):
        recorder.complete({"model": "any", "messages": messages})
    assert [one.turn for one in recorder.calls] == [1, 2, 1, 2, 1, 3]
