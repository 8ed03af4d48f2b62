"""The local place: slots and sandbox of this machine."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Self

from recipelab.places.base import LOCAL, Place, PlaceRequest
from recipelab.sandbox.choose import open_sandbox
from recipelab.sandbox.slots import machine_pool


class LocalPlace(Place):
    """This machine: leases on its GPUs and cores, and one sandbox for all phases."""

    name: ClassVar[str] = LOCAL

    def __init__(self, request: PlaceRequest) -> None:
        """Divide the machine into slots; the sandbox comes with :meth:`start`.

        Args:
            request: What is asked for.

        Raises:
            RecipelabError: The machine does not have the devices.
        """
        self._request = request
        self.pool = machine_pool(
            cpus=request.cpus,
            gpus=request.gpus,
            wanted=request.slots,
            most=request.most,
            share=request.share,
        )
        self.pool.tell = request.warn

    @classmethod
    def from_request(cls, request: PlaceRequest) -> Self:
        """Return the place; see :class:`recipelab.places.base.PlaceKind`."""
        return cls(request)

    async def start(self) -> None:
        """Open the sandbox, which whoever uses it starts when its words have been told."""
        request = self._request
        # Building an image takes minutes; in a thread, Ctrl-C still ends the command at once.
        self.sandbox = await asyncio.to_thread(
            open_sandbox,
            request.sandbox,
            request.spec,
            build=request.build,
            say=request.say,
            allow_local_fallback=request.allow_local_fallback,
        )

    async def stop(self) -> None:
        """Stop the sandbox, if it was started."""
        if hasattr(self, "sandbox") and self.sandbox.started:
            await self.sandbox.stop()
