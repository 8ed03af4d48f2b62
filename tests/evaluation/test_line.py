"""The working line: kept provisionally, moved to a new best, and tested as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from recipelab.acceptance import NeedMoreSeeds
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Checkpoint, Edit, Evidence, Outcome, SeedRun, Standing, Status
from recipelab.evaluation.campaign_line import CampaignLine
from recipelab.evaluation.checkpoints import LineTest, WorkingLine
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.judge import Judge, TrialRuns
from recipelab.evaluation.metric import METRIC, Incumbent, noise_of
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.protocol import Rebase
from recipelab.evaluation.seeds import SeedSource
from recipelab.lineage import LineageStore
from recipelab.packs.data import ensure_data
from recipelab.packs.judging_sections import Scale
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox, PhaseRequest, PhaseResult
from recipelab.sandbox.slots import ANYWHERE, SlotPool
from tests.lineage.helpers import propose

TRAIN = "recipe/train.py"
LABELS = {"campaign": "c", "trial": "5"}
SECRET = b"so that the noise is the same every time"


class RecordingSandbox(LocalSandbox):
    """Remembers who trained, in order, and calls back before each training."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[str] = []
        self.before: Callable[[str], None] = lambda role: None

    async def run(self, request: PhaseRequest) -> PhaseResult:
        if request.phase == "train":
            role = "best" if "beside" in request.labels else "trial"
            self.before(role)
            self.trained.append(role)
        return await super().run(request)


@pytest.fixture
def pack(project: Path) -> Pack:
    return load_pack("toy", "line")


def edited(pack: Pack, *changes: tuple[str, str]) -> Recipe:
    edits = [Edit(TRAIN, search, replace) for search, replace in changes]
    return pack.baseline().apply(edits, pack.recipe.editable)


def evaluator_of(pack: Pack, sandbox: LocalSandbox) -> Evaluator:
    data = ensure_data(pack, say=lambda text: None)
    return Evaluator(pack, sandbox, data, pool=SlotPool([ANYWHERE]), retry_seconds=0.01)


def incumbent(
    pack: Pack, number: int, recipe: Recipe, outcome: Outcome, baseline: Outcome
) -> Incumbent:
    found = Incumbent.of_trial(number, recipe, outcome, baseline.seed_runs)
    return replace(found, noise=noise_of(baseline.seed_runs, pack.metric))


async def test_a_gain_on_few_seeds_is_kept_provisionally(pack: Pack) -> None:
    async with RecordingSandbox() as sandbox:
        evaluator = evaluator_of(pack, sandbox)
        baseline = await evaluator.evaluate(
            pack.baseline(), None, seeds=SeedSource(pack, "c", SECRET)
        )
        best = incumbent(pack, 0, pack.baseline(), baseline, baseline)
        sandbox.trained.clear()
        recipe = edited(pack, ("X = 1.0", "X = 2.0"))
        looks = Looks()
        outcome = await evaluator.evaluate(recipe, lambda: best, labels=LABELS, observer=looks)
    assert outcome.status is Status.KEPT, outcome.reason
    # Seeds without looks; a gate that is near may ask for more once.
    assert looks.told in ([(1, 1)], [(1, 1), (2, 2)])
    evidence = outcome.evidence
    assert evidence is not None
    assert evidence.standing is Standing.PROVISIONAL
    assert (evidence.p, evidence.level) == (None, None), "nothing was tested"
    # The standing changes with checkpoints, and the reason does not.
    assert "joined the working line" in outcome.reason and "provision" not in outcome.reason
    assert (evidence.screened, evidence.confirmed) == (1, pack.acceptance.fresh)
    # The best is known from all its runs: only the trial trained.
    assert sandbox.trained == ["trial"] * (1 + pack.acceptance.fresh)
    assert outcome.delta is not None and outcome.delta < 0


