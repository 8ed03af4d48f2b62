"""The GPUs of this machine: which there are, which are free, and what a command needs to use some.

NVIDIA's are named as ``nvidia-smi`` and CUDA name them, by number or ``GPU-...``. AMD's are named
by their place on the bus, ``AMD-0000:c1:00.0``, under which the kernel keeps all about them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipelab.core.errors import SandboxError

BUSY_MB = 1024
"""A GPU with more memory in use than this belongs to somebody else right now."""

TOOL = "nvidia-smi"
AMD_TOOL = "rocm-smi"

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Variable with which people and schedulers say which of NVIDIA's GPUs a process may use."""

AMD_VISIBLE = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""The same for AMD's; the first that is set counts."""

AMD = "AMD-"
"""What the id of one of AMD's GPUs begins with; its address on the bus follows."""

COMPUTE = Path("/dev/kfd")
"""Device that all of AMD's GPUs compute through."""

_RENDER = Path("/dev/dri")
_BUS = Path("/sys/bus/pci/devices")
_FIELDS = ("index", "uuid", "name", "memory.total", "memory.used")
_AMD_OPTIONS = ("--showbus", "--showproductname", "--showmeminfo", "vram", "--json")
_SECONDS = 20.0
_MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        index: Its number in ``nvidia-smi`` or ``rocm-smi``.
        uuid: Its id, which Docker and CUDA take too: CUDA may count in another order.
        name: Its model.
        memory_mb: Its memory in MiB.
        used_mb: How much of it is in use now, by any process.
    """

    index: str
    uuid: str
    name: str
    memory_mb: int
    used_mb: int


def list_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that this process may use, NVIDIA's first.

    Of NVIDIA's these are the ones that ``CUDA_VISIBLE_DEVICES`` names. Without the variable these
    are all that ``nvidia-smi`` lists, whose numbers it goes by. A part of a GPU (``MIG-...``)
    counts as a free GPU without a known memory. Of AMD's it is the same with
    ``ROCR_VISIBLE_DEVICES`` or ``HIP_VISIBLE_DEVICES``, and ``rocm-smi``.
    """
    answer = _ask()
    found = () if answer is None else tuple(_read(line) for line in answer.splitlines() if line)
    return (*_chosen(found, (VISIBLE,)), *_chosen(_amd_gpus(), AMD_VISIBLE))


def limiting_variables() -> str:
    """Return the variables that are set and say which GPUs may be used, with their values."""
    names = (VISIBLE, *AMD_VISIBLE)
    return ", ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)


def _chosen(found: Sequence[Gpu], variables: Sequence[str]) -> tuple[Gpu, ...]:
    named = next((os.environ[name] for name in variables if name in os.environ), None)
    if named is None or not found:
        return tuple(found)
    chosen: list[Gpu] = []
    for word in (word.strip() for word in named.split(",")):
        gpu = _named_gpu(word, found)
        # CUDA stops at the first that is not there, too.
        if gpu is None or gpu in chosen:
            break
        chosen.append(gpu)
    return tuple(chosen)


def _named_gpu(word: str, gpus: Sequence[Gpu]) -> Gpu | None:
    """Return the GPU that a word stands for: its number, or its uuid or the beginning of that."""
    if word.startswith("MIG-"):
        return Gpu(word, word, "part of a GPU", 0, 0)
    alike = [gpu for gpu in gpus if word.startswith("GPU-") and _id_of(gpu).startswith(word)]
    found = [gpu for gpu in gpus if gpu.index == word] or alike
    return found[0] if len(found) == 1 else None


def _id_of(gpu: Gpu) -> str:
    """Return the id that its vendor's libraries take."""
    return _unique_id(gpu.uuid) if gpu.uuid.startswith(AMD) else gpu.uuid


def gpu_fault(gpu: str) -> str | None:
    """Return why a GPU can no longer be used, or ``None`` if it answers or cannot be asked.

    A GPU that has fallen off the bus fails whatever ran on it. That is not the recipe's fault, but
    a recipe could print the same error; so the driver is asked, from outside.

    Args:
        gpu: Its index or uuid.
    """
    tool = AMD_TOOL if gpu.startswith(AMD) else TOOL
    if shutil.which(tool) is None:
        return None  # The Docker daemon may be on another machine.
    if tool == AMD_TOOL:
        answers = any(one.uuid == gpu for one in _amd_gpus())
    else:
        # A part of a GPU cannot be asked by its id.
        answers = bool(_ask() if gpu.startswith("MIG-") else _ask("--id", gpu))
    return None if answers else f"GPU {gpu} does not answer {tool}"


