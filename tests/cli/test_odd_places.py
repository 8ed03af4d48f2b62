"""Odd numbers, places and terminals: a clear message and nothing begun, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from .background import COMMAND
from .conftest import LOCAL, Cli, Ran

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--trials", "9" * 20), "too large to store"),
        (("--hours", "inf"), "finite"),
        (("--hours", "nan"), ""),
        (("--device-hours", "inf"), "finite"),
        (("--money", "nan"), ""),
        (("--target", "nan"), "finite"),
        (("--target", "-inf"), "finite"),
        (("--slots", "9999", "--share-devices"), "valid with --share-devices: 1 to "),
        (("--seed", "9" * 22), "too large to store"),
        (("--model", ""), "valid: offline, or PROVIDER:NAME"),
        (("--sandbox", "nope"), "valid: auto, docker, local"),
        (("--name", "a/b"), "cannot name a campaign"),
        (("--name", ""), "cannot name a campaign"),
        (("--name", "x" * 300), "cannot name a campaign"),
        (("--base-url", "nope"), "valid: http://HOST or https://HOST"),
    ],
)
def test_what_is_not_valid_begins_nothing(
    cli: Cli, project: Path, words: tuple[str, ...], told: str
) -> None:
    found = cli("run", "toy", "--sandbox", "local", "--trials", 1, *words)
    assert found.exit_code == 2, found.output
    assert told in " ".join(found.stderr.replace("│", " ").split())
    assert not [path.name for path in (project / ".recipelab/campaigns").glob("*")]


def test_a_working_directory_that_is_gone_is_told(project: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; os.rmdir({str(gone)!r}); from recipelab.cli.app import app; app(['trials'])"
    done = subprocess.run([COMMAND[0], "-c", code], cwd=gone, capture_output=True, text=True)
    assert (done.returncode, "the working directory is gone" in done.stderr) == (2, True)


def test_a_terminal_without_unicode_shows_what_it_can(cli: Cli, ran: Ran, project: Path) -> None:
    ran("--trials", 2, "--seed", 1)

    def printed(*words: str) -> str:
        environment = {**os.environ, **ASCII}
        done = subprocess.run([*COMMAND, *words], cwd=project, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode("ascii")

    assert "34.073 ? 0.02" in printed("trials")
    # Data come through whole.
    plain = json.loads(cli("trials", "--json").stdout)
    assert json.loads(printed("trials", "--json")) == plain


@pytest.mark.parametrize("columns", [200, 80, 60, 40])
def test_number_surface_status_and_score_fit_any_terminal(
    cli: Cli, ran: Ran, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran("--trials", 2, "--seed", 1)
    monkeypatch.setenv("COLUMNS", str(columns))
    from recipelab.cli import look

    monkeypatch.setattr(look.out, "_width", columns)
    lines = [" ".join(line.split()) for line in cli("trials").stdout.splitlines()]
    (first,) = (line for line in lines if line.startswith("1 left"))
    assert first.startswith("1 left discarded 36.170 ± 0.02")
    assert ("+2.097 ± 0.003" in first) == (columns >= 80)
    assert ("size 52" in first) == (columns == 200)


def test_what_only_reads_makes_no_database(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = project / "no/such/x.db"
    monkeypatch.setenv("RECIPELAB_LINEAGE", f"sqlite:///{place}")
    found = cli("trials")
    assert (found.exit_code, f"no lineage at {place}" in found.stderr) == (2, True)
    assert not (project / "no").exists()


def test_papers_that_cannot_be_written_are_told(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recipelab.report.figures.write_papers", full)
    found = cli("run", "toy", *LOCAL, "--trials", 1)
    assert found.exit_code == 0, found.output
    assert "could not be written: [Errno 28] No space left on device" in found.stderr