async def test_a_recipe_that_diverges_on_a_seed_is_told_so(pack: Pack) -> None:
    source = SeedSource(pack, "c", SECRET)
    unlucky = source.confirmation("5", 4, (), best=0)[1]
    async with RecordingSandbox() as sandbox:
        evaluator = evaluator_of(pack, sandbox)
        baseline = await evaluator.measure(pack.baseline(), range(101, 107))
        best = incumbent(pack, 0, pack.baseline(), baseline, baseline)
        # It gains so much that its mean is better all the same.
        recipe = edited(
            pack,
            ("X = 1.0", "X = 2.5"),
            ("    padding =", f"    blur += 1.0 * (args.seed == {unlucky})\n    padding ="),
        )
        outcome = await evaluator.evaluate(recipe, lambda: best, seeds=source, labels=LABELS)
    assert outcome.status is Status.KEPT, outcome.reason
    assert "; diverged on 1 of 5 seeds (loss " in outcome.reason
    assert f"on seed {unlucky})" in outcome.reason


async def test_what_is_worse_costs_one_seed(pack: Pack) -> None:
    async with RecordingSandbox() as sandbox:
        evaluator = evaluator_of(pack, sandbox)
        baseline = await evaluator.evaluate(
            pack.baseline(), None, seeds=SeedSource(pack, "c", SECRET)
        )
        best = incumbent(pack, 0, pack.baseline(), baseline, baseline)
        sandbox.trained.clear()
        recipe = edited(pack, ("X = 1.0", "X = 0.5"))
        outcome = await evaluator.evaluate(recipe, lambda: best, labels=LABELS)
    assert outcome.status is Status.DISCARDED
    assert outcome.evidence is not None and outcome.evidence.standing is None
    assert sandbox.trained == ["trial"]


class Moving:
    """An incumbent that becomes another as soon as a trial trains."""

    def __init__(self, pack: Pack, sandbox: RecordingSandbox, evaluator: Evaluator) -> None:
        self.pack = pack
        self.merged: list[tuple[int, Recipe]] = []
        self.sandbox = sandbox
        self.evaluator = evaluator

    async def prepare(self, *change: tuple[str, str]) -> None:
        pack, evaluator = self.pack, self.evaluator
        baseline = await evaluator.evaluate(
            pack.baseline(), None, seeds=SeedSource(pack, "c", SECRET)
        )
        recipe = edited(pack, *change)
        outcome = await evaluator.measure(recipe, (101, 102, 103, 104))
        self.now = self.first = incumbent(pack, 0, pack.baseline(), baseline, baseline)
        self.later = incumbent(pack, 4, recipe, outcome, baseline)
        self.sandbox.trained.clear()
        self.sandbox.before = lambda role: setattr(self, "now", self.later)

    def rebase(self) -> Rebase:
        return Rebase(0, self.pack.baseline(), self._accept)

    def _accept(self, onto: int, merged: Recipe) -> None:
        self.merged.append((onto, merged))


@asynccontextmanager
async def moving_best(pack: Pack, *change: tuple[str, str]) -> AsyncIterator[Moving]:
    """A best that a change makes better as soon as a trial trains."""
    async with RecordingSandbox() as sandbox:
        moving = Moving(pack, sandbox, evaluator_of(pack, sandbox))
        await moving.prepare(*change)
        yield moving


