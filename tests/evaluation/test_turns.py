"""Wall-clock times are compared in turns, and again if the machine drifted meanwhile."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import Incumbent, noise_of
from recipelab.packs.data import ensure_data
from recipelab.packs.judging_sections import AcceptanceSpec, Metric
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox, PhaseRequest, PhaseResult
from recipelab.sandbox.slots import ANYWHERE, SlotPool

METRIC = Metric.model_validate(
    {
        "name": "time",
        "unit": "s",
        "goal": "minimize",
        "measure": "train.wall_seconds",
        "side_by_side": True,
    }
)


class Machine(LocalSandbox):
    """A recipe takes ``X`` seconds on it, times a factor that the test sets run by run."""

    def __init__(self) -> None:
        super().__init__()
        self.speed = lambda count: 1.0
        self.order: list[str] = []

    async def run(self, request: PhaseRequest) -> PhaseResult:
        result = await super().run(request)
        if request.phase != "train":
            return result
        source = next(item.source for item in request.inputs if item.target == "recipe")
        found = re.search(r"^X = ([0-9.]+)", (source / "train.py").read_text(), re.MULTILINE)
        assert found is not None
        role = "best" if "beside" in request.labels else "trial"
        self.order.append(f"{role} {request.labels['seed']}")
        return replace(result, wall_seconds=float(found[1]) * self.speed(len(self.order)))


@pytest.fixture
def timed(toy: Pack) -> Pack:
    spec = AcceptanceSpec(policy="paired-two-sigma", racing_error=0.0, calibration=2)
    return toy.model_copy(update={"metric": METRIC, "acceptance": spec, "seeds": (1, 2)})


def priced(pack: Pack, x: float) -> Recipe:
    return pack.baseline().apply(
        [Edit("recipe/train.py", "X = 1.0", f"X = {x}")], pack.recipe.editable
    )


async def test_a_steady_drift_is_no_gain_and_no_loss(timed: Pack) -> None:
    async with Machine() as machine:
        evaluator = _evaluator(timed, machine)
        machine.speed = lambda count: 1.0 + 0.01 * count
        best = await _best(evaluator, timed, 3.0)
        machine.order.clear()
        outcome = await evaluator.evaluate(priced(timed, 2.7), lambda: best)
    assert machine.order == ["best 1", "trial 1", "trial 2", "best 2"]
    assert outcome.delta is not None and outcome.score is not None
    assert outcome.score / (outcome.score - outcome.delta) == pytest.approx(0.9, rel=1e-3)


async def test_a_comparison_in_which_the_machine_changed_its_speed_is_repeated(
    timed: Pack,
) -> None:
    async with Machine() as machine:
        evaluator = _evaluator(timed, machine)
        best = await _best(evaluator, timed, 3.0)
        machine.order.clear()
        machine.speed = lambda count: 2.0 if count >= 3 else 1.0
        outcome = await evaluator.evaluate(priced(timed, 3.3), lambda: best)
    assert machine.order == ["best 1", "trial 1", "trial 2", "best 2"] * 2
    assert outcome.status is Status.DISCARDED
    assert [run.measures["drift"] for run in outcome.seed_runs] == [0.0, 0.0]


@pytest.mark.slow
async def test_it_gives_up_on_a_machine_that_never_rests(timed: Pack) -> None:
    async with Machine() as machine:
        evaluator = _evaluator(timed, machine)
        best = await _best(evaluator, timed, 3.0)
        machine.order.clear()
        machine.speed = lambda count: 1.5**count
        outcome = await evaluator.evaluate(priced(timed, 3.3), lambda: best)
    assert len(machine.order) == 4 * 3
    assert all(run.measures["drift"] > 0.5 for run in outcome.seed_runs)


def _evaluator(pack: Pack, machine: Machine) -> Evaluator:
    data = ensure_data(pack, say=lambda text: None)
    return Evaluator(pack, machine, data, pool=SlotPool([ANYWHERE]), retry_seconds=0.01)


async def _best(evaluator: Evaluator, pack: Pack, price: float) -> Incumbent:
    outcome = await evaluator.evaluate(priced(pack, price), None)
    runs = {run.seed: run for run in outcome.seed_runs}
    return Incumbent(0, priced(pack, price), runs, noise=noise_of(outcome.seed_runs, pack.metric))
