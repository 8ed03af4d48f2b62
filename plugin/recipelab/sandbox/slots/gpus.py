"""The GPUs of this machine, as NVIDIA's own tool tells of them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

TOOL = "nvidia-smi"
_FIELDS = ("index", "uuid", "name", "memory.total", "memory.used")
_SECONDS = 20.0


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        index: Its number, as Docker and CUDA take it.
        uuid: Its id, which stays when numbers change.
        name: Its model.
        memory_mb: Its memory in MiB.
        used_mb: How much of that is in use now, by anybody.
    """

    index: str
    uuid: str
    name: str
    memory_mb: int
    used_mb: int


def list_gpus() -> tuple[Gpu, ...]:
    """The GPUs that this machine has; none where the tool is not there or finds none."""
    answer = _ask()
    return () if answer is None else tuple(_read(line) for line in answer.splitlines() if line)


def gpu_fault(gpu: str) -> str | None:
    """Why a GPU cannot be used any more, or ``None`` if it answers, or nothing can be told.

    A GPU that has fallen off the bus fails whatever ran on it. That is no fault of the recipe, but
    a recipe could print the same words; so the driver is asked, from outside.

    Args:
        gpu: Its index or uuid.
    """
    if shutil.which(TOOL) is None:
        return None  # The daemon may be another machine's.
    answer = _ask("--id", gpu)
    return f"GPU {gpu} does not answer {TOOL}" if not answer else None


def _ask(*options: str) -> str | None:
    """What the tool answers; ``None`` if it fails or takes too long."""
    command = [TOOL, f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits", *options]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.strip() if ended.returncode == 0 else None


def _read(line: str) -> Gpu:
    index, uuid, name, total, used = (word.strip() for word in line.split(","))
    # Some boards share the machine's memory and tell no figure of their own.
    numbers = [int(word) if word.isdigit() else 0 for word in (total, used)]
    return Gpu(index, uuid, name, *numbers)
