"""Nodes whose sandbox is Docker keep the same contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.sandbox.conftest import docker_daemon, docker_image  # noqa: F401

from .conftest import Opened, place_request
from .pipes import PipesPlace
from .test_contract import (  # noqa: F401
    marker,
    output,
    test_a_curve_stops_a_training,
    test_hostile_outputs_are_refused,
    test_the_log_comes_while_it_runs_and_a_cancelled_phase_is_dead,
    test_tripwires,
)

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(
    docker_image: str,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Opened]:
    """A node over pipes."""
    request = place_request(store=str(tmp_path_factory.mktemp("store")), nodes="1")
    spec = request.spec.model_copy(update={"image": docker_image})
    async with PipesPlace(replace(request, spec=spec, sandbox="docker", build=False)) as place:
        yield Opened(place)
