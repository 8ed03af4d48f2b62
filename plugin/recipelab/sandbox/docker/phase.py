"""One phase in one container: run the command, measure it, and fetch what it left in ``out/``."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from docker import APIClient
from docker.errors import APIError, DockerException
from requests import ConnectionError as RequestsConnectionError
from requests import ReadTimeout, RequestException
from urllib3.exceptions import HTTPError

from recipelab.core.errors import SandboxError
from recipelab.sandbox.base import OUTPUT_DIRECTORY, Ending, PhaseRequest, PhaseResult
from recipelab.sandbox.docker.containers import remove
from recipelab.sandbox.docker.fetching import FetchedOutputs, fetch_outputs
from recipelab.sandbox.docker.inputs import InputLayers, InputTree, gathered
from recipelab.sandbox.docker.monitor import (
    STANDARD_OUTPUT,
    ContainerGone,
    ContainerMonitor,
    ContainerStream,
    ContainerUsage,
)
from recipelab.sandbox.docker.options import (
    KILL_COMMAND,
    PHASE_ROOT,
    RUN_COMMAND,
    WATCH_COMMAND,
    DaemonFacts,
)
from recipelab.sandbox.docker.remote import Sender
from recipelab.sandbox.outputs import (
    clear_folder,
    take_error_file,
    take_watched,
)
from recipelab.sandbox.processes import BoundedLog, in_thread
from recipelab.sandbox.warm import GO, IMPORT_SECONDS, Handover
from recipelab.sandbox.watch import Watcher

_LAST_READING_SECONDS = 0.5
_STEP_SECONDS = 0.01
_ATTEMPTS = 200
_ERROR_BYTES = 64 * 1024
_HANG_UP_SECONDS = 20.0
"""Time that a killed container may take to end, until it is listened to no longer."""


def _hand_on(stream: ContainerStream, watcher: Watcher) -> None:
    """Hand on what a reader in the container prints, until it ends.

    What is no longer wanted is read all the same: where one output is not taken off its hands,
    Docker tells of no end of any process in the container, nor of its own.
    """
    with contextlib.suppress(OSError, ValueError):
        for number, piece in stream.pieces():
            if number == STANDARD_OUTPUT:
                watcher.take(piece)


class DockerPhase:
    """Runs one request once. :meth:`stop` may be called from another thread at any time.

    Nothing that runs in the container is trusted to say when it ended or what it used. The deadline
    and the wall clock are this process's own; CPU time, memory and the number of processes are the
    kernel's, read through the monitor before and after. Outputs are fetched only when the kernel
    counts no process of the command any more, so that nothing changes them meanwhile.
    """

    def __init__(
        self,
        api: APIClient,
        request: PhaseRequest,
        *,
        options: Callable[[InputTree], dict[str, Any]],
        user: str,
        layers: InputLayers,
        facts: DaemonFacts,
        sender: Sender,
        environment: str,
    ) -> None:
        """Note what to run.

        Args:
            api: A connection to the daemon.
            request: A checked request.
            options: Returns the arguments of ``create_container`` for inputs.
            user: User and group of the command.
            layers: Where to get links to large inputs from.
            facts: What the daemon can do.
            sender: Sends inputs to a daemon that sees none of this machine.
            environment: What to record as the environment.
        """
        self._api = api
        self._request = request
        self._options = options
        self._user = user
        self._layers = layers
        self._facts = facts
        self._sender = sender
        self._environment = environment
        self._log = BoundedLog(limit=request.limits.log_kb * 1024, tell=request.tell)
        self._lock = threading.Lock()
        self._container = ""
        self._stopped = False
        self._ended = False
        self._dead = False
        self._killed: Ending | None = None
        self._wall = 0.0
        self._monitor: ContainerMonitor | None = None
        self._stream: ContainerStream | None = None
        self._warm = 0.0
        self._before = ContainerUsage()
        self._handed_over = ContainerUsage()
        self._after = ContainerUsage()
        # Both of its streams are one connection; modules are heard on standard output.
        self._handover = Handover(request, ready=STANDARD_OUTPUT) if request.warm else None

    def run(self) -> PhaseResult:
        """Run the command and collect what it left; see :meth:`Sandbox.run`."""
        try:
            with self._inputs() as inputs:
                self._check_stopped()
                created = self._api.create_container(**self._options(inputs))["Id"]
                with self._lock:
                    self._container = created
                try:
                    return self._result(inputs.copies(PHASE_ROOT))
                finally:
                    self._remove()
        except DockerException as error:
            raise SandboxError(f"phase {self._request.phase}: {error}") from error
        except RequestException as error:
            raise SandboxError(
                f"phase {self._request.phase}: the Docker daemon does not answer: {error}"
            ) from error
        except (OSError, HTTPError) as error:
            # A stream of the SDK was cut: it tells that in the words of what it is made of.
            raise SandboxError(f"phase {self._request.phase}: {error}") from error

    @contextlib.contextmanager
    def _inputs(self) -> Iterator[InputTree]:
        overlays = self._facts.overlay_fault is None
        with gathered(self._request, self._layers, overlays=overlays) as inputs:
            if not self._facts.remote:
                yield inputs
                return
            with self._sender.sent(inputs) as sent:
                yield sent

    def stop(self) -> None:
        """Kill the container; see :class:`Stoppable`."""
        with self._lock:
            self._stopped = True
            container = self._container
        if container:
            self._kill_container()

    def _result(self, copies: Sequence[tuple[str, str]]) -> PhaseResult:
        self._check_stopped()
        self._monitor = ContainerMonitor(self._api, self._container, ask_daemon=self._facts.sentry)
        self._api.start(self._container)
        # A stop that came before the start found nothing to kill.
        self._check_stopped()
        for original, place in copies:
            self._copy(original, place)
        self._before = self._handed_over = self._monitor.usage()
        code = self._execute()
        self._check_stopped()
        if self._killed is not None:
            return self._phase_result(self._killed, None)
        try:
            return self._ended_by_itself(code)
        except (SandboxError, APIError):
            # Files in memory can fill a container so far that nothing more runs in it, or that the
            # kernel kills the monitor. That is the command's fault.
            if not self._out_of_memory():
                raise
            clear_folder(self._request.output)
            return self._phase_result(Ending.MEMORY, None)

    def _copy(self, original: str, place: str) -> None:
        """Copy what the command may change, in the container and with the command's rights."""
        execution = self._exec_create(("cp", "-R", f"{original}/.", f"{place}/"))
        said = self._api.exec_start(execution)
        if self._exit_code(execution):
            text = said.decode("utf-8", "replace").strip()[-_ERROR_BYTES:]
            raise SandboxError(
                f"phase {self._request.phase}: no writable copy (limits.scratch_mb is "
                f"{self._request.limits.scratch_mb}): {text}"
            )

    def _ended_by_itself(self, code: int) -> PhaseResult:
        """Tell how the command ended, and fetch the outputs if it was not killed."""
        quiet = self._quiet()
        if code and self._after.memory_kills:
            return self._phase_result(Ending.MEMORY, None)
        if not quiet:
            left = ("out/ (a process of the command could not be stopped)",)
            return self._phase_result(Ending.EXITED, code, FetchedOutputs(refused=left))
        fetched = fetch_outputs(self._api, self._container, self._request, user=self._user)
        if self._facts.sentry:
            # A command can mount over what counts its processes there, and work on meanwhile.
            self._after = self._reading()
        return self._phase_result(fetched.ending, code, fetched)

    def _phase_result(
        self, ending: Ending, code: int | None, fetched: FetchedOutputs | None = None
    ) -> PhaseResult:
        fetched = fetched or FetchedOutputs()
        return PhaseResult(
            ending=ending,
            exit_code=code,
            wall_seconds=self._wall,
            cpu_seconds=max(0.0, self._after.cpu_seconds - self._handed_over.cpu_seconds),
            peak_memory_mb=self._peak(ending),
            log=self._log.text(),
            refused=fetched.refused,
            environment=self._environment,
            tampered=fetched.tampered,
            refused_processes=self._after.refused_processes,
            error_file=take_error_file(self._request.output),
            watched=take_watched(self._request.output, self._request.watch),
            warm_seconds=self._warm,
            warm_cpu_seconds=self._handed_over.cpu_seconds - self._before.cpu_seconds,
        )

    def _peak(self, ending: Ending) -> float | None:
        # With gVisor the kernel kills the whole container, whose figures are gone with it.
        limit = float(self._request.limits.memory_mb)
        lost = ending is Ending.MEMORY and self._facts.sentry
        return limit if lost else self._after.peak_memory_mb

    def _execute(self) -> int:
        """Run the command to its end or to the death of the container.

        Returns:
            The exit code; meaningless if the command was killed, or its container died.
        """
        command = self._handover.command if self._handover else self._request.command
        execution = self._exec_create(
            RUN_COMMAND + command,
            stdin=self._handover is not None,
            directory=f"{PHASE_ROOT}/{self._request.directory}".rstrip("/"),
        )
        started = time.monotonic()
        try:
            # A connection that breaks looks like the end; the exit code tells whether it is one.
            with contextlib.suppress(OSError), self._connected(execution) as stream:
                self._stream = stream
                pieces = stream.pieces()
                if self._handover is not None:
                    self._wait_for_imports(pieces)
                    self._warm, started = time.monotonic() - started, time.monotonic()
                deadline = self._timer(self._request.limits.seconds, self._meet_deadline)
                with deadline, self._watching(), self._listening_for_death():
                    if self._handover is not None:
                        stream.send(GO)
                    for _, piece in pieces:
                        self._log.write(piece)
        except APIError:
            if self._killed is None:  # Otherwise it was killed while it was being started.
                raise
        self._wall = time.monotonic() - started
        with self._lock:
            self._ended = True
            killed = self._killed or self._stopped or self._dead
        return 0 if killed else self._exit_code(execution)

    @contextlib.contextmanager
    def _listening_for_death(self) -> Iterator[None]:
        """Hang up when the container has died: with gVisor Docker does not end its streams then."""
        if self._facts.sentry:
            threading.Thread(target=self._wait_for_death, daemon=True).start()
        yield

    def _wait_for_death(self) -> None:
        while not self._ended:
            # It is waited for as long as the daemon may take for an answer, again and again.
            with contextlib.suppress(ReadTimeout, RequestsConnectionError):
                try:
                    self._api.wait(self._container)
                except APIError:
                    return  # It has been removed.
                time.sleep(_LAST_READING_SECONDS)  # What it said last is on its way.
                self._dead = not self._ended
                self._hang_up()
                return

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """Read what is appended to the watched file in another thread, while the context lasts."""
        if self._request.watch is None:
            yield
            return
        watcher = Watcher(self._request.watch, self._stop_watched)
        path = f"{OUTPUT_DIRECTORY}/{self._request.watch.file}"
        execution = self._exec_create((*WATCH_COMMAND, path))
        with contextlib.closing(self._connected(execution)) as stream:
            thread = threading.Thread(target=_hand_on, args=(stream, watcher), daemon=True)
            thread.start()
            yield
        thread.join(_LAST_READING_SECONDS)

    def _stop_watched(self) -> None:
        self._end_at(Ending.STOPPED)

    def _connected(self, execution: str) -> ContainerStream:
        return ContainerStream(self._api.exec_start(execution, socket=True), timeout=None)

    def _wait_for_imports(self, pieces: Iterator[tuple[int, bytes]]) -> None:
        """Wait until the command has imported its modules, and read what was used so far.

        Raises:
            SandboxError: A module cannot be imported, or the phase was stopped.
        """
        assert self._handover is not None
        said = b""
        with self._timer(IMPORT_SECONDS, self._kill_container):
            for number, piece in pieces:
                if number != STANDARD_OUTPUT:
                    self._log.write(piece)
                    continue
                said += piece
                before, ready = self._handover.split(said)
                if ready is not None:
                    self._log.write(before)
                    self._handed_over = self._reading()
                    return
        self._check_stopped()
        text = self._log.text().strip() or "it was killed, or took too long"
        raise self._handover.fault(text)

    @contextlib.contextmanager
    def _timer(self, seconds: float, act: Callable[[], None]) -> Iterator[None]:
        """Act when the context has lasted so long."""
        timer = threading.Timer(seconds, act)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _exec_create(
        self, command: tuple[str, ...], *, stdin: bool = False, directory: str = PHASE_ROOT
    ) -> str:
        created = self._api.exec_create(
            self._container, list(command), user=self._user, workdir=directory, stdin=stdin
        )
        return str(created["Id"])

    def _exit_code(self, execution: str) -> int:
        """Return the exit code; Docker may end the output a moment before it knows the code."""
        for _ in range(_ATTEMPTS):
            code = self._api.exec_inspect(execution)["ExitCode"]
            if code is not None:
                return int(code)
            time.sleep(_STEP_SECONDS)
        raise SandboxError(f"phase {self._request.phase}: Docker reports no exit code")

    def _quiet(self) -> bool:
        """Wait until no process of the command runs, and kill those that do again and again.

        The kernel counts the processes, so none in the container can hide.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            self._after = self._reading()
            if self._after.processes <= self._before.processes:
                return True
            # A process that was just killed needs a moment to be gone.
            if attempt % 10 == 0:
                self._api.exec_start(self._exec_create(KILL_COMMAND))
            time.sleep(_STEP_SECONDS)
        return False

    def _reading(self) -> ContainerUsage:
        if self._monitor is None:
            raise ContainerGone("the container was never connected to")
        return self._monitor.usage()

    def _out_of_memory(self) -> bool:
        try:
            return self._reading().memory_kills > 0
        except ContainerGone:
            state = self._api.inspect_container(self._container)["State"]
            return bool(state["OOMKilled"])

    def _meet_deadline(self) -> None:
        self._end_at(Ending.DEADLINE)

    def _end_at(self, ending: Ending) -> None:
        """Kill the container, after a last reading of what it used."""
        with self._lock:
            if self._ended or self._killed is not None:
                return
            self._killed = ending
        # The daemon takes a few tenths of a second for its figures, which gVisor has no others of.
        patience = _LAST_READING_SECONDS * (4 if self._facts.sentry else 1)
        reading = in_thread(self._reading, name="last-usage")
        # Without it the figures are missing, but killing in time matters more.
        with contextlib.suppress(TimeoutError, SandboxError):
            self._after = reading.result(timeout=patience)
        # A daemon that does not know that it is dead would be waited for without end.
        timer = threading.Timer(_HANG_UP_SECONDS, self._hang_up)
        timer.daemon = True
        timer.start()
        self._kill_container()

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _kill_container(self) -> None:
        try:
            self._api.kill(self._container)
        except APIError:
            return  # It has ended, or not started; run() looks again after the start.
        except RequestException:
            # The daemon does not answer. A container whose monitor loses its input ends too.
            if self._monitor is not None:
                self._monitor.close()

    def _remove(self) -> None:
        if self._monitor is not None:
            self._monitor.close()
        remove(self._api, self._container)

    def _check_stopped(self) -> None:
        if self._stopped:
            raise SandboxError(f"phase {self._request.phase} was stopped")
