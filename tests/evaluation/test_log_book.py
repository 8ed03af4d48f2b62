"""The logs of trials: kept by phase and seed, safe to show, and whole after a kill."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from recipelab.core.trial import Phase
from recipelab.evaluation.log_book import READ_CHARACTERS, LogBook


def test_logs_come_back_by_phase_and_seed(tmp_path: Path) -> None:
    book = LogBook(tmp_path / "logs")
    book.keep(3, Phase.PREFLIGHT, None, "one step\n")
    book.keep(3, Phase.TRAIN, 1, "epoch 1\nepoch 2\n")
    book.keep(4, Phase.TRAIN, 1, "another trial\n")
    found = [(log.phase, log.seed, log.lines) for log in book.logs(3)]
    assert found == [("preflight", None, ["one step"]), ("train", 1, ["epoch 1", "epoch 2"])]
    assert book.logs(9) == ()
    assert (tmp_path / "logs").stat().st_mode & 0o077 == 0


def test_a_phase_that_ran_again_counts_as_it_ran_last(tmp_path: Path) -> None:
    book = LogBook(tmp_path)
    book.keep(1, Phase.TRAIN, 1, "killed")
    book.keep(1, Phase.TRAIN, 2, "other seed")
    book.keep(1, Phase.TRAIN, 1, "whole")
    assert [(log.seed, log.text) for log in book.logs(1)] == [(2, "other seed"), (1, "whole")]


@given(cut=st.integers(min_value=0, max_value=200))
def test_what_a_kill_left_half_written_costs_the_last_log_alone(cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        book = LogBook(Path(folder))
        book.keep(1, Phase.TRAIN, 1, "first")
        whole = (Path(folder) / "1.jsonl.gz").stat().st_size
        book.keep(1, Phase.TRAIN, 2, "second " * 20)
        path = Path(folder) / "1.jsonl.gz"
        content = path.read_bytes()
        path.write_bytes(content[: whole + min(cut, len(content) - whole)])
        assert [log.text for log in book.logs(1)][:1] == ["first"]


def test_what_a_recipe_prints_cannot_steer_a_terminal(tmp_path: Path) -> None:
    book = LogBook(tmp_path)
    book.keep(1, Phase.TRAIN, 1, "10 %\r20 %\r30 %\x1b[2Jend\nnext\u202e")
    (log,) = book.logs(1)
    assert "\x1b" not in log.text
    assert "\u202e" not in log.text
    assert log.lines[0].startswith("30 %")
    assert len(log.lines) == 2


def test_a_log_that_is_a_bomb_is_read_up_to_a_bound(tmp_path: Path) -> None:
    book = LogBook(tmp_path)
    book.keep(1, Phase.TRAIN, 1, "honest")
    with (tmp_path / "1.jsonl.gz").open("ab") as stream:
        stream.write(gzip.compress(b"x" * (READ_CHARACTERS + 1), 1))
    assert [log.text for log in book.logs(1)] == ["honest"]
