"""Training curves: read from anybody, held against those of finished runs, never a score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.acceptance import Noise, Spread
from recipelab.core.trial import Edit, Outcome, SeedRun, Status
from recipelab.evaluation.campaign_line import CampaignLine
from recipelab.evaluation.curves import (
    CHECKED,
    CURVE,
    LEAST_RUNS,
    POINTS,
    CurveBook,
    CurveRace,
    CurveReader,
    chance_to_end,
    curve_measures,
    curve_of,
    value_at,
)
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import METRIC, Incumbent
from recipelab.evaluation.seeds import SeedSource
from recipelab.lineage import LineageStore
from recipelab.packs.data import ensure_data
from recipelab.packs.judging_sections import Goal
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.packs.phase_sections import CurveSpec
from recipelab.sandbox import LocalSandbox
from tests.lineage.helpers import propose

SPEC = CurveSpec(file="curve.csv", goal=Goal.MINIMIZE, foretells="score.loss")
STEPS = range(10, 110, 10)


@given(st.lists(st.binary(max_size=300)))
def test_any_bytes_are_read_alike_however_they_are_cut(pieces: list[bytes]) -> None:
    reader = CurveReader()
    cut = [point for piece in pieces for point in reader.feed(piece)]
    whole = CurveReader().feed(b"".join(pieces))
    assert cut == whole
    steps = [step for step, _ in whole]
    assert steps == sorted(set(steps))
    assert all(math.isfinite(value) for point in whole for value in point)


POINT = st.tuples(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6))


@given(st.lists(POINT, unique_by=lambda point: point[0]).map(sorted), st.integers(1, 9))
def test_every_point_is_read(points: list[tuple[int, float]], size: int) -> None:
    text = "".join(f"{step},{value!r}\n" for step, value in points).encode()
    reader = CurveReader()
    found = []
    for start in range(0, len(text), size):
        found += reader.feed(text[start : start + size])
    assert found == points
    measures = curve_measures(text)
    assert len(measures) == min(POINTS, len(points))
    kept = curve_of(SeedRun(1, (), {**measures, "score.loss": 1.0}))
    assert set(kept) <= set(points)
    if points:
        assert {kept[0], kept[-1]} == {points[0], points[-1]}


@pytest.mark.parametrize(
    "line", [b"", b"1", b"1,2,3", b"nan,1", b"1,inf", b"step,value", b"1;2", b"1," + b"9" * 300]
)
def test_a_line_that_is_no_point_is_passed_over(line: bytes) -> None:
    assert CurveReader().feed(b"0,5\n" + line + b"\n2,4\n") == [(0.0, 5.0), (2.0, 4.0)]


def test_a_line_as_long_as_may_be_is_read_though_it_comes_without_its_end() -> None:
    line = b"1," + b"7".rjust(198, b"0")
    reader = CurveReader()
    assert len(line) == 200
    assert [*reader.feed(line), *reader.feed(b"\n2,4\n")] == [(1.0, 7.0), (2.0, 4.0)]


def test_between_points_a_curve_is_a_line() -> None:
    curve = ((10.0, 1.0), (20.0, 3.0))
    assert [value_at(curve, step) for step in (9, 10, 15, 20, 21)] == [None, 1.0, 2.0, 3.0, None]
    assert value_at((), 1) is None


def run_ending(end: float, seed: int, noise: Random | None = None) -> SeedRun:
    """A run whose curve goes down to its end, a little off if there is noise."""
    off = noise.gauss(0, 0.1) if noise is not None else 0.0
    curve = {f"{CURVE}{step}": end + off + (100 - step) / 50 for step in STEPS}
    return SeedRun(seed, (), {**curve, "score.loss": end})


def book_of(ends: Sequence[float], noise: Random | None = None) -> CurveBook:
    book = CurveBook(SPEC)
    for number, end in enumerate(ends):
        book.add(f"recipe {number % 5}", [run_ending(end, number, noise)])
    return book


def raced(book: CurveBook, run: SeedRun, *, best: float = 2.0, is_check: bool = False) -> CurveRace:
    need = best + 0.1
    race = book.race([run_ending(best, 99)], need, Goal.MINIMIZE, 0.02, is_check=is_check)
    assert race is not None
    for step, value in curve_of(run):
        if race.tell(f"{step},{value}\n".encode()):
            break
    return race


ENDS = [2.0, 2.1, 1.9, 2.4, 3.0, 2.2, 2.7, 2.05, 3.5, 1.95]


def test_a_hopeless_run_is_stopped_at_the_first_look_and_a_good_one_never() -> None:
    book = book_of(ENDS, Random(1))
    race = raced(book, run_ending(4.0, 50))
    assert race.stop is not None and race.stop.step == 20.0  # The first point from 15 % on.
    assert "stopped on its training curve at step 20: 5.6, and the best had 3.6" in race.stop.words
    for end in (1.0, 1.9, 2.0, 2.1):
        assert raced(book, run_ending(end, 50)).stop is None


def test_a_check_goes_on_and_says_that_it_would_have_been_stopped() -> None:
    race = raced(book_of(ENDS, Random(1)), run_ending(4.0, 50), is_check=True)
    assert race.stop is not None
    assert not race.tell(b"101,99\n")


def test_without_enough_curves_nothing_is_stopped() -> None:
    few = book_of(ENDS[: LEAST_RUNS - 1])
    assert few.race([run_ending(2.0, 9)], 2.1, Goal.MINIMIZE, 0.02, is_check=False) is None
    alike = CurveBook(SPEC)
    alike.add("one recipe", [run_ending(end, seed) for seed, end in enumerate(ENDS)])
    assert alike.race([run_ending(2.0, 9)], 2.1, Goal.MINIMIZE, 0.02, is_check=False) is None


def test_a_liar_cannot_have_others_stopped_that_look_good() -> None:
    book = book_of(ENDS, Random(1))
    # It ends as badly as its curve is good: the better the curve, the worse the end.
    for number in range(40):
        good = run_ending(-number, number)
        book.add("liar", [SeedRun(number, (), {**good.measures, "score.loss": 50.0 + number})])
    assert raced(book, run_ending(1.8, 50)).stop is None
    assert raced(book, run_ending(4.0, 50)).stop is None  # Curves tell nothing any more.


@pytest.mark.parametrize("correlation", [0.3, 0.9])
def test_of_runs_within_reach_no_more_are_stopped_than_stated(correlation: float) -> None:
    """Final values are normal; the curve at a step is that much correlated with them."""
    draw, reached, lost, hopeless, stopped = Random(5), 0, 0, 0, 0
    noise = math.sqrt(1 / correlation**2 - 1)

    def run() -> tuple[float, float]:
        end = draw.gauss(0, 1)
        return end + noise * draw.gauss(0, 1), end

    for _ in range(4000):
        finished, (value, end) = [run() for _ in range(10)], run()
        is_stopped = chance_to_end(finished, value, need=1.0) < 0.02
        reached, lost = reached + (end >= 1.0), lost + (is_stopped and end >= 1.0)
        hopeless, stopped = hopeless + (end < -0.5), stopped + (is_stopped and end < -0.5)
    assert lost <= 0.02 * reached
    assert correlation < 0.5 or stopped >= 0.6 * hopeless


def test_where_finished_runs_lie_on_a_line_it_is_known_how_a_run_ends() -> None:
    finished = [(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]
    assert [chance_to_end(finished, 2.0, need) for need in (3.5, 4.0, 4.5)] == [1.0, 1.0, 0.0]


TRAIN = "recipe/train.py"
CURVED = """    import time
    with open("out/curve.csv", "w", buffering=1) as file:
        for step in range(1, 21):
            file.write(f"{step},{(X - 4) ** 2 + 40 - step}\\\\n")
            time.sleep(0.0 if args.smoke else PAUSE)
