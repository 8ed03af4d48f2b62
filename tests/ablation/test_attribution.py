"""Shares of a gain, on recipes whose scores are known."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

import pytest

from recipelab.ablation import (
    Attribution,
    Chain,
    ChainAblation,
    Effect,
    Losses,
    Measure,
    MeasuredRecipe,
)
from recipelab.ablation.attribution import share_of
from recipelab.core.recipe import Recipe
from recipelab.packs.judging_sections import Goal

SEEDS = range(8)
NAMES = "abcdefg"


def recipe(**values: float) -> Recipe:
    named = dict.fromkeys(NAMES, 0.0) | values
    return Recipe({"r.py": "".join(f"{name} = {value}\n" for name, value in named.items())})


def values_of(one: Recipe) -> dict[str, float]:
    found = re.findall(r"^(\w) = (\S+)$", one.files["r.py"], re.MULTILINE)
    return {name: float(value) for name, value in found}


class Bench:
    """Scores recipes: the sum of their values, and what two of them are worth together."""

    def __init__(
        self, together: float = 0.0, either: float = 0.0, noise: float = 0.01, sign: int = 1
    ) -> None:
        self.together = together
        self.either = either
        self.noise = noise
        self.sign = sign
        self.measured: list[Recipe] = []
        self._samples: dict[str, dict[int, float]] = {}

    def score(self, one: Recipe) -> float:
        found = values_of(one)
        both = self.together * found["a"] * found["b"]
        any_of = self.either * bool(found["a"] or found["b"])
        return self.sign * (sum(found.values()) + both + any_of)

    def sample(self, one: Recipe) -> dict[int, float]:
        """The same recipe has the same noise, however often it is asked for."""
        draw = random.Random(one.digest)
        new = {seed: self.score(one) + draw.gauss(0, self.noise) for seed in SEEDS}
        return self._samples.setdefault(one.digest, new)

    def against(self, best: Recipe) -> Measure:
        async def measure(one: Recipe) -> MeasuredRecipe:
            self.measured.append(one)
            if values_of(one)["c"] < 0:
                return MeasuredRecipe(failure="gate_missed: accuracy 0.9 is below 0.95")
            return MeasuredRecipe(self.sample(one), self.sample(best))

        return measure

    async def attributed(
        self, *recipes: Recipe, pairs: int = 6, recorded: Mapping[int, float] | None = None
    ) -> Attribution:
        chain = Chain(tuple(range(len(recipes))), recipes)
        goal = Goal.MAXIMIZE if self.sign > 0 else Goal.MINIMIZE
        return await ChainAblation(
            chain, self.against(chain.best), goal, recorded=recorded or {}
        ).run(pairs)


def value(effect: Effect | None) -> float:
    assert effect is not None
    return effect.value


def close(expected: float) -> object:
    return pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("sign", [1, -1])
async def test_each_step_has_its_share(sign: int) -> None:
    bench = Bench(sign=sign)
    found = await bench.attributed(
        recipe(), recipe(a=3), recipe(a=3, d=1), recipe(a=3, d=1, g=1e-4)
    )
    whole = found.whole.loss
    assert value(whole) == close(4.0)
    shares = [share_of(part.own, whole) for part in found.parts]
    assert shares == pytest.approx([0.75, 0.25, 0], abs=0.02)
    assert [part.own.certain for part in found.parts if part.own] == [True, True, False]
    assert found.parts[0].own and found.parts[0].own.low < 3.0 < found.parts[0].own.high
    assert found.parts[2].same_as == 2
    assert found.adds_up
    assert found.interactions == ()


async def test_steps_that_need_each_other_are_found() -> None:
    found = await Bench(together=2.0).attributed(recipe(), recipe(a=1), recipe(a=1, b=1))
    assert value(found.rest) == close(-2.0)
    (pair,) = found.interactions
    assert pair.steps == ((1,), (2,))
    assert pair.more.certain
    assert pair.more.value == close(-2.0)


async def test_of_two_steps_either_of_which_will_do_none_gives_anything_by_itself() -> None:
    bench = Bench(either=5.0)
    edits = [{"d": 3.0}, {"a": 1e-9}, {"e": 3.0}, {"b": 1e-9}, {"f": 3.0}, {"g": 3.0}]
    recipes = [recipe()]
    for edit in edits:
        recipes.append(recipe(**values_of(recipes[-1]) | edit))
    scores = [bench.score(one) for one in recipes]
    recorded = {place: scores[place] - scores[place - 1] for place in range(1, len(scores))}
    found = await bench.attributed(*recipes, recorded=recorded)
    assert [value(found.parts[place].own) for place in (1, 3)] == pytest.approx([0, 0], abs=0.05)
    assert value(found.rest) == close(5.0)
    (pair,) = [item for item in found.interactions if item.more.certain]
    assert pair.steps == ((2,), (4,))
    assert pair.more.value == close(5.0)


async def test_no_more_pairs_are_measured_than_are_asked_for() -> None:
    steps = (recipe(), recipe(a=1), recipe(a=1, b=1), recipe(a=1, b=1, d=1))
    for pairs in (0, 1, 2):
        bench = Bench(together=2.0)
        found = await bench.attributed(*steps, pairs=pairs)
        assert not found.adds_up
        assert len(found.interactions) == pairs
        assert len(bench.measured) == len(steps) + pairs


async def test_what_builds_on_a_step_is_not_counted_twice() -> None:
    steps = (recipe(), recipe(a=1), recipe(a=3), recipe(a=6), recipe(a=6, d=2))
    found = await Bench().attributed(*steps)
    assert [part.steps for part in found.parts] == [(1, 2, 3), (2, 3), (3,), (4,)]
    assert [value(part.loss) for part in found.parts] == pytest.approx([6, 5, 3, 2], abs=0.05)
    assert [value(part.own) for part in found.parts] == pytest.approx([1, 2, 3, 2], abs=0.05)
    assert found.adds_up


async def test_steps_that_build_on_one_step_alone_are_taken_off_together() -> None:
    """Two edits at both edges of lines that the first step put in."""
    texts = ["x\ny\n", "x\nm\nn\no\ny\n", "x\nM\nn\no\ny\n", "x\nM\nn\nO\ny\n"]
    scores = {text: score for text, score in zip(texts, (0.0, 1.0, 3.0, 7.0), strict=True)}
    scores["x\nm\nn\nO\ny\n"] = 5.0
    chain = Chain((0, 4, 5, 9), tuple(Recipe({"r.txt": text}) for text in texts))

    async def measure(one: Recipe) -> MeasuredRecipe:
        sides = (scores[one.files["r.txt"]], 7.0)
        return MeasuredRecipe(*(dict.fromkeys(SEEDS, score) for score in sides))

    found = await ChainAblation(chain, measure, Goal.MAXIMIZE).run(6)
    assert [part.steps for part in found.parts] == [(1, 2, 3), (2,), (3,)]
    assert [value(part.own) for part in found.parts] == [1.0, 2.0, 4.0]
    assert found.adds_up


async def test_a_step_without_which_the_recipe_fails_is_told() -> None:
    found = await Bench().attributed(recipe(c=-1), recipe(c=1), recipe(c=1, a=1))
    words = "gate_missed: accuracy 0.9 is below 0.95"
    assert found.whole.failure == found.parts[0].failure == words
    assert found.parts[0].own is None
    assert value(found.parts[1].own) == close(1.0)
    assert found.rest is None


async def test_a_step_that_was_undone_costs_no_measurement() -> None:
    bench = Bench()
    found = await bench.attributed(
        recipe(g=1), recipe(g=1, a=1), recipe(g=1, a=1), recipe(g=1, a=1, d=1)
    )
    assert [part.changes for part in found.parts] == [True, False, True]
    assert value(found.parts[1].own) == 0.0
    assert len(bench.measured) == 3
    assert found.adds_up


async def test_in_a_chain_that_gave_nothing_few_steps_seem_to() -> None:
    """Six edits of nothing: the chance that any of them stands out is one in twenty."""
    steps = [recipe()]
    for name in "abdefg":
        steps.append(recipe(**values_of(steps[-1]) | {name: 1e-9}))
    seeds = range(6)
    wrong, draw, worlds = 0, random.Random(3), 300
    for _ in range(worlds):
        best = {seed: draw.gauss(0, 1) for seed in seeds}

        async def measure(one: Recipe, best: Mapping[int, float] = best) -> MeasuredRecipe:
            return MeasuredRecipe({seed: draw.gauss(0, 1) for seed in seeds}, best)

        chain = Chain(tuple(range(len(steps))), tuple(steps))
        found = await ChainAblation(chain, measure, Goal.MAXIMIZE).run(0)
        wrong += any(part.own is not None and part.own.certain for part in found.parts)
    # Without the correction it is about one in five.
    assert wrong < 0.08 * worlds


async def test_the_interval_of_a_step_is_that_of_students_t_for_so_many_steps() -> None:
    steps = (recipe(), recipe(a=1), recipe(a=1, b=1), recipe(a=1, b=1, d=1))
    found = await Bench(noise=0.1).attributed(*steps)
    own = found.parts[0].own
    assert own is not None and found.whole.loss is not None
    # t with 7 degrees of freedom: 3.127552 for 1 - 0.025 / 3, and 2.364624 for 0.975.
    assert own.high - own.value == pytest.approx(3.127552 * own.error, rel=1e-5)
    whole = found.whole.loss
    assert whole.high - whole.value == pytest.approx(2.364624 * whole.error, rel=1e-5)


def test_intervals_of_sums_hold_what_they_promise() -> None:
    """Seven equal steps: what is left of the gain holds the noise of the best six times over."""
    draw, wrong, worlds = random.Random(1), 0, 400
    whole = tuple(range(1, 8))
    rest = ((1.0, whole), *((-1.0, (step,)) for step in whole))
    for _ in range(worlds):
        losses = Losses(Goal.MAXIMIZE)
        best = {seed: 7.0 + draw.gauss(0, 0.1) for seed in SEEDS}
        for steps in (whole, *((step,) for step in whole)):
            candidate = {seed: 7.0 - len(steps) + draw.gauss(0, 0.1) for seed in SEEDS}
            losses.add(steps, MeasuredRecipe(candidate, best))
        found = losses.effect(rest)
        wrong += found is not None and found.certain
    # One in twenty; as if all losses were independent it would be one in five.
    assert 0.025 * worlds < wrong < 0.085 * worlds
