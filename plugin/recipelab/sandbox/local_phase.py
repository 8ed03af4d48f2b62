"""One phase of the local sandbox: a temporary folder, a launcher, and a deadline."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from recipelab.errors import SandboxError
from recipelab.sandbox.base import OUTPUT_DIRECTORY, Ending, PhaseRequest, PhaseResult
from recipelab.sandbox.environment import MIB, clean_environment
from recipelab.sandbox.inputs import copy_read_only
from recipelab.sandbox.log import BoundedLog
from recipelab.sandbox.output_sources import collect_folder
from recipelab.sandbox.outputs import Collector, OutputLimitReached
from recipelab.sandbox.staging import new_folder, remove_tree

_LAUNCHER = Path(__file__).with_name("launcher.py")
_LINKED_BYTES = 64 * MIB
_KILL_SECONDS = 1.0
_PIECE = 1 << 16


class LocalPhase:
    """Runs one request once. :meth:`stop` may be called from another thread at any time."""

    def __init__(self, request: PhaseRequest, *, temporary: Path) -> None:
        """Notes what to run.

        Args:
            request: A checked request.
            temporary: Where the temporary folder is made.
        """
        self._request = request
        self._temporary = temporary
        self._log = BoundedLog(limit=request.limits.log_kb * 1024)
        self._lock = threading.Lock()
        self._stopped = False
        self._reaped = False
        self._killed: Ending | None = None
        self._control: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> PhaseResult:
        """Runs the command and collects what it left; see :meth:`Sandbox.run`."""
        top = new_folder(self._temporary)
        try:
            root = self._phase_root(top)
            return self._run_in(root, home=top / "home")
        except (OSError, shutil.Error) as error:
            raise SandboxError(f"phase {self._request.phase}: {error}") from error
        finally:
            remove_tree(top)

    def stop(self) -> None:
        """Kills every process of the phase; see :class:`Stoppable`."""
        with self._lock:
            self._stopped = True
        self._kill(None)

    def _phase_root(self, top: Path) -> Path:
        """Makes the phase root with its inputs; a home that is no part of it lies beside it."""
        (top / "home").mkdir()
        root = top / "trial"
        (root / OUTPUT_DIRECTORY).mkdir(parents=True)
        for entry in self._request.inputs:
            target = root / entry.target
            # A link costs nothing, but lets the command write to the source, as it could anyway.
            if entry.source.is_file() and entry.source.stat().st_size > _LINKED_BYTES:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(entry.source)
            else:
                copy_read_only(entry.source, target)
        for folder in {root, *(p for e in self._request.inputs for p in _between(root, e.target))}:
            folder.chmod(0o555)
        return root

    def _run_in(self, root: Path, *, home: Path) -> PhaseResult:
        limits = self._request.limits
        started = time.monotonic()
        report = self._launch(root, home)
        timer = threading.Timer(limits.seconds, self._kill, args=(Ending.DEADLINE,))
        timer.daemon = True
        timer.start()
        status, wall, usage = self._wait(started)
        timer.cancel()
        cpu, peak = _reported(report, usage)
        code = os.waitstatus_to_exitcode(status)
        ending, refused = self._outcome(root / OUTPUT_DIRECTORY)
        return PhaseResult(
            ending=ending,
            exit_code=None if ending is Ending.DEADLINE else code,
            wall_seconds=wall,
            cpu_seconds=cpu,
            peak_memory_mb=peak,
            log=self._log.text(),
            refused=refused,
            environment=f"local python {sys.version.split()[0]} {sys.platform}",
        )

    def _launch(self, root: Path, home: Path) -> int:
        """Starts the launcher.

        Returns:
            The end of a pipe on which it reports at its end.
        """
        limits = self._request.limits
        command = list(self._request.command)
        command[0] = sys.executable if command[0] == "python" else command[0]
        paths = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "TMPDIR": str(home)}
        report, report_end = os.pipe()
        control_end, self._control = os.pipe()
        cores = ",".join(map(str, limits.cpu_set)) if limits.cpu_set else "-"
        words = (control_end, report_end, limits.output_mb * MIB, limits.memory_mb * MIB, cores)
        try:
            with self._lock:
                if self._stopped:
                    raise SandboxError(f"phase {self._request.phase} was stopped")
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_LAUNCHER), *map(str, words), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd=root,
                    env=clean_environment(self._request, paths),
                    start_new_session=True,
                    pass_fds=(control_end, report_end),
                )
        except BaseException:
            os.close(report)
            self._close_control()
            raise
        finally:
            os.close(control_end)
            os.close(report_end)
        return report

    def _wait(self, started: float) -> tuple[int, float, tuple[float, float]]:
        """Waits for the launcher's end while another thread reads the output.

        Returns:
            Its wait status, the wall-clock seconds, and CPU seconds and peak memory in MiB of it
            and what it reaped.
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
        return status, wall, (usage.ru_utime + usage.ru_stime, _mebibytes(usage.ru_maxrss))

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with self._process.stdout as pipe:
            while piece := os.read(pipe.fileno(), _PIECE):
                self._log.write(piece)

    def _kill(self, ending: Ending | None) -> None:
        """Has the launcher kill all; kills the launcher where it does not do so soon."""
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

    def _outcome(self, folder: Path) -> tuple[Ending, tuple[str, ...]]:
        """Collects the outputs of a command that ended by itself."""
        if self._stopped:
            raise SandboxError(f"phase {self._request.phase} was stopped")
        if self._killed is not None:
            return self._killed, ()
        limits = self._request.limits
        collector = Collector(
            self._request.output,
            max_bytes=limits.output_mb * MIB,
            max_files=limits.output_files,
        )
        try:
            collect_folder(folder, collector)
        except OutputLimitReached:
            collector.discard()
            return Ending.OUTPUT, collector.refused
        return Ending.EXITED, collector.refused


def _between(root: Path, target: str) -> list[Path]:
    """The folders that were made between the phase root and a target."""
    return [parent for parent in (root / target).parents if parent.is_relative_to(root)]


def _mebibytes(maxrss: float) -> float:
    """Memory in MiB from the unit of ``getrusage``: bytes on macOS, KiB elsewhere."""
    return maxrss / MIB if sys.platform == "darwin" else maxrss / 1024


def _reported(report: int, usage: tuple[float, float]) -> tuple[float, float]:
    """CPU seconds and peak memory as the launcher reported them, else its own and its children's.

    The launcher's own figure for its children is better: what it used itself is not in it, nor is
    the memory of this process, which a process that it starts is charged with at first.
    """
    with os.fdopen(report, "rb") as pipe:
        words = pipe.read(100).split()
    return (float(words[0]), _mebibytes(float(words[1]))) if len(words) == 2 else usage
