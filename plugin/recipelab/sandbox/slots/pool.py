"""Slots: the GPUs or sets of cores of this machine, each for one piece of work at a time."""

from __future__ import annotations

import asyncio
import fcntl
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from recipelab.errors import SandboxError
from recipelab.log import logger

_log = logger(__name__)

_LOOK_SECONDS = 0.1
"""How often a slot is looked at that another process has leased."""

TELL_SECONDS = 3.0
"""How long a wait for another process is before people are told why nothing runs."""


@dataclass(frozen=True)
class Slot:
    """Where one phase may run.

    Attributes:
        name: Name of what is leased, as ``gpu-0`` or ``cpu-2-3``; empty where nothing is.
        cores: Numbers of the only cores; ``None`` for any.
        gpus: Ids of the only GPUs.
        devices: Names of the devices in it, if there are several: each is leased, since campaigns
            may cut the same machine into slots of different widths.
    """

    name: str = ""
    cores: tuple[int, ...] | None = None
    gpus: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    @property
    def leases(self) -> tuple[str, ...]:
        """Names of what is leased, in the order in which everybody takes them."""
        return tuple(sorted(self.devices)) or ((self.name,) if self.name else ())


ANYWHERE = Slot()
"""Leases nothing: for work that needs no place of its own."""


class SlotPool:
    """Leases slots. A slot with a name has one holder at a time, over all processes of a user.

    The lease of a named slot is a file lock, so it ends with the process that holds it, however
    that dies. Within a process, who waited longest comes first.

    Args:
        slots: The slots; several without a name may be given.
        width: How many are held at the same time; ``None`` for all. If there are more slots than
            that, whichever no other process holds are taken.
        folder: Where the lock files lie; by default one of this user's own, for this machine.
        shared: Whether other processes may use the same slots at the same time.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        *,
        width: int | None = None,
        folder: Path | None = None,
        shared: bool = False,
    ) -> None:
        self._folder = folder or lock_folder()
        self._shared = shared
        self._retired: dict[str, str] = {}
        self._all = tuple(slots)
        self._free: list[Slot] = list(slots)
        self._most = len(slots) if width is None else width
        self._held = 0
        self._told = False
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots that are not retired."""
        return tuple(slot for slot in self._all if slot.name not in self._retired)

    @property
    def width(self) -> int:
        """How many slots can be held at the same time."""
        return min(self._most, len(self.slots))

    def retire(self, slot: Slot, reason: str) -> None:
        """Takes a slot out of use, as when its GPU no longer answers. Its lease goes on.

        Args:
            slot: A named slot of this pool.
            reason: Why, for whoever asks for a slot when none is left.
        """
        self._retired[slot.name] = reason
        self._free = [other for other in self._free if other.name != slot.name]
        self._freed.set()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Slot]:
        """Waits for a slot and holds it.

        Raises:
            SandboxError: Every slot has been retired.
        """
        async with self._turn:
            slot, locks = await self._taken()
        try:
            yield slot
        finally:
            _release(locks)
            self._held -= 1
            if slot.name not in self._retired:
                # In front: the next piece of work stays where the last one was.
                self._free.insert(0, slot)
            self._freed.set()

    async def _taken(self) -> tuple[Slot, list[int]]:
        began = time.monotonic()
        while True:
            if not self.slots:
                reasons = "; ".join(self._retired.values()) or "there are none"
                raise SandboxError(f"no slot is left: {reasons}")
            self._freed.clear()
            elsewhere = self._free if self._held < self._most else []
            for slot in elsewhere:
                locks = self._locked(slot)
                if locks is not None:
                    self._free.remove(slot)
                    self._held += 1
                    return slot, locks
            if elsewhere and time.monotonic() - began > TELL_SECONDS:
                self._tell(elsewhere)
            # Another process tells nobody when it is done, so its slots are looked at again.
            await self._wait(_LOOK_SECONDS if elsewhere else None)

    def _tell(self, elsewhere: Sequence[Slot]) -> None:
        """Says once why nothing runs: a second campaign on a small machine looks like a hang."""
        if self._told:
            return
        self._told = True
        _log.warning(
            "waiting for a slot that another campaign holds (with --share-devices none waits)",
            slots=", ".join(slot.name for slot in elsewhere),
        )

    async def _wait(self, seconds: float | None) -> None:
        try:
            await asyncio.wait_for(self._freed.wait(), seconds)
        except TimeoutError:
            return

    def _locked(self, slot: Slot) -> list[int] | None:
        """Takes the locks of a slot.

        Returns:
            Their file descriptors, or ``None`` if another process has one of them.
        """
        if self._shared or not slot.leases:
            return []
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
    """The folder with the lock files of this user on this machine."""
    # Not the cache: that may be a home folder that several machines share.
    return Path(tempfile.gettempdir()) / f"recipelab-slots-{os.getuid()}"


def _release(locks: Sequence[int]) -> None:
    for lock in locks:
        os.close(lock)


def is_leased(slot: Slot, folder: Path | None = None) -> bool:
    """Whether some process holds a named slot, or a device of it, now."""
    return any(_is_locked((folder or lock_folder()) / f"{name}.lock") for name in slot.leases)


def _is_locked(path: Path) -> bool:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
