"""Calls of a node's worker over a stream of bytes, whatever carries it: a socket, or pipes.

The driver's end is a :class:`StreamLink`, the node's end is :func:`serve`. A node whose driver is
gone, or silent for a minute, stops its phase and itself. Who may connect is settled by whoever
opens the stream. ``python -m recipelab.places.stream`` serves its standard input and output.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from recipelab.core.errors import SandboxError, SandboxUnavailable
from recipelab.core.logs import logger
from recipelab.places.node import NodeWorker, TreesMissing
from recipelab.places.parcel import (
    PIECE_BYTES,
    NodeFacts,
    NodeSetup,
    Parcel,
    Piece,
    Reply,
)
from recipelab.places.placed import NodeLink, NodeLost
from recipelab.places.wire import SILENCE_SECONDS, Frame, Wire, WireClosed
from recipelab.sandbox.slots import Slot

_log = logger(__name__)

_MOST_TOLD = 4 << 20
"""Bytes that may wait to be sent before pieces of a log, which only people read, are left out."""

_Digests = TypeAdapter(list[Annotated[str, Field(max_length=128)]])
_Wanted = TypeAdapter(list[tuple[str, int]])
_Cuts = TypeAdapter(
    list[tuple[Annotated[str, Field(max_length=128)], int, Annotated[int, Field(ge=0)], bool]]
)

T = TypeVar("T")


@dataclass
class _Call:
    """A call that waits for its answer."""

    answer: asyncio.Future[Frame]
    tell: Callable[[bytes], None] | None = None
    watch: Callable[[bytes], bool] | None = None
    name: str = ""


class StreamLink(NodeLink):
    """The driver's end of a worker that :func:`serve` runs at the other end of a stream.

    Attributes:
        node: Name of the node, once the worker has begun.
        slot: Its slot; whoever opens the link says which.
        lost: Done with the reason when the worker is gone.

    Args:
        reader: What comes in.
        writer: What goes out.
        slot: The slot that the worker runs phases on.
        what: What the other end is called in errors, as ``"the worker on node-3"``.
        silence: Seconds without a byte after which the worker counts as gone.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        slot: Slot,
        what: str = "the worker",
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self.slot = slot
        self.node = slot.node
        self.what = what
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._wire = Wire(reader, writer, silence=silence)
        self._calls: dict[int, _Call] = {}
        self._number = 0
        self._reading = asyncio.create_task(self._read())

    async def start(self, setup: NodeSetup) -> NodeFacts:
        """Have the worker begin; see ``NodeWorker.start``."""
        return await self._facts("start", body=setup.to_bytes())

    async def facts(self) -> NodeFacts:
        """Return what the node is."""
        return await self._facts("facts")

    async def load_image(self, digest: str) -> NodeFacts:
        """Have the node load an image that was sent."""
        return await self._facts("load_image", digest=digest)

    async def missing(self, digests: Sequence[str]) -> list[str]:
        """Return what the node's store does not have."""
        answer = await self._ask("missing", body=_Digests.dump_json(list(digests)))
        return self._checked(_Digests.validate_json, answer.body)

    async def put(self, pieces: Sequence[Piece]) -> None:
        """Send pieces of blobs."""
        cuts, body = _packed(pieces)
        await self._ask("put", body=body, cuts=cuts)

    async def run(
        self,
        name: str,
        parcel: Parcel,
        tell: Callable[[bytes], None],
        watch: Callable[[bytes], bool],
    ) -> Reply:
        """Run a phase."""
        call = _Call(asyncio.get_running_loop().create_future(), tell, watch, name)
        answer = await self._asked(call, "run", parcel.to_bytes(), name=name)
        return Reply.from_bytes(answer.body)

    async def blobs(self, wanted: Sequence[tuple[str, int]]) -> list[Piece]:
        """Return pieces of blobs."""
        answer = await self._ask("blobs", body=_Wanted.dump_json(list(wanted)))
        return self._checked(partial(_unpacked, body=answer.body), answer.head.get("cuts"))

    async def cancel(self, name: str) -> None:
        """Kill a phase; returns when it is dead, or the node is lost."""
        with contextlib.suppress(NodeLost):
            await self._ask("cancel", name=name)

    async def close(self, reason: str = "it was given back") -> None:
        """End the link: the worker stops what it runs, and itself. May be called twice."""
        self._lose(reason)
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def _facts(self, method: str, body: bytes = b"", **head: object) -> NodeFacts:
        facts = NodeFacts.from_bytes((await self._ask(method, body=body, **head)).body)
        self.node = facts.node
        return facts

    async def _ask(self, method: str, *, body: bytes = b"", **head: object) -> Frame:
        call = _Call(asyncio.get_running_loop().create_future())
        return await self._asked(call, method, body, **head)

    async def _asked(self, call: _Call, method: str, body: bytes, **head: object) -> Frame:
        """Send a call, and return its answer.

        Raises:
            NodeLost: The worker is gone.
            Exception: What the worker raised.
        """
        if self.lost.done():
            raise NodeLost(f"{self.what} is gone: {self.lost.result()}")
        self._number += 1
        number = self._number
        self._calls[number] = call
        try:
            self._wire.send({"call": number, "method": method, **head}, body)
            await self._wire.drain()
            return await call.answer
        finally:
            del self._calls[number]

    async def _read(self) -> None:
        reason = "the connection was closed"
        try:
            async for frame in self._wire.frames():
                self._take(frame)
        except WireClosed as error:
            reason = str(error)
        finally:
            self._lose(reason)

    def _take(self, frame: Frame) -> None:
        """Hand over what came; what belongs to no call any more is dropped."""
        number = frame.head.get("call")
        call = self._calls.get(number) if isinstance(number, int) else None
        if call is None or call.answer.done():
            return
        what = frame.head.get("is")
        if what == "told" and call.tell is not None:
            call.tell(frame.body)
        elif what == "watched" and call.watch is not None:
            stop = call.watch(frame.body)
            self._wire.send({"call": 0, "method": "watched", "name": call.name, "stop": stop})
        elif what == "answer":
            call.answer.set_result(frame)
        elif what == "error":
            call.answer.set_exception(self._error(frame))

    def _error(self, frame: Frame) -> Exception:
        text = str(frame.head.get("text", ""))[:4000]
        match frame.head.get("kind"):
            case "missing":
                with contextlib.suppress(ValidationError):
                    return TreesMissing(_Digests.validate_json(frame.body))
                return SandboxError(f"{self.what} sent an error that cannot be read")
            case "unavailable":
                return SandboxUnavailable(text)
            case "lost":
                self._lose(text)
                return NodeLost(f"{self.what} is gone: {text}")
        return SandboxError(text)

    def _checked(self, read: Callable[[Any], T], found: object) -> T:
        try:
            return read(found)
        except ValidationError:
            raise SandboxError(f"{self.what} sent an answer that cannot be read") from None

    def _lose(self, reason: str) -> None:
        """Note that the worker is gone; whoever waits for it hears of that."""
        self._wire.close()
        if not self.lost.done():
            self.lost.set_result(reason)
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(NodeLost(f"{self.what} is gone: {self.lost.result()}"))


