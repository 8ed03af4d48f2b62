"""Reads the machine: which slots it has for a pack."""

from __future__ import annotations

import math
import os

from recipelab.errors import RecipelabError
from recipelab.sandbox.slots.gpus import list_gpus
from recipelab.sandbox.slots.pool import Slot, SlotPool

BUSY_MB = 1024
"""A GPU with more memory in use than this belongs to somebody else right now."""


def machine_slots(*, cpus: float, gpus: int) -> list[Slot]:
    """Every slot that the machine has for phases of one size.

    Args:
        cpus: Cores that a phase has.
        gpus: How many GPUs a phase needs for itself.

    Raises:
        RecipelabError: The machine has no GPU, or too few that are free.
    """
    return _gpu_slots(gpus) if gpus else _cpu_slots(math.ceil(cpus))


def machine_pool(
    *, cpus: float, gpus: int, wanted: int | None, most: int, share: bool = False
) -> SlotPool:
    """Leases the slots of this machine, so many at a time.

    Where fewer are wanted than there are, campaigns get out of each other's way: each takes those
    that no other holds.

    Args:
        cpus: Cores that a phase has.
        gpus: How many GPUs a phase needs for itself.
        wanted: How many slots; ``None`` takes as many as have a device of their own.
        most: How many are of use at most; it bounds only what is taken without being wanted.
        share: Whether more slots than devices may be had, which then share.

    Raises:
        RecipelabError: The machine has no GPU, or fewer devices than slots are wanted.
    """
    slots = machine_slots(cpus=cpus, gpus=gpus)
    if wanted is None:
        return SlotPool(slots, width=min(most, len(slots)), shared=share)
    if wanted > len(slots) and not share:
        what = _gpu_words(gpus) if gpus else f"sets of {math.ceil(cpus)} cores"
        raise RecipelabError(
            f"{wanted} slots do not fit on this machine, which has {len(slots)} {what}; "
            f"valid: 1 to {len(slots)}, or more with --share-devices"
        )
    devices = [slots[number % len(slots)] for number in range(max(wanted, len(slots)))]
    return SlotPool(devices, width=wanted, shared=share)


def _gpu_words(gpus: int) -> str:
    return "free GPUs" if gpus == 1 else f"sets of {gpus} free GPUs"


def _gpu_slots(width: int) -> list[Slot]:
    found = list_gpus()
    free = [gpu for gpu in found if gpu.used_mb <= BUSY_MB]
    if not free:
        why = f"all {len(found)} are in use by others" if found else "nvidia-smi finds none"
        raise RecipelabError(f"this pack's sandbox needs a GPU, and no GPU is free: {why}")
    if len(free) < width:
        have = f"{len(free)} of {len(found)} are free"
        raise RecipelabError(f"this pack's profile needs {width} GPUs at once, and {have}")
    sets = [free[start : start + width] for start in range(0, len(free) - width + 1, width)]
    return [
        Slot(
            f"gpu-{'-'.join(gpu.uuid for gpu in one)}",
            gpus=tuple(gpu.index for gpu in one),
            devices=tuple(f"gpu-{gpu.uuid}" for gpu in one) if width > 1 else (),
        )
        for one in sets
    ]


def _cpu_slots(width: int) -> list[Slot]:
    cores = _cores()
    sets = [tuple(cores[i : i + width]) for i in range(0, len(cores) - width + 1, width)]
    # A machine with fewer cores than a phase may use still has one slot: all of it.
    return [
        Slot(
            f"cpu-{'-'.join(map(str, one))}",
            one,
            devices=tuple(f"cpu-{core}" for core in one) if len(one) > 1 else (),
        )
        for one in sets or [tuple(cores)]
    ]


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
