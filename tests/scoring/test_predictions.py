"""Whatever a recipe leaves in the place of its predictions is read safely or refused with words."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recipelab.scoring
from recipelab.evaluation.failures import EvaluatorFault, PhaseFailed
from recipelab.evaluation.scored import read_score, shown_text
from recipelab.sandbox import Ending, PhaseResult
from recipelab.scoring import (
    BrokenRule,
    MalformedPredictions,
    PredictionFile,
    broken_rule,
    malformed,
    write_score,
)

NAME = "all/predictions.txt"

SCORED = PhaseResult(Ending.EXITED, 0, 1.0, 1.0, 10.0, "")
"""What the sandbox saw of a scorer that ended well."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of predictions with one round, beside answers."""
    (tmp_path / "predictions" / "all").mkdir(parents=True)
    (tmp_path / "answers.txt").write_text("1\n2\n")
    return tmp_path / "predictions"


def left(folder: Path, content: bytes) -> PredictionFile:
    """A file with some content."""
    (folder / NAME).write_bytes(content)
    return PredictionFile(NAME, folder)


def nothing(path: Path) -> None:
    pass


def link(path: Path) -> None:
    path.symlink_to("../../answers.txt")


def dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def linked_folder(path: Path) -> None:
    path.parent.rmdir()
    path.parent.symlink_to("../..")
    (path.parent / path.name).write_text("1\n2\n")


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def socket_file(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(path))


def unreadable(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("a file where a folder belongs")


HOSTILE = [
    nothing,
    link,
    dangling_link,
    linked_folder,
    endless,
    os.mkfifo,
    Path.mkdir,
    socket_file,
    unreadable,
]


@pytest.mark.parametrize("make", HOSTILE)
@pytest.mark.parametrize(
    "read",
    [
        lambda file: file.read_bytes(100),
        lambda file: file.read_text(100),
        lambda file: file.read_lines(count=2, longest=10),
        lambda file: file.read_numbers(count=2),
        lambda file: file.read_floats(count=1),
    ],
)
def test_only_a_regular_file_below_real_folders_is_read(
    folder: Path,
    make: Callable[[Path], None],
    read: Callable[[PredictionFile], object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    make(folder / NAME)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(MalformedPredictions, match=f"^{NAME}: ") as ended:
        read(PredictionFile(NAME, folder))
    assert ended.value.code == 3
    assert capsys.readouterr().err == f"{ended.value}\n"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_missing_folder_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MalformedPredictions, match=r"^predictions\.txt: is missing$"):
        PredictionFile("predictions.txt", tmp_path / "none").read_bytes(1)


def test_a_huge_file_is_not_read(folder: Path) -> None:
    file = left(folder, b"")
    os.truncate(folder / NAME, 1 << 40)
    with pytest.raises(MalformedPredictions, match="is longer than 10 bytes"):
        file.read_bytes(10)
    with pytest.raises(MalformedPredictions, match="has 1099511627776 bytes, expected 8"):
        file.read_floats(count=2)


@given(st.binary(max_size=60), st.integers(0, 40))
def test_no_byte_beyond_the_limit_is_returned(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, limit: int
) -> None:
    folder = tmp_path_factory.mktemp("predictions")
    (folder / "all").mkdir()
    file = left(folder, content)
    if len(content) <= limit:
        assert file.read_bytes(limit) == content
    else:
        with pytest.raises(MalformedPredictions, match=f"longer than {limit} bytes"):
            file.read_bytes(limit)


def test_text_is_utf_8_and_keeps_its_line_ends(folder: Path) -> None:
    assert left(folder, "ä\r\n".encode()).read_text(10) == "ä\r\n"
    with pytest.raises(MalformedPredictions, match="is not UTF-8 at byte 1"):
        left(folder, b"a\xff").read_text(10)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has 0 lines, expected 2"),
        (b"a\n", "has 1 lines, expected 2"),
        (b"a\nb", "line 2: must end in a line end"),
        (b"a\nb\n\n", "has 3 lines, expected 2"),
        (b"a\rb\r", "has 1 lines, expected 2"),
        (b"a\nbbbb\n", "line 2: is longer than 3 bytes"),
        (b"a\n" * 20, "is longer than 10 bytes"),
    ],
)
def test_lines_are_counted_and_measured(folder: Path, content: bytes, words: str) -> None:
    with pytest.raises(MalformedPredictions, match=words):
        left(folder, content).read_lines(count=2, longest=3)


def test_line_ends_of_windows_and_an_open_end_may_be_allowed(folder: Path) -> None:
    assert left(folder, b"a\r\nb\n").read_lines(count=2, longest=3) == (b"a", b"b")
    file = left(folder, b"a\nb")
    assert file.read_lines(count=2, longest=3, final_newline=False) == (b"a", b"b")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1\nx\x1b[2J\n", r"line 2: expected a number, found 'x\\x1b\[2J'$"),
        (b"1\n\n", "line 2: expected a number, found ''"),
        (b"nan\n1\n", "line 1: expected a finite number, found 'nan'"),
        (b"1\n-inf\n", "line 2: expected a finite number, found '-inf'"),
        (b"1\n1e999\n", "line 2: expected a finite number, found '1e999'"),
        (b"1\n" + b"9" * 41 + b"\n", "line 2: is longer than 40 bytes"),
        (b"1\n\xff\n", r"line 2: expected a number, found '\\xff'"),
    ],
)
def test_what_is_no_number_is_refused_with_its_place(
    folder: Path, content: bytes, words: str
) -> None:
    with pytest.raises(MalformedPredictions, match=words):
        left(folder, content).read_numbers(count=2)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_numbers_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("predictions")
    (folder / "all").mkdir()
    file = left(folder, "".join(f"{number!r}\n" for number in numbers).encode())
    assert file.read_numbers(count=len(numbers)) == numbers


