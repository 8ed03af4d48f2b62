"""The choke point, with real processes: every way in which a recipe can end."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipelab.core.errors import SandboxError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, FailureKind, Outcome, Phase, SeedRun, Status
from recipelab.evaluation.evaluator import ATTEMPTS, Evaluator
from recipelab.evaluation.metric import METRIC, Incumbent
from recipelab.packs.data import ensure_data
from recipelab.packs.pack import Pack
from recipelab.packs.phase_sections import PhaseSpec
from recipelab.sandbox import LocalSandbox, PhaseRequest, PhaseResult
from recipelab.sandbox.slots import ANYWHERE, SlotPool

TRAIN, PREDICT = "recipe/train.py", "recipe/predict.py"
LAST = '    print("loss 0.0 accuracy 1.0")'


def edited(pack: Pack, path: str, search: str, replace: str) -> Recipe:
    return pack.baseline().apply([Edit(path, search, replace)], pack.recipe.editable)


def reference(outcome: Outcome) -> Incumbent:
    return Incumbent(0, Recipe({}), {run.seed: run for run in outcome.seed_runs})


def measured(sample: dict[int, float]) -> dict[int, SeedRun]:
    return {seed: SeedRun(seed, (), {METRIC: value}) for seed, value in sample.items()}


async def test_the_baseline_is_measured_on_every_seed(toy: Pack, evaluator: Evaluator) -> None:
    outcome = await evaluator.evaluate(toy.baseline(), None)
    assert outcome.status is Status.BASELINE
    assert [run.seed for run in outcome.seed_runs] == [1, 2]
    assert outcome.score == pytest.approx(9 + 25, abs=0.5)
    assert outcome.score_se is not None
    assert all(gate.passed for gate in outcome.gates)
    phases = [timing.phase for timing in outcome.seed_runs[0].timings]
    assert phases == [Phase.TRAIN, Phase.PREDICT, Phase.SCORE]
    assert outcome.seed_runs[0].measures["train.cpu_seconds"] > 0


@pytest.mark.parametrize(("value", "status"), [("3.0", Status.KEPT), ("0.5", Status.DISCARDED)])
async def test_better_is_kept_and_worse_discarded(
    toy: Pack, evaluator: Evaluator, value: str, status: Status
) -> None:
    best = reference(await evaluator.evaluate(toy.baseline(), None))
    recipe = edited(toy, TRAIN, "X = 1.0", f"X = {value}")
    outcome = await evaluator.evaluate(recipe, lambda: best)
    assert outcome.status is status
    assert outcome.delta is not None
    assert (outcome.delta < 0) == (status is Status.KEPT)


@pytest.mark.parametrize(
    ("path", "search", "replace", "status", "kind", "phase"),
    [
        (TRAIN, LAST, "    raise ValueError('no')", "crashed", "value", "preflight"),
        (TRAIN, "X = 1.0", "X = undefined", "crashed", "name", "preflight"),
        (TRAIN, "import random", "import rendom", "crashed", "import", "preflight"),
        (TRAIN, LAST, "    args.smoke or 1 / 0", "crashed", "value", "train"),
        (TRAIN, LAST, "    args.smoke or __import__('os').abort()", "crashed", "signal", "train"),
        (TRAIN, "(args.out /", "args.smoke and (args.out /", "crashed", "missing_output", "train"),
        (TRAIN, LAST, "    while not args.smoke: pass", "train_overrun", "timeout", "train"),
        (TRAIN, "PADDING = 10", "PADDING = 6000", "oversize", "size", None),
        (PREDICT, "{model['x']}", "{int('x')}", "crashed", "value", "predict"),
        (PREDICT, "{model['x']}", "north", "crashed", "bad_output", "score"),
        (PREDICT, "{model['x']}", "nan", "crashed", "nan", "score"),
        (PREDICT, '"""Writes', 'while True: pass\n"""Writes', "eval_overrun", "timeout", None),
        (TRAIN, "X = 1.0", "X = 40.0", "gate_missed", "gate", None),
    ],
)
async def test_every_failure_has_status_phase_kind_signature_and_excerpt(
    toy: Pack,
    sandbox: LocalSandbox,
    path: str,
    search: str,
    replace: str,
    status: str,
    kind: str,
    phase: str | None,
) -> None:
    quick = toy.model_copy(update={"budgets": toy.budgets.model_copy(update=_SHORT)})
    evaluator = Evaluator(
        quick, sandbox, ensure_data(toy, say=lambda text: None), pool=SlotPool([ANYWHERE, ANYWHERE])
    )
    best = Incumbent(0, Recipe({}), measured({1: 34.0, 2: 34.1}))
    outcome = await evaluator.evaluate(edited(toy, path, search, replace), lambda: best)
    assert (outcome.status, outcome.failure is not None) == (status, True)
    assert outcome.failure is not None
    assert outcome.failure.kind == kind
    assert outcome.failure.signature
    assert outcome.failure.excerpt
    if phase is not None:
        assert outcome.failure.phase == phase


_SHORT = {"train": 1.5, "predict": 1.5}


@pytest.mark.parametrize(
    ("lenient", "status"), [(True, Status.BASELINE), (False, Status.GATE_MISSED)]
)
async def test_only_a_starting_recipe_may_miss_a_gate_by_bad_luck(
    toy: Pack, sandbox: LocalSandbox, lenient: bool, status: Status
) -> None:
    # The fit of the baseline is about 0.7112 with either seed, and 0.0003 apart.
    gates = tuple(
        gate.model_copy(update={"at_least": 0.7115}) if gate.name == "fit" else gate
        for gate in toy.gates
    )
    pack = toy.model_copy(update={"gates": gates})
    evaluator = Evaluator(pack, sandbox, ensure_data(pack, say=lambda text: None))
    outcome = await evaluator.measure(pack.baseline(), (1, 2), lenient=lenient)
    assert outcome.status is status, outcome.reason
    assert "misses gate fit" in outcome.reason or not lenient


async def test_a_printed_score_is_no_score(toy: Pack, evaluator: Evaluator) -> None:
    lie = "    print('{\"loss\": 0.0}')\n    print('loss 0.0')"
    outcome = await evaluator.evaluate(edited(toy, TRAIN, LAST, lie), None)
    assert outcome.score == pytest.approx(9 + 25, abs=0.5)


async def test_a_written_score_is_illegal(toy: Pack, evaluator: Evaluator) -> None:
    lie = "    open('out/score.json', 'w').write('{\"loss\": 0.0}')"
    outcome = await evaluator.evaluate(edited(toy, TRAIN, LAST, lie), None)
    assert outcome.status is Status.ILLEGAL
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.TAMPERING
    assert "out/score.json" in outcome.failure.excerpt


async def test_the_recipe_sees_no_answers_and_the_scorer_no_recipe(
    toy: Pack, evaluator: Evaluator
) -> None:
    look = "    import os\n    print(sorted(f for _, _, fs in os.walk('.') for f in fs))\n    1 / 0"
    outcome = await evaluator.evaluate(edited(toy, TRAIN, LAST, look), None)
    assert "train.py" in outcome.log_tail
    assert "answers" not in outcome.log_tail
    assert "score.py" not in outcome.log_tail
    spy = "import os\nprint(sorted(f for _, _, fs in os.walk('.') for f in fs))\n1 / 0\n"
    outcome = await evaluator.evaluate(edited(toy, PREDICT, '"""Writes', spy + '"""Writes'), None)
    assert "inputs.txt" in outcome.log_tail
    assert "answers" not in outcome.log_tail


class FlakySandbox(LocalSandbox):
    """Fails like a dead daemon for the first few phases."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def run(self, request: PhaseRequest) -> PhaseResult:
        if self.failures > 0:
            self.failures -= 1
            raise SandboxError("the daemon does not answer")
        return await super().run(request)


