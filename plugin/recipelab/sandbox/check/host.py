"""What a check needs of the host: something to be reached, and a look at what is left running."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CANARY = "RECIPELAB_CHECK_CANARY"
"""A variable of the host that no phase may see."""

_DOCUMENTATION_ADDRESS = ("192.0.2.1", 9)


@dataclass(frozen=True)
class Reachable:
    """Where a program without isolation could reach this process.

    Attributes:
        addresses: Addresses of the host.
        port: A port that is listened on at each of them.
        abstract: Name of an abstract socket; empty where the system has none.
    """

    addresses: tuple[str, ...]
    port: int
    abstract: str


@contextlib.contextmanager
def listening() -> Iterator[Reachable]:
    """Listens at all addresses of the host; whoever connects is not answered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("0.0.0.0", 0)))
        abstract = ""
        if sys.platform.startswith("linux"):
            abstract = f"recipelab-check-{secrets.token_hex(8)}"
            named = stack.enter_context(socket.socket(socket.AF_UNIX))
            named.bind(f"\0{abstract}")
            named.listen()
        yield Reachable(_addresses(), listener.getsockname()[1], abstract)


def _addresses() -> tuple[str, ...]:
    """The loopback address, and the one that leads out, where there is one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            # Nothing is sent: this only chooses a route.
            asked.connect(_DOCUMENTATION_ADDRESS)
        except OSError:
            return ("127.0.0.1",)
        return ("127.0.0.1", str(asked.getsockname()[0]))


@contextlib.contextmanager
def canary() -> Iterator[None]:
    """Sets a variable of this process that no phase may see."""
    os.environ[CANARY] = "sings"
    try:
        yield
    finally:
        del os.environ[CANARY]


def namespaces() -> dict[str, str]:
    """The namespaces of this process; none where the system has no such thing."""
    try:
        return {path.name: os.readlink(path) for path in Path("/proc/self/ns").iterdir()}
    except OSError:
        return {}


def session() -> int:
    """The process session of this process."""
    return os.getsid(0)


def running_with(marker: str) -> int:
    """Number of processes of this machine, in containers too, with a marker in their command."""
    if Path("/proc/self/cmdline").exists():
        commands = [_command(path) for path in Path("/proc").glob("[0-9]*")]
    else:
        listed = subprocess.run(["ps", "-axww", "-o", "command"], capture_output=True, check=True)
        commands = listed.stdout.splitlines()
    return sum(marker.encode() in command for command in commands)


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""  # It ended while we looked, or belongs to a user whose processes are hidden.
