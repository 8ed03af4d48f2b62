"""One phase as a process of this machine: launch it, wait for it, and collect what it left."""

from __future__ import annotations

import contextlib
import marshal
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from recipelab.core.errors import SandboxError
from recipelab.sandbox.base import OUTPUT_DIRECTORY, Ending, PhaseRequest, PhaseResult
from recipelab.sandbox.files import new_folder, remove_tree
from recipelab.sandbox.local.groups import ControlGroups, PhaseGroup
from recipelab.sandbox.local.launched import (
    NONE,
    Launched,
    LauncherProcess,
    check_namespaces,
)
from recipelab.sandbox.local.namespaces import (
    WATCH_SOCKET,
    LaunchSettings,
    command_line,
    driver_variables,
    gpu_variables,
    prepare_in_namespaces,
    prepare_on_host,
)
from recipelab.sandbox.local.servers import ForkServer, ForkServers, may_fork
from recipelab.sandbox.outputs import (
    MAX_REFUSED,
    OutputCollector,
    OutputLimitReached,
    collect_folder,
    printable_name,
    take_error_file,
    take_watched,
)
from recipelab.sandbox.processes import MIB, BoundedLog, clean_environment
from recipelab.sandbox.warm import IMPORT_SECONDS, Handover
from recipelab.sandbox.watch import FolderSocket, watching

LOCAL_IDENTITY = f"local python {sys.version.split()[0]} {sys.platform}"
"""What all phases of the local sandbox run in."""

