"""A place of the tests' own: workers that are processes of this machine, over pipes.

It is registered as one of another distribution would be.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from recipelab.core.errors import RecipelabError
from recipelab.places.base import Place, PlaceRequest
from recipelab.places.placed import NodeLink, PlacedSandbox
from recipelab.places.setup import STORE_OPTIONS, node_setup
from recipelab.places.stream import StreamLink
from recipelab.sandbox.slots import Slot

WORKER = (sys.executable, "-m", "recipelab.places.stream")


class PipesPlace(Place):
    """Two nodes with one slot each, unless it is told otherwise; each has a store of its own."""

    name: ClassVar[str] = "pipes"
    options: ClassVar[Mapping[str, str]] = {
        **STORE_OPTIONS,
        "nodes": "number of nodes; 2 by default",
    }

    def __init__(self, request: PlaceRequest) -> None:
        if not request.options.get("nodes", "2").isdigit():
            raise RecipelabError("nodes: not a number; valid: 1, 2, ...")
        self._request = request
        self._nodes = int(request.options.get("nodes", "2"))
        self.links: dict[str, StreamLink] = {}
        self.placed = self.sandbox = PlacedSandbox(request, left=self._left)
        self.pool = self.sandbox.pool
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False

    @classmethod
    def from_request(cls, request: PlaceRequest) -> Self:
        return cls(request)

    async def start(self) -> None:
        self._open = True
        self._setup = await node_setup(self._request)
        await self.sandbox.start()
        cores = sorted(os.sched_getaffinity(0))
        slots = [
            Slot(f"node-{number}:0", cores=(cores[number % len(cores)],), node=f"node-{number}")
            for number in range(self._nodes)
        ]
        await asyncio.gather(*map(self._begin, slots))
        self.pool.grows = True

    async def stop(self) -> None:
        self._open = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.sandbox.stop()
        await asyncio.gather(*(link.close() for link in self.links.values()))

    async def _begin(self, slot: Slot) -> None:
        store = str(Path(self._setup.store) / slot.node) if self._setup.store else ""
        setup = self._setup.model_copy(update={"node": slot.node, "store": store})
        link = await StreamLink.begin(WORKER, setup)
        link.slot = slot
        self.links[slot.name] = link
        await self.placed.join(link)

    def _left(self, link: NodeLink, reason: str) -> None:
        """Begin another worker in place of one that is gone."""
        if self._open:
            task = asyncio.ensure_future(self._replace(link))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _replace(self, link: NodeLink) -> None:
        await self.links[link.slot.name].close()
        await self._begin(link.slot)
