"""Fixtures that many tests share: the toy project, its pack, and a started local sandbox."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from recipelab.data import ensure_data
from recipelab.evaluation.evaluator import Evaluator
from recipelab.pack import Pack
from recipelab.packs import load_pack
from recipelab.sandbox import LocalSandbox

PROJECT = Path(__file__).parent / "project"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's project with a toy pack and two charters, as the working directory."""
    folder = tmp_path / "project"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RECIPELAB_HOME", raising=False)
    return folder


@pytest.fixture
def toy(project: Path) -> Pack:
    """The toy pack: a parabola in pure Python, milliseconds a phase."""
    return load_pack("toy")


@pytest.fixture
async def sandbox() -> AsyncIterator[LocalSandbox]:
    """A started local sandbox."""
    async with LocalSandbox() as started:
        yield started


@pytest.fixture
def evaluator(toy: Pack, sandbox: LocalSandbox) -> Evaluator:
    """The toy pack's evaluator in a local sandbox."""
    data = ensure_data(toy, say=lambda text: None)
    return Evaluator(toy, sandbox, data, lanes=2, retry_seconds=0.01)
