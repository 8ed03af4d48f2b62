"""Recipes are measured on the same seeds as the best, by the pack's own evaluator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recipelab.ablation import MeasuredRecipe, MeasurementFile, RecipeMeasurer
from recipelab.core.errors import RecipelabError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Outcome, SeedRun, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import Incumbent
from recipelab.evaluation.seeds import SeedSource
from recipelab.packs.data import ensure_data
from recipelab.packs.judging_sections import Metric
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox, PhaseRequest, PhaseResult
from recipelab.sandbox.slots import ANYWHERE, SlotPool

SEEDS = (11, 12)


def edited(pack: Pack, x: str) -> Recipe:
    edit = Edit("recipe/train.py", "X = 1.0", f"X = {x}")
    return pack.baseline().apply([edit], pack.recipe.editable)


def ended(**measures: float) -> Outcome:
    """A trial of the campaign, as it was measured some time ago."""
    runs = tuple(SeedRun(seed, (), measures) for seed in (1, 2, 3))
    return Outcome(Status.KEPT, "", runs)


def measuring(
    evaluator: Evaluator, file: Path, *, x: str = "3.0", seeds: tuple[int, ...] = SEEDS
) -> RecipeMeasurer:
    best = edited(evaluator.pack, x)
    outcome = ended(metric=1.0, **{"metric.train": 1.0})
    incumbent = Incumbent.of_trial(5, best, outcome, ended(metric=9.0).seed_runs)
    return RecipeMeasurer(
        evaluator,
        incumbent,
        seeds,
        MeasurementFile(file, "k"),
        {"campaign": "c"},
        SeedSource(evaluator.pack, "c"),
    )


async def test_what_is_kept_is_not_measured_again(evaluator: Evaluator, tmp_path: Path) -> None:
    file = tmp_path / "ablation.json"
    plan = measuring(evaluator, file)
    measure = await plan.prepare()
    start = evaluator.pack.baseline()
    found = await measure(start)
    assert found.failure is None
    assert set(found.candidate) == set(found.best) == set(SEEDS)
    assert all(found.candidate[seed] > found.best[seed] + 1 for seed in SEEDS)
    # A file that says otherwise is believed, so nothing ran.
    MeasurementFile(file, "k").put(
        start, MeasuredRecipe(dict.fromkeys(SEEDS, 7.0), dict.fromkeys(SEEDS, 5.0))
    )
    again = await measuring(evaluator, file).prepare()
    assert (await again(start)).candidate == dict.fromkeys(SEEDS, 7.0)
    more = await measuring(evaluator, file, seeds=(*SEEDS, 13)).prepare()
    longer = await more(start)
    assert [longer.candidate[seed] == 7.0 for seed in (*SEEDS, 13)] == [True, True, False]
    assert longer.best[13] == pytest.approx(found.best[11], abs=1.0)


async def test_how_a_recipe_fails_is_a_finding(evaluator: Evaluator, tmp_path: Path) -> None:
    measure = await measuring(evaluator, tmp_path / "ablation.json").prepare()
    found = await measure(edited(evaluator.pack, "1 / 0"))
    assert found.failure is not None
    assert found.failure.startswith("crashed: ")
    assert "ZeroDivisionError" in found.failure
    missed = await measure(edited(evaluator.pack, "40.0"))
    assert missed.failure is not None
    assert missed.failure.startswith("gate_missed: ")


async def test_a_best_that_fails_is_no_measure(evaluator: Evaluator, tmp_path: Path) -> None:
    with pytest.raises(RecipelabError, match=r"trial 5, the best, fails by now.*gate_missed"):
        await measuring(evaluator, tmp_path / "ablation.json", x="40.0").prepare()


class SlowingSandbox(LocalSandbox):
    """A machine on which each train takes longer than the one before; ``X`` says how much work."""

    def __init__(self) -> None:
        super().__init__()
        self.moment: dict[str, float] = {}

    async def run(self, request: PhaseRequest) -> PhaseResult:
        result = await super().run(request)
        if request.phase != "train":
            return result
        source = next(item.source for item in request.inputs if item.target == "recipe")
        work = 2.0 if "X = 3.0" in (source / "train.py").read_text() else 5.0
        # Both sides of a pair meet the same moment; the one after it is slower by a half.
        moment = self.moment.setdefault(request.labels["seed"], 1.5 ** (1 + len(self.moment)))
        return replace(result, cpu_seconds=work * moment)


async def test_times_are_compared_at_the_same_moment_and_told_in_the_units_of_the_campaign(
    toy: Pack, tmp_path: Path
) -> None:
    told = {"name": "cost", "unit": "s", "goal": "minimize", "measure": "train.cpu_seconds"}
    metric = Metric.model_validate({**told, "side_by_side": True})
    timed = toy.model_copy(update={"metric": metric})
    data = ensure_data(timed, say=lambda text: None)
    async with SlowingSandbox() as sandbox:
        evaluator = Evaluator(timed, sandbox, data, pool=SlotPool([ANYWHERE]))
        measure = await measuring(evaluator, tmp_path / "ablation.json").prepare()
        assert sandbox.moment == {}
        found = await measure(timed.baseline())
    assert found.best == dict.fromkeys(SEEDS, 1.0)
    assert found.candidate == pytest.approx(dict.fromkeys(SEEDS, 2.5))
