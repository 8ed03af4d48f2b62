"""Places to test: one that the tests bring, registered as another distribution's would be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import metadata
from pathlib import Path

import pytest

from recipelab.places.base import PlaceRequest, open_place
from recipelab.sandbox.spec import load_image_spec

from .pipes import PipesPlace

PIPES = "pipes"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers the place over pipes by an entry point."""
    point = metadata.EntryPoint(PIPES, "tests.places.pipes:PipesPlace", "recipelab.places")
    real = metadata.entry_points

    def with_pipes(**wanted: str) -> object:
        if wanted.get("group") == point.group and wanted.get("name", PIPES) == PIPES:
            return metadata.EntryPoints((*real(**wanted), point))
        return real(**wanted)

    monkeypatch.setattr("recipelab.core.registry.entry_points", with_pipes)


@pytest.fixture
async def pipes(registered: None, tmp_path: Path) -> AsyncIterator[PipesPlace]:
    """Two nodes over pipes, each with a store of its own."""
    options = {"store": str(tmp_path / "stores")}
    request = PlaceRequest(load_image_spec("cpu"), sandbox="local", options=options)
    place = open_place(PIPES, request)
    assert isinstance(place, PipesPlace)
    async with place:
        yield place