async def test_a_trial_in_flight_moves_to_the_new_best(pack: Pack) -> None:
    async with moving_best(pack, ("Y = 2.0", "Y = 3.0")) as moving:
        recipe = edited(pack, ("X = 1.0", "X = 2.0"))
        outcome = await moving.evaluator.evaluate(
            recipe, lambda: moving.now, rebase=moving.rebase(), labels=LABELS
        )
    assert outcome.status is Status.KEPT, outcome.reason
    ((onto, merged),) = moving.merged
    assert onto == 4
    assert merged == edited(pack, ("X = 1.0", "X = 2.0"), ("Y = 2.0", "Y = 3.0"))
    evidence = outcome.evidence
    assert evidence is not None
    assert (evidence.against, evidence.rebased_from) == (4, 0)
    # Its gain over its parent and that over the new best are two figures, each in its own place.
    left = (5 - 2) ** 2 - (5 - 1) ** 2 if outcome.delta is None else outcome.delta
    assert evidence.parent_delta == pytest.approx(left, abs=0.5)
    assert "the best changed meanwhile from trial 0 to trial 4" in outcome.reason
    # The score is that of the merged recipe.
    assert outcome.score == pytest.approx(moving.later.mean(METRIC) + left, abs=0.5)


@pytest.mark.parametrize(("x", "status"), [("2.0", Status.DISCARDED), ("3.0", Status.KEPT)])
async def test_a_change_of_the_same_line_is_compared_as_it_is(
    pack: Pack, x: str, status: Status
) -> None:
    async with moving_best(pack, ("X = 1.0", "X = 2.5")) as moving:
        recipe = edited(pack, ("X = 1.0", f"X = {x}"))
        outcome = await moving.evaluator.evaluate(
            recipe, lambda: moving.now, rebase=moving.rebase(), labels=LABELS
        )
    assert outcome.status is status, outcome.reason
    assert not moving.merged
    assert outcome.evidence is not None
    assert (outcome.evidence.against, outcome.evidence.rebased_from) == (4, 0)
    assert outcome.evidence.parent_delta is not None
    assert outcome.evidence.parent_delta < 0, "it was better than its parent"
    assert "the best changed meanwhile from trial 0 to trial 4" in outcome.reason


async def test_a_change_that_the_new_best_has_already_is_no_gain(pack: Pack) -> None:
    async with moving_best(pack, ("X = 1.0", "X = 2.0"), ("PADDING = 10", "PADDING = 9")) as moving:
        recipe = edited(pack, ("X = 1.0", "X = 2.0"))
        outcome = await moving.evaluator.evaluate(
            recipe, lambda: moving.now, rebase=moving.rebase(), labels=LABELS
        )
    assert outcome.status is Status.DISCARDED
    assert "which has this change already" in outcome.reason
    assert moving.sandbox.trained == ["trial"], "it cost its screening and no more"


async def test_a_trial_that_waited_while_the_best_changed_is_merged_before_it_trains(
    pack: Pack,
) -> None:
    async with moving_best(pack, ("Y = 2.0", "Y = 3.0")) as moving:
        moving.now = moving.later
        recipe = edited(pack, ("X = 1.0", "X = 2.0"))
        outcome = await moving.evaluator.evaluate(
            recipe, lambda: moving.now, rebase=moving.rebase(), labels=LABELS
        )
        clash = await moving.evaluator.evaluate(
            edited(pack, ("Y = 2.0", "Y = 4.0")),
            lambda: moving.now,
            rebase=moving.rebase(),
            labels=LABELS,
        )
    assert outcome.status is Status.KEPT
    assert outcome.evidence is not None
    assert (outcome.evidence.against, outcome.evidence.rebased_from) == (4, 0)
    assert "the best changed meanwhile from trial 0 to trial 4" in outcome.reason
    assert clash.status is Status.KEPT, "a larger step on the same line"
    assert "both changed the same lines of recipe/train.py" in clash.reason


async def test_a_trial_that_was_not_proposed_on_the_best_is_compared_as_it_is(pack: Pack) -> None:
    async with moving_best(pack, ("Y = 2.0", "Y = 3.0")) as moving:
        recipe = edited(pack, ("X = 1.0", "X = 2.0"))
        outcome = await moving.evaluator.evaluate(recipe, lambda: moving.now, labels=LABELS)
    assert outcome.evidence is not None and outcome.evidence.against == 4
    assert outcome.score == pytest.approx(9 + 16, abs=12)
    assert not moving.merged


