"""What a specialist can see of a run: logs, curves, a profile, and code of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from recipelab.agents.charters import load_charter
from recipelab.agents.specialist import workbench_of
from recipelab.budget import BudgetLimits, Ledger
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.log_book import LogBook
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import LineageStore
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox
from recipelab.sandbox.slots import ANYWHERE, SlotPool
from recipelab.tools import SpecialistWorkbench
from recipelab.tools.checks import Refused
from recipelab.tools.runs import ProfileTool
from recipelab.tools.scratch import TimeBesideArguments, TimeBesideTool

LOUD = {
    "path": "recipe/train.py",
    "search": "X = 1.0",
    "replace": 'X = 3.0\nprint("\\n".join(f"step {i} loss {1 / i:.3f}" for i in range(1, 300)))',
}


@pytest.fixture
async def queue(
    store: LineageStore, evaluator: Evaluator, tmp_path: Path
) -> AsyncIterator[TrialQueue]:
    """A queue that keeps logs, with a judged baseline and a kept trial that prints much."""
    ledger = Ledger(store, "c", BudgetLimits(trials=10))
    queue = TrialQueue(store, "c", evaluator, ledger=ledger, logs=LogBook(tmp_path / "logs"))
    queue.propose_baseline()
    await queue.next_ended()
    bench = workbench_of(load_charter("left"), queue, (), 1)
    await call(bench, "lineage_query")
    await call(
        bench,
        "submit_trial",
        parent=0,
        hypothesis="It is nearer to the bottom.",
        expected_delta=-1.0,
        edits=[LOUD],
    )
    await queue.next_ended()
    yield queue
    await queue.stop()


@pytest.fixture
def bench(queue: TrialQueue) -> SpecialistWorkbench:
    """The tools of the specialist of the left surface."""
    return workbench_of(load_charter("left"), queue, (), 1)


async def call(bench: SpecialistWorkbench, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await bench.call_tool(tool, arguments)
    assert not result.is_error, result.to_text()
    table: dict[str, Any] = json.loads(result.to_text())
    return table


async def refused(bench: SpecialistWorkbench, tool: str, **arguments: Any) -> str:
    result = await bench.call_tool(tool, arguments)
    assert result.is_error, result.to_text()
    return result.to_text()


async def test_the_log_of_a_trial_that_passed_can_be_read(bench: SpecialistWorkbench) -> None:
    listed = await call(bench, "run_log", trial=1)
    phases = {(row["phase"], row.get("seed")): row for row in listed["phases"]}
    assert phases["train", 1]["log_lines"] == 300
    assert phases["train", 1]["cpu_s"] > 0.0
    assert {("preflight", None), ("train", 2), ("predict", 1)} <= set(phases)
    shown = await call(bench, "run_log", trial=1, phase="train", seed=2)
    assert shown["lines"] == 300
    assert shown["head"].startswith("step 1 loss 1.000")
    assert shown["tail"].endswith("step 299 loss 0.003\nloss 0.0 accuracy 1.0")
    head, tail = (len(shown[key].split("\n")) for key in ("head", "tail"))
    assert shown["left_out"] == 300 - head - tail
    part = await call(bench, "run_log", trial=1, phase="train", seed=2, from_line=299)
    assert part["text"] == "step 299 loss 0.003\nloss 0.0 accuracy 1.0"


async def test_a_log_is_searched_with_line_numbers(bench: SpecialistWorkbench) -> None:
    found = await call(bench, "run_log", trial=1, phase="train", seed=1, regex="^step (77|78) ")
    assert found["lines"] == {"train seed 1": ["77: step 77 loss 0.013", "78: step 78 loss 0.013"]}
    many = await call(bench, "run_log", trial=1, phase="train", regex="loss")
    assert many["matches"] == 600
    assert len(json.dumps(many)) < 8_000
    assert "no regular expression" in await refused(bench, "run_log", trial=1, regex="(")


async def test_what_is_not_there_is_told_with_what_is(bench: SpecialistWorkbench) -> None:
    told = await refused(bench, "run_log", trial=1, phase="score")
    assert "train seed 1" in told
    assert "has no trial 9" in await refused(bench, "run_log", trial=9)


async def test_code_runs_beside_the_recipe_and_nothing_of_it_stays(
    bench: SpecialistWorkbench, queue: TrialQueue
) -> None:
    code = "import train, os; print('x is', train.X); print(sorted(os.listdir('.')))"
    told = await call(bench, "run_python", code=code, trial=1)
    assert told["exit_code"] == 0, told
    assert "x is 3.0" in told["output"]
    assert "answers" not in told["output"]
    assert "evaluator" not in told["output"]
    write = "open('recipe/train.py', 'a').write('X = 9')"
    assert (await call(bench, "run_python", code=write, trial=1))["exit_code"] != 0
    assert "X = 3.0" in queue.recipe_of(1)["recipe/train.py"]


async def test_code_runs_beside_checked_edits_before_they_are_a_trial(
    bench: SpecialistWorkbench,
) -> None:
    edit = {"path": "recipe/train.py", "search": "X = 1.0", "replace": "X = 7.0"}
    check = (await call(bench, "check_edit", parent=0, edits=[edit]))["check"]
    told = await call(bench, "run_python", code="import train; print('x', train.X)", check=check)
    assert told["trial"] == 0 and "x 7.0" in told["output"]
    answer = await bench.call_tool("run_python", {"code": "print(1)", "check": "c9"})
    assert answer.is_error and "unknown check 'c9'" in answer.to_text()


async def test_code_runs_beside_the_best_that_the_turn_was_told(
    bench: SpecialistWorkbench,
) -> None:
    code = "import train; print('x is', train.X)"
    assert (await call(bench, "run_python", code=code))["trial"] == 1
    bench.turn.opened(0, is_whole=True)  # Trial 1 was kept after the opening.
    told = await call(bench, "run_python", code=code)
    assert told["trial"] == 0 and "x is 1.0" in told["output"]


async def test_the_seconds_of_a_turn_are_spent_and_booked(
    bench: SpecialistWorkbench, queue: TrialQueue
) -> None:
    before = queue.ledger.spent.device_hours
    told = await call(bench, "run_python", code="import time; time.sleep(60)", seconds=1)
    assert told["ended"] == "killed by the clock at 3 s, 3 for each of its 1 CPU s"
    assert told["seconds_left"] == pytest.approx(19.0, abs=0.6)
    assert queue.ledger.spent.device_hours - before >= 1.0 / 3600
    (row,) = [one for one in queue.store.usage("c") if one.specialist == "scratch"]
    assert row.seconds >= 1.0
    bench.turn.scratch_seconds = 19.8
    assert "are spent in this turn" in await refused(bench, "run_python", code="1")
    bench.begin_turn()
    assert (await call(bench, "run_python", code="print(1)"))["output"] == "1"


async def test_code_that_is_given_up_is_spent_and_booked(
    queue: TrialQueue, toy: Pack, sandbox: LocalSandbox
) -> None:
    data = ensure_data(toy, say=lambda text: None)
    pool = SlotPool([ANYWHERE])
    own = TrialQueue(queue.store, "c", Evaluator(toy, sandbox, data, pool=pool))
    bench = workbench_of(load_charter("left"), own, (), 1)
    code = {"code": "import time; time.sleep(60)", "seconds": 20}
    call = asyncio.create_task(bench.call_tool("run_python", code))
    for _ in range(3_000):
        if pool.in_use(ANYWHERE):
            break
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not pool.in_use(ANYWHERE) and own.ledger.spent.device_hours > 0.0
    assert 0.0 < bench.turn.scratch_seconds < 20.0


async def test_code_says_how_long_it_waited_for_a_slot(
    bench: SpecialistWorkbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tool,) = [one for one in await bench.list_tools() if one["name"] == "run_python"]
    assert "waits for a slot, 120 s at most" in tool["description"]
    spent = "20 CPU s a turn, 10 a call unless you say, and 3 times that by the clock"
    assert spent in tool["description"]
    monkeypatch.setattr("recipelab.tools.scratch.TOLD_WAIT", 0.0)
    assert (await call(bench, "run_python", code="print(1)"))["waited_for_a_slot_s"] >= 0


async def test_measurements_are_told_as_a_table_alone(bench: SpecialistWorkbench) -> None:
    for tool in ("trial_detail", "wait_for"):
        text = (await bench.call_tool(tool, {"trial": 1})).to_text()
        told = json.loads(text)
        assert told["measured"]["seed"] and "train.cpu_seconds" in told["measured"]
        assert "SeedRun(" not in text and "PhaseTiming(" not in text and "nonce" not in text
        assert "recipe.cpu_seconds" not in text, "a sum of others"
        assert len(text) < 3_000


async def test_a_profile_is_made_once(bench: SpecialistWorkbench) -> None:
    told = await call(bench, "profile_trial", trial=1)
    assert told["exit_code"] == 0, told
    assert "tottime" in told["profile"]
    assert "step 1 loss" not in told["profile"]
    assert 0.0 < told["outside_s"] < told["seconds"], "the start of the process is in no profile"
    again = await call(bench, "profile_trial", trial=1)
    assert again["kept"] is True
    assert again["profile"] == told["profile"]


async def test_predict_is_profiled_after_a_training(
    bench: SpecialistWorkbench, queue: TrialQueue
) -> None:
    before = queue.ledger.spent.device_hours
    told = await call(bench, "profile_trial", trial=1, phase="predict")
    assert (told["phase"], told["exit_code"]) == ("predict", 0), told
    assert "predict.py:1(<module>)" in told["profile"] and "train.py" not in told["profile"]
    assert "step 1 loss" not in told["profile"]
    assert queue.ledger.spent.device_hours - before > told["seconds"] / 3600, "with its training"
    again = await call(bench, "profile_trial", trial=1, phase="predict")
    assert again["kept"] is True and again["profile"] == told["profile"]
    assert "kept" not in await call(bench, "profile_trial", trial=1), (
        "train has a profile of its own"
    )


async def test_a_profile_of_predict_says_in_which_phase_it_failed(
    bench: SpecialistWorkbench, queue: TrialQueue
) -> None:
    edit = {"path": "recipe/predict.py", "search": "import json", "replace": "raise SystemExit(3)"}
    await call(bench, "lineage_query")
    submitted = await call(
        bench,
        "submit_trial",
        parent=0,
        hypothesis="It fails under the profiler, too.",
        expected_delta=-1.0,
        edits=[edit],
    )
    await queue.next_ended()
    told = await call(bench, "profile_trial", trial=submitted["trial"], phase="predict")
    assert (told["failed"], told["exit_code"]) == ("predict: crashed", 3)


@pytest.mark.parametrize(("name", "counts"), [("airbench96", True), ("nanochat_d12", False)])
def test_whether_predict_counts_in_the_score_is_told(
    queue: TrialQueue, name: str, counts: bool
) -> None:
    pack = load_pack(name)
    own = TrialQueue(queue.store, "c", Evaluator(pack, LocalSandbox(), {}))
    told = "predict (which counts in the score)" in ProfileTool(own).description
    assert told is counts


@pytest.mark.parametrize(
    ("name", "training"), [("airbench96", 6.4), ("nanochat_d12", 6.2), ("parameter_golf", 11.0)]
)
def test_code_may_run_for_as_long_as_six_trainings_of_the_start(name: str, training: float) -> None:
    assert load_pack(name).scratch.seconds >= 6 * training


async def test_trainings_are_timed_beside_the_best_before_a_trial_is_spent(
    bench: SpecialistWorkbench, queue: TrialQueue
) -> None:
    tool = TimeBesideTool(queue, bench.turn)
    work = "X = 2.5\nsum(n * n for n in range(3_000_000))"
    edit = {"path": "recipe/train.py", "search": "X = 1.0", "replace": work}
    check = (await call(bench, "check_edit", parent=0, edits=[edit]))["check"]
    told = json.loads(await tool.answer(TimeBesideArguments(check=check, pairs=2)))
    assert (told["of"], told["beside"], len(told["train_cpu_seconds"])) == (check, 1, 2)
    assert all(own > best for own, best in told["train_cpu_seconds"])
    assert told["change"] > 0.0 and told["change_share"] > 0.0 and told["change_se"] >= 0.0
    assert told["seconds_left"] < queue.pack.scratch.seconds
    assert queue.ledger.spent.device_hours > 0.0
    bench.turn.scratch_seconds = queue.pack.scratch.seconds - 0.6
    told = json.loads(await tool.answer(TimeBesideArguments(check=check, pairs=8)))
    assert 1 <= len(told["train_cpu_seconds"]) < 8, "as many pairs as the seconds allow"
    bench.turn.scratch_seconds = 0.0
    broken = {"path": "recipe/train.py", "search": "X = 1.0", "replace": "raise SystemExit(3)"}
    check = (await call(bench, "check_edit", parent=0, edits=[broken]))["check"]
    told = json.loads(await tool.answer(TimeBesideArguments(check=check)))
    assert told["failed"]["exit_code"] == 3 and "change" not in told
    with pytest.raises(Refused, match="name a trial, or the id of a check"):
        await tool.answer(TimeBesideArguments())
    bench.turn.scratch_seconds = queue.pack.scratch.seconds
    with pytest.raises(Refused, match="are spent in this turn"):
        await tool.answer(TimeBesideArguments(trial=1))


async def test_code_beside_new_edits_checks_them_too(bench: SpecialistWorkbench) -> None:
    edit = {"path": "recipe/train.py", "search": "X = 1.0", "replace": "X = 2.5"}
    code = "import train; print('x', train.X)"
    told = await call(bench, "run_python", code=code, trial=0, edits=[edit])
    assert told["output"].endswith("x 2.5")
    more = {"path": "recipe/train.py", "search": "X = 2.5", "replace": "X = 2.0"}
    top = await call(bench, "run_python", code=code, check=told["check"], edits=[more])
    assert top["output"].endswith("x 2.0") and top["check"] != told["check"]
    same = await call(bench, "run_python", code=code, check=told["check"])
    assert same["output"].endswith("x 2.5") and "check" not in same
    worse = {"path": "recipe/train.py", "search": "X = 9", "replace": "X = 2.0"}
    assert "the edits do not hold" in await refused(bench, "run_python", code=code, edits=[worse])


async def test_long_output_is_cut_in_the_middle(bench: SpecialistWorkbench) -> None:
    told = await call(bench, "run_python", code="for i in range(4000): print(i)")
    assert told["output"].startswith("0\n1\n") and told["output"].endswith("\n3999")
    assert "characters left out" in told["output"] and len(told["output"]) < 4_100


async def test_a_blind_specialist_sees_no_past_trial(queue: TrialQueue) -> None:
    blind = workbench_of(load_charter("left"), queue, (), 1, blind=True)
    names = {tool["name"] for tool in await blind.list_tools()}
    assert not names & {"run_log", "curve", "profile_trial"}
    assert {"search_recipe", "run_python"} <= names
    told = await call(blind, "run_python", code="print(2)", trial=0)
    assert "trial" not in told


async def test_the_curve_of_a_trial_is_shown_beside_the_bests(
    project: Path, store: LineageStore, sandbox: LocalSandbox
) -> None:
    pack_file = project / "task_packs/toy/pack.toml"
    spec = '[phases.train.curve]\nfile = "curve.csv"\ngoal = "minimize"\nforetells = "score.loss"\n'
    text = pack_file.read_text()
    pack_file.write_text(text.replace("[phases.predict]", f"{spec}\n[phases.predict]"))
    train = project / "task_packs/toy/recipe/train.py"
    line = '    open("out/curve.csv", "a").write(f"1,{X + 8}\\n2,{X + 4}\\n")\n'
    train.write_text(train.read_text().replace("    print(", f"{line}    print("))
    pack = load_pack("toy")
    data = ensure_data(pack, say=lambda text: None)
    queue = TrialQueue(store, "c", Evaluator(pack, sandbox, data, pool=SlotPool([ANYWHERE])))
    try:
        queue.propose_baseline()
        await queue.next_ended()
        bench = workbench_of(load_charter("left"), queue, (), 1)
        alone = await call(bench, "curve", trial=0)
        assert alone["curves"]["seed 1"] == [[1.0, 9.0], [2.0, 5.0]]
        assert "best" not in alone
        await call(bench, "lineage_query")
        edit = {"path": "recipe/train.py", "search": "X = 1.0", "replace": "X = 0.5"}
        arguments = {"parent": 0, "hypothesis": "Further from it.", "expected_delta": 1.0}
        await call(bench, "submit_trial", **arguments, edits=[edit])
        await queue.next_ended()
        worse = await call(bench, "curve", trial=1)
        assert worse["curves"]["seed 1"] == [[1.0, 8.5], [2.0, 4.5]]
        assert worse["best"] == 0
        assert worse["curves_of_best"]["seed 1"] == [[1.0, 9.0], [2.0, 5.0]]
    finally:
        await queue.stop()
