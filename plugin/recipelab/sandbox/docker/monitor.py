"""Talks to processes in a container: their streams, and the monitor that counts for us.

The *monitor* is the container's first process and a trusted one: it does nothing but answer each
line on its input with the counters of the container's control group. The command runs beside it
under another user id, so that it cannot touch the monitor. When the command has ended the container
still lives, so what it used can be read and its outputs fetched. A container whose monitor loses
its input ends, so none outlives the process that asked for it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from docker import APIClient

from recipelab.core.errors import SandboxError
from recipelab.sandbox.processes import MIB

_HEADER = struct.Struct(">BxxxL")
STANDARD_OUTPUT = 1

_FILES = (
    "cpu.stat pids.current pids.events memory.peak memory.events"
    " cpuacct/cpuacct.usage pids/pids.current pids/pids.events"
    " memory/memory.max_usage_in_bytes memory/memory.oom_control"
)
"""Counters of control groups v2, then of v1; each machine has some of them."""

# Only what the shell does itself: a child of it would be counted as a process of the command.
MONITOR_COMMAND = (
    "sh",
    "-c",
    f"cd /sys/fs/cgroup || exit; while read -r _; do for file in {_FILES}; do"
    ' [ -r "$file" ] && while read -r line; do echo "${file##*/} $line"; done <"$file";'
    " done; set -- /proc/[0-9]*; echo visible $#; echo end; done",
)

_ANSWER_SECONDS = 10.0
_END = b"end\n"


class ContainerStream:
    """The output of a process in pieces, and its input. Use it as a context manager.

    The SDK can read these streams too, but it cannot close the connection, cannot write, and has no
    timeout; so this class speaks the few bytes of framing itself.
    """

    def __init__(self, opened: Any, *, timeout: float | None) -> None:
        """Take over a connection of the SDK.

        Args:
            opened: What ``exec_start(socket=True)`` or ``attach_socket`` returned.
            timeout: Seconds to wait for data; ``None`` waits without end.
        """
        self._opened = opened
        # The SDK gives a reader around a socket; only the socket itself can also be written to.
        self._socket = getattr(opened, "_sock", opened)
        self._socket.settimeout(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Write to the standard input of the process.

        Raises:
            OSError: The connection is broken.
        """
        self._socket.sendall(data)

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Yield the output in pieces, each with its stream: 1 is standard output, 2 standard error.

        It ends with the connection: the process has ended, or its container was killed.

        Raises:
            OSError: The connection is broken, or nothing came in time.
        """
        while len(header := self._read(_HEADER.size)) == _HEADER.size:
            number, left = _HEADER.unpack(header)
            while left:
                piece = self._socket.recv(min(left, 1 << 16))
                if not piece:
                    return
                left -= len(piece)
                yield number, piece

    def close(self) -> None:
        """Disconnect. May be called twice."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        # The SDK's response holds the connection too, and would keep it open.
        response = getattr(self._opened, "_response", None)
        if response is not None:
            response.close()
        self._opened.close()
        self._socket.close()

    def _read(self, size: int) -> bytes:
        """Return exactly ``size`` bytes, or fewer at the end."""
        data = b""
        while len(data) < size and (piece := self._socket.recv(size - len(data))):
            data += piece
        return data


class ContainerGone(SandboxError):
    """The container died, and nobody asked it to."""


@dataclass(frozen=True)
class ContainerUsage:
    """What a container has used so far, including processes that have ended.

    Attributes:
        cpu_seconds: CPU time in seconds.
        processes: Number of processes and threads that are alive now.
        peak_memory_mb: Largest memory use in MiB; ``None`` if the kernel does not say.
        memory_kills: Number of processes that the kernel killed for lack of memory.
        refused_processes: Number of processes and threads that were refused at the limit; ``None``
            if the kernel does not say.
    """

    cpu_seconds: float = 0.0
    processes: int = 0
    peak_memory_mb: float | None = None
    memory_kills: int = 0
    refused_processes: int | None = None


def usage_from_counters(text: str) -> ContainerUsage:
    """Parse the monitor's answer: lines of a file's name and one line of that file.

    Raises:
        SandboxError: A counter is missing.
    """
    found = _counters(text)
    try:
        if "cpu.stat usage_usec" in found:
            cpu = found["cpu.stat usage_usec"] / 1e6
        else:
            cpu = found["cpuacct.usage"] / 1e9
        processes = found["pids.current"]
    except KeyError as error:
        raise SandboxError(f"the kernel has no counter {error} of a container") from error
    peak = found.get("memory.peak", found.get("memory.max_usage_in_bytes"))
    kills = found.get("memory.events oom_kill", found.get("memory.oom_control oom_kill", 0))
    refused = found.get("pids.events max")
    return ContainerUsage(cpu, processes, None if peak is None else peak / MIB, kills, refused)


def _counters(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in text.splitlines():
        *name, value = line.split()
        if value.isdigit():
            found[" ".join(name)] = int(value)
    return found


def usage_from_daemon(stats: Mapping[str, Any], text: str) -> ContainerUsage:
    """Return what the daemon says of a container's group, where the container itself sees none.

    The group holds the threads of the kernel that the container runs on, so the monitor counts the
    processes: that kernel shows all of them.

    Args:
        stats: The daemon's answer.
        text: The monitor's answer.

    Raises:
        SandboxError: A figure is missing.
    """
    try:
        cpu = int(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9
        processes = _counters(text)["visible"]
    except (KeyError, TypeError) as error:
        raise SandboxError(f"the daemon has no figure {error} of a container") from error
    memory = stats.get("memory_stats") or {}
    # With control groups v2 the daemon tells no peak.
    peak = memory.get("max_usage")
    return ContainerUsage(cpu, processes, None if peak is None else int(peak) / MIB)


class ContainerMonitor:
    """A connection to the monitor of one container. Connect before the container starts."""

    def __init__(self, api: APIClient, container: str, *, ask_daemon: bool = False) -> None:
        """Connect to standard input and output of the container's first process.

        Args:
            api: A connection to the daemon.
            container: Id of the container.
            ask_daemon: Whether the daemon knows what the container uses, and the monitor does not.
        """
        self._figures = partial(api.stats, container, stream=False, one_shot=True)
        self._ask_daemon = ask_daemon
        params = {"stdin": 1, "stdout": 1, "stream": 1}
        opened = api.attach_socket(container, params=params)
        self._stream = ContainerStream(opened, timeout=_ANSWER_SECONDS)
        self._pieces = self._stream.pieces()
        self._lock = threading.Lock()

    def usage(self) -> ContainerUsage:
        """Ask what the container has used.

        Raises:
            ContainerGone: The container is dead.
        """
        answer = b""
        try:
            with self._lock:
                self._stream.send(b"\n")
                for _, piece in self._pieces:
                    answer += piece
                    if answer.endswith(_END):
                        return self._usage(answer.removesuffix(_END).decode())
        except OSError as error:
            raise ContainerGone(f"the container does not answer: {error}") from error
        raise ContainerGone("the container has ended")

    def _usage(self, text: str) -> ContainerUsage:
        if not self._ask_daemon:
            return usage_from_counters(text)
        return usage_from_daemon(self._figures(), text)

    def close(self) -> None:
        """Disconnect. A container that still runs ends then."""
        self._stream.close()
