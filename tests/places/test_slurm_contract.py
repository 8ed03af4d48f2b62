"""What every place promises of a phase, held against Slurm on a cluster of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from recipelab.places.base import open_place
from recipelab.sandbox.slots import Slot

from . import test_contract
from .conftest import OPENERS, Opened, place_request
from .slurm_cluster import Cluster
from .test_contract import *  # noqa: F403

pytestmark = [pytest.mark.slurm, pytest.mark.asyncio(loop_scope="module")]


@asynccontextmanager
async def open_slurm(made: Cluster, folder: Path) -> AsyncIterator[Opened]:
    """Two jobs that are a slot each."""
    options = {"folder": str(folder / "spool"), "store": str(folder / "store"), "gres": "slot:1"}
    async with open_place("slurm", replace(place_request(**options), slots=2)) as place:

        async def kill(slot: Slot) -> None:
            os.kill(made.worker(slot.name.rpartition(":")[2]), signal.SIGKILL)

        yield Opened(place, kill)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(
    cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Opened]:
    async with open_slurm(cluster, tmp_path_factory.mktemp("place")) as one:
        yield one


async def test_a_worker_that_is_killed_costs_one_phase(
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    output: Path,
    marker: str,
) -> None:
    monkeypatch.setitem(OPENERS, "slurm", lambda folder: open_slurm(cluster, folder))
    await test_contract.test_a_worker_that_is_killed_costs_one_phase(
        "slurm", tmp_path, output, marker
    )
