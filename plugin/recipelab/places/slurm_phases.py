"""A slot each of whose phases is a job of its own: for queues in which a job must not wait idle."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from recipelab.places.parcel import NodeFacts, Parcel, Piece, Reply
from recipelab.places.placed import NodeLink, NodeLost
from recipelab.places.stream import StreamLink
from recipelab.sandbox.slots import Slot

_IDLE_SECONDS = 2.0
"""How long a job that has run its phase is kept for what is still asked of it."""


class PhaseLink(NodeLink):
    """A link whose worker is another job for each phase.

    The job of a phase is begun by the first call after the last phase: that asks what its node
    lacks. It ends a moment after its outputs were fetched.

    Args:
        name: Name of the slot.
        gpus: Number of its GPUs; which ones they are, each job says.
        begin: Returns a link to the worker of a new job.
        end: Ends such a job.
    """

    def __init__(
        self,
        name: str,
        gpus: int,
        begin: Callable[[], Awaitable[StreamLink]],
        end: Callable[[StreamLink], Awaitable[None]],
    ) -> None:
        self.node = name.replace(":", "-")
        named = tuple(f"{self.node}-{number}" for number in range(gpus))
        self.slot = Slot(name, gpus=named, node=self.node)
        self._make = begin
        self._end = end
        self._turn = asyncio.Lock()
        self._job: StreamLink | None = None
        self._first: NodeFacts | None = None
        self._phases: dict[str, StreamLink] = {}
        self._calls = 0
        self._ran = self._fetched = False
        self._closed = False
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End the job, if there is one, and begin no other."""
        self._closed = True
        await self._finish()
        await asyncio.gather(*self._ending)

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[StreamLink]:
        """Give the worker to make a call of."""
        async with self._turn:
            if self._ran and self._fetched and not self._calls:
                await self._finish()
            if self._closed:
                raise NodeLost("the slot was given back")
            if self._job is None:
                self._job = await self._make()
                await self._check(self._job)
            job = self._job
        self._calls += 1
        try:
            yield job
        finally:
            self._calls -= 1
            if self._ran and not self._calls:
                self._finish_soon()

    async def _check(self, job: StreamLink) -> None:
        """See that a job runs in what the first one ran in, as its slot stays the same.

        Raises:
            NodeLost: It does not; whoever takes the slot into use anew says more, or mends it.
        """
        facts = await job.facts()
        if self._first is not None and _alike(facts) != _alike(self._first):
            raise NodeLost(f"node {facts.node} differs from {self._first.node}")
        if not facts.fault:
            self._first = facts

    def _finish_soon(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._finish_idle)

    def _finish_idle(self) -> None:
        if self._ran and not self._calls and not self._turn.locked():
            task = asyncio.ensure_future(self._finish())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _finish(self) -> None:
        job, self._job = self._job, None
        self._ran = self._fetched = False
        if self._idle is not None:
            self._idle.cancel()
        if job is not None:
            await self._end(job)

    async def facts(self) -> NodeFacts:
        """Return what the node is; see :class:`NodeLink`."""
        async with self._worker() as job:
            return await job.facts()

    async def load_image(self, digest: str) -> NodeFacts:
        """Have the node load an image; see :class:`NodeLink`."""
        async with self._worker() as job:
            self._first = await job.load_image(digest)
            return self._first

    async def missing(self, digests: Sequence[str]) -> list[str]:
        """Return what the node's store does not have; see :class:`NodeLink`."""
        async with self._worker() as job:
            return await job.missing(digests)

    async def put(self, pieces: Sequence[Piece]) -> None:
        """Send pieces; see :class:`NodeLink`."""
        async with self._worker() as job:
            await job.put(pieces)

    async def blobs(self, wanted: Sequence[tuple[str, int]]) -> list[Piece]:
        """Return pieces; see :class:`NodeLink`."""
        # Of the job that has run the phase, which is there for a while.
        if (job := self._job) is None:
            raise NodeLost("the job of the phase has ended")
        self._calls += 1
        try:
            return await job.blobs(wanted)
        finally:
            self._calls -= 1
            self._fetched = True
            self._finish_soon()

    async def run(
        self,
        name: str,
        parcel: Parcel,
        tell: Callable[[bytes], None],
        watch: Callable[[bytes], bool],
    ) -> Reply:
        """Run a phase; see :class:`NodeLink`."""
        async with self._worker() as job:
            self._phases[name] = job
            try:
                reply = await job.run(name, on_slot(job.slot, parcel), tell, watch)
            except asyncio.CancelledError:
                raise  # It runs on until it is cancelled by its name.
            except BaseException:
                del self._phases[name]
                raise
            del self._phases[name]
            self._ran, self._fetched = True, not reply.outputs.files()
            return reply

    async def cancel(self, name: str) -> None:
        """Kill a phase; see :class:`NodeLink`."""
        if (job := self._phases.pop(name, None)) is not None:
            with contextlib.suppress(NodeLost):
                await job.cancel(name)
            self._ran = self._fetched = True
            self._finish_soon()


def _alike(facts: NodeFacts) -> tuple[object, ...]:
    """Return what all nodes of a slot have to have in common."""
    return (
        facts.sandbox,
        facts.image,
        facts.fault,
        facts.isolated,
        facts.lost_isolation,
        facts.packages,
        facts.recipelab,
    )


def on_slot(slot: Slot, parcel: Parcel) -> Parcel:
    """Return a phase with the cores and GPUs of the job that runs it."""
    limits = parcel.limits
    gpus = slot.gpus if limits.gpus else ()
    cores = limits.cpu_set if slot.cores is None else slot.cores
    return parcel.model_copy(update={"limits": replace(limits, gpus=gpus, cpu_set=cores)})
