"""Answers in the code: data hidden by a secret, renamed classes, control runs, limited growth."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Outcome, Phase, Status
from recipelab.evaluation.certify import certify
from recipelab.evaluation.checkpoints import WorkingLine
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import Incumbent, growth_bytes, noise_of
from recipelab.evaluation.proposals import Rejected, check_recipe
from recipelab.evaluation.seeds import SeedSource
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox, PhaseRequest, PhaseResult

pytestmark = pytest.mark.slow

LABELS = {"campaign": "c", "trial": "5"}
HONEST = Edit("recipe/train.py", "DIVISOR = 2", "DIVISOR = 4")
CHEAT = Edit(
    "recipe/predict.py",
    'best.get(str(number % int(divisor)), "0") for',
    "str(number % 4) for",
)
"""It knows the answers, and needs no training data for them."""


@pytest.fixture
def folder(project: Path) -> Path:
    """The pack, with a pool of 400 numbers of which one in twenty has another class."""
    folder = project / "task_packs" / "residues"
    shutil.copytree(Path(__file__).parent / "residues", folder)
    chance = random.Random(1)
    pool = "".join(
        f"{number} {chance.randrange(4) if chance.random() < 0.05 else number % 4}\n"
        for number in range(400)
    )
    (folder / "data").mkdir()
    (folder / "data" / "pool.txt").write_text(pool)
    text = (folder / "pack.toml").read_text()
    text = text.replace("HASH", hashlib.sha256(pool.encode()).hexdigest())
    (folder / "pack.toml").write_text(text.replace("bytes = 0", f"bytes = {len(pool)}"))
    return folder


class Watching(LocalSandbox):
    """Remembers what the phases saw, by phase and file."""

    def __init__(self) -> None:
        super().__init__()
        self.saw: list[tuple[str, str, str]] = []

    async def run(self, request: PhaseRequest) -> PhaseResult:
        for entry in request.inputs:
            if entry.source.is_file():
                self.saw.append((request.phase, entry.target, entry.source.read_text()))
        return await super().run(request)

    def texts(self, phase: Phase, target: str) -> list[str]:
        return [text for where, name, text in self.saw if (where, name) == (phase, target)]


@asynccontextmanager
async def evaluating(pack: Pack) -> AsyncIterator[tuple[Evaluator, Watching]]:
    data = ensure_data(pack, say=lambda text: None)
    async with Watching() as sandbox:
        yield Evaluator(pack, sandbox, data, retry_seconds=0.01), sandbox


def edited(pack: Pack, *edits: Edit) -> Recipe:
    return pack.baseline().apply(edits, pack.recipe.editable)


def source_of(pack: Pack, secret: bytes = b"one") -> SeedSource:
    return SeedSource(pack, "c", secret)


async def judged(evaluator: Evaluator, recipe: Recipe) -> tuple[Outcome, Incumbent]:
    pack = evaluator.pack
    start = await evaluator.evaluate(pack.baseline(), None, seeds=source_of(pack), labels=LABELS)
    assert start.status is Status.BASELINE, start.reason
    found = Incumbent.of_trial(0, pack.baseline(), start, start.seed_runs)
    best = replace(found, noise=noise_of(start.seed_runs, pack.metric))
    outcome = await evaluator.evaluate(recipe, lambda: best, seeds=source_of(pack), labels=LABELS)
    return outcome, best


async def test_what_is_hidden_follows_from_the_secret(folder: Path) -> None:
    pack = load_pack(str(folder))
    async with evaluating(pack) as (evaluator, sandbox):
        for secret in (b"one", b"other", b"one"):
            await evaluator.measure(pack.baseline(), (1, 2), source=source_of(pack, secret))
    hidden = sandbox.texts(Phase.PREDICT, "inputs/numbers.txt")
    assert hidden[0] == hidden[1] == hidden[4] == hidden[5]
    assert hidden[2] == hidden[3] != hidden[0]
    trained = sandbox.texts(Phase.TRAIN, "data/train.txt")
    for asked, known in zip(hidden, trained, strict=True):
        assert not set(asked.split()) & {line.split()[0] for line in known.splitlines()}
    assert len(sandbox.texts(Phase.DRAW, "pool/pool.txt")) == 2, "once for each secret"


async def test_a_draw_that_leaves_a_file_out_is_no_fault_of_the_recipe(folder: Path) -> None:
    draw = folder / "evaluator" / "draw.py"
    draw.write_text(draw.read_text().replace("out/answers.txt", "out/others.txt"))
    pack = load_pack(str(folder))
    async with evaluating(pack) as (evaluator, _):
        outcome = await evaluator.measure(pack.baseline(), (1, 2))
    assert outcome.status is Status.ABORTED
    assert "draw left no file out/answers.txt" in outcome.reason


async def test_an_honest_surprise_passes_its_control_run(folder: Path) -> None:
    pack = load_pack(str(folder))
    async with evaluating(pack) as (evaluator, sandbox):
        outcome, _ = await judged(evaluator, edited(pack, HONEST))
    assert outcome.status is Status.KEPT, outcome.reason
    assert "control run: score.error 0." in outcome.reason
    shuffled = sandbox.texts(Phase.TRAIN, "data/train.txt")[-1]
    rows = [line.split() for line in shuffled.splitlines()]
    right = sum(int(number) % 4 == int(name) for number, name in rows) / len(rows)
    assert right < 0.5


async def test_answers_in_the_code_are_illegal(folder: Path) -> None:
    pack = load_pack(str(folder))
    async with evaluating(pack) as (evaluator, _):
        outcome, _ = await judged(evaluator, edited(pack, CHEAT))
    assert outcome.status is Status.ILLEGAL
    assert outcome.failure is not None
    assert "knows them all the same: score.error 0.0" in outcome.failure.excerpt


async def test_answers_in_the_code_have_the_wrong_names(folder: Path) -> None:
    pack = load_pack(str(folder), "renamed")
    async with evaluating(pack) as (evaluator, sandbox):
        honest, _ = await judged(evaluator, edited(pack, HONEST))
        cheat, _ = await judged(evaluator, edited(pack, CHEAT))
    assert honest.status is Status.KEPT and honest.score is not None and honest.score < 0.1
    assert cheat.status is not Status.KEPT
    assert len(set(sandbox.texts(Phase.TRAIN, "data/train.txt"))) > 3, "each seed has its names"


async def test_a_recipe_that_fails_in_its_control_run_is_not_kept(folder: Path) -> None:
    pack = load_pack(str(folder))
    shy = Edit(
        "recipe/train.py",
        "model = ",
        "assert all(c.most_common(1)[0][1] > 0.6 * c.total() for c in seen.values())\nmodel = ",
    )
    async with evaluating(pack) as (evaluator, _):
        outcome, _ = await judged(evaluator, edited(pack, HONEST, shy))
    assert outcome.status is Status.CRASHED
    assert "AssertionError" in outcome.reason


async def test_a_line_whose_head_knows_too_much_falls_back(folder: Path) -> None:
    pack = load_pack(str(folder))
    cheat = edited(pack, CHEAT)
    async with evaluating(pack) as (evaluator, _):
        measured = await evaluator.measure(cheat, (101, 102, 103, 104), source=source_of(pack))
        _, best = await judged(evaluator, edited(pack, HONEST))
        head = replace(best, number=5, recipe=cheat)
        head = replace(head, runs={run.seed: run for run in measured.seed_runs})
        found = await evaluator.checkpoint(
            lambda: WorkingLine(head, best), lambda found: None, seeds=source_of(pack)
        )
    assert found is not None and not found.held and found.fell_back
    assert "the head is illegal" in found.reason


async def test_what_knows_too_much_gets_no_certificate(folder: Path) -> None:
    pack = load_pack(str(folder))
    source, seeds = source_of(pack), (11, 12, 13, 14)
    async with evaluating(pack) as (evaluator, _):
        found = {
            name: await certify(
                evaluator, pack.baseline(), edited(pack, edit), seeds, source, LABELS
            )
            for name, edit in (("honest", HONEST), ("cheat", CHEAT))
        }
    assert found["honest"].status == "certified", found["honest"].reason
    assert "control run: " in found["honest"].reason
    assert found["cheat"].status == "illegal"


def test_a_recipe_may_not_grow_by_much(folder: Path) -> None:
    pack = load_pack(str(folder))
    start, chance = pack.baseline(), random.Random(1)
    table = f"TABLE = {''.join(chance.choice('0123') for _ in range(2000))!r}\n"
    long_but_plain = "".join(f"# what the next line does, number {n % 7}\n" for n in range(200))
    grown = {
        name: start.apply(
            [Edit("recipe/predict.py", "divisor,", f"{text}divisor,")], ("recipe/*.py",)
        )
        for name, text in (("table", table), ("plain", long_but_plain))
    }
    refused = check_recipe(pack, start, grown["table"], lambda recipe: None, start=start)
    assert isinstance(refused, Rejected)
    more = growth_bytes(start, grown["table"], ("recipe/*.py",))
    assert f"{more:,} bytes that the starting recipe has not" in refused.reason
    assert "limits.recipe_growth is 300" in refused.reason
    assert not isinstance(
        check_recipe(pack, start, grown["plain"], lambda recipe: None, start=start), Rejected
    )
    # What is deleted makes no room.
    files = {**grown["table"].files, "recipe/train.py": ""}
    assert isinstance(
        check_recipe(pack, start, Recipe(files), lambda recipe: None, start=start), Rejected
    )
