"""What the container of a sandbox has beyond the limits of a phase, from ``sandbox.toml``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
"""User and group id of a command where a profile names no other."""


@dataclass(frozen=True)
class ContainerProfile:
    """Properties of a container; the table ``[container]`` of a ``sandbox.toml``.

    Attributes:
        user: User and group id of the command; never root's.
        gpu: Whether recipes need a GPU: each phase then gets the GPUs of its slot.
        shm_mb: Size of ``/dev/shm`` in MiB; ``None`` for as much as the memory limit.
        seccomp: A seccomp profile in Docker's JSON; ``None`` for Docker's own.
        environment: Names of variables of the host that are passed on, if they are set there.
    """

    user: int = NOBODY
    gpu: bool = False
    shm_mb: int | None = None
    seccomp: Path | None = None
    environment: tuple[str, ...] = ()
