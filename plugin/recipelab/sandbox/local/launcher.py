"""Start one command under limits, and leave none of its processes behind.

The local sandbox runs this file as a small program of its own, so it imports the standard library
alone. It stays the parent of the command for three reasons: on Linux every orphan of the command
becomes its child, so that their CPU time is counted; it can kill them all; and it sees the end of
the control pipe when the process that asked for the command is gone, however that process died.

Arguments: CONTROL_FD REPORT_FD GROUP_FD FILE_BYTES DATA_BYTES CORES PROCESSES NAMESPACES START
COMMAND... GROUP_FD is the entrance of a control group that counts the command, or a dash where the
launcher has to sample (see launcher_usage.py). DATA_BYTES is a number, or a dash for no limit.
CORES are numbers with commas between them, or a dash for any. PROCESSES is a number, or a dash for
no limit. NAMESPACES is a file that describes the namespaces to make (see launcher_namespaces.py),
or a dash for none. START is ``warm`` for a command that imports modules and waits (see starter.py),
or a dash. At the end the launcher writes to REPORT_FD: CPU seconds, peak memory and the wait status
of the command; or why the command could not be started.

A warm command talks to the launcher on its standard input. The launcher passes on to REPORT_FD what
it says, with the CPU seconds that it has used, and a byte that comes through CONTROL_FD is its word
to go; from then on the launcher hears nothing of it any more.
"""

from __future__ import annotations

import os
import resource
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from types import FrameType
    from typing import Protocol
else:
    # Every phase waits for this program, and typing and enum, which signal needs, take longer to
    # import than Python takes to start.
    import _signal as signal

    Protocol = object

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_OPEN_FILES = 1024


class _Isolation(Protocol):
    """What keeps the command from the host."""

    def drop_privileges(self) -> None:
        """Give up all privileges that the command must not have, for good."""

    def send_report(self, report: int, text: str) -> None:
        """Send the report of the end."""


class _Sampler(Protocol):
    """What samples the CPU time of the command's processes; see launcher_usage.py."""

    def wait(self) -> float:
        """Return the seconds until the next look."""

    def look(self, *, at_once: bool = False) -> None:
        """Look at every process, if it is time."""

    def cpu_seconds(self) -> float:
        """Return the CPU time that was surely used, in seconds."""


class _NoIsolation:
    """The command sees what this process sees, and has its privileges."""

    def drop_privileges(self) -> None:
        """Do nothing."""

    def send_report(self, report: int, text: str) -> None:
        """Send the report of the end."""
        os.write(report, text.encode())


def _prctl(option: int, value: int) -> None:
    """Set an attribute of this process, on Linux alone."""
    if not sys.platform.startswith("linux"):
        return
    try:
        import ctypes
    except ImportError:
        return  # Some Pythons lack it. Escapes from the process group are not caught then.
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def pin(cores: str) -> None:
    """Pin this process to some cores, on Linux alone."""
    if cores != "-" and sys.platform.startswith("linux"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})


def _limit(kind: int, value: int) -> None:
    """Lower a limit; one that is lower already stays."""
    hard = resource.getrlimit(kind)[1]
    lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:  # noqa: SIM105 - contextlib takes long to import, too.
        resource.setrlimit(kind, (lowest, lowest))
    except (ValueError, OSError):
        pass  # macOS refuses some limits that it does not implement.


def restrict(file_bytes: int, data_bytes: str, processes: str) -> None:
    """Give this process, which is to be the command, a session and limits of its own."""
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _limit(resource.RLIMIT_FSIZE, file_bytes)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)
    # Not RLIMIT_AS: numeric libraries reserve address space that they never touch (OpenBLAS gives
    # up below 1 GiB). RLIMIT_DATA counts what is private and writable. Both limit each process.
    if data_bytes != "-":
        _limit(resource.RLIMIT_DATA, int(data_bytes))
    # Outside of a user namespace it counts all processes of the user, the desktop's too.
    if processes != "-":
        _limit(resource.RLIMIT_NPROC, int(processes))


def _become(command: list[str]) -> None:
    """Turn this process into the command. Does not return."""
    for number in (
        signal.SIGPIPE,
        signal.SIGXFSZ,
    ):  # Python ignores them; other programs do not expect that.
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)


def _children() -> list[int]:
    """Return the process ids of all children, adopted ones too; none if the system has no list."""
    pid = os.getpid()
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def _kill(send: Callable[[int, int], None], target: int) -> None:
    """Kill processes that may have ended already."""
    try:  # noqa: SIM105
        send(target, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def kill_all(leader: int) -> None:
    """Kill every process of the command and reap what can be reaped."""
    while True:
        _kill(os.killpg, leader)
        if os.getpid() == 1:  # In a process namespace all other processes are the command's.
            _kill(os.kill, -1)
        for pid in _children():
            _kill(os.kill, pid)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


class _Starter:
    """The channel to a warm command, which is there until the word to go.

    Args:
        leader: Process id of the command.
        channel: The launcher's end of its standard input; ``None`` for other commands.
        report: Where to pass on what it says.
    """

    def __init__(self, leader: int, channel: int | None, report: int) -> None:
        self._leader = leader
        self._channel = channel
        self._report = report
        self.heard = [] if channel is None else [channel]

    def pass_on(self) -> None:
        """Pass on what the command says, and before it the CPU seconds that it has used so far."""
        assert self._channel is not None
        said = os.read(self._channel, 4096)
        if said:
            os.write(self._report, f"{cpu_seconds(self._leader)} ".encode() + said)
        else:  # It has ended before it was ready; its status tells the rest.
            self.heard = []

    def go(self) -> bool:
        """Give the word to go, and hear nothing any more.

        Returns:
            Whether there was a command that waited for it.
        """
        if self._channel is None:
            return False
        try:  # noqa: SIM105
            os.write(self._channel, b"g")
        except OSError:
            pass  # It has ended.
        os.close(self._channel)
        self._channel, self.heard = None, []
        return True


def cpu_seconds(pid: int) -> float | str:
    """Return the CPU seconds of a process by the kernel's clock of it; a dash where it has none."""
    if not sys.platform.startswith("linux"):
        return "-"
    return time.clock_gettime(~pid << 3 | 2)  # The id of that clock: see clock_getcpuclockid(3).


def watch_children() -> int:
    """Become the parent of all orphans below this process, and hear of every end of a child.

    Returns:
        A pipe that can be read when a child has ended.
    """
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, _on_child)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    return wake


