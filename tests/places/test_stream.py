"""Calls of a worker over a stream: answers, errors, pieces of a running phase, loss of an end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from recipelab.core.errors import SandboxError, SandboxUnavailable
from recipelab.places.node import NodeWorker, TreesMissing
from recipelab.places.parcel import NodeFacts, NodeSetup, Parcel, Piece, Reply, SpecFiles
from recipelab.places.placed import NodeLost
from recipelab.places.stream import StreamLink, serve
from recipelab.sandbox.base import Ending, PhaseLimits
from recipelab.sandbox.slots import Slot

SETUP = NodeSetup(spec=SpecFiles(table="{}"), sandbox="local", node="n1")
PARCEL = Parcel(phase="train", command=("true",), inputs=(), limits=PhaseLimits(seconds=1))
BLOB = os.urandom(10_000)
DIGEST = hashlib.sha256(BLOB).hexdigest()


class Worker(NodeWorker):
    """A worker whose phases are played: what goes over the stream is what is tested."""

    def __init__(self, setup: NodeSetup) -> None:
        self.setup = setup
        self.blob: list[Piece] = []
        self.stopped = asyncio.Event()
        self.answers: asyncio.Queue[bool] = asyncio.Queue()
        self.cancelled = asyncio.Event()

    async def start(self) -> NodeFacts:
        return NodeFacts(node=self.setup.node, sandbox=self.setup.sandbox)

    async def stop(self) -> None:
        self.stopped.set()

    async def missing(self, digests: Sequence[str]) -> list[str]:
        return [digest for digest in digests if digest != DIGEST]

    async def put(self, pieces: Sequence[Piece]) -> None:
        self.blob += pieces

    async def blobs(self, wanted: Sequence[tuple[str, int]]) -> list[Piece]:
        return [Piece(digest, at, BLOB[at:], True) for digest, at in wanted]

    async def cancel(self, name: str) -> None:
        self.cancelled.set()

    async def run(
        self,
        name: str,
        parcel: Parcel,
        tell: Callable[[bytes], None],
        watch: Callable[[bytes], None],
    ) -> Reply:
        if name == "missing":
            raise TreesMissing([DIGEST])
        if name == "unavailable":
            raise SandboxUnavailable("no image")
        if name == "broken":
            raise SandboxError("the disk is full")
        if name == "fault":
            raise ZeroDivisionError("a fault of its own")
        if name == "long":
            await self.cancelled.wait()
            raise SandboxError("it was stopped")
        await asyncio.to_thread(tell, b"hello")
        told = []
        for piece in (b"one", b"two"):
            await asyncio.to_thread(watch, piece)
            told.append(await self.answers.get())
        ending = Ending.STOPPED if told[-1] else Ending.EXITED
        return Reply(
            ending=ending,
            exit_code=0,
            wall_seconds=1.0,
            cpu_seconds=0.5,
            peak_memory_mb=None,
            log=str(told),
            watched=b"\xff\x00",
        )

    async def watched(self, name: str, *, stop: bool) -> None:
        self.answers.put_nowait(stop)


@asynccontextmanager
async def linked(silence: float = 60.0) -> AsyncIterator[tuple[StreamLink, list[Worker]]]:
    """A link to a worker in this process, over a pair of sockets."""
    workers: list[Worker] = []

    def make(setup: NodeSetup) -> Worker:
        workers.append(Worker(setup))
        return workers[0]

    ends = socket.socketpair()
    near, far = [await asyncio.open_connection(sock=end) for end in ends]
    serving = asyncio.create_task(serve(*far, make, silence=silence))
    link = StreamLink(*near, slot=Slot("n1:0"), what="the worker on n1", silence=silence)
    try:
        yield link, workers
    finally:
        await link.close()
        await serving


async def test_calls_go_there_and_answers_come_back() -> None:
    async with linked() as (link, workers):
        assert (await link.start(SETUP)).sandbox == "local"
        assert link.node == "n1"
        assert await link.missing([DIGEST, "0" * 64]) == ["0" * 64]
        pieces = [Piece(DIGEST, 0, BLOB[:7000], False), Piece(DIGEST, 7000, BLOB[7000:], True)]
        await link.put(pieces)
        assert workers[0].blob == pieces
        assert await link.blobs([(DIGEST, 4000)]) == [Piece(DIGEST, 4000, BLOB[4000:], True)]


async def test_a_phase_tells_its_log_and_is_stopped_by_who_watches_it() -> None:
    told: list[bytes] = []
    async with linked() as (link, _):
        await link.start(SETUP)
        reply = await link.run("a", PARCEL, told.append, lambda piece: piece == b"two")
    assert told == [b"hello"]
    assert (reply.ending, reply.log) == (Ending.STOPPED, "[False, True]")
    assert reply.watched == b"\xff\x00"


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("broken", SandboxError, "the disk is full"),
        ("unavailable", SandboxUnavailable, "no image"),
        ("fault", SandboxError, "ZeroDivisionError: a fault of its own"),
    ],
)
async def test_errors_come_as_what_they_are(name: str, kind: type[Exception], text: str) -> None:
    async with linked() as (link, _):
        await link.start(SETUP)
        with pytest.raises(kind, match=text) as found:
            await link.run(name, PARCEL, lambda piece: None, lambda piece: False)
        assert type(found.value) is kind
        with pytest.raises(TreesMissing) as missing:
            await link.run("missing", PARCEL, lambda piece: None, lambda piece: False)
        assert missing.value.digests == (DIGEST,)
        assert not link.lost.done()


async def test_a_phase_is_cancelled_by_its_name() -> None:
    async with linked() as (link, _):
        await link.start(SETUP)
        running = asyncio.create_task(
            link.run("long", PARCEL, lambda piece: None, lambda piece: False)
        )
        await link.cancel("long")
        with pytest.raises(SandboxError, match="it was stopped"):
            await running


async def test_a_call_before_the_worker_has_begun_is_refused() -> None:
    async with linked() as (link, _):
        with pytest.raises(SandboxError, match="not started"):
            await link.missing([DIGEST])


async def test_a_worker_whose_driver_is_gone_stops() -> None:
    async with linked() as (link, workers):
        await link.start(SETUP)
        await link.close()
        await asyncio.wait_for(workers[0].stopped.wait(), 10)
        with pytest.raises(NodeLost, match="the worker on n1 is gone: it was given back"):
            await link.facts()


async def test_a_worker_whose_driver_is_silent_stops() -> None:
    near, far = socket.socketpair()
    ended = await asyncio.wait_for(serve(*await asyncio.open_connection(sock=far), silence=0.2), 10)
    near.close()
    assert "nothing came for" in ended


async def test_signs_of_life_keep_both_ends_together() -> None:
    async with linked(silence=0.4) as (link, _):
        await link.start(SETUP)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(link.lost), 1.0)
        assert (await link.missing([])) == []


async def test_who_waits_for_a_worker_that_dies_hears_of_it() -> None:
    near, far = socket.socketpair()
    link = StreamLink(*await asyncio.open_connection(sock=near), slot=Slot("n1:0"))
    waiting = asyncio.create_task(link.facts())
    await asyncio.sleep(0)
    far.close()
    with pytest.raises(NodeLost, match="the connection"):
        await asyncio.wait_for(waiting, 10)
    assert "the connection" in await link.lost


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">II", 1 << 31, 0),
        struct.pack(">II", 3, 0) + b"{{{",
        struct.pack(">II", 2, 0) + b"[]",
        struct.pack(">II", 1 << 17, 0) + b"[" * (1 << 17),
    ],
    ids=["too long", "no JSON", "no table", "nested deeply"],
)
async def test_what_is_no_frame_ends_the_link(sent: bytes) -> None:
    near, far = socket.socketpair()
    link = StreamLink(*await asyncio.open_connection(sock=near), slot=Slot("n1:0"))
    far.sendall(sent)
    assert "a frame" in await asyncio.wait_for(link.lost, 10)
    far.close()


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ({"cuts": [["x", 0, 5, True]]}, b"four"),
        ({"cuts": [["x", 0, -5, True]]}, b""),
        ({"cuts": "none"}, b""),
        ({}, b""),
    ],
)
async def test_an_answer_that_lies_about_its_pieces_is_an_error(
    head: dict[str, object], body: bytes
) -> None:
    near, far = socket.socketpair()
    link = StreamLink(*await asyncio.open_connection(sock=near), slot=Slot("n1:0"))
    waiting = asyncio.create_task(link.blobs([("x", 0)]))
    text = json.dumps({"call": 1, "is": "answer", **head}).encode()
    far.sendall(struct.pack(">II", len(text), len(body)) + text + body)
    with pytest.raises(SandboxError, match=r"cannot be read|do not fit"):
        await asyncio.wait_for(waiting, 10)
    await link.close()
    far.close()
