"""Starts one command under limits, and leaves none of its processes behind.

The local sandbox runs this file by its path as a small program of its own, so it imports the
standard library alone. It stays above the command for three reasons: on Linux every orphan of the
command becomes its child, so that their CPU time is counted; it can kill them all; and it sees the
end of the control pipe when the process that asked for the command is gone, however that died.

Usage: launcher.py CONTROL_FD REPORT_FD FILE_BYTES DATA_BYTES CORES PROCESSES WORLD COMMAND...
CORES are numbers with commas between them, or a dash for any. PROCESSES is a number, or a dash for
no limit. WORLD is a file that tells what the command sees (see launcher_namespaces.py), or a dash
for all of the host. Told to REPORT_FD at the end: CPU seconds, peak memory and the wait status of
the command; or why it could not be started.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
from types import FrameType
from typing import Protocol

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_OPEN_FILES = 1024


class _World(Protocol):
    """Where the command runs."""

    def give_up_rights(self) -> None:
        """Makes this process as weak as the command is to be; there is no way back."""

    def tell(self, report: int, words: str) -> None:
        """Sends the report of the end."""


class _Host:
    """The command sees what this process sees, and may what it may."""

    def give_up_rights(self) -> None:
        """Does nothing."""

    def tell(self, report: int, words: str) -> None:
        """Sends the report of the end."""
        os.write(report, words.encode())


def _prctl(option: int, value: int) -> None:
    """Sets a process attribute on Linux; elsewhere there is nothing like it."""
    if not sys.platform.startswith("linux"):
        return
    try:
        import ctypes
    except ImportError:
        return  # A Python without it: escapes of the process group are not caught then.
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _pin(cores: str) -> None:
    """Keeps this process to some cores, where the system has a way to."""
    if cores != "-" and sys.platform.startswith("linux"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})


def _limit(kind: int, value: int) -> None:
    """Lowers a limit; one that is lower already stays."""
    hard = resource.getrlimit(kind)[1]
    lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
    # macOS refuses some limits that it does not implement.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (lowest, lowest))


def _become(command: list[str], file_bytes: int, data_bytes: int, processes: str) -> None:
    """Turns this process into the command. Does not return."""
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; others do not expect it.
        signal.signal(number, signal.SIG_DFL)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    # Not RLIMIT_AS: numeric libraries reserve address space that they never touch (OpenBLAS gives
    # up below 1 GiB). RLIMIT_DATA counts what is private and writable. Both hold for each process.
    _limit(resource.RLIMIT_DATA, data_bytes)
    # Outside of a user namespace it counts all processes of the user, the desktop's too.
    if processes != "-":
        _limit(resource.RLIMIT_NPROC, int(processes))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)


def _children() -> list[int]:
    """Process ids of all children, adopted ones included; none where that cannot be told."""
    pid = os.getpid()
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def _kill_all(leader: int) -> None:
    """Kills every process of the command and reaps what can be reaped."""
    while True:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
        if os.getpid() == 1:  # Of a process namespace: all others in it are the command's.
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        for pid in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _wait(leader: int, control: int, wake: int) -> int:
    """Waits for the end of the command, reaping orphans.

    Returns:
        Its wait status; that of a killed one when the control pipe was closed first.
    """
    while True:
        ready, _, _ = select.select([control, wake], [], [])
        if control in ready:
            return signal.SIGKILL
        os.read(wake, 4096)
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == leader:
                return status
            if pid == 0:
                break


def _on_child(number: int, frame: FrameType | None) -> None:
    """Does nothing: a handler must be there for the wake-up pipe to be written to."""


def _enter(world: str, report: int) -> _World:
    """Makes the world of the command around this process, or says why not and ends."""
    # Last on the path: names of the standard library must not be looked up in this folder.
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import launcher_namespaces  # type: ignore[import-not-found]

    try:
        entered: _World = launcher_namespaces.enter(world)
    except OSError as error:
        os.write(report, f"failed: {error.filename or ''} {error.strerror}".encode())
        os._exit(1)
    return entered


def main(arguments: list[str]) -> None:
    """Runs the command; see the top of this file."""
    control, report, file_bytes, data_bytes = (int(word) for word in arguments[:4])
    cores, processes, place, *command = arguments[4:]
    os.set_inheritable(control, False)
    os.set_inheritable(report, False)
    world = _Host() if place == "-" else _enter(place, report)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, _on_child)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    leader = os.fork()
    if leader == 0:
        signal.set_wakeup_fd(-1)
        _pin(cores)
        world.give_up_rights()
        _become(command, file_bytes, data_bytes, processes)
    status = _wait(leader, control, wake)
    _kill_all(leader)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    world.tell(report, f"{used.ru_utime + used.ru_stime} {used.ru_maxrss} {status}")


if __name__ == "__main__":
    main(sys.argv[1:])
