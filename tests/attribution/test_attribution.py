"""Shares of a gain, on recipes whose scores are known."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from recipelab.attribution import Chain, Measured
from recipelab.attribution.facts import Attribution
from recipelab.attribution.measuring import Kept, Measure
from recipelab.attribution.running import attribute
from recipelab.pack import Goal
from recipelab.recipe import Recipe

NOISE = 0.01


def recipe(**values: float) -> Recipe:
    named = {"a": 0, "b": 0, "c": 0} | values
    return Recipe({"r.py": "".join(f"{name} = {value}\n" for name, value in named.items())})


def values_of(one: Recipe) -> dict[str, float]:
    found = re.findall(r"^(\w) = (\S+)$", one.files["r.py"], re.MULTILINE)
    return {name: float(value) for name, value in found}


def scored(one: Recipe, *, together: float = 0.0) -> float:
    """The more, the better; ``a`` and ``b`` may help each other."""
    found = values_of(one)
    return found["a"] + found["b"] + found["c"] + together * found["a"] * found["b"]


def measuring(best: Recipe, *, together: float = 0.0) -> Measure:
    draw = random.Random(5)

    async def measure(one: Recipe) -> Measured:
        if values_of(one)["c"] < 0:
            return Measured({}, {}, "crashed: train: boom")
        sides = (
            {seed: scored(of, together=together) + draw.gauss(0, NOISE) for seed in range(8)}
            for of in (one, best)
        )
        return Measured(*sides)

    return measure


async def attributed(*recipes: Recipe, together: float = 0.0, pairs: int = 6) -> Attribution:
    chain = Chain(tuple(range(len(recipes))), recipes)
    measure = measuring(chain.best, together=together)
    return await attribute(chain, measure, Goal.MAXIMIZE, pairs=pairs)


async def test_each_step_has_its_share() -> None:
    found = await attributed(recipe(), recipe(a=3), recipe(a=3, b=1), recipe(a=3, b=1, c=0.001))
    assert found.total.loss == pytest.approx(4.0, abs=0.05)
    assert [share.share for share in found.shares] == pytest.approx([0.75, 0.25, 0.0], abs=0.02)
    assert [share.certain for share in found.shares] == [True, True, False]
    assert found.unexplained is None
    assert found.interactions == ()


async def test_steps_that_need_each_other_are_found() -> None:
    found = await attributed(recipe(), recipe(a=1), recipe(a=1, b=1), together=2.0)
    assert found.unexplained == pytest.approx(4.0 - 6.0, abs=0.1)
    (pair,) = found.interactions
    assert pair.certain
    assert pair.more == pytest.approx(-2.0, abs=0.1)


async def test_no_pair_is_measured_if_none_is_asked_for() -> None:
    found = await attributed(recipe(), recipe(a=1), recipe(a=1, b=1), together=2.0, pairs=0)
    assert found.unexplained is not None
    assert found.interactions == ()


async def test_what_builds_on_a_step_is_not_counted_twice() -> None:
    found = await attributed(recipe(), recipe(a=1), recipe(a=3))
    first, second = found.shares
    assert (first.steps, second.steps) == ((1, 2), (2,))
    assert first.loss == pytest.approx(3.0, abs=0.05)
    assert first.own == pytest.approx(1.0, abs=0.05)
    assert second.own == pytest.approx(2.0, abs=0.05)
    assert found.unexplained is None


async def test_a_step_without_which_the_recipe_fails_is_told() -> None:
    found = await attributed(recipe(c=-1), recipe(c=1), recipe(c=1, a=1))
    assert found.total.failure == "crashed: train: boom"
    assert found.shares[0].failure == "crashed: train: boom"
    assert found.shares[1].loss == pytest.approx(1.0, abs=0.05)


def test_what_was_measured_is_there_after_a_stop(tmp_path: Path) -> None:
    file, measured = tmp_path / "folder" / "ablation.json", Measured({1: 1.0}, {1: 2.0})
    Kept(file, "k").put(recipe(a=1), measured)
    Kept(file, "k").put(recipe(a=2), Measured({}, {}, "crashed"))
    again = Kept(file, "k")
    assert again.get(recipe(a=1)) == measured
    assert again.get(recipe(a=2)) == Measured({}, {}, "crashed")
    assert again.get(recipe(a=3)) is None
    assert Kept(file, "other").get(recipe(a=1)) is None
