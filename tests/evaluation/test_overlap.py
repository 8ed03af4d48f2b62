"""Several trials are confirmed at the same time, and each verdict is that of its own turn."""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.acceptance import level_of_next
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Proposal, Standing, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.levels import RunningTests
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.packs.judging_sections import Metric
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox import PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.base import Ending
from recipelab.sandbox.slots import ANYWHERE, Slot, SlotPool

LINES = "".join(f"{name} = 0.0\n" for name in "ABCDEF")


@dataclass
class Run:
    """A training: of which trial, beside which best, and with which seed."""

    trial: str
    beside: str | None
    seed: int
    for_line: bool


class DrawnSandbox(Sandbox):
    """Runs nothing: a recipe is worth the sum of its constants, blurred by the seed."""

    name = "drawn"
    isolated = True

    def __init__(self) -> None:
        self.trained: list[Run] = []
        self.before: Callable[[Run], Awaitable[None]] | None = None
        self.luck: Callable[[Run], float] = lambda run: 0.0
        self.score: Callable[[str], Awaitable[None]] | None = None

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    @property
    def started(self) -> bool:
        return True

    async def run(self, request: PhaseRequest) -> PhaseResult:
        labels, out = request.labels, request.output
        source = {item.target: item.source for item in request.inputs}
        await asyncio.sleep(0)
        if request.phase == "train":
            of_line = labels.get("purpose") == "checkpoint"
            run = Run(labels["trial"], labels.get("beside"), int(labels["seed"]), of_line)
            self.trained.append(run)
            if self.before is not None:
                await self.before(run)
            text = (source["recipe"] / "train.py").read_text()
            worth = sum(map(float, re.findall(r"^[A-F] = (\S+)", text, re.MULTILINE)))
            noise = random.Random(f"{text} {labels['seed']}").gauss(0.0, 0.01)
            (out / "model.json").write_text(json.dumps(100.0 - worth + noise - self.luck(run)))
        elif request.phase == "predict":
            shutil.copyfile(source["artifact"] / "model.json", out / "predictions.txt")
        elif request.phase == "score":
            if self.score is not None:
                await self.score(labels["trial"])
            loss = json.loads((source["predictions"] / "predictions.txt").read_text())
            (out / "score.json").write_text(json.dumps({"loss": loss, "fit": 1.0}))
        return PhaseResult(Ending.EXITED, 0, 1.0, 1.0, 10.0, "", environment="drawn")

    def seeds(self, trial: int, *, for_line: bool = False) -> list[int]:
        """Return the seeds of a trial's own trainings, or of those for the test of its line."""
        wanted = str(trial), None, for_line
        return [r.seed for r in self.trained if (r.trial, r.beside, r.for_line) == wanted]


@dataclass
class Bench:
    """A queue in a lineage, with the sandbox that its trials run in."""

    queue: TrialQueue
    sandbox: DrawnSandbox
    tests: RunningTests
    numbers: list[int] = field(default_factory=list)

    def submit(self, name: str, value: float, parent: int = 0) -> int:
        edit = Edit("recipe/train.py", f"{name} = 0.0", f"{name} = {value}")
        proposal = Proposal("left", "left", parent, f"{name}", -1.0, (edit,))
        submitted = self.queue.submit(proposal, round_number=None)
        assert submitted.rejection is None, submitted.rejection
        return submitted.number

    async def ended(self) -> dict[int, TrialRecord]:
        found: dict[int, TrialRecord] = {}
        while self.queue.running:
            found |= {record.number: record for record in await self.queue.next_ended()}
        return found


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(60):
        for _ in iter(holds, True):
            await asyncio.sleep(0.01)


Make = Callable[..., Awaitable[Bench]]


