"""Gates are held against a bound: what is within the noise is neither passed nor lost."""

from __future__ import annotations

import math
from statistics import fmean

import pytest

from recipelab.acceptance import Noise, spread_of, unpaired
from recipelab.core.recipe import Recipe
from recipelab.core.trial import SeedRun
from recipelab.evaluation.gates import (
    judge_gates,
    missed_gate,
    not_shown,
    results_of,
    surely_missed,
    unclear_gate,
)
from recipelab.evaluation.metric import Incumbent
from recipelab.packs.judging_sections import Gate

ACCURACY = Gate(name="accuracy", measure="score.accuracy", at_least=0.9)
SIZE = Gate.model_validate(
    {"name": "size", "measure": "artifact.bytes", "at_most": 100, "failure": "oversize"}
)
RECALL = Gate.model_validate(
    {
        "name": "rare",
        "measure": "score.recall_rare",
        "relative_to": "best",
        "goal": "maximize",
        "by": 0.02,
    }
)
CALIBRATION = (0.95, 0.96, 0.97, 0.96)


def runs(*values: float, name: str = "score.accuracy") -> list[SeedRun]:
    return [SeedRun(seed, (), {name: value}) for seed, value in enumerate(values)]


def best(values: tuple[float, ...] = CALIBRATION, name: str = "score.accuracy") -> Incumbent:
    own = runs(*values, name=name)
    spread = spread_of(values)
    noise = Noise(unpaired(spread), {name: spread}, spread)
    return Incumbent(0, Recipe({}), {run.seed: run for run in own}, tuple(own), noise)


def test_the_error_is_that_of_all_runs() -> None:
    few, many = (
        results_of(judge_gates([ACCURACY], runs(*values), best()))
        for values in ((0.91,), [0.91] * 9)
    )
    assert few[0].margin == pytest.approx(0.01)
    assert many[0].margin == pytest.approx(0.01)
    assert few[0].error is not None and many[0].error is not None
    assert few[0].error == pytest.approx(spread_of(CALIBRATION).sd)
    assert many[0].error < few[0].error / 3.0


def test_a_gate_within_its_noise_is_neither_proven_nor_surely_missed() -> None:
    for value, proven, missed in ((0.93, True, False), (0.905, False, False), (0.87, False, True)):
        found = judge_gates([ACCURACY], runs(value, value), best())
        assert (unclear_gate(found) is None) is proven
        assert surely_missed(found) is missed


def test_a_size_has_no_noise() -> None:
    found = judge_gates([SIZE], runs(99.0, 101.0, name="artifact.bytes"), None)
    assert found[0].result.error == 0.0
    assert unclear_gate(found) is None
    over = judge_gates([SIZE], runs(101.0, name="artifact.bytes"), None)
    assert surely_missed(over) and missed_gate(over) is not None


def test_a_submission_that_is_too_large_says_how_much_is_code() -> None:
    gate = SIZE.model_copy(update={"measure": "submission.bytes"})
    measures = {"submission.bytes": 5_120.0, "artifact.bytes": 4_000.0}
    missed = missed_gate(judge_gates([gate], [SeedRun(1, (), measures)], best()))
    assert missed is not None
    words = "submission.bytes is 5120 (code 1,120, artifact 4,000), must be at most 100"
    assert words in missed[1].excerpt


def test_the_words_say_how_far_it_is() -> None:
    (found,) = judge_gates([ACCURACY], runs(0.905, 0.905), best())
    failure = not_shown(found, 2)
    assert "at least 0.9" in failure.excerpt
    assert "standard errors" in failure.excerpt
    assert "has to be 2.33" in failure.excerpt


def test_a_relative_gate_follows_the_other_recipe() -> None:
    name = "score.recall_rare"
    strong, weak = best((0.70, 0.72), name), best((0.50, 0.52), name)
    trial = runs(0.60, 0.62, name=name)
    lost = judge_gates([RECALL], trial, strong)
    assert lost[0].result.limit == pytest.approx(fmean((0.70, 0.72)) - 0.02)
    found = missed_gate(lost)
    assert found is not None
    assert "not worse than that of the best by more than 0.02, which is 0.69" in found[1].excerpt
    assert missed_gate(judge_gates([RECALL], trial, weak)) is None


def test_a_relative_gate_can_be_held_to_the_baseline() -> None:
    name = "score.recall_rare"
    gate = RECALL.model_copy(update={"relative_to": "baseline"})
    other = best((0.50, 0.52), name)
    head = Incumbent(3, Recipe({}), {9: runs(0.9, name=name)[0]}, other.baseline, other.noise)
    (found,) = judge_gates([gate], runs(0.60, name=name), head)
    assert found.result.limit == pytest.approx(0.49)
    assert found.result.passed


@pytest.mark.parametrize(
    ("goal", "limit", "words"),
    [
        ("minimize", 3.5, "not worse than 1.5 times that of the baseline by more than 0.5"),
        ("maximize", 0.8333, "not worse than 0.667 times that of the baseline by more than 0.5"),
    ],
)
def test_a_relative_gate_can_leave_room_in_proportion(goal: str, limit: float, words: str) -> None:
    name = "predict.cpu_seconds"
    given = {"relative_to": "baseline", "goal": goal, "times": 1.5, "by": 0.5}
    gate = Gate.model_validate({"name": "predict", "measure": name, **given})
    start = best((1.9, 2.0, 2.1), name)
    (found,) = judge_gates([gate], runs(2.0, name=name), start)
    assert found.result.limit == pytest.approx(limit, rel=1e-3)
    assert gate.bound == words
    # The limit was measured, too, and its error grows with it.
    alone = Incumbent(0, start.recipe, start.runs, start.baseline[:1], start.noise)
    (unsure,) = judge_gates([gate], runs(2.0, name=name), alone)
    assert unsure.bound.error == pytest.approx(0.1 * math.hypot(1.0, gate.factor))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"at_least": 1.0, "at_most": 2.0}, "exactly one of"),
        ({"relative_to": "best"}, "goal: says which way"),
        ({"at_least": 1.0, "goal": "maximize"}, "goal: says which way"),
        ({"at_least": 1.0, "by": 0.1}, "by: belongs to"),
        ({"at_most": 1.0, "times": 2}, "times: belongs to"),
        ({"relative_to": "best", "goal": "minimize", "times": 0.5}, "times"),
        ({"relative_to": "yesterday", "goal": "maximize"}, "'best' or 'baseline'"),
    ],
)
def test_a_gate_that_says_too_much_or_too_little_is_refused(
    given: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Gate.model_validate({"name": "g", "measure": "score.x", **given})