async def test_machinery_that_recovers_costs_the_recipe_nothing(toy: Pack) -> None:
    data = ensure_data(toy, say=lambda text: None)
    async with FlakySandbox(ATTEMPTS - 1) as sandbox:
        evaluator = Evaluator(toy, sandbox, data, retry_seconds=0.01)
        assert (await evaluator.evaluate(toy.baseline(), None)).status is Status.BASELINE


async def test_machinery_that_stays_broken_aborts_the_trial(toy: Pack) -> None:
    data = ensure_data(toy, say=lambda text: None)
    async with FlakySandbox(99) as sandbox:
        outcome = await Evaluator(toy, sandbox, data, retry_seconds=0.01).evaluate(
            toy.baseline(), None
        )
    assert outcome.status is Status.ABORTED
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.INFRASTRUCTURE
    assert "daemon" in outcome.reason


async def test_a_broken_scorer_is_not_the_recipes_fault(
    toy: Pack, sandbox: LocalSandbox, project: Path
) -> None:
    (project / "task_packs/toy/evaluator/score.py").write_text("raise RuntimeError('broken')\n")
    data = ensure_data(toy, say=lambda text: None)
    outcome = await Evaluator(toy, sandbox, data).evaluate(toy.baseline(), None)
    assert outcome.status is Status.ABORTED
    assert "scorer failed" in outcome.reason


