"""Tells which process something belongs to, and whether that process is dead for certain."""

from __future__ import annotations

import hashlib
import os
import socket
from functools import lru_cache
from pathlib import Path


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
    """Start time of a process in clock ticks since boot; ``0`` where that cannot be told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return "0"
    # The second field is the program's name in brackets and may itself hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return fields[19]


def owner_identity() -> str:
    """Identity of this process, as ``<domain>-<pid>-<start time>``."""
    return f"{_domain()}-{os.getpid()}-{_started(os.getpid())}"


def is_dead(identity: str) -> bool:
    """Whether the process behind an identity is dead for certain.

    A process of another machine or process namespace cannot be judged from here, so it counts as
    alive. A process id that was given to another process since is told by the start time.
    """
    domain, _, rest = identity.partition("-")
    pid_text, _, started = rest.partition("-")
    if domain != _domain() or not pid_text.isdigit():
        return False
    pid = int(pid_text)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return _started(pid) != started