@pytest.fixture
def make(project: Path, store: LineageStore) -> Make:
    """Make a queue with a measured baseline, of a policy, on some slots."""
    root = project / "task_packs/toy"
    (root / "recipe/train.py").write_text(LINES)
    text = re.sub(r"\[\[gates\]\].*?\n\n", "", (root / "pack.toml").read_text(), flags=re.DOTALL)
    (root / "pack.toml").write_text(text)
    (root / "playbook.toml").unlink()

    async def made(
        policy: str, slots: int = 4, slot: Slot = ANYWHERE, metric: Metric | None = None
    ) -> Bench:
        pack: Pack = load_pack("toy", policy)
        acceptance = pack.acceptance.model_copy(update={"calibration": 6})
        changes = {"acceptance": acceptance, "metric": metric or pack.metric}
        pack = pack.model_copy(update=changes)
        sandbox, tests = DrawnSandbox(), RunningTests()
        pool = SlotPool([slot] * slots, shared=True)
        data = {file.file: pack.root / "data" / file.file for file in pack.data}
        evaluator = Evaluator(pack, sandbox, data, pool=pool, retry_seconds=0.01, tests=tests)
        queue = TrialQueue(store, "c", evaluator, slots=slots)
        queue.propose_baseline()
        bench = Bench(queue, sandbox, tests)
        await bench.ended()
        assert queue.checked_baseline()
        return bench

    return made


def screening(bench: Bench, trial: int) -> int:
    """Return the number of seeds that a trial is screened on by the policy of a bench."""
    return 1 if bench.queue.pack.profile == "line" else 3


class Together:
    """Lets nobody train on a fresh seed before some trials have all come to theirs."""

    def __init__(self, bench: Bench, trials: int) -> None:
        self._bench, self._trials = bench, trials
        self._screened: defaultdict[str, int] = defaultdict(int)
        self._met: set[str] = set()
        self._all = asyncio.Event()

    async def __call__(self, run: Run) -> None:
        if run.for_line:
            return
        own = self._screened[run.trial]
        if run.beside is None:
            self._screened[run.trial] += 1
        if own >= screening(self._bench, int(run.trial)) or run.beside is not None:
            self._met.add(run.trial)
            if len(self._met) >= self._trials:
                self._all.set()
            await self._all.wait()


@pytest.mark.parametrize("policy", ["line", "confirmed"])
async def test_two_trials_are_confirmed_at_the_same_time(make: Make, policy: str) -> None:
    bench = await make(policy)
    # Under a lock for the whole confirmation, the second would never come to its fresh seeds.
    bench.sandbox.before = Together(bench, 2)
    first, second = bench.submit("A", 1.0), bench.submit("C", 1.0)
    async with asyncio.timeout(60):
        found = await bench.ended()
    assert {found[n].status for n in (first, second)} == {Status.KEPT}
    assert bench.tests.running == 0


async def test_a_best_that_is_new_at_the_end_is_the_one_that_is_beaten(make: Make) -> None:
    bench = await make("line")
    bench.sandbox.before = Together(bench, 2)
    numbers = bench.submit("A", 1.0), bench.submit("C", 1.0)
    found = await bench.ended()
    early, late = sorted(numbers, key=lambda n: found[n].outcome.evidence.against)  # type: ignore[union-attr]
    assert found[early].outcome.evidence.against == 0  # type: ignore[union-attr]
    outcome = found[late].outcome
    assert outcome is not None and outcome.evidence is not None
    assert outcome.evidence.against == early, "it has to beat the best that there is by then"
    assert f"from trial 0 to trial {early}" in outcome.reason
    assert outcome.delta == pytest.approx(-1.0, abs=0.05)
    # It was merged, and ran on seeds that had not chosen it: those after its screening and its
    # first comparison.
    recipe = bench.queue.recipe_of(late)["recipe/train.py"]
    assert "A = 1.0" in recipe and "C = 1.0" in recipe
    seeds = bench.sandbox.seeds(late)
    assert len(seeds) == len(set(seeds)) == 1 + 4 + 4
    assert outcome.judged_seeds == set(seeds[-4:])
    assert bench.queue.best().number == late


