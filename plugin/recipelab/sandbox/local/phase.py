"""One phase as a process of this machine: launch it, wait for it, and collect what it left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from recipelab.core.errors import SandboxError
from recipelab.sandbox.base import OUTPUT_DIRECTORY, Ending, PhaseRequest, PhaseResult
from recipelab.sandbox.files import new_folder, remove_tree
from recipelab.sandbox.local.namespaces import (
    NONE,
    LaunchSettings,
    command_line,
    driver_variables,
    gpu_variables,
    prepare_in_namespaces,
    prepare_on_host,
)
from recipelab.sandbox.outputs import (
    MAX_REFUSED,
    OutputCollector,
    OutputLimitReached,
    collect_folder,
    printable_name,
    take_error_file,
)
from recipelab.sandbox.processes import MIB, BoundedLog, clean_environment

# Imported, because Python keeps the byte code of what is imported, but not of a script. The folder
# comes last: names of the standard library must not be looked up in it.
_START = (
    "import sys; sys.path.append(sys.argv.pop(1)); import launcher; launcher.main(sys.argv[1:])"
)
_LAUNCHER = (sys.executable, "-I", "-S", "-c", _START, str(Path(__file__).parent))
_KILL_SECONDS = 1.0
_PIECE = 1 << 16
_REPORT_BYTES = 4096


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


def read_report(channel: socket.socket) -> tuple[LauncherReport | None, int | None]:
    """Read the report of a launcher that has ended.

    Returns:
        The report, or ``None`` if the launcher was killed; and the open folder that holds what the
        command wrote, if the host has no path of it. The caller closes it.

    Raises:
        SandboxError: The command could not be started.
    """
    channel.setblocking(False)  # The launcher has ended, so no more will come.
    try:
        text, descriptors, _, _ = socket.recv_fds(channel, _REPORT_BYTES, 1)
    except BlockingIOError:
        return None, None
    reason = text.decode(errors="replace")
    if reason.startswith("failed: "):
        raise SandboxError(f"the namespaces cannot be made: {reason.removeprefix('failed: ')}")
    values = text.split()
    report = None
    if len(values) == 3:
        report = LauncherReport(float(values[0]), mebibytes(float(values[1])), int(values[2]))
    return report, descriptors[0] if descriptors else None


def collect_outputs(request: PhaseRequest, written: Path) -> tuple[Ending, tuple[str, ...]]:
    """Collect the outputs of a command that ended by itself.

    Args:
        request: The phase.
        written: The folder that holds ``out/``.

    Returns:
        How the phase ended, now that its outputs are known, and the outputs that were refused.
    """
    limits = request.limits
    collector = OutputCollector(
        request.output, max_bytes=limits.output_mb * MIB, max_files=limits.output_files
    )
    try:
        collect_folder(written / OUTPUT_DIRECTORY, collector)
    except OutputLimitReached:
        collector.discard()
        return Ending.OUTPUT, collector.refused
    return Ending.EXITED, collector.refused


def tampered_paths(request: PhaseRequest, written: Path) -> tuple[str, ...]:
    """Return what lies in tripwires, in a form that is safe to print: sorted, and at most 64 paths.

    A tripwire that was removed or replaced is named itself.

    Args:
        request: The phase.
        written: The folder that holds the tripwires.
    """
    paths = (path for name in request.tripwires for path in _left_in(written, name))
    return tuple(sorted({printable_name(path) for path in islice(paths, MAX_REFUSED)}))


def _left_in(written: Path, name: str) -> Iterator[str]:
    """Yield the paths of everything in a tripwire. No link is followed."""
    top = written / name
    if top.is_symlink() or not top.is_dir():
        yield name
        return
    # Level by level, and the caller stops soon, so it does not matter how deep the tripwire is.
    for folder, folders, files, _ in os.fwalk(top):
        for path in (Path(folder, entry) for entry in (*folders, *files)):
            yield str(path.relative_to(written))


class LocalPhase:
    """Runs one request once. :meth:`stop` may be called from another thread at any time.

    Between this process and the command stands a launcher (``launcher.py``), which kills every
    process of the command when its control pipe is closed: at the deadline, at :meth:`stop`, or
    because this process died. A launcher that does not end soon after that is killed itself.
    """

    def __init__(
        self,
        request: PhaseRequest,
        *,
        temporary: Path,
        namespaces: bool,
        passed: tuple[str, ...] = (),
    ) -> None:
        """Note what to run.

        Args:
            request: A checked request.
            temporary: Where to make the folder of the phase.
            namespaces: Whether the command gets namespaces of its own.
            passed: Names of host variables that the command gets if they are set.
        """
        self._request = request
        self._temporary = temporary
        self._namespaces = namespaces
        self._passed = passed
        self._log = BoundedLog(limit=request.limits.log_kb * 1024)
        self._lock = threading.Lock()
        self._stopped = False
        self._reaped = False
        self._killed: Ending | None = None
        self._control: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> PhaseResult:
        """Run the command and collect what it left; see :meth:`Sandbox.run`."""
        top = new_folder(self._temporary)
        try:
            return self._run_in(top)
        except (OSError, shutil.Error) as error:
            raise SandboxError(f"phase {self._request.phase}: {error}") from error
        finally:
            remove_tree(top)

    def stop(self) -> None:
        """Kill every process of the phase; see :class:`Stoppable`."""
        with self._lock:
            self._stopped = True
        self._kill(None)

    def _run_in(self, top: Path) -> PhaseResult:
        request = self._request
        prepare = prepare_in_namespaces if self._namespaces else prepare_on_host
        settings = prepare(request, top)
        started = time.monotonic()
        with self._launch(settings) as channel:
            timer = threading.Timer(request.limits.seconds, self._kill, args=(Ending.DEADLINE,))
            timer.daemon = True
            timer.start()
            ended, wall = self._wait(started)
            timer.cancel()
            report, held = read_report(channel)
        report = report or ended
        with _written_folder(settings, held) as written:
            ending, refused = self._outcome(written)
            tampered = tampered_paths(request, written) if written else ()
        code = os.waitstatus_to_exitcode(report.status)
        return PhaseResult(
            ending=ending,
            exit_code=None if ending is Ending.DEADLINE else code,
            wall_seconds=wall,
            cpu_seconds=report.cpu_seconds,
            peak_memory_mb=report.peak_memory_mb,
            log=self._log.text(),
            refused=refused,
            environment=f"local python {sys.version.split()[0]} {sys.platform} {settings.kind}",
            tampered=tampered,
            error_file=take_error_file(request.output),
        )

    def _launch(self, settings: LaunchSettings) -> socket.socket:
        """Start the launcher.

        Returns:
            A channel on which it reports at its end.
        """
        limits = self._request.limits
        channel, report_end = socket.socketpair()
        control_end, self._control = os.pipe()
        cores = ",".join(map(str, limits.cpu_set)) if limits.cpu_set else NONE
        # CUDA maps the memory of all GPUs as its own, and would not start below such a limit.
        data = NONE if limits.gpus else str(limits.memory_mb * MIB)
        bounds = (settings.file_bytes, data, cores, settings.processes)
        arguments = (control_end, report_end.fileno(), *bounds, settings.namespaces)
        try:
            with self._lock:
                if self._stopped:
                    raise SandboxError(f"phase {self._request.phase} was stopped")
                self._process = subprocess.Popen(
                    [*_LAUNCHER, *map(str, arguments), *command_line(self._request)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd=settings.directory,
                    env=self._variables(settings),
                    start_new_session=True,
                    pass_fds=(control_end, report_end.fileno()),
                )
        except BaseException:
            channel.close()
            self._close_control()
            raise
        finally:
            os.close(control_end)
            report_end.close()
        return channel

    def _variables(self, settings: LaunchSettings) -> dict[str, str]:
        passed = {name: os.environ[name] for name in self._passed if name in os.environ}
        gpus = gpu_variables(self._request)
        paths = {**driver_variables(self._request), **passed, **settings.paths, **gpus}
        return clean_environment(self._request, paths)

    def _wait(self, started: float) -> tuple[LauncherReport, float]:
        """Wait for the launcher's end while another thread reads the output.

        Returns:
            A report for a launcher that sent none, and the wall-clock seconds. The launcher's own
            is better: it leaves out what the launcher itself used, and the memory of this process,
            with which the kernel at first charges every process that this one starts.
        """
        assert self._process is not None
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        pid = self._process.pid
        # Waiting without reaping keeps the process id from being used again while it is killed.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        wall = time.monotonic() - started
        with self._lock:
            self._reaped = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            self._process.returncode = os.waitstatus_to_exitcode(status)
            self._close_control()
        # Only a process that escaped a killed launcher could still hold the pipe.
        reader.join(_KILL_SECONDS)
        used = usage.ru_utime + usage.ru_stime
        return LauncherReport(used, mebibytes(usage.ru_maxrss), status), wall

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with self._process.stdout as pipe:
            while piece := os.read(pipe.fileno(), _PIECE):
                self._log.write(piece)

    def _kill(self, ending: Ending | None) -> None:
        """Make the launcher kill all processes; kill the launcher if it has not ended soon."""
        with self._lock:
            if self._reaped or self._process is None:
                return
            self._killed = self._killed or ending
            self._close_control()
        timer = threading.Timer(_KILL_SECONDS, self._kill_launcher)
        timer.daemon = True
        timer.start()

    def _kill_launcher(self) -> None:
        with self._lock:
            if not self._reaped and self._process is not None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _close_control(self) -> None:
        if self._control is not None:
            os.close(self._control)
            self._control = None

    def _outcome(self, written: Path | None) -> tuple[Ending, tuple[str, ...]]:
        """Tell how the command ended; collect its outputs if it ended by itself."""
        if self._stopped:
            raise SandboxError(f"phase {self._request.phase} was stopped")
        if self._killed is not None:
            return self._killed, ()
        if written is None:
            raise SandboxError(
                f"phase {self._request.phase}: the launcher died: {self._log.text()}"
            )
        return collect_outputs(self._request, written)


@contextlib.contextmanager
def _written_folder(settings: LaunchSettings, held: int | None) -> Iterator[Path | None]:
    """Give the folder that the command wrote to: on the host, or in memory and held open."""
    try:
        yield settings.written if held is None else Path(f"/proc/self/fd/{held}")
    finally:
        if held is not None:
            os.close(held)
