"""The scorer takes what is well-formed, refuses the rest, and says where."""

import subprocess
import sys
from pathlib import Path

import pytest

PACK = Path(__file__).parent
ANSWERS = (PACK / "data" / "answers.txt").read_text()


def scored(folder: Path, predictions: bytes | None) -> subprocess.CompletedProcess[str]:
    """Runs the scorer on a file of predictions."""
    for name in ("predictions", "answers", "out"):
        (folder / name).mkdir()
    (folder / "answers" / "answers.txt").write_text(ANSWERS)
    if predictions is not None:
        (folder / "predictions" / "predictions.txt").write_bytes(predictions)
    command = [sys.executable, str(PACK / "evaluator" / "score.py"), "answers.txt"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_answers_themselves_have_no_error(tmp_path: Path) -> None:
    assert scored(tmp_path, ANSWERS.encode()).returncode == 0
    assert (tmp_path / "out" / "score.json").read_text() == '{"mrr": 0.0}'


@pytest.mark.parametrize("predictions", [None, b"", b"nan\n" * 100, b"1\n", b"\xff\n" * 100])
def test_malformed_predictions_are_refused(tmp_path: Path, predictions: bytes | None) -> None:
    done = scored(tmp_path, predictions)
    assert done.returncode == 3
    assert done.stderr.startswith("predictions.txt: ")
    assert not (tmp_path / "out" / "score.json").exists()
