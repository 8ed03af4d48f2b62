"""Runs the command line in this process."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from recipelab.cli.app import app

Cli = Callable[..., Result]
Ran = Callable[..., dict[str, Any]]

LOCAL = ("--sandbox", "local", "--slots", 1, "--ahead", 0)


def at_home(project: Path) -> None:
    """Lets copied campaigns of the toy pack be of the pack of this project."""
    with closing(sqlite3.connect(project / ".recipelab/lineage.db", isolation_level=None)) as file:
        file.execute(
            "UPDATE campaign SET settings = json_set(settings, '$.seal.folder', ?)",
            [str((project / "task_packs/toy").resolve())],
        )


@pytest.fixture
def cli(project: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Calls the command with its words; the toy project is the working directory."""
    # Nothing in these tests may depend on whether a daemon happens to run on this machine.
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[Any, ...], Path]:
    """Where the papers of campaigns are that ran for all tests, by the words of the command."""
    return {}


@pytest.fixture
def ran(
    cli: Cli,
    project: Path,
    papers: dict[tuple[Any, ...], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Ran:
    """Gives a campaign on the toy pack that has run to its end, and its facts.

    It runs once for all tests that ask with the same words; each has a copy of its papers.
    """

    def asked(*words: object) -> dict[str, Any]:
        if words not in papers:
            done = cli("run", "toy", *LOCAL, *words, "--json")
            assert done.exit_code == 0, done.output
            folder = tmp_path_factory.mktemp("papers")
            shutil.copytree(project / ".recipelab", folder / "home")
            (folder / "facts.json").write_text(done.stdout)
            papers[words] = folder
        else:
            shutil.copytree(papers[words] / "home", project / ".recipelab")
            at_home(project)
        facts: dict[str, Any] = json.loads((papers[words] / "facts.json").read_text())
        return facts

    return asked
