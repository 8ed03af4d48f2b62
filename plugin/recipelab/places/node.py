"""The node's half of a place: runs phases in the node's own sandbox, whatever brings them there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from recipelab import __version__
from recipelab.core.errors import RecipelabError, SandboxError, SandboxUnavailable
from recipelab.places.parcel import (
    PIECE_BYTES,
    NodeFacts,
    NodeSetup,
    Parcel,
    ParcelInput,
    Piece,
    Reply,
)
from recipelab.places.setup import lacks_image, load_image, open_sandbox, packages_here, read_spec
from recipelab.places.store import NodeStore, default_root
from recipelab.places.trees import Hashes, stand_of_folder
from recipelab.sandbox.base import Input, PhaseRequest, PhaseResult, Sandbox, Watch
from recipelab.sandbox.files import new_folder, remove_tree
from recipelab.sandbox.gpus import list_gpus
from recipelab.sandbox.spec import ImageSpec

_GIB = 1 << 30
ANSWER_SECONDS = 10.0
"""How long a watched command's next piece waits for the answer to the last one."""


class NodeWorker:
    """Runs phases on one slot of a node. Workers of one node share a store of files.

    All methods may be called at the same time as others. What they raise is a ``SandboxError``
    where nothing else is said, and a transport carries its text.
    """

    def __init__(self, setup: NodeSetup) -> None:
        """Note how to begin; nothing is touched before :meth:`start`."""
        self._setup = setup
        self._spec: ImageSpec | None = None
        self._store: NodeStore | None = None
        self._sandbox: Sandbox | None = None
        self._fault = ""
        self._folder: Path | None = None
        self._hashes = Hashes()
        self._running: dict[str, asyncio.Task[PhaseResult]] = {}
        self._answers: dict[str, _Answers] = {}

    async def start(self) -> NodeFacts:
        """Open the store and start the sandbox.

        Returns:
            What the node is. Where the image is missing, :attr:`NodeFacts.fault` says so:
            :meth:`load_image` comes next then.

        Raises:
            SandboxUnavailable: The sandbox cannot run on this node.
        """
        setup = self._setup
        self._folder = new_folder(Path(tempfile.gettempdir()), what="spec")
        self._spec = await asyncio.to_thread(read_spec, setup.spec, self._folder)
        root = Path(setup.store) if setup.store else default_root()
        most = int(setup.store_gb * _GIB)
        self._store = await asyncio.to_thread(partial(NodeStore, root, most_bytes=most))
        await self._open_sandbox()
        return await self.facts()

    async def _open_sandbox(self) -> None:
        assert self._spec is not None
        kind = self._setup.sandbox
        self._fault = ""
        try:
            sandbox = await asyncio.to_thread(open_sandbox, kind, self._spec)
            await sandbox.start()
        except SandboxUnavailable as error:
            if not await asyncio.to_thread(lacks_image, kind, self._spec):
                raise
            self._fault = str(error)
        except RecipelabError as error:
            raise SandboxUnavailable(str(error)) from error
        else:
            self._sandbox = sandbox

    async def stop(self) -> None:
        """Kill what still runs, and stop the sandbox. May be called twice."""
        for name in list(self._running):
            await self.cancel(name)
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            await sandbox.stop()
        store, self._store = self._store, None
        if store is not None:
            await asyncio.to_thread(store.close)
        if self._folder is not None:
            remove_tree(self._folder)

    async def facts(self) -> NodeFacts:
        """Return what the node is."""
        return await asyncio.to_thread(self._facts)

    def _facts(self) -> NodeFacts:
        assert self._spec is not None
        sandbox, kind = self._sandbox, self._setup.sandbox
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
        return NodeFacts(
            node=self._setup.node or socket.gethostname(),
            sandbox=kind,
            image=sandbox.image_identity if sandbox is not None else "",
            fault=self._fault,
            isolated=sandbox is not None and sandbox.isolated,
            notice=(sandbox.notice() or "") if sandbox is not None else "",
            lost_isolation=(sandbox.lost_isolation() or "") if sandbox is not None else "",
            cores=tuple(sorted(cores)) or tuple(range(os.cpu_count() or 1)),
            gpus=tuple(gpu.uuid for gpu in list_gpus()),
            packages=packages_here(kind, self._spec),
            recipelab=__version__,
            python=platform.python_version(),
        )

    async def load_image(self, digest: str) -> NodeFacts:
        """Load an image that was sent as a blob (``docker save``), and start the sandbox with it.

        Args:
            digest: SHA-256 of the archive.
        """
        store = self._opened()

        def pieces() -> Iterator[bytes]:
            offset = 0
            while True:
                piece = store.read(digest, offset)
                yield piece.data
                offset += len(piece.data)
                if piece.last:
                    return

        if self._sandbox is None:
            await asyncio.to_thread(load_image, pieces)
            await self._open_sandbox()
        return await self.facts()

    async def missing(self, digests: Sequence[str]) -> list[str]:
        """Return those of some trees and blobs that the store does not have.

        The others are kept for a while at least, so that a phase can begin with them.
        """
        return await asyncio.to_thread(self._opened().missing, digests)

    async def put(self, pieces: Sequence[Piece]) -> None:
        """Take pieces of blobs, each blob's in their order.

        A blob whose last piece has come is held against its digest. The manifest of a tree is a
        blob, too; it comes after the files that it names.

        Raises:
            SandboxError: A blob is not what its digest says, or cannot be stored.
        """
        store = self._opened()

        def put() -> None:
            for piece in pieces:
                store.put(piece)

        await asyncio.to_thread(put)

    async def blobs(self, wanted: Sequence[tuple[str, int]]) -> list[Piece]:
        """Return pieces of blobs, one for each that is wanted, until a message is full.

        Args:
            wanted: Digest of each blob, and where its piece begins.

        Returns:
            At least one piece, and at most :data:`PIECE_BYTES` bytes; not all that was wanted.

        Raises:
            SandboxError: The store has no such blob.
        """
        return await asyncio.to_thread(self._read, list(wanted))

    def _read(self, wanted: Sequence[tuple[str, int]]) -> list[Piece]:
        found: list[Piece] = []
        room = PIECE_BYTES
        for digest, offset in wanted:
            piece = self._opened().read(digest, offset, room)
            if found and not piece.last:
                break  # The whole of it comes with the next message.
            found.append(piece)
            room -= len(piece.data)
            if room <= 0:
                break
        return found

    async def run(
        self,
        name: str,
        parcel: Parcel,
        tell: Callable[[bytes], None],
        watch: Callable[[bytes], None],
    ) -> Reply:
        """Run a phase in the node's sandbox, under its limits.

        What it leaves is put into the store, so that a later phase there needs no transfer.

        Args:
            name: A name that no other phase of this worker has.
            parcel: The phase.
            tell: Called with pieces of its output, in a thread; it must neither raise nor wait.
            watch: Called with what is appended to the watched file, in a thread, as ``tell``.
                Each call is answered by :meth:`watched`; the sandbox looks on only then.

        Raises:
            TreesMissing: Trees are not in the store any more.
            SandboxError: The machinery failed.
        """
        store, sandbox = self._opened(), self._sandbox
        if sandbox is None:
            raise SandboxError(self._fault or "the worker is not started")
        answers = self._answers[name] = _Answers(watch)
        stack = contextlib.ExitStack()
        output = await asyncio.to_thread(store.folder)
        try:
            digests = [one.tree for one in parcel.inputs if one.tree is not None]
            roots = await asyncio.to_thread(stack.enter_context, store.using(digests))
            places = dict(zip(digests, roots, strict=True))
            inputs = await asyncio.to_thread(_inputs, parcel.inputs, places)
            request = PhaseRequest(
                phase=parcel.phase,
                command=parcel.command,
                inputs=inputs,
                output=output,
                limits=parcel.limits,
                environment=parcel.environment,
                labels=parcel.labels,
                tripwires=parcel.tripwires,
                warm=parcel.warm,
                watch=Watch(parcel.watch, answers.tell) if parcel.watch else None,
                tell=tell if parcel.told else None,
                directory=parcel.directory,
            )
            task = self._running[name] = asyncio.ensure_future(sandbox.run(request))
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                await _ended(task)
                raise
            if task.cancelled():
                raise SandboxError(f"phase {parcel.phase} was cancelled")
            return await asyncio.to_thread(self._reply, parcel, task.result(), output)
        finally:
            self._running.pop(name, None)
            self._answers.pop(name, None)
            await asyncio.to_thread(stack.close)
            await asyncio.to_thread(remove_tree, output)

    def _reply(self, parcel: Parcel, result: PhaseResult, output: Path) -> Reply:
        store = self._opened()
        trees = {one.tree: one.target for one in parcel.inputs if one.tree is not None}
        changed = tuple(sorted(target for tree, target in trees.items() if store.changed(tree)))
        packed = self._hashes.pack(output)
        store.take(packed)
        return Reply(
            ending=result.ending,
            exit_code=result.exit_code,
            wall_seconds=result.wall_seconds,
            cpu_seconds=result.cpu_seconds,
            peak_memory_mb=result.peak_memory_mb,
            log=result.log,
            refused=result.refused,
            environment=result.environment,
            tampered=result.tampered,
            refused_processes=result.refused_processes,
            error_file=result.error_file,
            warm_seconds=result.warm_seconds,
            warm_cpu_seconds=result.warm_cpu_seconds,
            watched=result.watched,
            outputs=packed.tree,
            changed=changed,
        )

    async def watched(self, name: str, *, stop: bool) -> None:
        """Answer a piece of a watched file.

        Args:
            name: The phase.
            stop: Whether to stop the command.
        """
        if (answers := self._answers.get(name)) is not None:
            answers.answer(stop)

    async def cancel(self, name: str) -> None:
        """Kill a phase; nothing if none of that name runs. Its ``run`` raises then."""
        if (task := self._running.get(name)) is not None:
            await _ended(task)

    def _opened(self) -> NodeStore:
        if self._store is None:
            raise SandboxError("the worker is not started")
        return self._store


