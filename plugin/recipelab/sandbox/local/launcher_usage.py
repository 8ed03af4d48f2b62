"""Sample the CPU time of a command's processes, for the launcher, where no control group counts it.

What the kernel says of children when a command has ended leaves out those that nobody waited for,
because their parent ignored ``SIGCHLD``. So the launcher looks at all of the command's processes
every now and then, at moments that the command cannot foretell. All of them are below the launcher,
which adopts orphans.

A process that is seen often is counted by the kernel's own figure of it, up to the last look. Those
that live too short for that are counted by how many are seen at work: a look stands for the time
since the look before it. That sum is right on average, so as much as luck can add to it is taken
off before it is believed.

Loaded by launcher.py alone, so it imports the standard library alone.
"""

from __future__ import annotations

import os
import time

_SHORTEST_MEAN, _LONGEST_MEAN = 0.005, 0.05
_LOOKS = 200
"""Looks that are enough: mean seconds between them are this part of the time that has passed."""

_OFTEN = 8
"""Looks at a process from which on the kernel's figure of it is close enough."""

_LUCK = 2.0
"""Standard deviations that luck may add."""

_TICKS = os.sysconf("SC_CLK_TCK")


class _Seen:
    """What was seen of one process.

    Attributes:
        looks: How often it was seen.
        seconds: Its own CPU time at the last look.
        worked: Seconds that the looks stand for at which it worked, as far as it had a core.
        variance: The sum of their squares.
    """

    def __init__(self) -> None:
        self.looks = 0
        self.seconds = 0.0
        self.worked = 0.0
        self.variance = 0.0


class Sampler:
    """Looks at all processes of a command.

    Args:
        whole: Whether all processes that this one can see are the command's, but itself.
    """

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._seen: dict[tuple[int, str], _Seen] = {}
        self._first: float | None = None
        self._last = 0.0
        self._next = 0.0

    def wait(self) -> float:
        """Return the seconds until the next look."""
        return max(0.0, self._next - time.monotonic())

    def look(self, *, at_once: bool = False) -> None:
        """Look at every process, if it is time."""
        now = time.monotonic()
        if now < self._next and not at_once:
            return
        if self._first is None:
            self._first = self._last = now
        since, self._last = now - self._last, now
        draw = int.from_bytes(os.urandom(2), "big") / 65536
        for pid in self._processes():
            self._look_at(pid, since)
        mean = min(max((now - self._first) / _LOOKS, _SHORTEST_MEAN), _LONGEST_MEAN)
        self._next = time.monotonic() + 2 * draw * mean

    def cpu_seconds(self) -> float:
        """Return the CPU time that was surely used, in seconds."""
        often = sum(seen.seconds for seen in self._seen.values() if seen.looks >= _OFTEN)
        rare = [seen for seen in self._seen.values() if seen.looks < _OFTEN]
        luck: float = _LUCK * sum(seen.variance for seen in rare) ** 0.5
        return often + max(0.0, sum(seen.worked for seen in rare) - luck)

    def _processes(self) -> list[int]:
        if self._whole:
            own = os.getpid()
            return [
                int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != own
            ]
        found, left = [], [os.getpid()]
        while left:
            children = _children(left.pop())
            found += children
            left += children
        return found

    def _look_at(self, pid: int, since: float) -> None:
        try:
            stat = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
            user, system, started = stat[11], stat[12], stat[19]
            seen = self._seen.setdefault((pid, started), _Seen())
            seen.looks += 1
            seen.seconds = (int(user) + int(system)) / _TICKS
            if seen.looks < _OFTEN:
                weight = since * _at_work(pid)
                seen.worked += weight
                seen.variance += weight * weight
        except (OSError, IndexError):
            pass  # It has ended.


def _at_work(pid: int) -> float:
    """Return how many threads of a process work: one that waits for a core works in part."""
    found = 0.0
    for thread in os.listdir(f"/proc/{pid}/task"):
        folder = f"/proc/{pid}/task/{thread}"
        if _read(f"{folder}/stat").rpartition(")")[2].split()[0] == "R":
            ran, waited = map(int, _read(f"{folder}/schedstat").split()[:2])
            found += float(ran) / (ran + waited) if ran else 0.0
    return found


def _children(pid: int) -> list[int]:
    try:
        folders = [f"/proc/{pid}/task/{thread}" for thread in os.listdir(f"/proc/{pid}/task")]
        return [int(word) for folder in folders for word in _read(f"{folder}/children").split()]
    except OSError:
        return []


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
