"""Adopts repositories by the command line, in this process, with nothing of this machine's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from recipelab.cli.app import app

REPOSITORIES = Path(__file__).parent / "repositories"
LOCAL = ("--sandbox", "local", "--slots", 1, "--share-devices")

Cli = Callable[..., Result]
Adopt = Callable[..., dict[str, Any]]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Calls the command with its words, in an empty working directory without Docker."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("RECIPELAB_HOME", raising=False)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def adopt(cli: Cli) -> Adopt:
    """Adopts a folder with all defaults, and returns the facts; it has to end well."""

    def adopted(folder: Path, *words: object) -> dict[str, Any]:
        done = cli("packs", "adopt", folder, "--yes", "--json", *LOCAL, *words)
        assert done.exit_code == 0, done.output
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts

    return adopted


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., Path]:
    """Gives a copy of one of the repositories, or makes one of texts by path."""

    def made(name: str, files: dict[str, str] | None = None) -> Path:
        folder = tmp_path / name
        if files is None:
            ignored = shutil.ignore_patterns("__pycache__")
            return Path(shutil.copytree(REPOSITORIES / name, folder, ignore=ignored))
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return folder

    return made
