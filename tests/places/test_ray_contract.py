"""What every place promises of a phase, on a node of a real Ray cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from recipelab.places.base import open_place

from .conftest import Opened, place_request
from .ray_cluster import ray_cluster
from .test_contract import *  # noqa: F403

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

# Workers that are killed, and how: test_ray.
del globals()["test_a_worker_that_is_killed_costs_one_phase"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened() -> AsyncIterator[Opened]:
    """Two nodes of a cluster with a slot each."""
    with ray_cluster() as cluster:
        for _ in range(2):
            cluster.add(num_cpus=1)
        stores = cluster.folder / "stores"
        request = place_request(address=cluster.address, store=str(stores))
        # Ray divides devices, and not the place.
        request = replace(request, share=False)
        async with open_place("ray", request) as place:
            yield Opened(place, None, lambda slot: stores)