class _Answers:
    """Lets the sandbox's watcher wait for what the driver says of each piece.

    Args:
        send: Sends a piece.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._come = threading.Semaphore(0)
        self._stop = False

    def tell(self, piece: bytes) -> bool:
        """Send a piece, and return whether to stop the command."""
        self._send(piece)
        # A driver that does not answer in time is asked again with the next piece.
        self._come.acquire(timeout=ANSWER_SECONDS)
        return self._stop

    def answer(self, stop: bool) -> None:
        """Take what the driver says of a piece."""
        self._stop = self._stop or stop
        self._come.release()


async def _ended(task: asyncio.Task[PhaseResult]) -> None:
    """Cancel a phase, and wait until its processes are dead."""
    task.cancel()
    await asyncio.wait([task])


def _inputs(inputs: Sequence[ParcelInput], trees: dict[str, Path]) -> tuple[Input, ...]:
    """Return the inputs of a phase as they lie on this node.

    Raises:
        SandboxError: A folder that is read where it lies is not there, or is another one.
    """
    return tuple(
        Input(
            trees[one.tree] if one.tree is not None else _same_place(one),
            one.target,
            writable=one.writable,
            as_is=one.tree is None,
        )
        for one in inputs
    )


def _same_place(one: ParcelInput) -> Path:
    folder = Path(one.place or "")
    node = socket.gethostname()
    advice = "folders of data are read where they lie, so each node needs them at the same place"
    try:
        stand = stand_of_folder(folder)
    except OSError as error:
        raise SandboxError(
            f"node {node}: no folder {folder} for {one.target} ({error.strerror}); {advice}"
        ) from error
    if stand != one.stand:
        raise SandboxError(
            f"node {node}: {folder} for {one.target} holds other files than on the driver; {advice}"
        )
    return folder
