"""A trial's way from screening to verdict, with real processes and drawn noise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Outcome, SeedRun, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import METRIC, Incumbent, noise_of
from recipelab.evaluation.seeds import SeedSource
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox, PhaseRequest, PhaseResult
from recipelab.sandbox.slots import ANYWHERE, Slot, SlotPool

LABELS = {"campaign": "c", "trial": "1"}


class RecordingSandbox(LocalSandbox):
    """Remembers who trained with which seed."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[tuple[str, int]] = []

    async def run(self, request: PhaseRequest) -> PhaseResult:
        if request.phase == "train":
            role = "best" if "beside" in request.labels else "trial"
            self.trained.append((role, int(request.labels["seed"])))
        return await super().run(request)


@pytest.fixture
def strict(project: Path) -> Pack:
    """The toy pack with the default policy."""
    return load_pack("toy", "confirmed")


def edited(pack: Pack, search: str, replacement: str) -> Recipe:
    edit = Edit("recipe/train.py", search, replacement)
    return pack.baseline().apply([edit], pack.recipe.editable)


def held(pack: Pack, outcome: Outcome, kept: Callable[..., None] = lambda runs: None) -> Incumbent:
    runs = {run.seed: run for run in outcome.seed_runs}
    noise = noise_of(outcome.seed_runs, pack.metric)
    return Incumbent(0, pack.baseline(), runs, noise=noise, store_runs=kept)


def evaluator_of(pack: Pack, sandbox: LocalSandbox) -> Evaluator:
    data = ensure_data(pack, say=lambda text: None)
    return Evaluator(pack, sandbox, data, pool=SlotPool([ANYWHERE]), retry_seconds=0.01)


async def test_a_gain_is_kept_on_seeds_that_nobody_had_run(strict: Pack) -> None:
    added: list[SeedRun] = []
    async with RecordingSandbox() as sandbox:
        evaluator = evaluator_of(strict, sandbox)
        best = held(strict, await evaluator.evaluate(strict.baseline(), None), added.extend)
        sandbox.trained.clear()
        outcome = await evaluator.evaluate(
            edited(strict, "X = 1.0", "X = 2.0"), lambda: best, labels=LABELS
        )
    assert outcome.status is Status.KEPT
    evidence = outcome.evidence
    assert evidence is not None
    assert (evidence.screened, evidence.planned, evidence.confirmed) == (3, 3, 4)
    assert evidence.p is not None and evidence.level is not None
    assert evidence.p <= evidence.level < 0.05
    fresh = {seed for role, seed in sandbox.trained if role == "best"}
    # In turns, so that what changes slowly meets both alike.
    turns = [role for role, seed in sandbox.trained if seed in fresh]
    assert turns == ["best", "trial", "trial", "best"] * 2
    assert len(fresh) == 4 and not fresh & set(strict.seeds)
    assert {run.seed for run in outcome.seed_runs} == fresh | set(strict.seeds)
    # The best's new seed runs are told, so that they are not lost; its score is of fresh seeds.
    assert {run.seed for run in added} == fresh
    scores = [run.measures[METRIC] for run in outcome.seed_runs if run.seed in fresh]
    assert outcome.score == pytest.approx(sum(scores) / 4)


@pytest.mark.slow
async def test_the_same_trial_is_confirmed_on_the_same_seeds_again(strict: Pack) -> None:
    seen, seeds = [], SeedSource(strict, "c", b"secret")
    async with RecordingSandbox() as sandbox:
        evaluator = evaluator_of(strict, sandbox)
        baseline = await evaluator.evaluate(strict.baseline(), None)
        for labels in (LABELS, LABELS, {**LABELS, "trial": "2"}):
            sandbox.trained.clear()
            best = held(strict, baseline)
            await evaluator.evaluate(
                edited(strict, "X = 1.0", "X = 2.0"),
                lambda best=best: best,
                seeds=seeds,
                labels=labels,
            )
            seen.append({seed for role, seed in sandbox.trained if role == "best"})
    assert seen[0] == seen[1]
    assert not seen[0] & seen[2]


async def test_luck_on_the_usual_seeds_is_not_kept(strict: Pack) -> None:
    """An edit that is better on the pack's seeds alone."""
    lucky = 'X = 3.0 if __import__("sys").argv[-1] in ("1", "2", "3") else 1.0'
    async with RecordingSandbox() as sandbox:
        evaluator = evaluator_of(strict, sandbox)
        best = held(strict, await evaluator.evaluate(strict.baseline(), None))
        outcome = await evaluator.evaluate(
            edited(strict, "X = 1.0", lucky), lambda: best, labels=LABELS
        )
    assert outcome.status is Status.DISCARDED
    assert "did not show again" in outcome.reason
    assert outcome.evidence is not None and outcome.evidence.confirmed == 4


