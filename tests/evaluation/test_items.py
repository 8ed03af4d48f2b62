"""Items: what the scorer leaves of each is taken if it is whole, and is the pack's fault if not."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from recipelab.core.trial import Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.scored import ITEMS_LIMIT_BYTES
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.sandbox import LocalSandbox
from recipelab.scoring import MalformedPredictions, write_items

SCORER = Path("task_packs/toy/evaluator/score.py")
SQUARES = "items = [2 * (a - b) ** 2 for a, b in zip(answer, point, strict=True)]"
PACKED = "import struct; content = struct.pack('<2f', *items)"


@pytest.fixture(autouse=True)
def in_project(project: Path) -> None:
    """The tests change the scorer of the toy pack in their own project."""


def leaving(*lines: str) -> None:
    """Has the scorer of the toy pack end with some lines, and leave ``content``."""
    code = "\n".join([SQUARES, PACKED, *lines, "open('out/items.f32', 'wb').write(content)"])
    SCORER.write_text(f"{SCORER.read_text()}\n{code}\n")
    pack = Path("task_packs/toy/pack.toml")
    named = pack.read_text().replace("[evaluator]", '[evaluator]\nitems = "score.loss"')
    pack.write_text(named)


def with_room() -> None:
    """Has the pack take larger outputs."""
    pack = Path("task_packs/toy/pack.toml")
    pack.write_text(pack.read_text().replace("output_mb = ", "output_mb = 20 # "))


def evaluator_of(sandbox: LocalSandbox) -> Evaluator:
    pack = load_pack("toy")
    return Evaluator(pack, sandbox, ensure_data(pack, say=lambda text: None), retry_seconds=0.01)


async def test_a_seed_run_has_the_items_of_its_score(sandbox: LocalSandbox) -> None:
    leaving()
    evaluator = evaluator_of(sandbox)
    outcome = await evaluator.evaluate(evaluator.pack.baseline(), None)
    assert outcome.status is Status.BASELINE, outcome.reason
    for run in outcome.seed_runs:
        first, second = struct.unpack("<2f", run.items)
        assert (first + second) / 2 == pytest.approx(run.measures["score.loss"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("content = content[:-1]", "items.f32 has 7 bytes, which are not two or more floats"),
        ("content = b''", "items.f32 has 0 bytes"),
        ("content = struct.pack('<2f', 1, float('nan'))", "not finite"),
        ("content = struct.pack('<2f', 1, 2)", "the mean of the 2 items is 1.5, and the measure"),
        (f"content = bytes({ITEMS_LIMIT_BYTES + 4})", "over 16,777,216"),
        ("sys.exit()", "the scorer left no items.f32; write_items writes it"),
    ],
)
async def test_items_that_are_not_the_score_are_the_packs_fault(
    sandbox: LocalSandbox, line: str, words: str
) -> None:
    leaving(line)
    with_room()
    evaluator = evaluator_of(sandbox)
    outcome = await evaluator.evaluate(evaluator.pack.baseline(), None)
    assert outcome.status is Status.ABORTED
    assert words in outcome.log_tail and "evaluator.items (score.loss)" in outcome.log_tail


def test_an_item_that_is_too_far_off_is_the_predictions_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    write_items([0.5, -1, True])
    assert (tmp_path / "out" / "items.f32").read_bytes() == struct.pack("<3f", 0.5, -1.0, 1.0)
    for wrong in (1e39, float("nan")):
        with pytest.raises(MalformedPredictions, match="item 1"):
            write_items([0.0, wrong])