def _ask(*options: str) -> str | None:
    """Return what NVIDIA's tool prints, or ``None`` if it fails or takes too long."""
    wanted = (f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits")
    return _printed(TOOL, *wanted, *options)


def _printed(*command: str) -> str | None:
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.strip() if ended.returncode == 0 else None


def _read(line: str) -> Gpu:
    index, uuid, name, total, used = (text.strip() for text in line.split(","))
    # Some boards share the machine's memory and have no figure of their own.
    numbers = [int(text) if text.isdigit() else 0 for text in (total, used)]
    return Gpu(index, uuid, name, *numbers)


def _amd_gpus() -> tuple[Gpu, ...]:
    """Return what AMD's tool lists, by number; nothing if it fails or what it prints is odd."""
    answer = _printed(AMD_TOOL, *_AMD_OPTIONS)
    try:
        # Warnings may come before the JSON.
        cards = json.loads(answer[answer.index("{") :]) if answer else {}
        found = [_read_amd(name, facts) for name, facts in cards.items() if name[:4] == "card"]
    except (ValueError, KeyError, AttributeError, TypeError):
        return ()
    return tuple(sorted(found, key=lambda gpu: int(gpu.index)))


def _read_amd(name: str, facts: Mapping[str, Any]) -> Gpu:
    # Versions of the tool differ in capitals.
    known = {key.lower(): str(value).strip() for key, value in facts.items()}
    total, used = (int(known[f"vram total {what}memory (b)"]) // _MIB for what in ("", "used "))
    model = known.get("card series") or known.get("card model") or "AMD GPU"
    index = str(int(name.removeprefix("card")))
    return Gpu(index, f"{AMD}{known['pci bus'].lower()}", model, total, used)


def _unique_id(gpu: str) -> str:
    """Return the id by which AMD's runtime knows a GPU; empty if it has none."""
    with contextlib.suppress(OSError):
        word = (_BUS / gpu.removeprefix(AMD) / "unique_id").read_text("ascii").strip()
        return f"GPU-{word.removeprefix('0x')}"
    return ""


def is_amd(gpus: Sequence[str]) -> bool:
    """Return whether GPUs are AMD's.

    Args:
        gpus: Ids of GPUs.

    Raises:
        SandboxError: Some are, and some are not: no command can use both.
    """
    kinds = {gpu.startswith(AMD) for gpu in gpus}
    if len(kinds) > 1:
        raise SandboxError(f"a phase cannot use GPUs of two makers: {', '.join(gpus)}")
    return kinds == {True}


def amd_devices(gpus: Sequence[str]) -> list[Path]:
    """Return the device files of AMD's GPUs: the common one, and one of each.

    Raises:
        SandboxError: The driver shows none for one of them.
    """
    devices = [COMPUTE]
    for gpu in gpus:
        nodes = sorted((_BUS / gpu.removeprefix(AMD) / "drm").glob("renderD*"))
        if not nodes:
            raise SandboxError(f"GPU {gpu} has no device in {_RENDER}: the driver does not show it")
        devices.append(_RENDER / nodes[0].name)
    return devices


def amd_groups(devices: Sequence[Path]) -> list[str]:
    """Return the groups whose members may open device files, most often ``render`` and ``video``.

    Raises:
        SandboxError: A device is not there.
    """
    try:
        return sorted({str(device.stat().st_gid) for device in devices})
    except OSError as error:
        raise SandboxError(f"{error.filename} cannot be used: {error.strerror}") from error


def visible_amd(gpus: Sequence[str], *, alone: bool) -> dict[str, str]:
    """Return the variables that make AMD's GPUs visible, and no others.

    Args:
        gpus: Ids of the GPUs.
        alone: Whether the command has the device files of these alone, and so counts from 0.

    Raises:
        SandboxError: Others can be seen, and one has no id that tells it from them.
    """
    numbers = ",".join(str(number) for number in range(len(gpus)))
    # What is left by the lower layer is counted anew by the upper one.
    if alone:
        return {"ROCR_VISIBLE_DEVICES": numbers, "HIP_VISIBLE_DEVICES": numbers}
    ids = [_unique_id(gpu) for gpu in gpus]
    if not all(ids):
        raise SandboxError(f"GPU {gpus[ids.index('')]} has no unique_id to tell it from others")
    return {"ROCR_VISIBLE_DEVICES": ",".join(ids), "HIP_VISIBLE_DEVICES": numbers}
