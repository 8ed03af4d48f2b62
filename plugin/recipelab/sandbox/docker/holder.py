"""The trusted process of a container: it keeps it alive and tells what it has used.

Docker's own statistics take up to a second each (a daemon of 20.10 waits for its next collection),
and starting a process inside costs 50 ms. The holder is there anyway, so it answers instead: for
each line that it reads it prints the kernel's counters of the container's control group. It runs
under a user id of its own, so the command can neither stop it nor speak in its place.

Its standard input ends when the connection does. So a container does not outlive the process that
asked for it, even if that is killed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from docker import APIClient

from recipelab.errors import SandboxError
from recipelab.sandbox.docker.stream import ContainerStream
from recipelab.sandbox.environment import MIB

_FILES = (
    "cpu.stat pids.current pids.events memory.peak memory.events"
    " cpuacct/cpuacct.usage pids/pids.current pids/pids.events"
    " memory/memory.max_usage_in_bytes memory/memory.oom_control"
)
"""Counters of cgroups v2, then of v1; each machine has some of them."""

# Only what the shell does itself: a child of it would be counted as a process of the command.
HOLDER_COMMAND = (
    "sh",
    "-c",
    f"cd /sys/fs/cgroup || exit; while read -r _; do for file in {_FILES}; do"
    ' [ -r "$file" ] && while read -r line; do echo "${file##*/} $line"; done <"$file";'
    " done; echo end; done",
)

_ANSWER_SECONDS = 10.0
_END = b"end\n"


class ContainerGone(SandboxError):
    """The container died, and not because it was told to."""


@dataclass(frozen=True)
class Usage:
    """What a whole container has used so far, processes that have ended included.

    Attributes:
        cpu_seconds: CPU time in seconds.
        processes: Number of processes and threads that live now.
        peak_memory_mb: Largest memory use in MiB; ``None`` where the kernel does not tell.
        memory_kills: Number of processes that the kernel killed for want of memory.
        refused_processes: Number of processes and threads that were refused at the limit; ``None``
            where the kernel does not tell.
    """

    cpu_seconds: float = 0.0
    processes: int = 0
    peak_memory_mb: float | None = None
    memory_kills: int = 0
    refused_processes: int | None = None


def usage_from_counters(text: str) -> Usage:
    """Reads the holder's answer: lines of a file's name and one line of that file.

    Raises:
        SandboxError: A counter is missing.
    """
    found: dict[str, int] = {}
    for line in text.splitlines():
        *name, value = line.split()
        if value.isdigit():
            found[" ".join(name)] = int(value)
    try:
        if "cpu.stat usage_usec" in found:
            cpu = found["cpu.stat usage_usec"] / 1e6
        else:
            cpu = found["cpuacct.usage"] / 1e9
        processes = found["pids.current"]
    except KeyError as error:
        raise SandboxError(f"the kernel does not tell {error} of a container") from error
    peak = found.get("memory.peak", found.get("memory.max_usage_in_bytes"))
    kills = found.get("memory.events oom_kill", found.get("memory.oom_control oom_kill", 0))
    refused = found.get("pids.events max")
    return Usage(cpu, processes, None if peak is None else peak / MIB, kills, refused)


class Holder:
    """A connection to the holder of one container. Connect before the container starts."""

    def __init__(self, api: APIClient, container: str) -> None:
        """Connects to standard input and output of the container's first process."""
        params = {"stdin": 1, "stdout": 1, "stream": 1}
        opened = api.attach_socket(container, params=params)
        self._stream = ContainerStream(opened, timeout=_ANSWER_SECONDS)
        self._pieces = self._stream.pieces()
        self._lock = threading.Lock()

    def usage(self) -> Usage:
        """Asks for what the container has used.

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
                        return usage_from_counters(answer.removesuffix(_END).decode())
        except OSError as error:
            raise ContainerGone(f"the container does not answer: {error}") from error
        raise ContainerGone("the container has ended")

    def close(self) -> None:
        """Disconnects. A container that still runs ends then."""
        self._stream.close()