async def serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    make: Callable[[NodeSetup], NodeWorker] = NodeWorker,
    *,
    silence: float = SILENCE_SECONDS,
) -> str:
    """Answer a driver's calls until it is gone or silent, and then stop the worker.

    Args:
        reader: What comes in.
        writer: What goes out.
        make: Makes the worker, of what the driver says first.
        silence: Seconds without a byte after which the driver counts as gone.

    Returns:
        Why it ended.
    """
    wire = Wire(reader, writer, silence=silence)
    server = _Server(wire, make)
    try:
        async for frame in wire.frames():
            server.take(frame)
        return "the driver has ended the connection"
    except WireClosed as error:
        return str(error)
    finally:
        await server.stop()
        wire.close()


class _Server:
    """Makes calls of a worker for a driver, each in a task of its own."""

    def __init__(self, wire: Wire, make: Callable[[NodeSetup], NodeWorker]) -> None:
        self._wire = wire
        self._make = make
        self._worker: NodeWorker | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def take(self, frame: Frame) -> None:
        """Begin a call."""
        task = asyncio.create_task(self._answer(frame))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End all calls, and the worker."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._worker is not None:
            await self._worker.stop()

    async def _answer(self, frame: Frame) -> None:
        number = frame.head.get("call")
        head: dict[str, Any] = {"call": number}
        body = b""
        try:
            more, body = await self._called(frame)
            head |= {"is": "answer", **more}
        except TreesMissing as error:
            head |= {"is": "error", "kind": "missing"}
            body = _Digests.dump_json(list(error.digests))
        except NodeLost as error:
            head |= {"is": "error", "kind": "lost", "text": str(error)}
        except SandboxUnavailable as error:
            head |= {"is": "error", "kind": "unavailable", "text": str(error)}
        except SandboxError as error:
            head |= {"is": "error", "kind": "sandbox", "text": str(error)}
        except Exception as error:
            _log.exception("a call of a worker failed", method=frame.head.get("method"))
            text = f"the worker failed: {type(error).__name__}: {error}"
            head |= {"is": "error", "kind": "sandbox", "text": text}
        if number:
            self._wire.send(head, body)
            await self._wire.drain()

    async def _called(self, frame: Frame) -> tuple[dict[str, Any], bytes]:
        """Make a call.

        Returns:
            What the head of the answer says, and its body.
        """
        head, body = frame
        method = head["method"]
        if method == "start":
            if self._worker is None:
                self._worker = self._make(NodeSetup.from_bytes(body))
            return {}, (await self._worker.start()).to_bytes()
        worker = self._worker
        if worker is None:
            raise SandboxError("the worker was not started")
        match method:
            case "facts":
                return {}, (await worker.facts()).to_bytes()
            case "load_image":
                return {}, (await worker.load_image(head["digest"])).to_bytes()
            case "missing":
                missing = await worker.missing(_Digests.validate_json(body))
                return {}, _Digests.dump_json(missing)
            case "put":
                await worker.put(_unpacked(head["cuts"], body=body))
            case "run":
                return {}, (await self._run(worker, head, body)).to_bytes()
            case "watched":
                await worker.watched(head["name"], stop=head["stop"])
            case "blobs":
                cuts, data = _packed(await worker.blobs(_Wanted.validate_json(body)))
                return {"cuts": cuts}, data
            case "cancel":
                await worker.cancel(head["name"])
            case _:
                raise SandboxError(f"a worker has no method {method!r}")
        return {}, b""

    async def _run(self, worker: NodeWorker, head: Mapping[str, Any], body: bytes) -> Reply:
        def send(what: str, piece: bytes) -> None:
            if what == "watched" or self._wire.waiting < _MOST_TOLD:
                self._wire.send({"call": head["call"], "is": what}, piece)

        def tell(piece: bytes) -> None:
            self._loop.call_soon_threadsafe(send, "told", piece)

        def watch(piece: bytes) -> None:
            self._loop.call_soon_threadsafe(send, "watched", piece)

        return await worker.run(head["name"], Parcel.from_bytes(body), tell, watch)