def unwatch_children() -> None:
    """Undo what :func:`watch_children` did to the signals of a process, in a fork of it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def wait(
    leader: int, control: int, wake: int, report: int, channel: int | None, sampler: _Sampler | None
) -> str:
    """Wait for the end of the command, kill what it left, and return the report.

    Args:
        leader: Process id of the command.
        control: The control pipe.
        wake: What :func:`watch_children` returned.
        report: Where to pass on what a warm command says.
        channel: The other end of a warm command's standard input.
        sampler: What samples its processes, if nothing else counts them.
    """
    status = _status(leader, control, wake, _Starter(leader, channel, report), sampler)
    kill_all(leader)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime
    if sampler is not None:
        seconds = max(seconds, sampler.cpu_seconds())
    return f"{seconds} {used.ru_maxrss} {status}"


def _status(
    leader: int, control: int, wake: int, starter: _Starter, sampler: _Sampler | None
) -> int:
    """Wait for the end of the command, and reap orphans.

    Returns:
        Its wait status; that of a killed process if the control pipe was closed first.
    """
    while True:
        seconds = sampler.wait() if sampler is not None else None
        ready, _, _ = select.select([control, wake, *starter.heard], [], [], seconds)
        if sampler is not None:
            sampler.look()
        if control in ready and not (os.read(control, 1) and starter.go()):
            return signal.SIGKILL
        if starter.heard and starter.heard[0] in ready:
            starter.pass_on()
        if wake not in ready:
            continue
        os.read(wake, 4096)
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == leader:
                if sampler is not None:
                    sampler.look(at_once=True)
                return status
            if pid == 0:
                break


def _on_child(number: int, frame: FrameType | None) -> None:
    """Do nothing: the wake-up pipe is written to only if there is a handler."""


def sampler_of(group: int | None, *, whole: bool) -> _Sampler | None:
    """Return what samples the processes of a command, where that is needed and possible.

    Args:
        group: The entrance of the command's control group, if it has one.
        whole: Whether this process sees no others than its own and the command's. Where it does,
            the command can leave its control group, so it is sampled anyway.
    """
    if (group is not None and whole) or not sys.platform.startswith("linux"):
        return None
    import launcher_usage  # type: ignore[import-not-found]

    made: _Sampler = launcher_usage.Sampler(whole=whole)
    return made


def join(group: int | None, report: int) -> None:
    """Move this process, which is to be the command, into a control group; or say why not and exit.

    Args:
        group: The entrance of the group; ``None`` for none.
        report: Where to say so.
    """
    if group is None:
        return
    try:
        os.write(group, b"0")
    except OSError as error:
        os.write(report, f"failed: control group {error.strerror}".encode())
        os._exit(1)
    os.close(group)


def pair() -> tuple[int, int]:
    """Return the two ends of a channel."""
    import _socket

    one, other = _socket.socketpair()
    return one.detach(), other.detach()


def _enter_namespaces(file: str, report: int) -> _Isolation:
    """Make the namespaces around this process, or report why not and exit."""
    import launcher_namespaces  # type: ignore[import-not-found]

    try:
        entered: _Isolation = launcher_namespaces.enter(file)
    except OSError as error:
        os.write(report, f"failed: {error.filename or ''} {error.strerror}".encode())
        os._exit(1)
    return entered


def main(arguments: list[str]) -> None:
    """Run the command; see the top of this file."""
    control, report = (int(text) for text in arguments[:2])
    entrance, file_bytes, data_bytes, cores, processes, namespaces, start, *command = arguments[2:]
    group = None if entrance == "-" else int(entrance)
    for file in (control, report) if group is None else (control, report, group):
        os.set_inheritable(file, False)
    sampler = sampler_of(group, whole=namespaces != "-")  # Inside, its file is out of sight.
    isolation = _NoIsolation() if namespaces == "-" else _enter_namespaces(namespaces, report)
    wake = watch_children()
    channel, inner = pair() if start != "-" else (None, None)
    leader = os.fork()
    if leader == 0:
        unwatch_children()
        join(group, report)
        if inner is not None:
            os.dup2(inner, 0)
        pin(cores)
        isolation.drop_privileges()
        restrict(int(file_bytes), data_bytes, processes)
        _become(command)
    if inner is not None:
        os.close(inner)
    isolation.send_report(report, wait(leader, control, wake, report, channel, sampler))
