"""What a killed campaign takes up: finished seed runs of trials and checkpoints."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from recipelab.budget import BudgetLimits, Ledger
from recipelab.core.trial import Edit, Proposal, SeedRun, Standing, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import LineageStore
from recipelab.packs.data import ensure_data
from recipelab.packs.judging_sections import Metric
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox, PhaseRequest, PhaseResult
from recipelab.sandbox.slots import ANYWHERE, SlotPool

TRAIN = "recipe/train.py"
BETTER = Proposal("left", "left", 0, "nearer", -9.0, (Edit(TRAIN, "X = 1.0", "X = 2.0"),))

Training = tuple[str, str, str]
"""Purpose, role and seed of a training."""


class StoppingSandbox(LocalSandbox):
    """Remembers the trainings that ended; from one on nothing goes on, as if power was cut."""

    def __init__(self, stop_before: int | None = None, purpose: str = "trial") -> None:
        super().__init__()
        self.trained: list[Training] = []
        self.reached = asyncio.Event()
        self._left = stop_before
        self._purpose = purpose

    async def run(self, request: PhaseRequest) -> PhaseResult:
        if request.phase != "train":
            return await super().run(request)
        purpose = request.labels.get("purpose", "trial")
        if self._left is not None and purpose == self._purpose and request.labels["trial"] != "0":
            if self._left == 0:
                self.reached.set()
                await asyncio.Event().wait()
            self._left -= 1
        result = await super().run(request)
        role = f"beside {request.labels['beside']}" if "beside" in request.labels else "own"
        self.trained.append((purpose, role, request.labels["seed"]))
        return result


@pytest.fixture
def timed(toy: Pack) -> Pack:
    """The toy pack with a time as its metric, measured beside the best's."""
    metric = {"name": "cost", "unit": "s", "goal": "minimize", "measure": "train.cpu_seconds"}
    side_by_side = Metric.model_validate({**metric, "side_by_side": True})
    return toy.model_copy(update={"metric": side_by_side})


def queue_of(store: LineageStore, pack: Pack, sandbox: LocalSandbox) -> TrialQueue:
    data = ensure_data(pack, say=lambda text: None)
    evaluator = Evaluator(pack, sandbox, data, pool=SlotPool([ANYWHERE]), retry_seconds=0.01)
    return TrialQueue(store, "c", evaluator, ledger=Ledger(store, "c", BudgetLimits(trials=10)))


async def interrupted(store: LineageStore, pack: Pack, sandbox: StoppingSandbox) -> int:
    """Submits a trial, and ends the campaign where the sandbox says; gives the trial's number."""
    async with sandbox:
        queue = queue_of(store, pack, sandbox)
        queue.propose_baseline()
        await queue.next_ended()
        sandbox.trained.clear()
        number = queue.submit(BETTER, round_number=None).number
        await asyncio.wait_for(sandbox.reached.wait(), 60)
        await queue.stop()
    return number


def kept_runs(store: LineageStore, number: int, beside: int | None) -> dict[int, SeedRun]:
    digest = store.trial("c", number).digest
    return store.finished_runs("c", number, digest, beside=beside)


@pytest.mark.parametrize("done", [1, 2])
async def test_a_trial_runs_no_seed_twice(store: LineageStore, project: Path, done: int) -> None:
    pack = load_pack("toy", "line")
    first, second = StoppingSandbox(done), StoppingSandbox()
    number = await interrupted(store, pack, first)
    before = kept_runs(store, number, None)
    assert len(before) == len(first.trained) == done
    async with second:
        queue = queue_of(store, pack, second)
        assert queue.requeue_unfinished() == (number,)
        (record,) = await queue.next_ended()
        await queue.stop()
    assert record.outcome is not None and record.outcome.status is Status.KEPT
    runs = {run.seed: run for run in record.outcome.seed_runs}
    assert {seed: runs[seed] for seed in before} == before
    trained = Counter(one for one in first.trained + second.trained if one[0] == "trial")
    assert set(trained.values()) == {1}
    assert len(trained) == len(runs)
    assert kept_runs(store, number, None) == {}


async def test_beside_the_best_both_times_are_taken_up(store: LineageStore, timed: Pack) -> None:
    first, second = StoppingSandbox(2), StoppingSandbox()
    number = await interrupted(store, timed, first)
    before = kept_runs(store, number, 0)
    assert [len(first.trained), len(before)] == [2, 1], "one of itself, one of the best beside it"
    assert kept_runs(store, number, None) == {}, "a time without the best's says nothing"
    async with second:
        queue = queue_of(store, timed, second)
        queue.requeue_unfinished()
        (record,) = await queue.next_ended()
        await queue.stop()
    assert record.outcome is not None
    runs = {run.seed: run for run in record.outcome.seed_runs}
    assert {seed: runs[seed] for seed in before} == before
    assert not {seed for _, _, seed in second.trained} & {str(seed) for seed in before}


async def test_a_checkpoint_goes_on_where_it_was(store: LineageStore, project: Path) -> None:
    pack = load_pack("toy", "line")
    first, second = StoppingSandbox(2, "checkpoint"), StoppingSandbox()
    number = await interrupted(store, pack, first)
    assert store.trial("c", number).standing is Standing.PROVISIONAL
    done = Counter(one for one in first.trained if one[0] == "checkpoint")
    assert len(done) == 2 and len(kept_runs(store, number, None)) == 1
    async with second:
        queue = queue_of(store, pack, second)
        queue.requeue_unfinished()
        found = await queue.settle()
        await queue.stop()
    assert found is not None and found.held
    again = Counter(one for one in second.trained if one[0] == "checkpoint")
    assert not done & again
    assert kept_runs(store, number, None) == {}