@given(st.binary(max_size=40))
def test_any_bytes_are_floats_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("predictions")
    (folder / "all").mkdir()
    file = left(folder, content)
    expected = array("f")
    if len(content) == 20:
        expected.frombytes(content)
    try:
        found = file.read_floats(count=5)
    except MalformedPredictions as error:
        assert len(content) != 20 or not all(map(math.isfinite, expected)), error
    else:
        assert found.tobytes() == content and all(map(math.isfinite, found))


@given(
    st.lists(st.floats(width=32), min_size=1, max_size=30),
    st.sampled_from([math.nan, math.inf, -math.inf]),
    st.data(),
)
def test_no_infinity_or_nan_hides_among_floats(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[float],
    hidden: float,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("predictions")
    (folder / "all").mkdir()
    values[data.draw(st.integers(0, len(values) - 1))] = hidden
    file = left(folder, array("f", values).tobytes())
    with pytest.raises(MalformedPredictions, match=r"value \d+ is .*, not a finite number"):
        file.read_floats(count=len(values))
    assert len(file.read_floats(count=len(values), finite=False)) == len(values)


@pytest.mark.parametrize("kind", ["d", "i", "b"])
def test_floats_of_another_width_are_refused(folder: Path, kind: str) -> None:
    file = left(folder, array(kind, [1, 2, 3]).tobytes())
    if array(kind).itemsize == 4:
        # Integers of the same width cannot be told apart; read as floats they are tiny.
        assert max(file.read_floats(count=3)) < 1e-40
    else:
        with pytest.raises(MalformedPredictions, match="bytes, expected 12"):
            file.read_floats(count=3)


def test_a_scorer_ends_with_the_status_of_a_broken_rule(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokenRule, match="looked ahead") as ended:
        broken_rule("looked ahead")
    assert ended.value.code == 4
    assert capsys.readouterr().err == "looked ahead\n"


def test_scores_are_written_as_they_are_and_recipelab_judges_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    write_score({"error": 0.5, "count": 3})
    assert json.loads((tmp_path / "out" / "score.json").read_text()) == {"error": 0.5, "count": 3}
    for score in (math.nan, math.inf, -math.inf):
        write_score({"error": score})
        with pytest.raises(PhaseFailed) as failed:
            read_score(tmp_path / "out", SCORED, 1, {"score.error"})
        assert (failed.value.status, failed.value.failure.kind) == ("crashed", "nan")


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("write_score({'error': 1})", 0, ""),
        ("malformed('line 3: no')", 3, "line 3: no\n"),
        ("broken_rule('looked ahead')", 4, "looked ahead\n"),
        ("PredictionFile('a.txt').malformed('no', line=3)", 3, "a.txt: line 3: no\n"),
    ],
)
def test_it_runs_where_recipelab_is_not_installed(
    tmp_path: Path, code: str, status: int, error: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "lib").mkdir()
    library = Path(recipelab.scoring.__file__).parent
    (tmp_path / "lib" / "recipelab_scoring").symlink_to(library)
    script = "import sys; sys.path[:0] = ['lib']\nfrom recipelab_scoring import *\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script + code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (status, error)


def test_the_message_of_one_line_is_all_that_a_refusal_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(MalformedPredictions):
        malformed("no")
    assert capsys.readouterr() == ("", "no\n")


@pytest.mark.parametrize(
    "other",
    ["all fine", None, {"cat": 0.5, "dog": [1, 2]}, [], math.nan, math.inf, 10**400, "\x1b[31m"],
)
def test_what_is_no_number_is_shown_and_not_judged(tmp_path: Path, other: object) -> None:
    table = {"error": 0.5, "top-1/acc %": 3, "other": other}
    (tmp_path / "score.json").write_text(json.dumps(table))
    measures, shown = read_score(tmp_path, SCORED, 1, {"score.error"})
    assert measures == {"score.error": 0.5, "score.top-1/acc %": 3.0}
    assert list(shown) == ["score.other"]
    told = shown_text(shown)
    assert told.startswith("score.other: ") and told.endswith(" (not judged)")
    assert told.isprintable()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"error": "low"}', "score.error is judged, so it has to be a number .it is 'low'"),
        ('{"error": null}', "score.error is judged"),
        ("[0.5]", r"score.json is no table but '\[0.5\]'"),
        ("0.5", "score.json is no table"),
        ("{", "score.json is no JSON"),
        ("[" * 30_000, "score.json is no JSON"),
    ],
)
def test_what_is_judged_has_to_be_a_number(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "score.json").write_text(text)
    with pytest.raises(EvaluatorFault, match=words):
        read_score(tmp_path, SCORED, 1, {"score.error"})
