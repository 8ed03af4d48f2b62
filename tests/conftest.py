"""Fixtures that many tests share: the toy project, its pack, and a started local sandbox."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from recipelab.budget import BudgetLimits, Ledger
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import LineageStore
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox
from recipelab.sandbox.slots import ANYWHERE, SlotPool

PROJECT = Path(__file__).parent / "project"

# The width of a table may not depend on who runs the tests.
os.environ.pop("COLUMNS", None)


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
    return Evaluator(toy, sandbox, data, pool=SlotPool([ANYWHERE, ANYWHERE]), retry_seconds=0.01)


@pytest.fixture
def store(project: Path) -> Iterator[LineageStore]:
    """A lineage with one campaign, ``c``, in its first round."""
    with LineageStore.open(project / "lineage.db") as opened:
        opened.create_campaign(
            name="c",
            pack="toy",
            profile="mini",
            model="offline",
            sandbox="local",
            seed=0,
            trials=10,
            hours=None,
            settings={},
        )
        opened.start_round("c")
        yield opened


@pytest.fixture
async def desk(store: LineageStore, evaluator: Evaluator) -> AsyncIterator[TrialQueue]:
    """A desk with a judged baseline and a budget of ten trials."""
    desk = TrialQueue(store, "c", evaluator, ledger=Ledger(store, "c", BudgetLimits(trials=10)))
    desk.propose_baseline()
    await desk.next_ended()
    yield desk
    await desk.stop()