_KILL_SECONDS = 1.0
_PIECE = 1 << 16


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
        servers: ForkServers | None = None,
        groups: ControlGroups | None = None,
    ) -> None:
        """Note what to run.

        Args:
            request: A checked request.
            temporary: Where to make the folder of the phase.
            namespaces: Whether the command gets namespaces of its own.
            passed: Names of host variables that the command gets if they are set.
            servers: Where to fork commands from; without them each is a program of its own.
            groups: Where to make a control group that counts CPU time; without them it is sampled.
        """
        self._groups = groups
        self._group: PhaseGroup | None = None
        self._servers = servers
        self._request = request
        self._temporary = temporary
        self._namespaces = namespaces
        self._passed = passed
        self._log = BoundedLog(limit=request.limits.log_kb * 1024, tell=request.tell)
        self._lock = threading.Lock()
        self._stopped = False
        self._killed: Ending | None = None
        self._launched: Launched | None = None
        self._reader: threading.Thread | None = None
        # On standard input the launcher hears the starter, and answers.
        self._handover = Handover(request, ready=0) if request.warm else None

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
        began = time.monotonic()
        stack = contextlib.ExitStack()
        folder = self._folder(settings, stack)
        with stack:
            self._group = self._new_group(stack)
            launched, log = self._launch(settings)
            stack.enter_context(contextlib.closing(launched))
            stack.enter_context(self._reading(log))
            warm_cpu = self._hand_over(launched) if self._handover is not None else 0.0
            counted = self._group.cpu_seconds() if self._group is not None else 0.0
            started = time.monotonic()
            stop = partial(self._kill, Ending.STOPPED)
            deadline = self._timer(request.limits.seconds, Ending.DEADLINE)
            with deadline, watching(request.watch, stop, folder):
                if self._handover is not None:
                    launched.go()
                ended, wall = launched.wait(), time.monotonic() - started
            with self._lock:
                self._launched = None
            report, held = launched.report()
            if self._group is not None:
                counted = self._group.cpu_seconds() - counted
        report = report or ended
        with _written_folder(settings, held) as written:
            # What it says of a command that went with it is not how that ended. On the host a
            # command can kill it, and is to blame.
            died = self._namespaces and ended is not None and os.WIFSIGNALED(ended.status)
            ending, refused = self._outcome(None if died else written)
            tampered = tampered_paths(request, written) if written else ()
        assert report is not None
        code = os.waitstatus_to_exitcode(report.status)
        return PhaseResult(
            ending=ending,
            exit_code=None if ending in (Ending.DEADLINE, Ending.STOPPED) else code,
            wall_seconds=wall,
            cpu_seconds=max(0.0, report.cpu_seconds - warm_cpu, counted),
            peak_memory_mb=report.peak_memory_mb,
            log=self._log.text(),
            refused=refused,
            environment=f"{LOCAL_IDENTITY} {settings.kind}",
            tampered=tampered,
            error_file=take_error_file(request.output),
            watched=take_watched(request.output, request.watch),
            warm_seconds=started - began if self._handover is not None else 0.0,
            warm_cpu_seconds=warm_cpu,
        )

    def _new_group(self, stack: contextlib.ExitStack) -> PhaseGroup | None:
        """Make the control group of the command; it is removed when the context ends."""
        if self._groups is None:
            return None
        return stack.enter_context(self._groups.new())

    def _folder(
        self, settings: LaunchSettings, stack: contextlib.ExitStack
    ) -> Callable[[], int | None]:
        """Return what gives the open folder that the command writes to, to whoever watches it."""
        if self._request.watch is None:
            return lambda: None
        if settings.written is not None:
            return partial(os.open, settings.written, os.O_RDONLY | os.O_DIRECTORY)
        sent = stack.enter_context(
            contextlib.closing(FolderSocket(settings.directory / WATCH_SOCKET))
        )
        return sent.received

    def _launch(self, settings: LaunchSettings) -> tuple[Launched, int]:
        """Start the launcher.

        Returns:
            It, and the end of the pipe that its output comes through.
        """
        server = self._server(settings)
        end, log = os.pipe()
        try:
            with self._lock:
                self._check_stopped()
                if server is None:
                    self._launched = self._started(settings, log)
                else:
                    self._launched = self._forked(server, settings, log)
                return self._launched, end
        except BaseException:
            os.close(end)
            raise
        finally:
            os.close(log)

    def _bounds(self, settings: LaunchSettings) -> tuple[int, str, str, str]:
        """Return size of files, memory, cores and processes, as the launcher's arguments."""
        limits = self._request.limits
        cores = ",".join(map(str, limits.cpu_set)) if limits.cpu_set else NONE
        # CUDA maps the memory of all GPUs as its own, and would not start below such a limit.
        data = NONE if limits.gpus else str(limits.memory_mb * MIB)
        return settings.file_bytes, data, cores, settings.processes

    def _started(self, settings: LaunchSettings, log: int) -> Launched:
        start = NONE if self._handover is None else "warm"
        return LauncherProcess(
            (*self._bounds(settings), settings.namespaces, start),
            command_line(self._handover.command if self._handover else self._request.command),
            log,
            self._group.entrance if self._group is not None else None,
            directory=settings.directory,
            environment=self._variables(settings),
        )

    def _server(self, settings: LaunchSettings) -> ForkServer | None:
        """Return the server to fork from; ``None`` where a process has to be started.

        Raises:
            SandboxError: A module cannot be imported.
        """
        if self._servers is None or self._handover is None or settings.spec is None:
            return None
        if not may_fork(self._request):
            return None
        self._check_stopped()
        try:
            return self._servers.get(
                self._request.warm,
                self._variables(settings),
                cores=self._bounds(settings)[2],
                user=settings.spec["user"],
                maps=settings.spec["maps"],
            )
        except SandboxError as error:
            raise self._handover.fault(str(error)) from None

    def _forked(self, server: ForkServer, settings: LaunchSettings, log: int) -> Launched:
        assert self._handover is not None
        command = [self._handover.token, *self._handover.words]
        wanted: Any = (settings.spec, self._bounds(settings), command)
        file = settings.directory / "request"
        file.write_bytes(marshal.dumps(wanted))
        return server.fork(file, log, self._group.entrance if self._group is not None else None)

    def _variables(self, settings: LaunchSettings) -> dict[str, str]:
        passed = {name: os.environ[name] for name in self._passed if name in os.environ}
        gpus = gpu_variables(self._request)
        paths = {**driver_variables(self._request), **passed, **settings.paths, **gpus}
        return clean_environment(self._request, paths)

    def _hand_over(self, launched: Launched) -> float:
        """Wait until the command has imported its modules and waits for the word to go.

        Returns:
            The CPU seconds that it has used so far.

        Raises:
            SandboxError: A module cannot be imported, or the phase was stopped.
        """
        assert self._handover is not None
        with self._timer(IMPORT_SECONDS, None):
            said = launched.heard()
        outside, _, line = said.partition(b" ")
        try:
            check_namespaces(said)
            if (told := self._handover.split(line)[1]) is not None:
                return told if outside == b"-" else float(outside)
        except SandboxError:
            self._give_up(launched)
            raise
        self._give_up(launched)
        self._check_stopped()
        raise self._handover.fault(self._log.text().strip() or "it was killed, or took too long")

    def _give_up(self, launched: Launched) -> None:
        """End a command that has not begun, and wait until its output is read."""
        self._kill(None)
        launched.wait()
        with self._lock:
            self._launched = None
        if self._reader is not None:
            self._reader.join(_KILL_SECONDS)

    @contextlib.contextmanager
    def _reading(self, log: int) -> Iterator[None]:
        """Read the output in another thread, to its end where the context ends well."""
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()
        yield
        # Only a process that escaped a killed launcher could still hold the pipe.
        self._reader.join(_KILL_SECONDS)

    def _read(self, log: int) -> None:
        with open(log, "rb", buffering=0) as pipe:
            while piece := os.read(pipe.fileno(), _PIECE):
                self._log.write(piece)

    @contextlib.contextmanager
    def _timer(self, seconds: float, ending: Ending | None) -> Iterator[None]:
        """Kill the command when the context has lasted so long."""
        timer = threading.Timer(seconds, self._kill, args=(ending,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _kill(self, ending: Ending | None) -> None:
        """Make the launcher kill all processes; kill the launcher if it has not ended soon."""
        with self._lock:
            launched = self._launched
            if launched is None:
                return
            self._killed = self._killed or ending
        launched.end()
        timer = threading.Timer(_KILL_SECONDS, launched.kill)
        timer.daemon = True
        timer.start()

    def _check_stopped(self) -> None:
        if self._stopped:
            raise SandboxError(f"phase {self._request.phase} was stopped")

    def _outcome(self, written: Path | None) -> tuple[Ending, tuple[str, ...]]:
        """Tell how the command ended; collect its outputs if it ended by itself."""
        self._check_stopped()
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
