"""The card: the figures that say what a trial is worth, and where it runs."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import pytest

from recipelab.acceptance import Noise, Spread
from recipelab.agents import card as card_module
from recipelab.agents.card import CHARACTERS, Card, described
from recipelab.agents.charters import load_charter
from recipelab.agents.specialist import workbench_of
from recipelab.core.trial import SeedRun
from recipelab.evaluation.metric import Incumbent
from recipelab.evaluation.queue import TrialQueue
from recipelab.packs.load import load_pack


async def shown(queue: TrialQueue, *, blind: bool = False) -> str:
    """Returns the card of a queue."""
    card = Card(queue, blind=blind)
    await card.look()
    return card.render()


async def test_it_says_margin_noise_budget_and_machine(desk: TrialQueue) -> None:
    text = await shown(desk)
    head = desk.head()
    fit = head.mean("score.fit")
    assert f"To beat: trial 0, loss {head.mean('metric'):.5g} points" in text
    assert f"fit at least 0.2: best {fit:.5g}, margin {fit - 0.2:.3g}" in text
    assert head.noise is not None
    assert f"SD of one seed run {head.noise.run.sd:.2g} points" in text
    assert "has to pass a gate" not in text, "the policy of this pack takes means for the truth"
    assert "of 10 s, predict" in text
    assert "512 MiB" in text
    assert "Python 3." in text
    assert "Certificates count" in text
    assert len(text) <= CHARACTERS


def test_it_says_by_how_much_a_gate_has_to_be_passed() -> None:
    pack = load_pack("airbench96")
    spread = Spread(0.9, 0.0016, 4)
    runs = {seed: SeedRun(seed, (), {"score.accuracy": 0.9}) for seed in (1, 2)}
    noise = Noise(spread, {"score.accuracy": spread}, spread)
    head = Incumbent(0, pack.baseline(), runs, noise=noise)
    gates, needed = card_module._gate_lines(pack, head)
    assert "margin 0.01, SD 0.0016" in gates
    assert needed == (
        "A trial has to pass a gate by 1 SE of its runs' mean, and gets up to 16 runs where that "
        "is not clear: accuracy 0.0011 on 2 seeds, 0.0004 on 16."
    )


async def test_a_blind_specialist_is_told_of_no_trial(desk: TrialQueue) -> None:
    text = await shown(desk, blind=True)
    assert "train 10 s, predict 10 s" in text
    assert "To beat" not in text
    assert "margin" not in text


async def test_it_is_of_the_best_of_the_moment(desk: TrialQueue) -> None:
    bench = workbench_of(load_charter("left"), desk, (), 1)
    await bench.call_tool("lineage_query", {})
    edit = {"path": "recipe/train.py", "search": "X = 1.0", "replace": "X = 3.0"}
    arguments: dict[str, Any] = {"parent": 0, "hypothesis": "Nearer to it.", "edits": [edit]}
    await bench.call_tool("submit_trial", arguments | {"expected_delta": -5.0})
    await desk.next_ended()
    assert "To beat: trial 1" in await shown(desk)


async def test_no_line_and_no_card_is_too_long(
    desk: TrialQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"data/{'x' * 300}{n}.txt": Path("task_packs/toy/pack.toml") for n in range(40)}
    bench = desk.bench
    assert bench is not None
    monkeypatch.setattr(type(bench), "training_data", lambda self: files)
    text = await shown(desk)
    assert len(text) <= CHARACTERS
    assert all(len(line) <= card_module.LINE_CHARACTERS + 2 for line in text.splitlines())


def test_the_chance_to_pass_a_gate_on_other_answers_follows_from_the_margin(
    tmp_path: Path,
) -> None:
    pack = load_pack("airbench96")
    paths = {"score": tmp_path / "score", "certify": tmp_path / "certify"}
    for path in paths.values():
        path.write_bytes(idx((10_000,), bytes(10_000)))

    def words(accuracy: float) -> str:
        runs = {seed: SeedRun(seed, (), {"score.accuracy": accuracy}) for seed in (1, 2)}
        head = Incumbent(0, pack.baseline(), runs)
        return card_module._chance_words(pack, head, paths)

    assert words(0.89) == " (the best passes accuracy there with a chance of 50%)"
    # The sampling error of either set is 0.0031, of their difference 0.0044.
    assert "of 66%" in words(0.89 + 0.00185)
    assert "of 84%" in words(0.89 + 0.0044)
    assert "of over 99%" in words(0.89 + 0.0110)


def idx(shape: tuple[int, ...], content: bytes) -> bytes:
    """Returns a file in the IDX format."""
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + content


@pytest.mark.parametrize(
    ("content", "words", "count"),
    [
        (b"to be\nor not\n", "13 bytes, text, 2 lines, 8 distinct bytes; begins 'to be'", None),
        (b"a,b\r\n1,2", "8 bytes, text, 2 lines, 7 distinct bytes; begins 'a,b'", None),
        (b"", "0 bytes, text, 0 lines, 0 distinct bytes; begins ''", None),
        (b"\x00\xff\xfe", "3 bytes, binary", None),
        (idx((3,), b"\1\2\1"), "11 bytes, 3 uint8, 2 distinct values", 3),
        (idx((2, 1, 1), b"\1\2"), "18 bytes, 2 x 1 x 1 uint8", 2),
    ],
)
def test_data_are_described(tmp_path: Path, content: bytes, words: str, count: int | None) -> None:
    path = tmp_path / "data"
    path.write_bytes(content)
    found = described(path)
    assert found is not None
    assert (found.words, found.count) == (words, count)


def test_what_is_compressed_is_described_as_it_is_inside(tmp_path: Path) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(idx((4,), b"\1\2\3\3"), mtime=0))
    found = described(path)
    assert found is not None
    assert found.words.endswith("(gzip), 4 uint8, 3 distinct values")
    path.write_bytes(b"\x1f\x8b but no more")
    found = described(path)
    assert found is not None
    assert found.count is None


def test_what_is_gone_is_not_described(tmp_path: Path) -> None:
    assert described(tmp_path / "nothing") is None
