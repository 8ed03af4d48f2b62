"""Preflight: what it projects is held to the limits, and what it keeps is there in training."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, FailureKind, Outcome, Phase, Proposal, SeedRun, Status
from recipelab.evaluation.calibration import baseline_text
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import Incumbent, noise_of
from recipelab.evaluation.projection import (
    LARGEST_CORRECTION,
    corrections,
    read_projection,
    refusal,
)
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.warm_up import IDLE
from recipelab.lineage import LineageStore
from recipelab.packs.data import ensure_data
from recipelab.packs.judging_sections import Gate, Metric
from recipelab.packs.pack import Pack
from recipelab.report.trial import projected_words
from recipelab.sandbox import LocalSandbox, PhaseRequest, PhaseResult

TRAIN = "recipe/train.py"
LAST = '    print("loss 0.0 accuracy 1.0")'
NAMES = ("artifact_bytes", "train_seconds")


class Watched(LocalSandbox):
    """Notes the phases that run, and whether they belong to the incumbent."""

    def __init__(self) -> None:
        super().__init__()
        self.phases: list[str] = []

    async def run(self, request: PhaseRequest) -> PhaseResult:
        beside = "best " if "beside" in request.labels else ""
        self.phases.append(f"{beside}{request.phase}")
        return await super().run(request)


def with_preflight(pack: Pack, **update: Any) -> Pack:
    """The pack with another preflight, and with gates if there are any."""
    gates = update.pop("gates", pack.gates)
    table = {**pack.phases.preflight.model_dump(), **update}
    spec = type(pack.phases.preflight).model_validate(table)
    phases = pack.phases.model_copy(update={"preflight": spec})
    return pack.model_copy(update={"phases": phases, "gates": gates, "seeds": (1, 2)})


def leaving(pack: Pack, *lines: str, train: str = "pass") -> Recipe:
    """The starting recipe with lines that end its preflight, and one that ends its training."""
    body = [*(f"        {line}" for line in lines), "    else:", f"        {train}"]
    edit = Edit(TRAIN, LAST, "\n".join(["    if args.smoke:", *body]))
    return pack.baseline().apply([edit], pack.recipe.editable)


def projecting(pack: Pack, **values: float) -> Recipe:
    text = json.dumps(values)
    return leaving(pack, f"open('out/projection.json', 'w').write({text!r})")


def evaluator_of(pack: Pack, sandbox: LocalSandbox) -> Evaluator:
    return Evaluator(pack, sandbox, ensure_data(pack, say=lambda text: None))


def incumbent_of(recipe: Recipe, outcome: Outcome) -> Incumbent:
    return Incumbent(0, recipe, {run.seed: run for run in outcome.seed_runs})


@pytest.mark.parametrize(
    ("gate", "values", "status", "words"),
    [
        (None, {"artifact_bytes": 5_500}, "oversize", "5,500 bytes, 10 % over the limit of 5,000"),
        (None, {"artifact_bytes": 5_200}, "baseline", ""),  # Within the error of the projection.
        (None, {"train_seconds": 13}, "train_overrun", "13 s, 30 % over the limit of 10 (budgets."),
        (None, {"train_cpu_seconds": 13}, "train_overrun", "13 s, 30 % over the limit of 10"),
        (None, {"peak_memory_mb": 600}, "crashed", "600 MiB of memory, 17 % over the limit of 512"),
        (
            {"measure": "train.wall_seconds", "at_most": 4, "failure": "gate_missed"},
            {"train_seconds": 5},
            "gate_missed",
            "25 % over the limit of 4 (gate moved)",
        ),
        (
            {"measure": "train.cpu_seconds", "at_most": 4, "failure": "train_overrun"},
            {"train_cpu_seconds": 5.2},
            "train_overrun",
            "5.2 CPU seconds, 30 % over the limit of 4 (gate moved)",
        ),
    ],
)
async def test_what_is_projected_over_a_limit_is_never_trained(
    toy: Pack,
    gate: dict[str, Any] | None,
    values: dict[str, float],
    status: str,
    words: str,
) -> None:
    more = () if gate is None else (Gate(name="moved", **gate),)
    projects = dict.fromkeys(values, 0.05)
    pack = with_preflight(toy, projects=projects, gates=(*toy.gates, *more))
    async with Watched() as sandbox:
        outcome = await evaluator_of(pack, sandbox).evaluate(projecting(pack, **values), None)
    assert outcome.status == status, outcome.reason
    if status == "baseline":
        measures = outcome.seed_runs[0].measures
        assert measures["projected.artifact_bytes"] == values["artifact_bytes"]
        return
    assert sandbox.phases == ["preflight"]
    assert outcome.failure is not None and words in outcome.reason
    failure = outcome.failure
    assert (failure.kind, failure.phase) == (FailureKind.PROJECTED, Phase.PREFLIGHT)
    assert not any(mark.isdigit() for mark in failure.signature)


async def test_the_recipe_counts_where_the_gate_counts_it(
    toy: Pack, sandbox: LocalSandbox, tmp_path: Path
) -> None:
    """Its own bytes are known exactly: only those of the artifact have an error."""
    for measure in ("submission.bytes", "submission.packed_bytes"):
        gate = Gate(name="all", measure=measure, at_most=1e9, failure=Status.OVERSIZE)
        pack = with_preflight(toy, projects={"artifact_bytes": 0.5}, gates=(gate,))
        found = await evaluator_of(pack, sandbox).measure(pack.baseline(), (1,))
        measures = found.seed_runs[0].measures
        code = measures[measure] - measures["artifact.bytes"]
        projection = read_projection(_folder_with(tmp_path, '{"artifact_bytes": 100}'), NAMES[:1])
        for most, refused in ((code + 51, False), (code + 49, True)):
            held = pack.model_copy(update={"gates": (gate.model_copy(update={"at_most": most}),)})
            over = refusal(held, pack.baseline(), projection, {}, seed=1)
            assert (over is not None) == refused
            assert over is None or f"{code + 100:,.0f} bytes" in over[1].excerpt


def seed_run(seed: int, **measures: float) -> SeedRun:
    named = {name.replace("__", "."): value for name, value in measures.items()}
    return SeedRun(seed, (), named)


def test_what_trainings_took_corrects_the_projections_of_others() -> None:
    runs = [
        seed_run(1, projected__train_cpu_seconds=2.0, train__cpu_seconds=2.2),
        seed_run(2, projected__train_cpu_seconds=2.0, train__cpu_seconds=2.6),
        seed_run(3, train__cpu_seconds=9.0),
    ]
    assert corrections(runs) == {"train_cpu_seconds": pytest.approx(1.2)}
    assert corrections(runs[2:]) == {}
    # A best that foretells a tenth of what it takes cannot have all others refused.
    liar = seed_run(1, projected__artifact_bytes=10.0, artifact__bytes=100.0)
    assert corrections([liar]) == {"artifact_bytes": LARGEST_CORRECTION}
    never_trained = seed_run(1, projected__artifact_bytes=10.0)
    assert corrections([never_trained]) == {"artifact_bytes": 1.0}


async def test_a_corrected_projection_is_held_to_the_limit(
    toy: Pack, sandbox: LocalSandbox
) -> None:
    pack = with_preflight(toy, projects={"artifact_bytes": 0.0})
    evaluator = evaluator_of(pack, sandbox)
    measures = {"projected__artifact_bytes": 100.0, "artifact__bytes": 120.0, "metric": 0.0}
    runs = {seed: seed_run(seed, score__loss=0.0, **measures) for seed in pack.seeds}
    best = Incumbent(0, pack.baseline(), runs)
    over = await evaluator.evaluate(projecting(pack, artifact_bytes=4_500), lambda: best)
    assert over.status is Status.OVERSIZE
    assert "5,400 bytes, 8 % over the limit of 5,000" in over.reason
    below = await evaluator.evaluate(projecting(pack, artifact_bytes=4_100), lambda: best)
    assert below.status is Status.DISCARDED, below.reason


def _folder_with(place: Path, text: str) -> Path:
    folder = place / "left"
    folder.mkdir(exist_ok=True)
    (folder / "projection.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("[" * 50_000, "no JSON"),
        ("[1]", "no JSON object"),
        ('"' + "a" * 70_000 + '"', "over 65,536 bytes"),
        ("{}", "artifact_bytes must be a finite number, at least 0, not 'nothing'"),
        ('{"artifact_bytes": NaN, "train_seconds": 1}', "not nan"),
        ('{"artifact_bytes": true, "train_seconds": 1}', "not True"),
        ('{"artifact_bytes": -1, "train_seconds": 1}', "not -1"),
        ('{"artifact_bytes": "9", "train_seconds": 1}', "not '9'"),
        ('{"artifact_bytes": 1' + "0" * 400 + ', "train_seconds": 1}', "artifact_bytes must be"),
        ('{"artifact_bytes": 1' + "0" * 5000 + ', "train_seconds": 1}', "no JSON"),
        ('{"artifact_bytes": {"\\u001b[2J": []}, "train_seconds": 1}', "artifact_bytes must be"),
    ],
)
def test_a_hostile_projection_is_no_projection(tmp_path: Path, text: str, words: str) -> None:
    found = read_projection(_folder_with(tmp_path, text), NAMES)
    assert "artifact_bytes" not in found.values
    assert words in found.problem
    assert found.problem.isprintable() and len(found.problem) < 300
    assert all(math.isfinite(value) for value in found.values.values())


def test_other_names_are_ignored(tmp_path: Path) -> None:
    text = '{"artifact_bytes": 7, "train_seconds": 2.5, "score": 1e99, "note": "x"}'
    found = read_projection(_folder_with(tmp_path, text), NAMES)
    assert (found.values, found.problem) == ({"artifact_bytes": 7, "train_seconds": 2.5}, "")


async def test_a_trial_may_not_leave_out_what_the_baseline_projects(toy: Pack) -> None:
    pack = with_preflight(toy, projects={"artifact_bytes": 0.05})
    honest, silent = projecting(pack, artifact_bytes=60), pack.baseline()
    async with Watched() as sandbox:
        evaluator = evaluator_of(pack, sandbox)
        for recipe, status in ((honest, Status.CRASHED), (silent, Status.DISCARDED)):
            start = await evaluator.evaluate(recipe, None)
            assert start.status is Status.BASELINE
            best = incumbent_of(recipe, start)
            edit = Edit(TRAIN, "PADDING = 10", "PADDING = 11")
            trial = await evaluator.evaluate(
                silent.apply([edit], pack.recipe.editable), lambda best=best: best
            )
            assert trial.status is status, trial.reason
            if status is Status.CRASHED:
                assert trial.failure is not None
                assert "left no projection.json; the baseline projects" in trial.failure.excerpt


async def test_a_baseline_without_its_projection_says_so(
    toy: Pack, store: LineageStore, sandbox: LocalSandbox
) -> None:
    pack = with_preflight(toy, projects={"artifact_bytes": 0.05})
    queue = TrialQueue(store, "c", evaluator_of(pack, sandbox))
    queue.propose_baseline()
    await queue.next_ended()
    text = baseline_text(pack, queue.checked_baseline())
    assert "no usable projection of artifact_bytes" in text
    await queue.stop()


async def test_the_lineage_keeps_a_refusal_and_tells_what_it_saved(
    toy: Pack, store: LineageStore, sandbox: LocalSandbox
) -> None:
    pack = with_preflight(toy, projects={"artifact_bytes": 0.05})
    queue = TrialQueue(store, "c", evaluator_of(pack, sandbox))
    queue.propose_baseline()
    await queue.next_ended()
    assert store.projected("c")["refused"] == 0 and not projected_words(store.projected("c"))
    start = queue.checked_baseline().outcome
    text = json.dumps({"artifact_bytes": 6_000})
    line = f"    args.smoke and open('out/projection.json', 'w').write({text!r})"
    queue.submit(
        Proposal("left", "left", 0, "why", -1.0, (Edit(TRAIN, LAST, line),)), round_number=1
    )
    (record,) = await queue.next_ended()
    await queue.stop()
    assert record.outcome is not None and record.outcome.failure is not None
    assert record.status is Status.OVERSIZE
    assert record.outcome.failure.kind is FailureKind.PROJECTED
    assert "6,000 bytes, 20 % over the limit of 5,000" in record.outcome.reason
    found = store.projected("c")
    assert start is not None and found["train_seconds"] is not None
    trained = [t.wall_seconds for run in start.seed_runs for t in run.timings if t.phase == "train"]
    assert found["train_seconds"] == pytest.approx(sum(trained) / len(trained))
    assert (found["refused"], found["saved_seconds"]) == (1, found["train_seconds"])
    assert "device hours" in projected_words(found)


# Warm-ups.

KEEP = (
    "import os, time",
    "os.mkdir('out/cache')",
    "open('out/cache/made', 'w').write(str(time.time_ns()))",
)
READ = "print('warm', open('cache/made').read())"


def warm_recipe(pack: Pack, x: float = 1.0) -> Recipe:
    edit = Edit(TRAIN, "X = 1.0", f"X = {x:.2f}")
    return leaving(pack, *KEEP, train=READ).apply([edit], pack.recipe.editable)


async def test_one_warm_up_serves_all_seeds_and_the_best_beside_others(toy: Pack) -> None:
    """The kept folder is there, one preflight a recipe made it, and the record names its hash."""
    metric = Metric.model_validate(
        {
            "name": "time",
            "unit": "s",
            "goal": "minimize",
            "measure": "train.wall_seconds",
            "side_by_side": True,
            "drift": 1e6,
        }
    )
    pack = with_preflight(toy, keeps="cache", keep_mb=1).model_copy(update={"metric": metric})
    recipe = warm_recipe(pack)
    async with Watched() as sandbox:
        evaluator = evaluator_of(pack, sandbox)
        start = await evaluator.evaluate(recipe, None)
        assert start.status is Status.BASELINE, start.log_tail
        assert "; warm-up sha256:" in start.environment
        # The baseline runs beside itself: it is the same recipe.
        assert [name for name in sandbox.phases if "preflight" in name] == ["preflight"]
        best = incumbent_of(recipe, start)
        sandbox.phases.clear()
        other = warm_recipe(pack, 1.5)
        trial = await evaluator.evaluate(other, lambda: best)
        assert trial.status is not Status.CRASHED, trial.log_tail
        assert [name for name in sandbox.phases if "preflight" in name] == ["preflight"]
        assert sandbox.phases.count("best train") == 2
        assert trial.environment != start.environment
    async with Watched() as sandbox:
        # Another process, as one that resumes: both are made anew.
        trial = await evaluator_of(pack, sandbox).evaluate(other, lambda: best)
        assert trial.status is not Status.CRASHED, trial.log_tail
        assert sorted(n for n in sandbox.phases if "preflight" in n) == [
            "best preflight",
            "preflight",
        ]


async def test_what_is_kept_is_bounded_and_read_only(toy: Pack, sandbox: LocalSandbox) -> None:
    pack = with_preflight(toy, keeps="cache", keep_mb=1)
    evaluator = evaluator_of(pack, sandbox)
    make = "__import__('os').mkdir('out/cache')"
    large = leaving(pack, make, "open('out/cache/a', 'wb').write(bytes(2**21))")
    outcome = await evaluator.evaluate(large, None)
    assert outcome.status is Status.OVERSIZE and outcome.failure is not None
    assert "2.0 MiB in out/cache, over its 1 MiB" in outcome.failure.excerpt
    for lines, train in (
        (("pass",), "assert __import__('os').listdir('cache') == []"),
        (
            (make, "__import__('os').symlink('/etc/passwd', 'out/cache/link')"),
            "assert __import__('os').listdir('cache') == []",
        ),
    ):
        outcome = await evaluator.measure(leaving(pack, *lines, train=train), (1,))
        assert outcome.status is Status.BASELINE, outcome.log_tail
    changed = leaving(pack, *KEEP, train="open('cache/made', 'w')")
    outcome = await evaluator.measure(changed, (1,))
    assert outcome.status in (Status.CRASHED, Status.ILLEGAL)


async def test_idle_warm_ups_are_dropped_but_those_in_use_stay(
    toy: Pack, sandbox: LocalSandbox
) -> None:
    pack = with_preflight(toy, keeps="cache", keep_mb=1)
    evaluator = evaluator_of(pack, sandbox)
    for number in range(IDLE + 2):
        await evaluator.measure(warm_recipe(pack, 1.0 + number / 10), (1,))
    root = evaluator._warm_ups._root
    assert root is not None
    assert len(list(root.iterdir())) == IDLE
    del evaluator
    assert not root.exists()


# Gates that the starting recipe misses.


def fit_of(outcome: Outcome) -> list[float]:
    return [run.measures["score.fit"] for run in outcome.seed_runs]


@pytest.mark.parametrize(("errors", "starts"), [(2.9, True), (3.1, False)])
async def test_a_baseline_that_noise_lets_miss_a_gate_starts_and_trials_have_to_pass(
    toy: Pack, sandbox: LocalSandbox, errors: float, starts: bool
) -> None:
    honest = await evaluator_of(toy, sandbox).evaluate(toy.baseline(), None)
    noise = noise_of(honest.seed_runs, toy.metric)
    assert noise is not None
    fit = noise.measures["score.fit"]
    limit = fit.mean + errors * fit.sd / math.sqrt(fit.runs)
    gate = Gate(name="fit", measure="score.fit", at_least=limit)
    pack = toy.model_copy(update={"gates": (gate,)})
    evaluator = evaluator_of(pack, sandbox)
    start = await evaluator.evaluate(pack.baseline(), None)
    assert start.status is (Status.BASELINE if starts else Status.GATE_MISSED)
    if starts:
        assert "misses gate fit" in start.reason and "trials have to pass it" in start.reason
        best = incumbent_of(pack.baseline(), start)
        same = pack.baseline().apply(
            [Edit(TRAIN, "PADDING = 10", "PADDING = 11")], pack.recipe.editable
        )
        trial = await evaluator.evaluate(same, lambda: best)
        assert trial.status is Status.GATE_MISSED
        alone = await evaluator.measure(pack.baseline(), pack.seeds)
        assert alone.status is Status.GATE_MISSED


async def test_a_size_and_a_figure_without_noise_have_no_mercy(
    toy: Pack, sandbox: LocalSandbox
) -> None:
    gate = Gate.model_validate({"name": "size", "measure": "artifact.bytes", "at_most": 10})
    fixed: Mapping[str, Any] = {"measure": "score.fit", "at_least": 1.0 + 1e-9}
    for missed in (gate, Gate(name="fit", **fixed)):
        pack = toy.model_copy(update={"gates": (missed,)})
        recipe = toy.baseline().apply(
            [Edit(TRAIN, "blur = random.Random(args.seed).gauss(0.0, 0.01)", "blur = 0.0")],
            toy.recipe.editable,
        )
        outcome = await evaluator_of(pack, sandbox).evaluate(recipe, None)
        assert outcome.status is Status.GATE_MISSED, outcome.reason


async def slow_preflight(
    pack: Pack, monkeypatch: pytest.MonkeyPatch, load: float, *, first_only: bool
) -> tuple[list[str], Outcome]:
    """Phases and outcome of a recipe whose preflight sleeps, the first time or always."""
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("recipelab.evaluation.failures._pressure", lambda: None)
    pack = with_preflight(pack)
    pack = pack.model_copy(update={"budgets": pack.budgets.model_copy(update={"preflight": 0.7})})
    recipe = leaving(pack, "__import__('time').sleep(9)")

    class Busy(Watched):
        async def run(self, request: PhaseRequest) -> PhaseResult:
            if first_only and request.phase == "preflight" and self.phases:
                longer = replace(request.limits, seconds=20.0)
                request = replace(request, limits=longer, command=("true",), warm=())
            return await super().run(request)

    async with Busy() as sandbox:
        evaluator = evaluator_of(pack, sandbox)
        baseline = SeedRun(1, (), {"preflight.wall_seconds": 0.31, "preflight.cpu_seconds": 0.22})
        best = Incumbent(0, pack.baseline(), {1: baseline})
        if first_only:
            return sandbox.phases, await evaluator.evaluate(recipe, None)
        return sandbox.phases, await evaluator.evaluate(recipe, lambda: best)


async def test_a_preflight_on_a_busy_machine_has_a_second_try(
    toy: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases, outcome = await slow_preflight(toy, monkeypatch, load=999.0, first_only=True)
    assert phases[:3] == ["preflight", "preflight", "train"]
    assert outcome.status is Status.BASELINE, outcome.reason
    assert outcome.seed_runs[0].measures["preflight.wall_seconds"] < 0.7


@pytest.mark.parametrize(("load", "tries"), [(0.0, 1), (999.0, 2)])
async def test_a_preflight_that_is_too_slow_says_what_it_got(
    toy: Pack, monkeypatch: pytest.MonkeyPatch, load: float, tries: int
) -> None:
    phases, outcome = await slow_preflight(toy, monkeypatch, load=load, first_only=False)
    assert phases == ["preflight"] * tries
    assert outcome.status is Status.CRASHED and outcome.failure is not None
    assert outcome.failure.kind is FailureKind.TIMEOUT
    text = outcome.failure.excerpt
    assert text.count("CPU seconds in ") == tries + 1 and f"a load of {load:.1f} on" in text
    assert "that of the best took 0.2 CPU seconds in 0.3 s" in text
