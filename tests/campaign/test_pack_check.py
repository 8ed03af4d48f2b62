"""The check of a pack as a function: what it finds, and in which order it gives up."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipelab.campaign import pack_check
from recipelab.campaign.pack_check import (
    SPOILS,
    Level,
    PackFinding,
    check_baseline,
    check_files,
    check_pack,
    check_scorer,
)
from recipelab.evaluation.evaluator import Evaluator
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.packs.sections import Hardware
from recipelab.sandbox import LocalSandbox


async def found(pack: Pack) -> dict[str, PackFinding]:
    return {item.what: item async for item in check_pack(pack, sandbox="local", slots=1)}


def test_the_files_of_a_sound_pack_are_ok(toy: Pack) -> None:
    assert [item for item in check_files(toy) if item.level is Level.ERROR] == []
    assert {item.what for item in check_files(toy)} == {
        *("pack.toml", "recipe", "specialists", "knobs", "playbook", "seeds", "certification")
    }


def test_small_gains_need_seeds_and_surfaces_need_knobs(toy: Pack, project: Path) -> None:
    train = project / "task_packs/toy/recipe/train.py"
    train.write_text(train.read_text().replace("# knob left:", "# left"))
    levels = {item.what: item for item in check_files(load_pack("toy", "two"))}
    assert levels["seeds"].level is Level.WARNING
    assert "2 for each trial" in levels["seeds"].text
    assert "surfaces without a knob: left" in levels["knobs"].text


async def test_an_error_in_the_files_keeps_the_baseline_from_running(
    toy: Pack, project: Path
) -> None:
    train = project / "task_packs/toy/recipe/train.py"
    train.write_text("def broken(")
    findings = await found(load_pack("toy"))
    assert findings["playbook"].level is Level.ERROR
    assert "baseline" not in findings


async def test_without_the_gpus_it_says_what_is_left_to_prove(
    toy: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_check, "list_gpus", lambda: [])
    needy = toy.model_copy(update={"hardware": Hardware(gpus=8, kind="H100")})
    findings = await found(needy)
    assert "needs 8 x H100, and this machine has 0 GPUs" in findings["left to prove"].text
    assert findings["data"].level is Level.WARNING, "data of a large pack are asked for first"
    assert "baseline" not in findings


async def test_the_baseline_tells_budgets_gates_noise_and_repeats(evaluator: Evaluator) -> None:
    findings = [item async for item in check_baseline(evaluator)]
    assert {item.what for item in findings} == {"baseline", "budgets", "gates", "noise", "repeats"}
    assert {item.level for item in findings} == {Level.OK}


async def test_projections_are_held_against_what_the_training_measured(
    toy: Pack, project: Path
) -> None:
    """One is right within its error, one is not, and one is not there."""
    file, train = (project / "task_packs/toy" / name for name in ("pack.toml", "recipe/train.py"))
    smoke = '"--smoke"]\n'
    table = "projects = { artifact_bytes = 0.5, train_seconds = 0.1, peak_memory_mb = 0.1 }\n"
    file.write_text(file.read_text().replace(smoke, smoke + table))
    last = '    print("loss 0.0 accuracy 1.0")'
    left = '{"artifact_bytes": 75, "train_seconds": 9}'
    write = f"    args.smoke and (args.out / 'projection.json').write_text('{left}')"
    train.write_text(train.read_text().replace(last, write))
    pack = load_pack("toy")
    async with LocalSandbox() as sandbox:
        evaluator = Evaluator(pack, sandbox, ensure_data(pack, say=lambda text: None))
        texts = [
            (item.level, item.text)
            async for item in check_baseline(evaluator)
            if item.what == "projections"
        ]
    levels = [level for level, _ in texts]
    assert levels == [Level.WARNING, Level.OK, Level.WARNING]
    words = " ".join(text for _, text in texts)
    assert "no usable projection of peak_memory_mb" in words
    assert "further off than the pack states" in texts[2][1]


async def test_every_way_to_spoil_predictions_is_scored(evaluator: Evaluator) -> None:
    findings = [item async for item in check_scorer(evaluator)]
    assert [item.what for item in findings] == [f"scorer: {name}" for name in SPOILS]
    (broken,) = [item for item in findings if item.level is Level.ERROR]
    assert broken.what == "scorer: bytes without sense", "it decodes them as if they were text"
    assert "exit status 3" in broken.text
    assert {item.level for item in findings if item is not broken} == {Level.OK}