async def test_who_does_not_beat_the_former_best_ends_without_the_new_one(make: Make) -> None:
    bench = await make("line")
    good, lucky = 1, 2
    together = Together(bench, 2)

    async def before(run: Run) -> None:
        await together(run)
        if run.trial == str(lucky) and len(bench.sandbox.seeds(lucky)) > 1:
            await until(lambda: bench.queue.best().number == good)

    bench.sandbox.before = before
    bench.sandbox.luck = lambda run: float(run.trial == str(lucky) and run.seed == 1)
    assert (bench.submit("A", 1.0), bench.submit("C", -0.5)) == (good, lucky)
    async with asyncio.timeout(60):
        found = await bench.ended()
    outcome = found[lucky].outcome
    assert outcome is not None and outcome.evidence is not None
    assert outcome.status is Status.DISCARDED
    assert outcome.evidence.against == 0
    assert f"changed meanwhile to trial {good}" in outcome.reason
    assert len(bench.sandbox.seeds(lucky)) == 1 + 2, "it was not merged and run again"


@pytest.mark.parametrize("policy", ["line", "confirmed"])
async def test_who_is_overtaken_again_and_again_comes_to_an_end(make: Make, policy: str) -> None:
    bench = await make(policy, slots=8)
    bench.sandbox.before = Together(bench, 4)
    numbers = [bench.submit(name, 1.0 + 0.1 * i) for i, name in enumerate("ABCD")]
    found = await bench.ended()
    kept = [n for n in numbers if found[n].status is Status.KEPT]
    assert len(kept) >= 2
    runs = max(len(bench.sandbox.seeds(n)) for n in numbers)
    # Screened once, and compared with at most three: the first, the one it was merged onto, and
    # the one before which nobody else is judged.
    most = {"line": 1 + 2 * 4, "confirmed": 3 + 3 * 4}[policy]
    assert runs <= most
    for number in numbers:
        outcome = found[number].outcome
        assert outcome is not None and outcome.evidence is not None
        if outcome.status is Status.KEPT:
            # Kept over the best of its own turn: the one that was kept just before it.
            order = sorted(kept, key=lambda n: found[n].judged_at or 0)
            before = [0, *order][order.index(number)]
            assert outcome.evidence.against == before


async def test_each_test_has_its_own_level_from_its_beginning(make: Make) -> None:
    bench = await make("confirmed")
    bench.sandbox.before = Together(bench, 2)
    numbers = bench.submit("A", 1.0), bench.submit("C", 1.0)
    found = await bench.ended()
    levels = []
    for number in numbers:
        evidence = found[number].outcome.evidence  # type: ignore[union-attr]
        assert evidence is not None and evidence.level is not None
        levels.append(evidence.level)
    rate, half = bench.queue.pack.acceptance.false_keep_rate, 40
    share = levels[0] / level_of_next(rate, (), half)
    # Alone, the second would have had the level of the first passed on.
    assert levels[1] / share == pytest.approx(level_of_next(rate, (False,), half))
    assert levels[1] < levels[0]


async def test_one_after_the_other_a_claim_passes_its_level_on(make: Make) -> None:
    bench = await make("confirmed")
    levels = []
    for name in "AC":
        number = bench.submit(name, 1.0, parent=bench.queue.best().number)
        found = await bench.ended()
        levels.append(found[number].outcome.evidence.level)  # type: ignore[union-attr]
    rate = bench.queue.pack.acceptance.false_keep_rate
    expected = level_of_next(rate, (True,), 40) / level_of_next(rate, (), 40)
    assert levels[1] / levels[0] == pytest.approx(expected)


async def test_no_slot_is_idle_while_a_trial_waits_for_its_turn(make: Make) -> None:
    bench = await make("line", slots=1)
    async with bench.tests.judging():
        first = bench.submit("A", 1.0)
        second = bench.submit("C", -1.0)
        async with asyncio.timeout(60):
            await bench.queue.wait_for(second, seconds=50)
        # The first has run all its seeds and waits; the second, which is no gain, needs no turn.
        assert bench.queue.in_flight == (first,)
        assert len(bench.sandbox.seeds(first)) == 5
    found = await bench.ended()
    assert found[first].status is Status.KEPT


