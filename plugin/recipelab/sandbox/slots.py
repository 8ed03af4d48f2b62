"""Slots: the GPUs and cores of this machine, leased to one phase at a time."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from recipelab.core.errors import RecipelabError, SandboxError, SandboxUnavailable
from recipelab.core.logs import logger
from recipelab.sandbox.gpus import BUSY_MB, limiting_variables, list_gpus
from recipelab.sandbox.waiting import Waiter, WaitingList

_log = logger(__name__)

_RETRY_SECONDS = 0.1
"""How often to try a slot that another process has leased."""

TELL_SECONDS = 3.0
"""How long to wait for another process before people are told why nothing runs."""


@dataclass(frozen=True)
class Slot:
    """Devices that one phase may use.

    Attributes:
        name: Name of the lease, as ``gpu-0`` or ``cpu-2-3``; empty if nothing is leased.
        cores: Numbers of the only cores; ``None`` for any.
        gpus: Ids of the only GPUs.
        devices: Names of the devices, if there are several: each is leased, since campaigns may
            divide the same machine into slots of different widths.
        node: Name of the machine that it belongs to; empty for this one.
    """

    name: str = ""
    cores: tuple[int, ...] | None = None
    gpus: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    node: str = ""

    @property
    def leases(self) -> tuple[str, ...]:
        """The names to lease, in an order that is the same for all processes."""
        return tuple(sorted(self.devices)) or ((self.name,) if self.name else ())


ANYWHERE = Slot()
"""Leases nothing: for work that needs no device of its own."""


class SlotPool:
    """Leases slots. A slot with a name is held once at a time, over all processes of a user.

    The lease of a named slot is a file lock, so it ends with the process that holds it, however
    that dies. Within a process, leases are given in the order in which they were asked for. Where
    others wait too, a freed slot is for the pool that holds fewest, and then for the one that waits
    longest (:class:`recipelab.sandbox.waiting.WaitingList`).

    Attributes:
        tell: Called once, with why nothing runs; ``None`` logs it as a warning.

    Args:
        slots: The slots; several without a name may be given.
        width: How many to hold at the same time; ``None`` for all. If there are more slots than
            that, those that no other process holds are taken.
        folder: Folder of the lock files; by default one of this user on this machine.
        shared: Whether other processes may use the same slots at the same time.
        grows: Whether slots may still come (:meth:`add`): a lease waits then where
            none is left, and does not fail.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        *,
        width: int | None = None,
        folder: Path | None = None,
        shared: bool = False,
        grows: bool = False,
    ) -> None:
        self._folder = folder or lock_folder()
        self._shared = shared
        self.grows = grows
        self._retired: dict[str, str] = {}
        self._all = tuple(slots)
        self._free: list[Slot] = list(slots)
        self._most = width
        self._closed = "there are none"
        self._held = 0
        self._leased: list[str] = []
        self._warned = False
        self._waiting = WaitingList(self._folder)
        self.tell: Callable[[str], None] | None = None
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots that are not retired."""
        if not self._retired:
            return self._all
        return tuple(slot for slot in self._all if slot.name not in self._retired)

    @property
    def width(self) -> int:
        """How many slots can be held at the same time."""
        return len(self.slots) if self._most is None else min(self._most, len(self.slots))

    @property
    def _room(self) -> int:
        return len(self._all) if self._most is None else self._most

    def add(self, slot: Slot) -> None:
        """Take a new slot into use, or one that was retired.

        Args:
            slot: A named slot; one of the same name has to be retired.
        """
        if slot.name in {other.name for other in self.slots}:
            raise ValueError(f"there is a slot {slot.name} already")
        self._retired.pop(slot.name, None)
        self._all = (*(other for other in self._all if other.name != slot.name), slot)
        if slot.name not in self._leased:
            self._free.append(slot)
        self._freed.set()

    def close(self, reason: str) -> None:
        """Note that no slot will come any more: where none is left, leases fail from now on.

        Args:
            reason: Why, for the error.
        """
        self.grows = False
        self._closed = reason
        self._freed.set()

    def retire(self, slot: Slot, reason: str) -> None:
        """Take a slot out of use, as when its GPU no longer answers. Its lease continues.

        Args:
            slot: A named slot of this pool.
            reason: Why, for the error when no slot is left.
        """
        self._retired[slot.name] = reason
        self._free = [other for other in self._free if other.name != slot.name]
        self._freed.set()

    def in_use(self, slot: Slot) -> bool:
        """Return whether a slot is leased right now, also one that was retired meanwhile."""
        return slot.name in self._leased

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Slot]:
        """Wait for a slot and hold it.

        Raises:
            SandboxError: Every slot has been retired.
        """
        async with self._turn:
            slot, locks = await self._acquire()
        self._leased.append(slot.name)
        try:
            yield slot
        finally:
            _release(locks)
            self._held -= 1
            self._leased.remove(slot.name)
            if slot.name not in self._retired:
                # In front: the next phase runs where the last one ran. One that has left and come
                # back meanwhile may be another.
                self._free.insert(0, self._now(slot))
            self._freed.set()

    def _now(self, slot: Slot) -> Slot:
        """Return what stands for a slot's name by now."""
        return next((other for other in self._all if slot.name == other.name), slot)

    async def _acquire(self) -> tuple[Slot, list[int]]:
        start = time.monotonic()
        try:
            while True:
                if not self.slots and not self.grows:
                    reasons = "; ".join(self._retired.values()) or self._closed
                    raise SandboxError(f"no slot is left: {reasons}")
                self._freed.clear()
                candidates = self._free if self._held < self.width else []
                taken = self._take(candidates, start)
                if taken is not None:
                    return taken
                if candidates and time.monotonic() - start > TELL_SECONDS:
                    self._warn(candidates)
                # Another process does not say when it is done, so its slots are tried again.
                with contextlib.suppress(TimeoutError):
                    seconds = _RETRY_SECONDS if candidates else None
                    await asyncio.wait_for(self._freed.wait(), seconds)
        finally:
            self._waiting.leave()

    def _take(self, candidates: Sequence[Slot], start: float) -> tuple[Slot, list[int]] | None:
        """Take the first slot that is free and nobody else's turn; ``None`` if there is none.

        Args:
            candidates: The slots that would do.
            start: When the waiting began.
        """
        wanted = frozenset(name for slot in candidates for name in slot.leases)
        me = Waiter(self._held, start, wanted)
        others = self._waiting.others() if wanted and not self._shared else []
        for slot in candidates:
            if any(other.is_before(me, slot.leases) for other in others):
                continue
            locks = self._lock(slot)
            if locks is not None:
                self._free.remove(slot)
                self._held += 1
                return slot, locks
        if wanted and not self._shared:
            _make_own(self._folder)
            self._waiting.join(me)
        else:
            self._waiting.leave()
        return None

    def _warn(self, slots: Sequence[Slot]) -> None:
        """Say once why nothing runs: a second campaign on a small machine looks like a hang."""
        if self._warned:
            return
        self._warned = True
        names = ", ".join(slot.name for slot in slots)
        text = (
            f"waiting for a slot that another campaign holds, {names} (--share-devices lifts that)"
        )
        (self.tell or _log.warning)(text)

    def _lock(self, slot: Slot) -> list[int] | None:
        """Take the locks of a slot.

        Returns:
            Their file descriptors, or ``None`` if another process holds one of them.
        """
        if self._shared or not slot.leases:
            return []
        _make_own(self._folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        locks: list[int] = []
        for name in slot.leases:
            lock = os.open(self._folder / f"{name}.lock", flags, 0o600)
            locks.append(lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _release(locks)
                return None
        return locks


def lock_folder() -> Path:
    """Return the folder of the lock files of this user on this machine."""
    # Not the cache folder: it may be in a home that several machines share.
    return Path(tempfile.gettempdir()) / f"recipelab-slots-{os.getuid()}"


def _make_own(folder: Path) -> None:
    """Make the folder of lock files, or see that it is this user's alone.

    Its name is known, and whoever makes it first in a folder that all may write to could hold every
    slot for ever.

    Raises:
        SandboxUnavailable: It belongs to another user, who may change it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise SandboxUnavailable(
            f"{folder} is not a folder that this user alone may change, so its locks mean nothing; "
            "have it removed, or set TMPDIR to a folder of your own"
        )


def _release(locks: Sequence[int]) -> None:
    for lock in locks:
        os.close(lock)


def machine_slots(*, cpus: float, gpus: int) -> list[Slot]:
    """Return all slots of this machine for phases of one size.

    Args:
        cpus: Number of cores of a phase.
        gpus: Number of GPUs of a phase.

    Raises:
        RecipelabError: The machine has no GPU, or too few that are free.
    """
    return _gpu_slots(gpus) if gpus else _cpu_slots(math.ceil(cpus))


MOST_SHARED = 16
"""Slots that may share one device."""


def machine_pool(
    *, cpus: float, gpus: int, wanted: int | None, most: int, share: bool = False
) -> SlotPool:
    """Return a pool that leases slots of this machine.

    If fewer slots are wanted than there are, campaigns do not get in each other's way: each takes
    slots that no other holds.

    Args:
        cpus: Number of cores of a phase.
        gpus: Number of GPUs of a phase.
        wanted: Number of slots; ``None`` for as many as have a device of their own.
        most: Largest useful number of slots if no number is wanted.
        share: Whether there may be more slots than devices, which then share them.

    Raises:
        RecipelabError: The machine has no GPU, or fewer devices than slots are wanted.
    """
    slots = machine_slots(cpus=cpus, gpus=gpus)
    if wanted is None:
        return SlotPool(slots, width=min(most, len(slots)), shared=share)
    if wanted > len(slots) and not share:
        what = _gpu_text(gpus) if gpus else f"sets of {math.ceil(cpus)} cores"
        raise RecipelabError(
            f"{wanted} slots do not fit on this machine, which has {len(slots)} {what}; "
            f"valid: 1 to {len(slots)}, or more with --share-devices"
        )
    if wanted > (limit := MOST_SHARED * len(slots)):
        raise RecipelabError(
            f"{wanted} slots are more than this machine can do at once; valid with "
            f"--share-devices: 1 to {limit}"
        )
    devices = [slots[number % len(slots)] for number in range(max(wanted, len(slots)))]
    return SlotPool(devices, width=wanted, shared=share)


def _gpu_text(gpus: int) -> str:
    return "free GPUs" if gpus == 1 else f"sets of {gpus} free GPUs"


def _gpu_slots(width: int) -> list[Slot]:
    found = list_gpus()
    free = [gpu for gpu in found if gpu.used_mb <= BUSY_MB]
    if not free:
        named = limiting_variables()
        limited = f" that {named} leaves" if named else ""
        none = f"nvidia-smi finds none{limited}, nor does rocm-smi"
        why = f"all {len(found)} are in use by others" if found else none
        raise RecipelabError(f"this pack's sandbox needs a GPU, and no GPU is free: {why}")
    if len(free) < width:
        have = f"{len(free)} of {len(found)} are free"
        raise RecipelabError(f"this pack's profile needs {width} GPUs at once, and {have}")
    sets = [free[start : start + width] for start in range(0, len(free) - width + 1, width)]
    return [
        Slot(
            f"gpu-{'-'.join(gpu.uuid for gpu in one)}",
            gpus=tuple(gpu.uuid for gpu in one),
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
