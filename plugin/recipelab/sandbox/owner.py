"""Tells which process something belongs to, and whether that process is dead for certain."""

from __future__ import annotations

import hashlib
import os
import socket
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

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
