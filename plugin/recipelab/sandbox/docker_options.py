"""How the container of one phase is made: what it may, and what it sees.

The first process of the container is a trusted one, the holder. The command runs beside it under
another user id, so that it cannot touch it. When the command has ended the container still lives,
so what it used can be read and its outputs fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recipelab.sandbox.base import OUTPUT_DIRECTORY, PhaseRequest
from recipelab.sandbox.docker_holder import HOLDER_COMMAND
from recipelab.sandbox.environment import MIB, clean_environment

PHASE_ROOT = "/trial"
OUTPUT_FOLDER = f"{PHASE_ROOT}/{OUTPUT_DIRECTORY}"
HOLDER_USER = "65533:65533"
COMMAND_ID = 65534
COMMAND_USER = f"{COMMAND_ID}:{COMMAND_ID}"
LABEL_PREFIX = "recipelab."
OWNER_LABEL = f"{LABEL_PREFIX}owner"
PHASE_LABEL = f"{LABEL_PREFIX}phase"

_OWN_PROCESSES = 3
"""Processes that are ours: Docker's init, the holder, and the shell above the command."""
RUN_COMMAND = ("sh", "-c", '"$@"; code=$?; kill -9 -1 2>/dev/null; exit $code', "sh")
"""What the command line is appended to.

The shell holds the output open until the command ends, even if that closes its own, and kills what
it left, which would hold the output open for longer. (``kill -1`` spares the shell itself and
whatever runs under another user id.)
"""

KILL_COMMAND = ("sh", "-c", "kill -9 -1")
"""Kills every process of the command; run under its user id."""

FETCH_COMMAND = ("tar", "-C", OUTPUT_FOLDER, "-cf", "-", ".")
"""Writes the outputs as an archive."""


def container_options(
    request: PhaseRequest,
    *,
    image: str,
    sources: list[tuple[Path, str]],
    owner: str,
    cores: int,
) -> dict[str, Any]:
    """Arguments of ``APIClient.create_container``, less the host configuration.

    Args:
        request: The phase.
        image: Name or id of the image.
        sources: Host paths with their targets below the phase root.
        owner: Identity of the process that owns the container.
        cores: Number of cores of the daemon's machine; Docker refuses a larger limit.
    """
    labels = {f"{LABEL_PREFIX}{key}": value for key, value in request.labels.items()}
    return {
        "image": image,
        "entrypoint": list(HOLDER_COMMAND),
        "command": [],
        "stdin_open": True,
        "user": HOLDER_USER,
        "working_dir": PHASE_ROOT,
        "environment": clean_environment(request, {"HOME": "/tmp", "TMPDIR": "/tmp"}),
        "labels": {**labels, OWNER_LABEL: owner, PHASE_LABEL: request.phase},
        "host_config": _host_config(request, sources, cores),
    }


def _host_config(
    request: PhaseRequest, sources: list[tuple[Path, str]], cores: int
) -> dict[str, Any]:
    """The limits and mounts, in the words of Docker's own API."""
    limits = request.limits
    memory = limits.memory_mb * MIB
    # Files in these are memory of the container and count as such.
    output = f"rw,noexec,nosuid,nodev,size={limits.output_mb}m,mode=0700,{_owned()}"
    # Compilers of kernels load what they build from here, so it may hold code.
    scratch = f"rw,exec,nosuid,nodev,size={limits.memory_mb}m,mode=1777"
    pinned = {"CpusetCpus": ",".join(map(str, limits.cpu_set))} if limits.cpu_set else {}
    return {
        **pinned,
        "Init": True,
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "IpcMode": "private",
        "ShmSize": memory,
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": int(min(limits.cpus, cores) * 1e9),
        "PidsLimit": limits.pids + _OWN_PROCESSES,
        "LogConfig": {"Type": "none"},
        "Tmpfs": {"/tmp": scratch, OUTPUT_FOLDER: output},
        "Mounts": [
            {
                "Type": "bind",
                "Source": str(source),
                "Target": f"{PHASE_ROOT}/{target}",
                "ReadOnly": True,
            }
            for source, target in sources
        ],
    }


def _owned() -> str:
    return f"uid={COMMAND_ID},gid={COMMAND_ID}"
