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
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.packs.sections import Hardware


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


async def test_every_way_to_spoil_predictions_is_scored(evaluator: Evaluator) -> None:
    findings = [item async for item in check_scorer(evaluator)]
    assert [item.what for item in findings] == [f"scorer: {name}" for name in SPOILS]
    (broken,) = [item for item in findings if item.level is Level.ERROR]
    assert broken.what == "scorer: bytes without sense", "it decodes them as if they were text"
    assert "exit status 3" in broken.text
    assert {item.level for item in findings if item is not broken} == {Level.OK}
