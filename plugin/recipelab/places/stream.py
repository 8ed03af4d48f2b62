"""The protocol between driver and worker over one stream of bytes: a pipe, a socket, ``ssh``.

The driver begins with the setup; the worker answers with its facts. Then the driver calls, and the
worker answers, in any order; while a phase runs, its worker sends what it prints. Each frame is two
lengths, a header that is JSON, and bytes. Both send a frame every few seconds, so that each knows
that the other lives: a worker whose driver is silent for a minute kills its phases and ends.

``python -m recipelab.places.stream`` is such a worker on its standard input and output.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import struct
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from typing import Any

from recipelab.core.errors import RecipelabError, SandboxError, SandboxUnavailable
from recipelab.places.node import NodeWorker
from recipelab.places.parcel import (
    MOST_BYTES,
    NodeFacts,
    NodeSetup,
    Parcel,
    Piece,
    Reply,
    TreesMissing,
    pack,
    unpack,
)
from recipelab.places.placed import NodeLink, NodeLost
from recipelab.sandbox.slots import ANYWHERE, Slot

BEAT_SECONDS = 5.0
"""How often each side says that it lives."""

SILENT_SECONDS = 60.0
"""How long the other side may say nothing before it counts as gone."""

BUFFER_BYTES = 8 << 20
"""How much may come before somebody reads it; with little, sender and reader wait in turns."""

_LENGTHS = struct.Struct(">II")
_PIPE_BYTES = 1 << 20
_TOLD_BYTES = 4096

Header = dict[str, Any]


class Frames:
    """Sends and receives frames over a stream.

    Args:
        reader: Where frames come from.
        writer: Where they go.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()
        self.heard = time.monotonic()

    async def send(self, header: Header, data: bytes = b"") -> None:
        """Send a frame.

        Raises:
            NodeLost: The other side is gone.
        """
        text = json.dumps(header).encode()
        try:
            async with self._turn:
                self._writer.write(_LENGTHS.pack(len(text), len(data)) + text)
                self._writer.write(data)
                await self._writer.drain()
        except (OSError, RuntimeError) as error:
            raise NodeLost(f"the stream is closed: {error}") from error

    async def receive(self) -> tuple[Header, bytes]:
        """Receive a frame that is no beat.

        Raises:
            NodeLost: The other side is gone, or sends what is no frame.
        """
        while True:
            try:
                header, data = await self._frame()
            except (asyncio.IncompleteReadError, OSError) as error:
                raise NodeLost("the stream has ended") from error
            except (ValueError, RecursionError) as error:
                raise NodeLost(f"what came is no frame: {error}") from error
            self.heard = time.monotonic()
            if header:
                return header, data

    async def _frame(self) -> tuple[Header, bytes]:
        lengths = _LENGTHS.unpack(await self._reader.readexactly(_LENGTHS.size))
        if sum(lengths) > MOST_BYTES:
            raise ValueError(f"{sum(lengths):,} bytes are too long")
        header = json.loads(await self._reader.readexactly(lengths[0]))
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
        return header, await self._reader.readexactly(lengths[1])

    async def beat(self) -> None:
        """Say every few seconds that this side lives; returns when the other side does not.

        Raises:
            NodeLost: It is gone.
        """
        while time.monotonic() - self.heard < SILENT_SECONDS:
            await self.send({})
            await asyncio.sleep(BEAT_SECONDS)
        raise NodeLost(f"nothing came for {SILENT_SECONDS:g} seconds")

    def close(self) -> None:
        """Close the stream."""
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()