async def test_predictions_that_a_scorer_fails_on_are_the_recipes_fault(
    toy: Pack, evaluator: Evaluator
) -> None:
    """Its square overflows; what the exception says stays with the evaluator."""
    recipe = edited(toy, TRAIN, "X + blur", "1e200")
    best = await evaluator.evaluate(toy.baseline(), None)
    incumbent = Incumbent.of_trial(0, toy.baseline(), best, best.seed_runs)
    outcome = await evaluator.evaluate(recipe, lambda: incumbent)
    assert outcome.status is Status.CRASHED and outcome.failure is not None
    assert (outcome.failure.phase, outcome.failure.kind) == (Phase.SCORE, FailureKind.BAD_OUTPUT)
    assert "the scorer failed on what predict left: OverflowError" in outcome.reason
    assert "Numerical result" not in f"{outcome}"


async def test_a_seed_run_has_the_fold_of_its_seed(
    toy: Pack, sandbox: LocalSandbox, tmp_path: Path
) -> None:
    """Each fold is trained without its own answers, and scored on them alone."""
    copy = "import shutil; shutil.copy({!r}, {!r})"
    score = (
        "import json, pathlib\n"
        "seen, hidden = (pathlib.Path(name).read_text() for name in "
        "('predictions/seen', 'answers/hidden'))\n"
        "pathlib.Path('out/score.json').write_text(json.dumps("
        "{'loss': float(hidden), 'fit': float(seen)}))\n"
    )

    def phase(code: str, **data: str) -> PhaseSpec:
        named = {name.replace("_", "/"): file for name, file in data.items()}
        return PhaseSpec(command=("python", "-c", code), data=named)

    train = phase(copy.format("data/rest", "out/seen"), data_rest="rest-{fold}")
    changed = {
        "preflight": toy.phases.preflight.model_copy(update={"command": ("true",), "data": {}}),
        "train": toy.phases.train.model_copy(update={"command": train.command, "data": train.data}),
        "predict": phase(copy.format("artifact/seen", "out/seen")),
        "score": phase(score, answers_hidden="fold-{fold}"),
    }
    phases = toy.phases.model_copy(update=changed)
    pack = toy.model_copy(update={"folds": 3, "phases": phases, "data": (), "warm": ()})
    data = {}
    for fold in range(3):
        for name, value in ((f"rest-{fold}", 100 + fold), (f"fold-{fold}", fold)):
            (tmp_path / name).write_text(str(value))
            data[name] = tmp_path / name
    outcome = await Evaluator(pack, sandbox, data).measure(pack.baseline(), (3, 7, 8))
    assert outcome.status is Status.BASELINE, outcome.reason
    found = [(run.measures["score.fit"], run.measures["score.loss"]) for run in outcome.seed_runs]
    assert found == [(100.0, 0.0), (101.0, 1.0), (102.0, 2.0)]


async def test_a_recipe_that_ignores_its_seed_is_run_no_more(
    toy: Pack, evaluator: Evaluator
) -> None:
    recipe = edited(toy, TRAIN, "blur = random.Random(args.seed).gauss(0.0, 0.01)", "blur = 0.01")
    outcome = await evaluator.measure(recipe, (1, 2, 3, 4, 5))
    assert len({run.artifact for run in outcome.seed_runs}) == 1
    # The third may begin before the second has ended.
    assert not any(run.timings for run in outcome.seed_runs[-2:])
    honest = await evaluator.measure(toy.baseline(), (1, 2, 3))
    assert len({run.artifact for run in honest.seed_runs}) == 3
    assert all(run.timings for run in honest.seed_runs)


