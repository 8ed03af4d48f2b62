"""The packs that ship are sound as they lie there."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipelab.campaign.pack_check import Level, check_files
from recipelab.core import content
from recipelab.core.recipe import Recipe, find_knobs
from recipelab.core.trial import Edit, Outcome, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.packs.data import ensure_data
from recipelab.packs.load import read_pack
from recipelab.sandbox import LocalSandbox
from recipelab.sandbox.slots import ANYWHERE, SlotPool

SHIPPED = content.shipped_root() / content.TASK_PACKS
PACKS = sorted(path.parent.name for path in SHIPPED.glob("*/pack.toml"))
TRAIN, PREDICT = "recipe/train.py", "recipe/predict.py"


@pytest.mark.parametrize("name", PACKS)
def test_nothing_is_wrong_with_what_can_be_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pack = read_pack(SHIPPED / name / "pack.toml")
    found = list(check_files(pack))
    assert not [item.text for item in found if item.level is Level.ERROR]
    knobs = find_knobs(pack.baseline().files)
    assert {knob.surface for knob in knobs} == set(pack.surface_names)
    assert pack.certify.held_out


async def golfed(*edits: Edit, training: str = "20") -> Outcome:
    """One seed run of the golf recipe, trained for a few steps, with edits."""
    pack = read_pack(SHIPPED / "parameter_golf" / "pack.toml")
    short = Edit(TRAIN, "STEPS = 700", f"STEPS = {training}")
    recipe: Recipe = pack.baseline().apply([short, *edits], pack.recipe.editable)
    data = ensure_data(pack, say=lambda text: None)
    async with LocalSandbox() as sandbox:
        evaluator = Evaluator(pack, sandbox, data, pool=SlotPool([ANYWHERE]))
        return await evaluator.measure(recipe, (1,))


@pytest.mark.torch
async def test_golf_is_scored_after_a_few_steps() -> None:
    outcome = await golfed()
    assert outcome.status is Status.BASELINE, outcome.reason
    assert outcome.score is not None and 3.0 < outcome.score < 8.0
    measures = outcome.seed_runs[0].measures
    assert measures["submission.bytes"] == measures["artifact.bytes"] + measures["recipe.bytes"]


BEFORE = "before = torch.cat((torch.full_like(windows[:, :1], FIRST), windows[:, :-1]), dim=1)"
PEEK = "print(Path('hidden/hamlet_gut.txt').read_bytes())"
SOFTMAX = "torch.softmax(logits / TEMPERATURE, dim=-1)"


@pytest.mark.torch
@pytest.mark.parametrize(
    ("edit", "status", "words"),
    [
        (Edit(PREDICT, BEFORE, "before = windows"), "illegal", "look-ahead"),
        (Edit(PREDICT, SOFTMAX, f"1.5 * {SOFTMAX}"), "illegal", "no distribution"),
        (Edit(PREDICT, "TEMPERATURE = 1.0", "TEMPERATURE = 1e-9"), "crashed", "impossible"),
        (
            Edit(
                TRAIN,
                "    save(model, args.out",
                "    (args.out / 'b').write_bytes(b'0' * 60000)\n    save(model, args.out",
            ),
            "oversize",
            "submission size",
        ),
        (
            Edit(
                TRAIN, "raw = b", "print(Path('hidden/hamlet_gut.txt').read_bytes())\n    raw = b"
            ),
            "crashed",
            "FileNotFoundError",
        ),
    ],
)
async def test_golf_is_not_won_by_a_trick(edit: Edit, status: str, words: str) -> None:
    outcome = await golfed(edit)
    assert outcome.status == status, outcome.reason
    assert outcome.failure is not None
    assert words in outcome.failure.excerpt + outcome.failure.signature + outcome.log_tail
