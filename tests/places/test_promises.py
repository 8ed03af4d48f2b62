"""A phase on a node keeps every promise of its sandbox: the sandboxes' own tests, over a link."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from recipelab.places.base import PlaceRequest
from recipelab.sandbox import Sandbox
from recipelab.sandbox.spec import load_image_spec
from tests.sandbox.conftest import output  # noqa: F401
from tests.sandbox.test_contract import *  # noqa: F403

from .pipes import PipesPlace

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    """A node over pipes, with a local sandbox."""
    store: Path = tmp_path_factory.mktemp("store")
    options = {"store": str(store), "nodes": "1"}
    request = PlaceRequest(load_image_spec("cpu"), sandbox="local", options=options)
    async with PipesPlace(request) as place:
        yield place.sandbox
