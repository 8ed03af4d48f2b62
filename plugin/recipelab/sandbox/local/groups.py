"""Control groups that count the CPU time of the local sandbox's commands.

The kernel adds the CPU time of a process to that of its parent when the parent waits for it. Of a
parent that ignores ``SIGCHLD`` it adds nothing, so the processes of a command can use time that is
in no process's account. A control group counts all of them. Making one takes the right to write to
the folder of this process's own group: root has it, and whoever systemd has delegated it to, as in
most desktop sessions. Elsewhere the launcher samples (``launcher_usage.py``).
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from recipelab.sandbox.processes import is_dead, owner_identity

_VERSION_1, _VERSION_2 = "cpuacct.usage", "cpu.stat"
"""Files that hold the CPU time of a group, by the version of control groups."""

_ENTRANCES = {_VERSION_1: "tasks", _VERSION_2: "cgroup.procs"}
"""Files that processes join by. A process with one thread may use the first, which takes no lock of
the whole kernel (some 20 ms)."""

_OWNED = re.compile(r"recipelab-(?P<owner>[0-9a-f]{10}-\d+-\d+)-[^-]+")
_REMOVALS, _REMOVAL_SECONDS = 50, 0.02


class PhaseGroup:
    """The control group of one phase. Use it as a context manager, which removes it at the end.

    Args:
        folder: Its folder, which is there.
        usage: Name of the file that holds its CPU time.

    Attributes:
        folder: Its folder.
        entrance: An open file; a process that writes ``0`` to it joins with all that it starts.

    Raises:
        OSError: Processes may not be moved into it.
    """

    def __init__(self, folder: Path, usage: str) -> None:
        self.folder = folder
        self._usage = folder / usage
        self.entrance = os.open(folder / _ENTRANCES[usage], os.O_WRONLY)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove it; its processes have ended."""
        os.close(self.entrance)
        for _ in range(_REMOVALS):
            # A process that was just killed needs a moment to be gone. What stays is reaped later.
            with contextlib.suppress(OSError):
                self.folder.rmdir()
                return
            time.sleep(_REMOVAL_SECONDS)

    def cpu_seconds(self) -> float:
        """Return the CPU time of all processes that were ever in it, in seconds."""
        text = self._usage.read_text()
        if self._usage.name == _VERSION_1:
            return int(text) / 1e9
        return int(text.split("usage_usec", 1)[1].split(maxsplit=1)[0]) / 1e6


@dataclass(frozen=True)
class ControlGroups:
    """A place where this process can make control groups.

    Attributes:
        folder: The group of this process in one hierarchy.
        usage: Name of the file that holds the CPU time of a group there.
    """

    folder: Path
    usage: str

    @classmethod
    def find(cls) -> ControlGroups | None:
        """Return a place where a process could be moved into a new group and was counted there."""
        return next((place for place in known_places() if place.works()), None)

    def new(self) -> PhaseGroup:
        """Make a group.

        Raises:
            OSError: The system refuses it.
        """
        folder = Path(tempfile.mkdtemp(prefix=f"recipelab-{owner_identity()}-", dir=self.folder))
        try:
            return PhaseGroup(folder, self.usage)
        except OSError:
            folder.rmdir()
            raise

    def reap(self) -> None:
        """Remove the groups of dead processes."""
        for path in self.folder.glob("recipelab-*"):
            name = _OWNED.fullmatch(path.name)
            if name is not None and is_dead(name["owner"]):
                with contextlib.suppress(OSError):
                    path.rmdir()

    def works(self) -> bool:
        """Return whether a process can be moved into a new group, and is counted there."""
        try:
            with self.new() as group:
                command = ("sh", "-c", "read word")
                with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
                    try:
                        os.write(group.entrance, str(process.pid).encode())
                    finally:
                        process.communicate(b"go\n")
                return group.cpu_seconds() > 0.0
        except (OSError, ValueError, IndexError):
            return False


def known_places() -> Iterator[ControlGroups]:
    """Yield the groups of this process that may count CPU time; those of version 1 come first."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        memberships = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return  # Only Linux has them.
    paths: dict[str, str] = {}
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    for kind, controller, usage in (("cgroup", "cpuacct", _VERSION_1), ("cgroup2", "", _VERSION_2)):
        if controller not in paths:
            continue
        for line in mounts:
            mount, _, rest = line.partition(" - ")
            root, point = mount.split()[3:5]
            found, _, options = rest.split(maxsplit=2)
            named = not controller or controller in options.replace(" ", ",").split(",")
            if found == kind and named:
                yield ControlGroups(Path(point, _below(paths[controller], root)), usage)


def _below(path: str, root: str) -> str:
    """Return the path of a group below the root of a mount, without a slash at its head."""
    return path.removeprefix(root if root != "/" else "").lstrip("/")