async def test_phases_begin_where_the_pack_says(toy: Pack, evaluator: Evaluator) -> None:
    """A script that writes beside itself and takes its seed from the environment."""
    script = (
        "import os, pathlib\n"
        "pathlib.Path('note.txt').write_text('beside the script')\n"
        "assert pathlib.Path('train.py').is_file()\n"
        "pathlib.Path('../out/model.txt').write_text(os.environ['SEED'] + ' 0.5')\n"
    )
    train = {
        "command": ("python", "-c", script),
        "workdir": "recipe",
        "scratch": True,
        "environment": {"SEED": "{seed}"},
    }
    predict = "import shutil; shutil.copy('artifact/model.txt', 'out/predictions.txt')"
    score = (
        "import json, os, pathlib, recipelab_scoring\n"
        "seed, value = pathlib.Path('../predictions/predictions.txt').read_text().split()\n"
        "loss = float(seed) + float(value) + float(os.environ['MORE'])\n"
        "pathlib.Path('../out/score.json').write_text(json.dumps({'loss': loss, 'fit': 1}))\n"
    )
    changed = {
        "preflight": toy.phases.preflight.model_copy(update=train),
        "train": toy.phases.train.model_copy(update=train),
        "predict": toy.phases.predict.model_copy(update={"command": ("python", "-c", predict)}),
        "score": toy.phases.score.model_copy(
            update={
                "command": ("python", "-c", score),
                "workdir": "evaluator",
                "environment": {"MORE": "100", "PYTHONPATH": "."},
            }
        ),
    }
    phases = toy.phases.model_copy(update=changed)
    pack = toy.model_copy(update={"phases": phases, "warm": ()})
    outcome = await evaluator.with_pack(pack).measure(pack.baseline(), (1, 2))
    assert outcome.status is Status.BASELINE, outcome.log_tail
    assert [run.measures["score.loss"] for run in outcome.seed_runs] == [101.5, 102.5]


async def test_what_a_scorer_says_besides_is_shown(
    toy: Pack, evaluator: Evaluator, project: Path
) -> None:
    score = toy.root / "evaluator/score.py"
    score.write_text(
        score.read_text().replace('{"loss": loss', '{"note": "all fine", "loss": loss')
    )
    outcome = await evaluator.measure(toy.baseline(), (1,))
    assert outcome.status is Status.BASELINE, outcome.reason
    assert 'score.note: "all fine" (not judged)' in outcome.log_tail
    assert "score.note" not in outcome.seed_runs[0].measures


@pytest.mark.parametrize(("share_of_best", "runs"), [(1.0, 2), (0.1, 1)])
async def test_an_overrun_that_was_kept_waiting_is_run_once_more(
    toy: Pack, share_of_best: float, runs: int
) -> None:
    pack = toy.model_copy(
        update={"seeds": (1,), "budgets": toy.budgets.model_copy(update={"train": 1.0})}
    )
    waits = edited(
        pack, TRAIN, LAST, f"    import time\n    time.sleep(0 if args.smoke else 60)\n{LAST}"
    )
    times = {METRIC: 34.0, "train.cpu_seconds": share_of_best, "train.wall_seconds": 1.0}
    best = Incumbent(0, pack.baseline(), {1: SeedRun(1, (), times)})
    trained: list[Phase] = []
    sandbox = LocalSandbox()
    run = sandbox.run

    async def counted(request: PhaseRequest) -> PhaseResult:
        trained.extend([Phase.TRAIN] if request.phase == Phase.TRAIN else [])
        return await run(request)

    sandbox.run = counted  # type: ignore[method-assign]
    async with sandbox:
        data = ensure_data(pack, say=lambda text: None)
        outcome = await Evaluator(pack, sandbox, data, retry_seconds=0.01).evaluate(
            waits, lambda: best
        )
    assert outcome.status is Status.TRAIN_OVERRUN
    assert len(trained) == runs
    assert ("run again, as the machine was busy" in outcome.reason) == (runs == 2)