async def test_a_verdict_on_a_screening_says_that_the_best_is_another_by_now(pack: Pack) -> None:
    async with moving_best(pack, ("Y = 2.0", "Y = 3.0")) as moving:
        recipe = edited(pack, ("X = 1.0", "X = 0.5"))
        outcome = await moving.evaluator.evaluate(
            recipe, lambda: moving.now, rebase=moving.rebase(), labels=LABELS
        )
    assert outcome.status is Status.DISCARDED
    assert outcome.evidence is not None and outcome.evidence.against == 0
    assert "against trial 0; the best changed meanwhile to trial 4" in outcome.reason


class Looks(TrialObserver):
    """Notes how far tests are."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def confirming(self, look: int, of: int) -> None:
        self.told.append((look, of))


async def checkpoint_of(
    pack: Pack,
    *changes: tuple[str, str],
    at_end: bool = False,
    lead: float | None = None,
    observer: TrialObserver | None = None,
) -> tuple[Checkpoint | None, list[Checkpoint], list[str], WorkingLine]:
    """Test a line of some edits; ``lead`` is the score that its head claims, if not its own."""
    async with RecordingSandbox() as sandbox:
        evaluator = evaluator_of(pack, sandbox)
        baseline = await evaluator.evaluate(
            pack.baseline(), None, seeds=SeedSource(pack, "c", SECRET)
        )
        recipe = edited(pack, *changes)
        outcome = await evaluator.measure(recipe, (101, 102, 103, 104))
        head = incumbent(pack, 3, recipe, outcome, baseline)
        if lead is not None:
            runs = {s: SeedRun(s, (), {**r.measures, METRIC: lead}) for s, r in head.runs.items()}
            head = replace(head, runs=runs)
        line = WorkingLine(head, incumbent(pack, 0, pack.baseline(), baseline, baseline))
        recorded: list[Checkpoint] = []
        sandbox.trained.clear()
        found = await evaluator.checkpoint(
            lambda: line,
            recorded.append,
            at_end=at_end,
            seeds=SeedSource(pack, "c", SECRET),
            labels=LABELS,
            observer=observer,
        )
    return found, recorded, sandbox.trained, line


async def test_a_checkpoint_that_holds_tells_the_gain_of_the_line(pack: Pack) -> None:
    looks = Looks()
    found, recorded, trained, line = await checkpoint_of(
        pack, ("X = 1.0", "X = 3.0"), observer=looks
    )
    assert found is not None and recorded == [found]
    last = pack.acceptance.confirm.index(found.seeds) + 1
    assert looks.told == [(look, len(pack.acceptance.confirm)) for look in range(1, last + 1)]
    assert found.held and not found.fell_back, found.reason
    assert (found.trial, found.against) == (3, 0)
    assert found.p is not None and found.level is not None
    assert 0.0 < found.p <= found.level <= 0.05
    assert found.delta is not None
    assert found.delta_low is not None and found.delta_high is not None
    assert found.delta_low < found.delta < found.delta_high < 0
    # In turns, on seeds that neither had.
    assert trained[:4] == ["best", "trial", "trial", "best"]
    seeds = {run.seed for run in found.runs}
    assert len(seeds) == found.seeds == len(found.against_runs)
    assert not seeds & set(line.head.runs)
    assert {gate.name for gate in found.gates} == {"size", "fit"}


async def test_a_line_whose_lead_was_luck_falls_back(pack: Pack) -> None:
    # The head says that it is far better, and is a little worse.
    found, _, _, _ = await checkpoint_of(pack, ("X = 1.0", "X = 0.9"), lead=1.0)
    assert found is not None
    assert not found.held and found.fell_back


async def test_a_head_that_fails_on_a_fresh_seed_falls_back(pack: Pack) -> None:
    fails = (
        '    print("loss',
        '    args.seed in (1, 2, 101, 102, 103, 104) or 1 / 0\n    print("loss',
    )
    found, recorded, _, _ = await checkpoint_of(pack, fails, lead=1.0)
    assert found is not None and recorded == [found]
    assert found.fell_back and "failed on a fresh seed" in found.reason
    assert (found.p, found.delta) == (None, None)


async def test_a_head_that_diverges_on_a_fresh_seed_is_told_so(pack: Pack) -> None:
    acceptance = pack.acceptance.model_copy(update={"calibration": 6})
    pack = pack.model_copy(update={"acceptance": acceptance})
    unlucky = SeedSource(pack, "c", SECRET).checkpoint(0, pack.acceptance.confirm[0])[1]
    blur = f"    blur += 1.0 * (args.seed == {unlucky})\n    padding ="
    found, *_ = await checkpoint_of(pack, ("X = 1.0", "X = 3.0"), ("    padding =", blur))
    assert found is not None
    assert "; the head diverged on 1 of " in found.reason
    assert f"on seed {unlucky})" in found.reason


def test_a_near_gate_of_a_head_asks_for_up_to_half_of_the_longest_look(pack: Pack) -> None:
    def at(number: int, loss: float, seeds: range) -> Incumbent:
        def run(seed: int) -> SeedRun:
            # On average, fit is a hair above its limit of 0.2.
            fit = 0.201 + 0.05 * (-1) ** seed
            blurred = loss + 0.01 * (seed % loss)
            measures = {METRIC: blurred, "artifact.bytes": 50.0, "score.fit": fit}
            return SeedRun(seed, (), measures)

        return Incumbent(number, Recipe({}), {seed: run(seed) for seed in seeds})

    fresh = range(5, 21)
    certified = at(0, 10.0, fresh)
    runs = tuple(at(3, 6.0, fresh).runs.values())
    test = LineTest(Judge(pack), pack, WorkingLine(at(3, 6.0, range(1, 5)), certified))
    asked = test._judged(runs, gate_asked=False)
    assert isinstance(asked, NeedMoreSeeds) and asked.for_gate
    assert asked.seeds - len(fresh) == pack.acceptance.most // 2 == 16


def test_what_was_overtaken_is_discarded_and_has_no_standing(pack: Pack) -> None:
    evidence = Evidence(0, 1, 1, 4, 0.0, standing=Standing.PROVISIONAL)
    kept = Outcome(Status.KEPT, "it joined the working line", score=8.0, evidence=evidence)
    best = Incumbent(4, Recipe({}), {1: SeedRun(1, (), {METRIC: 7.0})})
    found = Judge(pack).overtaken(kept, best)
    assert found.status is Status.DISCARDED
    assert found.evidence is not None and found.evidence.standing is None
    assert found.reason.endswith(
        "against trial 0; the best changed meanwhile to trial 4, whose score is better"
    )


def test_what_is_compared_in_logarithms_is_told_in_the_unit_of_the_metric(pack: Pack) -> None:
    metric = pack.metric.model_copy(update={"scale": Scale.LOG})
    pack = pack.model_copy(update={"metric": metric, "gates": ()})
    best = Incumbent(0, Recipe({}), {1: SeedRun(1, (), {METRIC: 20.0})})
    runs = TrialRuns((SeedRun(1, (), {METRIC: 22.0}),), 1)
    found = Judge(pack).not_merged(runs, best, "both changed the same lines")
    assert found.delta == pytest.approx(2.0)


@pytest.mark.slow
async def test_a_head_that_a_busy_machine_kept_waiting_is_tested_again_later(
    pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended before, and at its deadline had not even that CPU time."""
    monkeypatch.setattr("recipelab.evaluation.evaluator.ATTEMPTS", 1)
    waits = (
        '    print("loss',
        "    if args.seed in (1, 2, 101, 102, 103, 104):\n"
        "        sum(range(20_000_000))\n"
        "    else:\n"
        "        __import__('time').sleep(300)\n"
        '    print("loss',
    )
    budgets = pack.budgets.model_copy(update={"train": 4.0})
    quick = pack.model_copy(update={"budgets": budgets})
    found, recorded, _, _ = await checkpoint_of(quick, waits, lead=1.0)
    assert (found, recorded) == (None, [])


