"""Tells which process something belongs to, and whether that process is dead for certain."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from recipelab.sandbox.base import PhaseRequest, PhaseResult

_UNTOLD = "0"
"""Start time of a process where it cannot be told."""


class OwnerState(StrEnum):
    """What can be said of the process behind an identity."""

    ALIVE = "alive"
    DEAD = "dead"
    FOREIGN = "foreign"
    """It is of another machine or process namespace, or the identity is not one of ours."""


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
    """Names the machine and process namespace that give a process id its meaning."""
    parts = (_machine(), _process_namespace())
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:10]


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return _UNTOLD
    # The second field is the program's name in brackets and may itself hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return fields[19]


def owner_identity() -> str:
    """Identity of this process, as ``<domain>-<pid>-<start time>``."""
    return f"{_domain()}-{os.getpid()}-{_started(os.getpid())}"


def is_dead(identity: str) -> bool:
    """Whether the process behind an identity is dead for certain."""
    return owner_state(identity) is OwnerState.DEAD


def owner_state(identity: str) -> OwnerState:
    """Looks for the process behind an identity.

    A process of another machine or process namespace cannot be judged from here, so it counts as
    foreign. A process id that was given to another process since is told by the start time.
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
    # Where /proc hides other users' processes, one that is there has no start time to be seen.
    now = _started(pid)
    reused = now != started and _UNTOLD not in (now, started)
    return OwnerState.DEAD if reused else OwnerState.ALIVE


T = TypeVar("T")


def in_thread(work: Callable[[], T], *, name: str) -> Future[T]:
    """Starts ``work`` in a new daemon thread.

    The event loop's own pool has a few threads only. Phases would hold all of them for minutes,
    and then nothing could kill a phase at its deadline; so each gets a thread of its own.
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


class Stoppable(Protocol):
    """A phase as a blocking call that another thread can end."""

    def run(self) -> PhaseResult:
        """Runs to the end. Called once."""
        ...

    def stop(self) -> None:
        """Makes :meth:`run` end soon, whatever it is at. May be called at any time."""


class RunningPhases:
    """The phases that run now, each in its thread. It knows nothing of how they run."""

    def __init__(self) -> None:
        self._running: dict[Stoppable, Future[PhaseResult]] = {}

    async def run(self, phase: Stoppable, *, name: str) -> PhaseResult:
        """Awaits a phase; on cancellation stops it and waits for its end first.

        Args:
            phase: What to run.
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
            await self._stopped({phase: future})
            raise
        finally:
            del self._running[phase]

    async def stop_all(self) -> None:
        """Stops all phases and waits for their end."""
        await self._stopped(dict(self._running))

    async def _stopped(self, phases: dict[Stoppable, Future[PhaseResult]]) -> None:
        waiters: list[asyncio.Future[Any]] = []
        for phase, future in phases.items():
            stopping = in_thread(phase.stop, name="phase-stop")
            waiters += [asyncio.wrap_future(future), asyncio.wrap_future(stopping)]
        # Further cancellations wait: nothing may be left running.
        while pending := [waiter for waiter in waiters if not waiter.done()]:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(pending)
        for waiter in waiters:
            waiter.exception()  # Looked at, so that asyncio does not report it as forgotten.


MIB = 1 << 20
"""Bytes in a MiB."""


def clean_environment(request: PhaseRequest, paths: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a command.

    Args:
        request: Its limits give the thread counts; its own variables come last.
        paths: ``HOME``, ``TMPDIR`` and, where the sandbox must give it, ``PATH``.

    Returns:
        All variables.
    """
    threads = str(max(1, int(request.limits.cpus)))
    return {
        "LANG": "C.UTF-8",
        **paths,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **request.environment,
    }


class BoundedLog:
    """Takes output in pieces and keeps at most ``limit`` bytes: a half of head, a half of tail."""

    def __init__(self, *, limit: int) -> None:
        """Makes an empty log.

        Args:
            limit: Number of bytes to keep.
        """
        self._head_limit = limit // 2
        self._tail_limit = limit - self._head_limit
        self._head = bytearray()
        self._tail = bytearray()
        self._passed = 0

    def write(self, piece: bytes) -> None:
        """Adds a piece of output."""
        room = self._head_limit - len(self._head)
        self._head += piece[:room]
        rest = piece[room:]
        self._passed += len(rest)
        self._tail += rest[-self._tail_limit :] if self._tail_limit else b""
        # Trimming only when the tail has doubled keeps the cost per byte constant.
        if len(self._tail) > 2 * self._tail_limit:
            del self._tail[: -self._tail_limit]

    def text(self) -> str:
        """The kept output as text; bytes that are not UTF-8 become replacement characters."""
        tail = self._tail[-self._tail_limit :] if self._tail_limit else bytearray()
        cut = self._passed - len(tail)
        if not cut:
            return (self._head + tail).decode("utf-8", errors="replace")
        head_text = self._head.decode("utf-8", errors="replace")
        tail_text = tail.decode("utf-8", errors="replace")
        return f"{head_text}\n[... {cut} bytes cut here ...]\n{tail_text}"
