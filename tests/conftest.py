"""Fixtures that many tests share: the toy project, its pack, and a started local sandbox."""

from __future__ import annotations

import hashlib
import itertools
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

CAMPAIGNS = ("campaign", "cli", "evaluation", "examples", "hostile", "mcp", "team")
"""Folders whose tests run trials, campaigns or the command line, but for some quick files."""

QUICK = (
    "test_addresses.py",
    "test_autogen_contract.py",
    "test_failures.py",
    "test_file_hashes.py",
    "test_install.py",
    "test_metric.py",
    "test_policies.py",
    "test_proposals.py",
    "test_redaction.py",
    "test_relay.py",
    "test_termination.py",
)

TRIALS = {"desk", "evaluator"}
"""Fixtures of tests that run trials."""

LONG = ("browser", "campaign", "docker", "torch")

# The width of a table may not depend on who runs the tests.
os.environ.pop("COLUMNS", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what ``make check`` leaves out, and have files of long tests run first.

    With short tests at the end, processes that share the tests end together.
    """
    top = Path(__file__).parent
    long: set[Path] = set()
    gvisor = os.environ.get("RECIPELAB_TEST_DAEMON") == "gvisor"
    for item in items:
        folder = item.path.relative_to(top).parts[0]
        whole = folder in CAMPAIGNS and item.path.name not in QUICK
        if whole or TRIALS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.campaign)
        if item.get_closest_marker("slurm"):
            item.add_marker(pytest.mark.slow)
        if gvisor and item.get_closest_marker("host_kernel"):
            item.add_marker(pytest.mark.skip(reason="gVisor has a kernel of its own"))
        if any(item.get_closest_marker(name) for name in LONG):
            long.add(item.path)
    items.sort(key=lambda item: (item.path not in long, "hostile" not in item.path.parts))


@pytest.fixture(autouse=True)
def steady_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test the same secrets, so that no verdict hangs on the seeds of the day."""
    draws = itertools.count()

    def token_bytes(size: int) -> bytes:
        return hashlib.sha256(f"{next(draws)}".encode()).digest()[:size]

    monkeypatch.setattr("recipelab.evaluation.seeds.token_bytes", token_bytes)
    monkeypatch.setattr("recipelab.lineage.campaigns.token_bytes", token_bytes)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's project with a toy pack and two charters, as the working directory."""
    folder = tmp_path / "project"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    toml = folder / "task_packs/toy/pack.toml"
    # Two seeds show what three show, and warm phases what cold ones show, in half the time.
    text = toml.read_text().replace("seeds = [1, 2, 3]", "seeds = [1, 2]", 1)
    toml.write_text(text.replace("\n[metric]", '\nwarm = ["json"]\n[metric]', 1))
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
    with LineageStore.open(project / "lineage.db", create=True) as opened:
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