class StreamLink(NodeLink):
    """The driver's end of a stream to a worker.

    Attributes:
        process: The process behind the stream, if it is one of this machine.

    Args:
        reader: Where the worker's frames come from.
        writer: Where the driver's go.
        process: The process behind the stream, if it is one of this machine (``ssh``, a worker).
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        process: Process | None = None,
    ) -> None:
        self.node = ""
        self.slot: Slot = ANYWHERE
        self._frames = Frames(reader, writer)
        self.process = process
        self._said = bytearray()
        self._calls: dict[int, asyncio.Future[tuple[Header, bytes]]] = {}
        self._tells: dict[str, tuple[Callable[[bytes], None], Callable[[bytes], bool]]] = {}
        self._number = 0
        self._lost = ""
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def begin(cls, command: Sequence[str], setup: NodeSetup) -> StreamLink:
        """Start a process that is a worker on its standard input and output, and greet it.

        Args:
            command: The process, as ``("ssh", HOST, "python3", "-m", "recipelab.places.stream")``.
            setup: How the worker is to begin.

        Raises:
            SandboxUnavailable: It does not begin; the message has what it said.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                start_new_session=True,
                limit=BUFFER_BYTES,
            )
        except OSError as error:
            raise SandboxUnavailable(f"{command[0]}: {error.strerror}") from error
        assert process.stdin is not None and process.stdout is not None
        link = cls(process.stdout, process.stdin, process)
        await link.greet(setup)
        return link

    async def greet(self, setup: NodeSetup) -> NodeFacts:
        """Tell the worker how to begin, and learn what its node is.

        Raises:
            SandboxUnavailable: It cannot begin there.
        """
        self._tasks = [asyncio.ensure_future(work) for work in (self._listen(), self._beat())]
        if self.process is not None and self.process.stderr is not None:
            self._tasks.append(asyncio.ensure_future(self._hear(self.process.stderr)))
        try:
            facts = await self._facts({"do": "start"}, setup.to_bytes())
        except NodeLost as error:
            await self.close()
            raise SandboxUnavailable(f"a worker did not begin: {error}") from error
        except BaseException:
            await self.close()
            raise
        self.node = facts.node
        return facts

    @property
    def lost(self) -> str:
        """Why the worker is gone; empty while it is there."""
        return self._lost

    async def close(self, reason: str = "the link was closed") -> None:
        """End the worker, and what runs there.

        Args:
            reason: Why, for what waits for it.
        """
        self._lose(reason)
        self._frames.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.process is not None:
            # At the end of its input it kills its phases, and ends.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), BEAT_SECONDS)
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()

    async def facts(self) -> NodeFacts:
        """Return what the node is; see :class:`NodeLink`."""
        return await self._facts({"do": "facts"})

    async def load_image(self, digest: str) -> NodeFacts:
        """Have the node load an image; see :class:`NodeLink`."""
        return await self._facts({"do": "load_image", "digest": digest})

    async def _facts(self, header: Header, data: bytes = b"") -> NodeFacts:
        return NodeFacts.from_bytes((await self._call(header, data))[1])

    async def missing(self, digests: Sequence[str]) -> list[str]:
        """Return what the node's store does not have; see :class:`NodeLink`."""
        said, _ = await self._call({"do": "missing", "digests": list(digests)})
        return [digest for digest in _strings(said.get("missing")) if digest in digests]

    async def put(self, pieces: Sequence[Piece]) -> None:
        """Send pieces; see :class:`NodeLink`."""
        header, data = pack(pieces)
        await self._call({"do": "put", **header}, data)

    async def blobs(self, wanted: Sequence[tuple[str, int]]) -> list[Piece]:
        """Return pieces; see :class:`NodeLink`."""
        said, data = await self._call({"do": "blobs", "wanted": [list(one) for one in wanted]})
        try:
            return unpack(said, data)
        except (KeyError, TypeError, ValueError) as error:
            raise self._lose(f"it sent no pieces: {error}") from error

    async def run(
        self,
        name: str,
        parcel: Parcel,
        tell: Callable[[bytes], None],
        watch: Callable[[bytes], bool],
    ) -> Reply:
        """Run a phase; see :class:`NodeLink`."""
        self._tells[name] = tell, watch
        try:
            _, data = await self._call({"do": "run", "name": name}, parcel.to_bytes())
            return Reply.from_bytes(data)
        finally:
            del self._tells[name]

    async def cancel(self, name: str) -> None:
        """Kill a phase; see :class:`NodeLink`."""
        await self._call({"do": "cancel", "name": name})

    async def _call(self, header: Header, data: bytes = b"") -> tuple[Header, bytes]:
        """Call the worker, and await its answer.

        Raises:
            NodeLost: It is gone.
            SandboxError: What was asked for failed there.
            SandboxUnavailable: The sandbox cannot run there.
            TreesMissing: The phase lacks trees.
        """
        if self._lost:
            raise NodeLost(self._lost)
        self._number += 1
        number = self._number
        future = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            await self._frames.send({**header, "call": number}, data)
            said, answer = await future
        finally:
            self._calls.pop(number, None)
        if "missing_trees" in said:
            raise TreesMissing(_strings(said["missing_trees"]))
        if "error" in said:
            kind = SandboxUnavailable if said.get("kind") == "unavailable" else SandboxError
            raise kind(str(said["error"])[:_TOLD_BYTES])
        return said, answer

    async def _listen(self) -> None:
        """Take in what the worker sends, until it is gone."""
        try:
            while True:
                said, data = await self._frames.receive()
                number, name = said.get("call"), said.get("name")
                if isinstance(number, int) and (future := self._calls.get(number)) is not None:
                    if not future.done():
                        future.set_result((said, data))
                elif isinstance(name, str) and name in self._tells:
                    tell, watch = self._tells[name]
                    if said.get("event") == "watch":
                        answer = {"do": "watched", "name": name, "stop": watch(data)}
                        await self._frames.send(answer)
                    else:
                        tell(data)
        except NodeLost as error:
            if self.process is not None:
                # What it said last tells more than the end of its output.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.process.wait(), 1.0)
            self._lose(str(error))
        except Exception as error:
            # Whoever is told of a phase must not raise; a link that hears nothing more would hang.
            self._lose(f"what it sent could not be taken: {error!r}")

    async def _beat(self) -> None:
        try:
            await self._frames.beat()
        except NodeLost as error:
            await asyncio.sleep(1.0)  # Whoever listens knows more.
            self._lose(str(error))

    async def _hear(self, stderr: asyncio.StreamReader) -> None:
        """Keep the end of what the process writes to standard error."""
        while piece := await stderr.read(_TOLD_BYTES):
            self._said += piece
            del self._said[:-_TOLD_BYTES]

    def _lose(self, reason: str) -> NodeLost:
        """Note that the worker is gone; whatever waits for it fails."""
        if not self._lost:
            words = self._said.decode("utf-8", "replace").strip().splitlines()
            self._lost = f"{reason}: {words[-1]}" if words else reason
        for future in self._calls.values():
            if not future.done():
                future.set_exception(NodeLost(self._lost))
        return NodeLost(self._lost)


