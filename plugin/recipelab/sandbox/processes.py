"""Processes of a sandbox: their owners, threads that wait for them, environment and log."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from recipelab.sandbox.base import (
    ERROR_FILE,
    HOST_NAME,
    OUTPUT_DIRECTORY,
    PhaseRequest,
    PhaseResult,
)

MIB = 1 << 20
"""Bytes in a MiB."""

T = TypeVar("T")

_UNKNOWN = "0"
"""Start time of a process whose start time cannot be read."""


class OwnerState(StrEnum):
    """What is known of the process behind an identity."""

    ALIVE = "alive"
    DEAD = "dead"
    FOREIGN = "foreign"
    """It belongs to another machine or process namespace, or the identity is not one of ours."""


def _machine() -> str:
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _process_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""  # Only Linux has them.


@lru_cache(maxsize=1)
def _domain() -> str:
    """Return a name of the machine and process namespace, which give a process id its meaning."""
    parts = (_machine(), _process_namespace())
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:10]


def _started(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return _UNKNOWN
    # The second field is the program's name in brackets and may itself hold spaces and brackets.
    return stat.rpartition(")")[2].split()[19]


def owner_identity() -> str:
    """Return the identity of this process, as ``<domain>-<pid>-<start time>``."""
    return f"{_domain()}-{os.getpid()}-{_started(os.getpid())}"


def is_dead(identity: str) -> bool:
    """Return whether the process behind an identity is certainly dead."""
    return owner_state(identity) is OwnerState.DEAD


def owner_state(identity: str) -> OwnerState:
    """Look for the process behind an identity.

    A process of another machine or process namespace cannot be seen from here, so it counts as
    foreign. If its id was given to another process since, the start time differs.
    """
    domain, _, rest = identity.partition("-")
    pid_text, _, started = rest.partition("-")
    if domain != _domain() or not pid_text.isdigit():
        return OwnerState.FOREIGN
    pid = int(pid_text)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return OwnerState.DEAD
    except (PermissionError, OverflowError):
        pass
    # Where /proc hides the processes of other users, their start times cannot be read.
    now = _started(pid)
    reused = now != started and _UNKNOWN not in (now, started)
    return OwnerState.DEAD if reused else OwnerState.ALIVE


def in_thread(work: Callable[[], T], *, name: str) -> Future[T]:
    """Start ``work`` in a new daemon thread.

    The event loop's own pool has few threads. Phases would hold all of them for minutes, and then
    nothing could kill a phase at its deadline; so each gets a thread of its own.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def body() -> None:
        try:
            result = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=body, name=name, daemon=True).start()
    return future


async def uninterrupted(work: Callable[[], T], *, name: str) -> T:
    """Run short work in a thread; a cancellation takes effect only when it is done.

    Args:
        work: The work, which must end by itself.
        name: Name of the thread.
    """
    future = asyncio.wrap_future(in_thread(work, name=name))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await _all_done([future])
        raise


async def _all_done(futures: Sequence[asyncio.Future[Any]]) -> None:
    """Wait until all futures are done, whatever cancellations come meanwhile."""
    while pending := [future for future in futures if not future.done()]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(pending)
    for future in futures:
        future.exception()  # Retrieved, so that asyncio does not report it as forgotten.


class Stoppable(Protocol):
    """A phase as a blocking call that another thread can end."""

    def run(self) -> PhaseResult:
        """Run to the end. Called once."""
        ...

    def stop(self) -> None:
        """Make :meth:`run` end soon, whatever it is doing. May be called at any time."""


class RunningPhases:
    """The phases that run now, each in its thread; it does not matter how they run."""

    def __init__(self) -> None:
        self._running: dict[Stoppable, Future[PhaseResult]] = {}

    async def run(self, phase: Stoppable, *, name: str) -> PhaseResult:
        """Await a phase; on cancellation stop it and wait for its end first.

        Args:
            phase: The phase.
            name: Name of its thread.
        """
        future = in_thread(phase.run, name=name)
        self._running[phase] = future
        awaited = asyncio.wrap_future(future)
        # A shield whose outside is cancelled forgets its inside; asyncio would report that.
        awaited.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(awaited)
        except asyncio.CancelledError:
            await self._stop({phase: future})
            raise
        finally:
            del self._running[phase]

    async def stop_all(self) -> None:
        """Stop all phases and wait for their end."""
        await self._stop(dict(self._running))

    async def _stop(self, phases: Mapping[Stoppable, Future[PhaseResult]]) -> None:
        waiters: list[asyncio.Future[Any]] = []
        for phase, future in phases.items():
            stopping = in_thread(phase.stop, name="phase-stop")
            waiters += [asyncio.wrap_future(future), asyncio.wrap_future(stopping)]
        await _all_done(waiters)


def clean_environment(request: PhaseRequest, paths: Mapping[str, str]) -> dict[str, str]:
    """Return all environment variables of a command.

    Args:
        request: Its limits give the thread counts of each of its processes; its own variables
            override all others.
        paths: ``HOME``, ``TMPDIR`` and, if the sandbox must set it, ``PATH``.
    """
    # A count is each process's own: eight workers with all 64 cores each would be 512 threads.
    threads = str(max(1, int(request.limits.cpus) // request.limits.processes))
    temporary = paths.get("TMPDIR", "/tmp")
    return {
        "LANG": "C.UTF-8",
        "LOGNAME": HOST_NAME,  # Where the user id has no entry, Python asks this for its name.
        **paths,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        # Made from the name of the user, who may have none in a container, or in a missing home.
        "TORCHINDUCTOR_CACHE_DIR": f"{temporary}/torchinductor",
        "TRITON_CACHE_DIR": f"{temporary}/triton",
        "TORCHELASTIC_ERROR_FILE": f"{request.upwards}{OUTPUT_DIRECTORY}/{ERROR_FILE}",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **request.environment,
    }


class BoundedLog:
    """Takes output in pieces and keeps at most ``limit`` bytes of it: half head, half tail."""

    def __init__(self, *, limit: int) -> None:
        """Create an empty log.

        Args:
            limit: Number of bytes to keep.
        """
        self._head_limit = limit // 2
        self._tail_limit = limit - self._head_limit
        self._head = bytearray()
        self._tail = bytearray()
        self._passed = 0

    def write(self, piece: bytes) -> None:
        """Add a piece of output."""
        room = self._head_limit - len(self._head)
        self._head += piece[:room]
        rest = piece[room:]
        self._passed += len(rest)
        self._tail += rest[-self._tail_limit :] if self._tail_limit else b""
        # Trimming only when the tail has doubled keeps the cost per byte constant.
        if len(self._tail) > 2 * self._tail_limit:
            del self._tail[: -self._tail_limit]

    def text(self) -> str:
        """Return the kept output; bytes that are not UTF-8 become replacement characters."""
        tail = self._tail[-self._tail_limit :] if self._tail_limit else bytearray()
        cut = self._passed - len(tail)
        if not cut:
            return (self._head + tail).decode("utf-8", errors="replace")
        head_text = self._head.decode("utf-8", errors="replace")
        tail_text = tail.decode("utf-8", errors="replace")
        return f"{head_text}\n[... {cut} bytes cut here ...]\n{tail_text}"
