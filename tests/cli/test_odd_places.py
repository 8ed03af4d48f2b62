"""Odd numbers, narrow terminals, poor encodings, full disks: an answer, never a traceback."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from recipelab.lineage import LineageStore

from .background import COMMAND, begun, judged, until
from .conftest import LOCAL, Cli, Ran

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--trials 99999999999999999999", "trials: Input should be less than or equal to"),
        ("--hours inf", "valid: a finite number"),
        ("--device-hours inf", "valid: a finite number"),
        ("--money inf", "valid: a finite number"),
        ("--target nan", "valid: a finite number"),
        ("--slots 9999", "valid: 1 to"),
        ("--seed 99999999999999999999999", "seed: Input should be less than or equal to"),
        ("--base-url nope", "base_url: an address of a server begins with http://"),
        ("--model=", "'' names no model"),
        ("--model left=", "'left=' names no model"),
        ("--sandbox nope", "unknown sandbox kind 'nope'; valid: auto, docker, local"),
        ("--name a/b", "'a/b' cannot name a campaign"),
        (f"--name {'x' * 300}", "cannot name a campaign"),
    ],
)
def test_what_no_campaign_can_have_is_refused_before_anything_is_made(
    cli: Cli, project: Path, words: str, told: str
) -> None:
    result = cli("run", "toy", *words.split())
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert not [*project.glob(".recipelab/campaigns/*")]


@pytest.mark.parametrize("seed", ["99999999999999999999", "true", "1.5"])
def test_seeds_of_a_pack_are_integers_that_can_be_stored(
    cli: Cli, project: Path, seed: str
) -> None:
    pack = project / "task_packs/toy/pack.toml"
    pack.write_text(pack.read_text().replace("seeds = [1, 2]", f"seeds = [{seed}, 2]"))
    result = cli("packs", "show", "toy", "--profile", "two")
    assert result.exit_code == 2, result.output
    assert "seeds.0: Input should be" in result.stderr


@pytest.mark.parametrize("columns", [120, 80, 60, 40])
def test_number_surface_status_and_score_are_there_on_every_terminal(
    cli: Cli, ran: Ran, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    ran("--trials", 2)
    rows = json.loads(cli("trials", "--json").stdout)["rows"]
    monkeypatch.setenv("COLUMNS", str(columns))
    done = subprocess.run(
        [*COMMAND, "trials"], capture_output=True, text=True, env=os.environ, check=True
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    for row in rows:
        start = [str(row["trial"]), row["surface"], row["status"]]
        (line,) = (words for words in lines if [w.rstrip(",") for w in words[:3]] == start)
        assert f"{row['score']:.3f}" in line
    assert max(map(len, done.stdout.splitlines())) <= columns


@pytest.mark.parametrize(
    "encoding", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
)
def test_what_an_encoding_lacks_is_replaced(
    ran: Ran, project: Path, encoding: dict[str, str]
) -> None:
    ran("--trials", 2)

    def said(*words: str) -> bytes:
        environment = {**os.environ, "PYTHONCOERCECLOCALE": "0", **encoding}
        done = subprocess.run([*COMMAND, *words], capture_output=True, env=environment, check=True)
        return done.stdout

    assert b"34.073 ? 0.02" in said("trials") or "34.073 ± 0.02".encode() in said("trials")
    assert json.loads(said("trials", "--json")) is not None
    plain = subprocess.run([*COMMAND, "export", "1", "--patch"], capture_output=True, check=True)
    assert said("export", "1", "--patch") == plain.stdout


def test_a_working_directory_that_was_removed_is_told(tmp_path: Path) -> None:
    script = (
        "import os; from recipelab.cli.app import app; "
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); app(['trials'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "the working directory is gone" in done.stderr


def test_looking_makes_no_lineage(cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIPELAB_LINEAGE", f"sqlite:///{project}/no/such.db")
    result = cli("trials")
    assert result.exit_code == 2, result.output
    assert f"no lineage at {project}/no/such.db" in result.stderr
    assert not (project / "no").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_a_disk_that_is_full_stops_a_campaign_with_a_message_and_it_goes_on_later(
    cli: Cli, project: Path
) -> None:
    process = begun(project, "run", "toy", "--name", "c", "--sandbox", "local", "--trials", "6")
    until(lambda: len(judged(project)) >= 2, process)
    # No file of it may grow any more, as on a disk without room.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "the lineage cannot be read or written" in output
    assert "Traceback" not in output
    with LineageStore.open(project / ".recipelab/lineage.db", create=True) as store:
        before = store.counts("c")
    assert sum(before.values()) >= 2
    assert cli("resume", "c").exit_code == 0


def test_papers_that_cannot_be_written_are_told(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recipelab.report.figures.write_papers", full)
    found = cli("run", "toy", *LOCAL, "--trials", 1)
    assert found.exit_code == 0, found.output
    assert "could not be written: [Errno 28] No space left on device" in found.stderr