"""


@pytest.fixture
def curved(project: Path) -> Pack:
    """The toy pack with a curve, whose recipe can be slow."""
    script = Path("task_packs/toy") / TRAIN
    last = '    print("loss'
    text = script.read_text().replace(last, CURVED.replace("\\\\n", "\\n") + last)
    script.write_text(text.replace("PADDING = 10", "PAUSE = 0.0\nPADDING = 10"))
    table = Path("task_packs/toy/pack.toml")
    curve = 'file = "curve.csv", goal = "minimize", foretells = "score.loss"'
    line = f"[phases.train]\ncurve = {{ {curve} }}"
    table.write_text(table.read_text().replace("[phases.train]", line))
    return load_pack("toy")


async def slow_and_worse(pack: Pack, *, is_check: bool) -> tuple[Outcome, Outcome, Evaluator]:
    """Outcomes of the baseline and of a slow, bad recipe."""
    async with LocalSandbox() as sandbox:
        data = ensure_data(pack, say=lambda text: None)
        evaluator = Evaluator(pack, sandbox, data, retry_seconds=0.01)
        baseline = await evaluator.evaluate(pack.baseline(), None)
        assert baseline.status is Status.BASELINE, baseline.reason
        assert evaluator.curves is not None
        for number, shift in enumerate(range(0, 40, 4)):
            curve = {f"{CURVE}{step}": 49 + shift - step for step in range(1, 21)}
            loss = 34.0 + shift + 0.1 * (number % 3)
            run = SeedRun(number, (), {**curve, "score.loss": loss})
            evaluator.curves.add(f"recipe {number}", [run])
        recipe = pack.baseline().apply(
            [Edit(TRAIN, "X = 1.0", "X = 12.0"), Edit(TRAIN, "PAUSE = 0.0", "PAUSE = 0.15")],
            pack.recipe.editable,
        )
        spreads = {"score.loss": Spread(34.0, 0.1, 4)}
        noise = Noise(Spread(0.0, 0.1, 4), spreads, Spread(34.0, 0.1, 4))
        runs = {run.seed: run for run in baseline.seed_runs}
        best = Incumbent(0, pack.baseline(), runs, baseline.seed_runs, noise=noise)
        secrets = (bytes([number]) for number in range(256))
        sources = (SeedSource(pack, "c", secret) for secret in secrets)
        source = next(source for source in sources if source.is_check("1") is is_check)
        labels = {"campaign": "c", "trial": "1"}
        outcome = await evaluator.evaluate(recipe, lambda: best, seeds=source, labels=labels)
        return baseline, outcome, evaluator


def test_a_campaign_that_goes_on_knows_the_curves_of_its_trials(
    curved: Pack, store: LineageStore
) -> None:
    # The baseline, and as many trials as it takes.
    for number, end in enumerate(ENDS[: 1 + LEAST_RUNS // 2]):
        runs = tuple(run_ending(end, seed) for seed in (1, 2))
        runs = tuple(replace(r, measures={**r.measures, METRIC: end + 0.1 * r.seed}) for r in runs)
        status = Status.DISCARDED if number else Status.BASELINE
        trial = propose(store, *([0] if number else []), campaign="c")
        store.record("c", trial, Outcome(status, "as it is", runs, score=end, score_se=0.1))
    evaluator = Evaluator(curved, LocalSandbox(), {})
    CampaignLine(store, "c", evaluator, lambda found: None).head()
    assert evaluator.curves is not None
    best = [run_ending(2.0, 9)]
    assert evaluator.curves.race(best, 2.1, Goal.MINIMIZE, 0.02, is_check=False) is not None


async def test_a_hopeless_training_is_stopped_and_has_no_score(curved: Pack) -> None:
    baseline, outcome, _ = await slow_and_worse(curved, is_check=False)
    run = baseline.seed_runs[0]
    assert len(curve_of(run)) == POINTS
    assert run.measures["artifact.bytes"] < 90  # The curve is no output.
    assert outcome.status is Status.DISCARDED, outcome.reason
    assert outcome.score is None and outcome.seed_runs == ()
    assert "stopped on its training curve" in outcome.reason
    assert outcome.evidence is not None and outcome.evidence.stopped_early == 1


@pytest.mark.slow
async def test_one_in_twenty_goes_on_as_a_check(curved: Pack) -> None:
    _, outcome, _ = await slow_and_worse(curved, is_check=True)
    assert outcome.status is Status.DISCARDED
    assert outcome.score is not None
    assert outcome.seed_runs[0].measures[CHECKED] == 1.0
    assert "would have changed the verdict of 0 of 1 such trials" in outcome.reason


async def test_a_training_that_was_killed_tells_how_far_it_came(curved: Pack) -> None:
    budgets = curved.budgets.model_copy(update={"train": 3.0})
    slow = [Edit(TRAIN, "PAUSE = 0.0", "PAUSE = 0.4")]
    async with LocalSandbox() as sandbox:
        data = ensure_data(curved, say=lambda text: None)
        pack = curved.model_copy(update={"budgets": budgets})
        evaluator = Evaluator(pack, sandbox, data, retry_seconds=0.01)
        outcome = await evaluator.evaluate(pack.baseline().apply(slow, pack.recipe.editable), None)
    assert outcome.status is Status.TRAIN_OVERRUN, outcome.reason
    assert outcome.failure is not None
    assert "its curve until then (step: value): 1: 48" in outcome.failure.excerpt


def test_the_secret_chooses_one_trial_in_twenty(toy: Pack) -> None:
    source = SeedSource(toy, "c", b"secret")
    count = sum(source.is_check(str(number)) for number in range(2000))
    assert 70 <= count <= 130