@pytest.mark.parametrize(
    ("search", "replacement", "status"),
    [("X = 1.0", "X = -1.0", "discarded"), ("PADDING = 10", "PADDING = 6000", "oversize")],
)
async def test_a_hopeless_trial_stops_after_its_first_seed(
    strict: Pack, search: str, replacement: str, status: str
) -> None:
    async with RecordingSandbox() as sandbox:
        evaluator = evaluator_of(strict, sandbox)
        best = held(strict, await evaluator.evaluate(strict.baseline(), None))
        sandbox.trained.clear()
        outcome = await evaluator.evaluate(
            edited(strict, search, replacement), lambda: best, labels=LABELS
        )
    assert outcome.status == status
    assert sandbox.trained == [("trial", 1)]
    assert "stopped after 1 of 3 seed runs" in outcome.reason
    evidence = outcome.evidence
    assert evidence is not None
    assert (evidence.screened, evidence.planned) == (1, 3)
    assert evidence.saved_seconds > 0


async def test_all_seeds_run_if_racing_is_off(strict: Pack) -> None:
    off = strict.acceptance.model_copy(update={"racing_error": 0.0})
    whole = strict.model_copy(update={"acceptance": off})
    async with RecordingSandbox() as sandbox:
        evaluator = evaluator_of(whole, sandbox)
        best = held(whole, await evaluator.evaluate(whole.baseline(), None))
        outcome = await evaluator.evaluate(edited(whole, "X = 1.0", "X = -1.0"), lambda: best)
    assert [run.seed for run in outcome.seed_runs] == [1, 2, 3]


async def test_calibration_runs_the_baseline_on_more_seeds(strict: Pack) -> None:
    more = strict.acceptance.model_copy(update={"calibration": 5})
    async with RecordingSandbox() as sandbox:
        evaluator = evaluator_of(strict.model_copy(update={"acceptance": more}), sandbox)
        outcome = await evaluator.evaluate(strict.baseline(), None)
    seeds = [run.seed for run in outcome.seed_runs]
    assert len(seeds) == 5
    assert set(strict.seeds) < set(seeds)


async def test_followers_of_a_kept_trial_are_screened_on_other_seeds(strict: Pack) -> None:
    async with RecordingSandbox() as sandbox:
        evaluator = evaluator_of(strict, sandbox)
        baseline = await evaluator.evaluate(strict.baseline(), None)
        best = replace(held(strict, baseline), number=7)
        sandbox.trained.clear()
        await evaluator.evaluate(edited(strict, "X = 1.0", "X = 0.9"), lambda: best)
    assert {role for role, _ in sandbox.trained} == {"trial"}, "the best is known from its runs"
    screened = {seed for _, seed in sandbox.trained}
    assert screened and not screened & set(strict.seeds)


async def test_measure_takes_the_seeds_that_it_is_given(strict: Pack) -> None:
    async with RecordingSandbox() as sandbox:
        evaluator = evaluator_of(strict, sandbox)
        outcome = await evaluator.measure(strict.baseline(), (5, 9))
        missed = await evaluator.measure(edited(strict, "PADDING = 10", "PADDING = 6000"), (5, 9))
    assert outcome.status is Status.BASELINE
    assert [run.seed for run in outcome.seed_runs] == [5, 9]
    assert missed.status is Status.OVERSIZE
    assert json.dumps([gate.name for gate in missed.gates]) == '["size", "fit"]'


class SlowScorer(LocalSandbox):
    """Scores nothing before another training has begun, or for so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.overlaps = 0
        self.trainings = 0
        self.trained = asyncio.Event()

    async def run(self, request: PhaseRequest) -> PhaseResult:
        if request.phase == "train":
            self.trainings += 1
            if self.trainings > 1:
                self.trained.set()
        if request.phase == "score":
            with suppress(TimeoutError):
                await asyncio.wait_for(self.trained.wait(), self.seconds)
                self.overlaps += 1
        return await super().run(request)


async def test_a_gpu_trains_on_while_a_seed_is_scored(toy: Pack) -> None:
    """Where cores are what a slot is of, scoring takes them, and the next training waits."""
    data = ensure_data(toy, say=lambda text: None)
    async with SlowScorer(30.0) as sandbox:
        pool = SlotPool([Slot(gpus=("0",))])
        outcome = await Evaluator(toy, sandbox, data, pool=pool).evaluate(toy.baseline(), None)
        assert (outcome.status, sandbox.overlaps) == (Status.BASELINE, 2)
    async with SlowScorer(0.1) as sandbox:
        pool = SlotPool([ANYWHERE])
        outcome = await Evaluator(toy, sandbox, data, pool=pool).evaluate(toy.baseline(), None)
        assert (outcome.status, sandbox.overlaps) == (Status.BASELINE, 1)