class _Served:
    """The worker's end of a stream.

    Args:
        frames: The stream.
    """

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._worker: NodeWorker | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[Header, bytes]] = asyncio.Queue()

    async def serve(self) -> None:
        """Answer calls until the driver is gone."""
        beat = asyncio.ensure_future(self._frames.beat())
        sender = asyncio.ensure_future(self._send_events())
        listener = asyncio.ensure_future(self._listen())
        tasks = (beat, sender, listener)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, *self._tasks):
                task.cancel()
            await asyncio.gather(*tasks, *self._tasks, return_exceptions=True)
            if self._worker is not None:
                await self._worker.stop()
            self._frames.close()

    async def _listen(self) -> None:
        while True:
            header, data = await self._frames.receive()
            if header.get("do") == "watched" and self._worker is not None:
                await self._worker.watched(str(header.get("name")), stop=bool(header.get("stop")))
                continue
            task = asyncio.ensure_future(self._answer(header, data))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, header: Header, data: bytes) -> None:
        number = header.get("call")
        answer: Header = {}
        sent = b""
        try:
            answer, sent = await self._do(header, data)
        except TreesMissing as error:
            answer = {"missing_trees": list(error.digests)}
        except SandboxUnavailable as error:
            answer = {"error": str(error), "kind": "unavailable"}
        except (SandboxError, RecipelabError) as error:
            answer = {"error": str(error)}
        except Exception as error:  # Whatever it is, the driver has to know.
            answer = {"error": f"the worker failed: {error!r}"}
        with contextlib.suppress(NodeLost):
            await self._frames.send({**answer, "call": number}, sent)

    async def _do(self, header: Header, data: bytes) -> tuple[Header, bytes]:
        do, name = str(header.get("do")), str(header.get("name"))
        if do == "start":
            self._worker = NodeWorker(NodeSetup.from_bytes(data))
            return {}, (await self._worker.start()).to_bytes()
        worker = self._worker
        if worker is None:
            raise SandboxError("the worker was not started")
        if do == "run":
            parcel = Parcel.from_bytes(data)
            reply = await worker.run(
                name, parcel, self._teller(name, "tell"), self._teller(name, "watch")
            )
            return {}, reply.to_bytes()
        match do:
            case "facts":
                return {}, (await worker.facts()).to_bytes()
            case "load_image":
                return {}, (await worker.load_image(str(header["digest"]))).to_bytes()
            case "missing":
                return {"missing": await worker.missing(_strings(header["digests"]))}, b""
            case "put":
                await worker.put(unpack(header, data))
            case "blobs":
                wanted = [(str(digest), int(offset)) for digest, offset in header["wanted"]]
                return pack(await worker.blobs(wanted))
            case "cancel":
                await worker.cancel(name)
            case _:
                raise SandboxError(
                    f"the worker does not know {do!r}: another version of recipelab?"
                )
        return {}, b""

    def _teller(self, name: str, event: str) -> Callable[[bytes], None]:
        """Return what sends pieces of a phase, from any thread."""

        def tell(piece: bytes) -> None:
            item = {"event": event, "name": name}, piece
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                self._loop.call_soon_threadsafe(self._events.put_nowait, item)

        return tell

    async def _send_events(self) -> None:
        while True:
            await self._frames.send(*await self._events.get())


def _strings(found: object) -> list[str]:
    return [str(one) for one in found] if isinstance(found, list) else []


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be a worker on a stream, until the driver is gone; then kill what runs.

    Args:
        reader: Where the driver's frames come from.
        writer: Where the worker's go.
    """
    await _Served(Frames(reader, writer)).serve()


async def _serve_pipes(source: int, target: int) -> None:
    loop = asyncio.get_running_loop()
    for pipe in (source, target):
        with contextlib.suppress(OSError, AttributeError):  # A socket, or no Linux.
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    reader = asyncio.StreamReader(limit=BUFFER_BYTES)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb", 0)
    )
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop=loop), os.fdopen(target, "wb", 0)
    )
    await serve(reader, asyncio.StreamWriter(transport, protocol, None, loop))


def main() -> None:
    """Be a worker on standard input and output."""
    source, target = os.dup(0), os.dup(1)
    # Whatever prints something must not write into the stream.
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    asyncio.run(_serve_pipes(source, target))


if __name__ == "__main__":
    main()