def _packed(pieces: Sequence[Piece]) -> tuple[list[tuple[str, int, int, bool]], bytes]:
    """Return pieces as a table of digest, offset, size and whether it is the last, and bytes."""
    cuts = [(piece.digest, piece.offset, len(piece.data), piece.last) for piece in pieces]
    return cuts, b"".join(piece.data for piece in pieces)


def _unpacked(cuts: object, *, body: bytes) -> list[Piece]:
    """Return the pieces that :func:`_packed` made a table and bytes of.

    Raises:
        ValidationError: The table is not one.
        SandboxError: The table and the bytes do not fit each other.
    """
    table = _Cuts.validate_python(cuts)
    if sum(size for _, _, size, _ in table) != len(body) or len(body) > PIECE_BYTES:
        raise SandboxError("pieces of blobs do not fit their sizes")
    pieces, at = [], 0
    for digest, offset, size, last in table:
        pieces.append(Piece(digest, offset, body[at : at + size], last))
        at += size
    return pieces


async def _serve_pipes() -> None:
    """Serve standard input and output; what is printed meanwhile goes to standard error."""
    loop = asyncio.get_running_loop()
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(incoming, "rb")
    )
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(outgoing, "wb")
    )
    await serve(reader, asyncio.StreamWriter(transport, protocol, None, loop))


if __name__ == "__main__":
    asyncio.run(_serve_pipes())
    sys.exit(0)