@pytest.mark.slow
async def test_a_small_lead_is_tested_at_the_end_alone(pack: Pack) -> None:
    change = ("X = 1.0", "X = 1.005")
    quiet, recorded, trained, line = await checkpoint_of(pack, change)
    assert 0.0 < line.lead(pack) < pack.acceptance.lead
    assert (quiet, recorded, trained) == (None, [], [])
    found, _, _, _ = await checkpoint_of(pack, change, at_end=True)
    assert found is not None


def test_a_lead_goes_on_from_what_a_checkpoint_measured(pack: Pack) -> None:
    def at(number: int, score: float) -> Incumbent:
        runs = {s: SeedRun(s, (), {METRIC: score + 0.1 * (s % 2)}) for s in (1, 2)}
        noise = noise_of([SeedRun(s, (), {METRIC: float(s)}) for s in (1, 2, 3)], pack.metric)
        return Incumbent(number, Recipe({}), runs, noise=noise)

    line = WorkingLine(at(7, 6.0), at(0, 10.0))
    assert line.lead(pack) == pytest.approx(4.0)
    failed = Checkpoint(5, 0, False, False, "not yet", 4, delta=-1.0)
    after = replace(line, tested=failed, tested_score=8.05)
    # The line had claimed 2, of which 1 was real; since then it has won another 2.
    assert after.lead(pack) == pytest.approx(3.0)
    assert after.is_open
    assert not replace(after, tested=replace(failed, trial=7)).is_open
    assert not replace(line, head=line.certified).is_open


