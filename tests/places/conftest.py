"""Places to test: this machine, and one that the tests bring, as another distribution would."""

from __future__ import annotations

from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
import pytest_asyncio

from recipelab.places.base import Place, PlaceRequest, open_place
from recipelab.places.stream import StreamLink
from recipelab.sandbox.slots import Slot
from recipelab.sandbox.spec import load_image_spec

from .pipes import PipesPlace
from .slurm_cluster import cluster  # noqa: F401

PIPES = "pipes"


@dataclass(frozen=True)
class Opened:
    """A place that is open, and what a test may do to it.

    Attributes:
        place: The place.
        kill: Kills the worker of a slot with SIGKILL; ``None`` where there are no workers.
        store: Returns the folder of the store of a slot's node; ``None`` where there is none.
    """

    place: Place
    kill: Callable[[Slot], Awaitable[None]] | None = None
    store: Callable[[Slot], Path] | None = None


@asynccontextmanager
async def open_local(folder: Path) -> AsyncIterator[Opened]:
    """This machine."""
    async with open_place("local", place_request()) as place, place.sandbox:
        yield Opened(place)


@asynccontextmanager
async def open_pipes(folder: Path, **options: str) -> AsyncIterator[Opened]:
    """Two nodes over pipes, each with a store of its own."""
    request = place_request(store=str(folder / "stores"), **options)
    async with PipesPlace(request) as place:

        async def kill(slot: Slot) -> None:
            process_of(place.links[slot.name]).kill()

        yield Opened(place, kill, lambda slot: folder / "stores" / slot.node)


OPENERS: dict[str, Callable[[Path], AbstractAsyncContextManager[Opened]]] = {
    "local": open_local,
    "pipes": open_pipes,
}
"""The places that the contract is held against; those of a scheduler add themselves here."""


def place_request(**options: str) -> PlaceRequest:
    """What the tests ask of a place."""
    return PlaceRequest(load_image_spec("cpu"), sandbox="local", share=True, options=options)


def process_of(link: StreamLink) -> Process:
    """The process behind a link."""
    assert link.process is not None
    return link.process


# What this machine's sandbox promises is tested quickly elsewhere.
KINDS = [pytest.param(kind, marks=pytest.mark.slow if kind == "local" else ()) for kind in OPENERS]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Opened]:
    """Each place in turn, open for all tests of a module that do it no harm."""
    async with OPENERS[request.param](tmp_path_factory.mktemp("place")) as one:
        yield one


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Registers the place over pipes by an entry point; its name."""
    point = metadata.EntryPoint(PIPES, "tests.places.pipes:PipesPlace", "recipelab.places")
    real = metadata.entry_points

    def with_pipes(**wanted: str) -> metadata.EntryPoints:
        found = real(**wanted)
        if wanted.get("group") == point.group and wanted.get("name", PIPES) == PIPES:
            return metadata.EntryPoints((*found, point))
        return found

    monkeypatch.setattr("recipelab.core.registry.entry_points", with_pipes)
    yield PIPES
