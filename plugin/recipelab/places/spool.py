"""A stream of bytes over a folder that two machines share, and a worker that answers over it.

What goes one way is a row of numbered files, written under another name and renamed, which the
other end reads in their order and removes. Nothing else of a file system is needed: no locks, no
notices of changes, no appending, so that NFS does. It is looked into every few milliseconds while
something goes on, and every :data:`_SLOWEST` seconds otherwise.

A file may be seen late, before others, or in parts; each says its number, its length and the hash
of what it holds, and one that does not fit is looked at again for a while. Anything else that lies
in the folder is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import signal
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from recipelab.core.errors import SandboxError
from recipelab.places.parcel import Portable
from recipelab.places.stream import serve

_HEAD = struct.Struct(">4sQIB16s")
_MAGIC = b"RLS1"
_MOST = 4 << 20
"""Bytes in one file."""
_AHEAD = 8
"""Files that may lie there unread; whoever writes waits then."""
_FASTEST, _SLOWEST = 0.005, 0.1
_HIGH_WATER = 1 << 20
_PATIENCE_SECONDS = 30.0
"""How long a file that is not whole is looked at again."""

SESSIONS, ENDED = "sessions", "ended"
"""Folders below a spool folder: one a worker that has begun; a file for each that has ended."""

_HELLO = "hello.json"
_MOST_HELLO = 1 << 14
_DRIVER, _WORKER = "to-worker", "to-driver"


class Hello(Portable):
    """What a worker tells when it has begun.

    Attributes:
        job: Number of its job.
        restarts: How often the job was begun before.
        node: The scheduler's name of the node.
    """

    job: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
    restarts: Annotated[int, Field(ge=0)] = 0
    node: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$")]


class TornFile(Exception):
    """A file is not whole, or not what its name says; it may be by and by."""


def read_spooled(path: Path, number: int) -> tuple[bytes, bool]:
    """Read one file of a row.

    Args:
        path: The file.
        number: Its number.

    Returns:
        Its bytes, and whether it is the last.

    Raises:
        TornFile: It is not whole, or something else.
        OSError: It cannot be read.
    """
    # Non-blocking: a named pipe of that name would keep a reader for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise TornFile("it is no file")
        content = file.read(_HEAD.size + _MOST + 1)
    if len(content) < _HEAD.size:
        raise TornFile(f"it has {len(content)} bytes")
    magic, told, size, last, digest = _HEAD.unpack_from(content)
    data = content[_HEAD.size :]
    if magic != _MAGIC or told != number or last > 1:
        raise TornFile("its head is another's")
    if len(data) != size:
        raise TornFile(f"it has {len(data):,} of {size:,} bytes")
    if _digest(number, last, data) != digest:
        raise TornFile("its bytes are not what its head says")
    return data, bool(last)


def write_spooled(folder: Path, number: int, data: bytes, *, last: bool) -> None:
    """Write one file of a row, so that it is there as a whole or not at all.

    Raises:
        OSError: It cannot be written; the folder is gone, or the disk full.
    """
    head = _HEAD.pack(_MAGIC, number, len(data), last, _digest(number, last, data))
    # A file of a name that nobody else writes to, and closed before it is renamed: NFS sends its
    # bytes to the server then.
    half = folder / f".{secrets.token_hex(8)}"
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(head + data)
        half.rename(folder / _name(number))
    except OSError:
        half.unlink(missing_ok=True)
        raise


def _digest(number: int, last: int, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16, salt=struct.pack(">QB", number, last)).digest()


def _name(number: int) -> str:
    return f"{number:016d}"


class SpoolTransport(asyncio.Transport):
    """A transport of asyncio whose bytes go through two folders.

    One thread reads and writes, as a shared file system may keep a caller waiting for minutes.

    Args:
        incoming: Folder that the other end writes to.
        outgoing: Folder that the other end reads from.
        protocol: Is told of what comes in.
        patience: Seconds for which a file that is not whole is looked at again.
    """

    def __init__(
        self,
        incoming: Path,
        outgoing: Path,
        protocol: asyncio.StreamReaderProtocol,
        *,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        super().__init__()
        self._incoming = incoming
        self._outgoing = outgoing
        self._protocol = protocol
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._buffer = bytearray()
        self._flooded = False
        self._reading = True
        self._closing = False
        self._aborted = False
        self._read_number = 0
        self._write_number = 0
        self._torn_since: float | None = None
        self._closing_since: float | None = None
        self._thread = threading.Thread(target=self._work, name="recipelab-spool", daemon=True)
        protocol.connection_made(self)
        self._thread.start()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, as soon as may be."""
        with self._lock:
            if self._closing:
                return
            self._buffer += data
            flooded = not self._flooded and len(self._buffer) > _HIGH_WATER
            self._flooded |= flooded
        if flooded:
            self._protocol.pause_writing()
        # What is written in one go, as a head and its bytes, makes one file.
        self._loop.call_soon(self._wake.set)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are not written yet."""
        return len(self._buffer)

    def is_closing(self) -> bool:
        """Return whether nothing more can be sent."""
        return self._closing

    def close(self) -> None:
        """Send what waits, say that this is the end, and close."""
        with self._lock:
            self._closing = True
        self._wake.set()

    def abort(self) -> None:
        """Close at once; what waits is dropped."""
        self._aborted = True
        self.close()

    def can_write_eof(self) -> bool:
        """Return that one direction cannot be closed alone."""
        return False

    def pause_reading(self) -> None:
        """Take in nothing for now."""
        self._reading = False

    def resume_reading(self) -> None:
        """Take in what comes again."""
        self._reading = True
        self._wake.set()

    def is_reading(self) -> bool:
        """Return whether what comes is taken in."""
        return self._reading

    def _work(self) -> None:
        """Read and write until the end, in the thread."""
        pause = _FASTEST
        error: OSError | None = None
        try:
            while not self._aborted:
                wrote, read = self._send(), self._receive()
                if read is None or (self._closing and self._done(wrote)):
                    break
                pause = _FASTEST if wrote or read else min(1.5 * pause, _SLOWEST)
                self._wake.wait(pause)
                self._wake.clear()
            if not self._aborted:
                write_spooled(self._outgoing, self._write_number, b"", last=True)
        except OSError as failed:
            error = failed
        self._closing = True
        with contextlib.suppress(RuntimeError):  # The loop may be gone.
            self._loop.call_soon_threadsafe(self._protocol.connection_lost, error)

    def _done(self, wrote: bool) -> bool:
        """Return whether all that was to be sent is sent, or nobody reads any more."""
        now = time.monotonic()
        self._closing_since = self._closing_since or now
        return (not wrote and not self._buffer) or now - self._closing_since > self._patience

    def _send(self) -> bool:
        """Write what waits; return whether a file was written."""
        if not self._buffer or len(os.listdir(self._outgoing)) >= _AHEAD:
            return False
        with self._lock:
            data = bytes(self._buffer[:_MOST])
            del self._buffer[: len(data)]
            eased = self._flooded and len(self._buffer) <= _HIGH_WATER // 4
            self._flooded &= not eased
        write_spooled(self._outgoing, self._write_number, data, last=False)
        self._write_number += 1
        if eased:
            self._later(self._protocol.resume_writing)
        return True

    def _receive(self) -> bool | None:
        """Read the next file; return whether there was one, and ``None`` at the end."""
        # A list of names, and no look at the one name: NFS remembers for a while that there was no
        # file of a name, but asks the server when a folder is listed.
        name = _name(self._read_number)
        if not self._reading or name not in os.listdir(self._incoming):
            return False
        path = self._incoming / name
        try:
            data, last = read_spooled(path, self._read_number)
        except (OSError, TornFile) as fault:
            now = time.monotonic()
            self._torn_since = self._torn_since or now
            if now - self._torn_since > self._patience:
                raise ConnectionError(f"{path} cannot be read: {fault}") from None
            return False
        self._torn_since = None
        self._read_number += 1
        with contextlib.suppress(OSError):
            path.unlink()
        if data:
            self._later(self._protocol.data_received, data)
        if last:
            self._later(self._protocol.eof_received)
        return None if last else True

    def _later(self, call: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)


def open_spool(
    incoming: Path, outgoing: Path, *, patience: float = _PATIENCE_SECONDS
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a reader and a writer whose bytes go through two folders, which exist."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_MOST)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport = SpoolTransport(incoming, outgoing, protocol, patience=patience)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def begin_session(spool: Path, hello: Hello) -> Path:
    """Make the folder of a session, as a whole or not at all.

    Args:
        spool: The spool folder.
        hello: What the worker says of itself.

    Returns:
        The folder.

    Raises:
        OSError: The spool folder is gone: the driver has ended.
    """
    sessions = spool / SESSIONS
    name = f"{hello.job}.{hello.restarts}.{secrets.token_hex(4)}"
    half = sessions / f".{name}"
    half.mkdir(mode=0o700)
    for folder in (_DRIVER, _WORKER):
        (half / folder).mkdir(mode=0o700)
    (half / _HELLO).write_bytes(hello.to_bytes())
    return half.rename(sessions / name)


def read_hello(session: Path) -> Hello:
    """Read what a worker says of itself.

    Raises:
        SandboxError: It is no session, or what is said cannot be read.
    """
    try:
        descriptor = os.open(session / _HELLO, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            return Hello.from_bytes(file.read(_MOST_HELLO))
    except OSError as error:
        raise SandboxError(f"{session} is no session: {error.strerror}") from None


def driver_end(session: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open the driver's end of a session."""
    return open_spool(session / _WORKER, session / _DRIVER)


def worker_end(session: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open the worker's end of a session."""
    return open_spool(session / _DRIVER, session / _WORKER)


def work(spool: str) -> str:
    """Be the worker of one job of Slurm: answer the driver until it is gone, or the job has to end.

    Args:
        spool: The spool folder.

    Returns:
        Why it ended.
    """
    return asyncio.run(_work(Path(spool)))


async def _work(spool: Path) -> str:
    hello = Hello(
        job=os.environ["SLURM_JOB_ID"],
        restarts=int(os.environ.get("SLURM_RESTART_COUNT") or 0),
        node=os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
    )
    try:
        session = begin_session(spool, hello)
    except FileNotFoundError:
        return "the driver has ended"
    reader, writer = worker_end(session)
    told: list[str] = []

    def end(name: str) -> None:
        # The driver hears of it before the phase is dead, as its next try need not wait for that.
        # Nothing is cancelled: a second signal, or one while all is stopped, must not cut that off.
        told.append(f"Slurm ends the job ({name})")
        writer.close()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        loop.add_signal_handler(number, end, number.name)
    try:
        await serve(reader, writer)
        return told[0] if told else "the driver has ended"
    finally:
        # The thread that writes the last file ends with this process.
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await writer.wait_closed()