def recorded(store: LineageStore, status: Status, *parents: int, losses: Sequence[float]) -> int:
    """Number of a new trial that was measured on three seeds."""
    number = propose(store, *parents, campaign="c")
    runs = tuple(SeedRun(seed, (), {METRIC: loss}) for seed, loss in enumerate(losses))
    standing = Standing.PROVISIONAL if status is Status.KEPT else None
    evidence = Evidence(0, 3, 3, 0, 0.0, standing=standing)
    score = fmean(losses)
    found = Outcome(status, "as it is", runs, score=score, score_se=0.1, evidence=evidence)
    store.record("c", number, found)
    return number


def test_a_line_goes_on_from_its_last_checkpoint(pack: Pack, store: LineageStore) -> None:
    recorded(store, Status.BASELINE, losses=(10.0, 10.1, 10.2))
    head = recorded(store, Status.KEPT, 0, losses=(8.0, 8.1, 8.2))
    line = CampaignLine(store, "c", evaluator_of(pack, LocalSandbox()), lambda found: None)
    assert line.now().is_open
    found = Checkpoint(head, 0, False, False, "not yet", 4, delta=-1.0)
    store.add_checkpoint("c", found)
    now = line.now()
    assert not now.is_open, "it was tested, and nothing has come since"
    assert (now.tested, now.tested_score) == (found, pytest.approx(8.1))
    assert now.position == 1


def test_trials_that_others_have_measured_tell_of_the_noise_too(
    pack: Pack, store: LineageStore
) -> None:
    recorded(store, Status.BASELINE, losses=(10.0, 10.1, 10.2))
    line = CampaignLine(store, "c", evaluator_of(pack, LocalSandbox()), lambda found: None)
    before = line.head().noise
    line.judged_elsewhere(recorded(store, Status.DISCARDED, 0, losses=(10.0, 13.0, 16.0)))
    after = line.head().noise
    assert before is not None and after is not None
    assert before.run.sd == pytest.approx(0.1)
    assert after.run.sd > 1.0