IN_TURNS = Metric.model_validate(
    {
        "name": "cost",
        "unit": "s",
        "goal": "minimize",
        "measure": "train.wall_seconds",
        "side_by_side": True,
    }
)


@pytest.mark.parametrize("metric", [None, IN_TURNS], ids=["alone", "in turns"])
async def test_a_gpu_has_the_next_trial_while_another_is_scored(
    make: Make, metric: Metric | None
) -> None:
    bench = await make("line", slots=1, slot=Slot("gpu-0", gpus=("0",)), metric=metric)
    scoring, go_on = asyncio.Event(), asyncio.Event()

    async def score(trial: str) -> None:
        if trial == "1":
            scoring.set()
            await go_on.wait()

    bench.sandbox.score = score
    bench.submit("A", -1.0)
    second = bench.submit("C", -1.0)
    async with asyncio.timeout(60):
        await scoring.wait()
        await bench.queue.wait_for(second, seconds=50)
    assert bench.queue.in_flight == (1,)
    go_on.set()
    await bench.ended()


async def test_trials_are_judged_while_the_line_is_tested(make: Make) -> None:
    bench = await make("line")
    head = bench.submit("A", 1.0)
    hold = asyncio.Event()

    async def before(run: Run) -> None:
        if run.for_line and run.trial == str(head):
            await hold.wait()

    bench.sandbox.before = before
    await until(lambda: any(run.for_line for run in bench.sandbox.trained))
    assert bench.queue.best().number == head
    later = bench.submit("C", 1.0, parent=head)
    await until(lambda: bench.queue.best().number == later)
    store = bench.queue.store
    assert store.brief("c", head).standing is Standing.PROVISIONAL
    hold.set()
    await bench.ended()
    first, *_ = (record.found for record in store.checkpoints("c"))
    assert (first.trial, first.held) == (head, True)
    assert store.brief("c", head).standing is Standing.CERTIFIED
    # What joined meanwhile is tested next, and not certified along with the head.
    assert [record.found.trial for record in store.checkpoints("c")] == [head, later]


@given(
    st.lists(
        st.tuples(st.sampled_from(["begin", "claim", "nothing", "aborted"]), st.integers(0, 9)),
        max_size=60,
    ),
    st.integers(1, 40),
)
def test_levels_of_tests_that_overlap_never_exceed_the_campaigns(
    steps: list[tuple[str, int]], half: int
) -> None:
    rate = 0.05
    spent = 0.0
    running: dict[str, float] = {}
    history: list[bool] = []
    names = iter(range(1000))
    tests = RunningTests()
    for step, which in steps:
        if step == "begin":
            name = str(next(names))
            before = (*history, *[False] * tests.running)
            tests.begin(name)
            running[name] = level_of_next(rate, before, half)
        elif running:
            name = list(running)[which % len(running)]
            level = running.pop(name)
            tests.end(name)
            if step != "aborted":
                history.append(step == "claim")
                # Before the first false claim, only what was really better has claimed anything.
                spent += 0.0 if step == "claim" else level
        assert spent + sum(running.values()) <= rate * (1 + 1e-9)


async def test_a_test_has_the_history_of_its_beginning() -> None:
    tests, history = RunningTests(), [True]
    async with tests.testing("one", lambda: tuple(history)) as first:
        async with tests.testing("two", lambda: tuple(history)) as second:
            assert (first, second) == ((True,), (True, False))
            assert tests.running == 2
        history.append(False)
        async with tests.testing("three", lambda: tuple(history)) as third:
            assert third == (True, False, False)
    assert tests.running == 0


def test_recipes_of_the_bench_merge() -> None:
    base = Recipe({"t": LINES})
    one, other = (Recipe({"t": LINES.replace(f"{n} = 0.0", f"{n} = 1.0")}) for n in "AC")
    merged = one.merged(base, other)
    assert not isinstance(merged, str)
    assert "A = 1.0" in merged.files["t"] and "C = 1.0" in merged.files["t"]
