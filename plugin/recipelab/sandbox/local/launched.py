"""A launcher that runs: its channels, its report, and how to end it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipelab.core.errors import SandboxError
from recipelab.sandbox.processes import MIB
from recipelab.sandbox.warm import GO

# Imported, because Python keeps the byte code of what is imported, but not of a script. The folder
# comes last: names of the standard library must not be looked up in it.
_START = (
    "import sys; sys.path.append(sys.argv.pop(1)); import launcher; launcher.main(sys.argv[1:])"
)
_LAUNCHER = (sys.executable, "-I", "-S", "-c", _START, str(Path(__file__).parent))
_REPORT_BYTES = 4096

NONE = "-"
"""The launcher takes this for no value."""


@dataclass(frozen=True)
class LauncherReport:
    """The report of a launcher at its end.

    Attributes:
        cpu_seconds: CPU seconds of all processes of the command.
        peak_memory_mb: Peak memory of the largest process in MiB.
        status: Wait status of the command.
    """

    cpu_seconds: float
    peak_memory_mb: float
    status: int


def mebibytes(maxrss: float) -> float:
    """Convert the unit of ``getrusage`` to MiB: bytes on macOS, KiB elsewhere."""
    return maxrss / MIB if sys.platform == "darwin" else maxrss / 1024


class Launched(ABC):
    """A launcher at work. Methods may be called from several threads.

    Args:
        channel: Where it reports.
        control: The end of the control pipe that gives the word to go; it is closed to end the
            command.
    """

    def __init__(self, channel: socket.socket, control: int) -> None:
        self._channel = channel
        self._control: int | None = control
        self._lock = threading.Lock()

    def heard(self) -> bytes:
        """Wait for a line, and return it; what there is of it if the launcher ends before."""
        said = b""
        while not said.endswith(b"\n") and (piece := self._channel.recv(_REPORT_BYTES)):
            said += piece
        return said

    def go(self) -> None:
        """Give a warm command the word to go."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            if self._control is not None:
                os.write(self._control, GO)

    def end(self) -> None:
        """Make the launcher kill all processes of the command and end."""
        with self._lock:
            if self._control is not None:
                os.close(self._control)
                self._control = None

    def report(self) -> tuple[LauncherReport | None, int | None]:
        """Read the report of a launcher that has ended.

        Returns:
            The report, or ``None`` if the launcher was killed; and the open folder that holds what
            the command wrote, if the host has no path of it. The caller closes it.

        Raises:
            SandboxError: The command could not be started.
        """
        self._channel.setblocking(False)  # The launcher has ended, so no more will come.
        try:
            text, descriptors, _, _ = socket.recv_fds(self._channel, _REPORT_BYTES, 1)
        except BlockingIOError:
            return None, None
        check_namespaces(text)
        values = text.split()
        report = None
        if len(values) == 3:
            report = LauncherReport(float(values[0]), mebibytes(float(values[1])), int(values[2]))
        return report, descriptors[0] if descriptors else None

    def close(self) -> None:
        """Close all channels."""
        self.end()
        self._channel.close()

    @abstractmethod
    def wait(self) -> LauncherReport | None:
        """Wait until the launcher and all processes below it have ended.

        Returns:
            A report for a launcher that sent none, if the system has one. The launcher's own is
            better: it leaves out what the launcher itself used, and the memory of this process,
            with which the kernel at first charges every process that this one starts.
        """

    @abstractmethod
    def kill(self) -> None:
        """Kill a launcher that does not end, and all processes of the command with it."""


def check_namespaces(said: bytes) -> None:
    """Raise if a launcher says that it could not make the namespaces.

    Raises:
        SandboxError: It says so.
    """
    reason = said.decode(errors="replace")
    if reason.startswith("failed: "):
        raise SandboxError(f"the namespaces cannot be made: {reason.removeprefix('failed: ')}")


class LauncherProcess(Launched):
    """A launcher that this process has started.

    Args:
        arguments: Its arguments between its two channels and the command.
        command: The command.
        log: The end of a pipe that the command writes to.
        group: The entrance of a control group that counts the command, if there is one.
        directory: Its working directory.
        environment: All environment variables of the command.

    Raises:
        OSError: The system cannot start it.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        command: Sequence[str],
        log: int,
        group: int | None,
        *,
        directory: Path,
        environment: Mapping[str, str],
    ) -> None:
        channel, report_end = socket.socketpair()
        control_end, control = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    *_LAUNCHER,
                    *map(str, (control_end, report_end.fileno(), group or NONE, *arguments)),
                    *command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env=environment,
                start_new_session=True,
                pass_fds=(control_end, report_end.fileno(), *([group] if group else [])),
            )
        except BaseException:
            channel.close()
            os.close(control)
            raise
        finally:
            os.close(control_end)
            report_end.close()
        super().__init__(channel, control)
        self._reaped = False

    def wait(self) -> LauncherReport:
        """Wait for its end; see :meth:`Launched.wait`."""
        pid = self._process.pid
        # Waiting without reaping keeps the process id from being used again while it is killed.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._reaped = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            self._process.returncode = os.waitstatus_to_exitcode(status)
        self.end()
        used = usage.ru_utime + usage.ru_stime
        return LauncherReport(used, mebibytes(usage.ru_maxrss), status)

    def kill(self) -> None:
        """Kill its process group; see :meth:`Launched.kill`."""
        with self._lock:
            if not self._reaped:
                os.killpg(self._process.pid, signal.SIGKILL)
