"""Fork servers: processes that have imported what phases need, one for each slot."""

from __future__ import annotations

import array
import contextlib
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recipelab.core.errors import SandboxError
from recipelab.sandbox.base import PhaseRequest
from recipelab.sandbox.local.launched import Launched
from recipelab.sandbox.local.namespaces import interpreter
from recipelab.sandbox.warm import IMPORT_SECONDS

FORKED = sys.stdlib_module_names | {"numpy", "torch"}
"""Packages that are known to hold nothing that two forks may not share, or to draw it anew."""

NO_HOME = "/dev/null"
"""The home of a server while Python starts and imports."""

# The first two folders of the import path are this package's and the one above; the program takes
# them out again before it imports anything else.
_START = (
    "import sys; sys.path[0:1] = [sys.argv.pop(1), sys.argv.pop(1)]\n"
    "from launcher_server import main, run_script; run_script(*main(sys.argv[1:]))"
)
_HERE = Path(__file__).parent
_LINE_BYTES = 4096
_FILE_BYTES = array.array("i").itemsize


class CannotFork(Exception):
    """Phases cannot be forked from a process that has these modules; the message says why."""


def may_fork(request: PhaseRequest) -> bool:
    """Return whether a phase may be forked at all: its modules are known, and it has no GPU.

    Variables of its own may change what is imported, and would want a server for each value.
    """
    known = all(name.split(".")[0] in FORKED for name in request.warm)
    return (
        known and not request.environment and not request.limits.gpus and hasattr(os, "pidfd_open")
    )


class ForkServer:
    """One process that has imported modules; see ``launcher_server.py``.

    Args:
        modules: Their names.
        environment: All environment variables of the phases.
        cores: The cores that it may use, as the launcher's argument.
        user: The user that runs commands; ``None`` for that of this process.
        maps: Maps of ids; see :class:`~recipelab.sandbox.local.namespaces.NamespaceSpec`.

    Raises:
        CannotFork: The modules have started threads, or hold what forks would share.
        SandboxError: A module cannot be imported; the message is the reason.
        OSError: The system cannot start it.
    """

    def __init__(
        self,
        modules: Sequence[str],
        environment: Mapping[str, str],
        *,
        cores: str,
        user: int | None,
        maps: Sequence[tuple[str, str]],
    ) -> None:
        self._lock = threading.Lock()
        self._socket, inner = socket.socketpair()
        words = ("-" if user is None else str(user), cores, marshal.dumps(list(maps)).hex())
        # The home inside is a folder of the host here, and anybody may have left modules in it.
        home, outside = environment.get("HOME", NO_HOME), {**environment, "HOME": NO_HOME}
        with inner:
            self._process = subprocess.Popen(
                [
                    *(interpreter(), "-c", _START, str(_HERE), str(_HERE.parent)),
                    *(*words, home, ",".join(modules)),
                ],
                stdin=inner.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=outside,
                start_new_session=True,
            )
        try:
            self._hear()
        except BaseException:
            self.stop()
            raise

    def _hear(self) -> None:
        self._socket.settimeout(IMPORT_SECONDS)
        said = b""
        try:
            while not said.endswith(b"\n") and (piece := self._socket.recv(_LINE_BYTES)):
                said += piece
        except TimeoutError:
            raise SandboxError("it took too long") from None
        word, _, reason = said.decode(errors="replace").strip().partition(" ")
        if word == "shared":
            raise CannotFork(reason)
        if word != "ready":
            raise SandboxError(reason or "the process ended")
        self._socket.settimeout(None)

    def fork(self, request: Path, log: int, group: int | None) -> LauncherFork:
        """Fork a launcher.

        Args:
            request: File with the namespaces, the limits, and token, script and arguments.
            log: The end of a pipe that the command writes to.
            group: The entrance of a control group that counts the command, if there is one.

        Raises:
            SandboxError: The server has ended.
        """
        channel, report_end = socket.socketpair()
        control_end, control = os.pipe()
        opened = os.open(request, os.O_RDONLY)
        try:
            with self._lock:
                files = [control_end, report_end.fileno(), log, opened]
                files += [] if group is None else [group]
                socket.send_fds(self._socket, [b"f"], files)
                answer, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
            if not answer:
                raise BrokenPipeError
        except OSError as error:
            channel.close()
            os.close(control)
            raise SandboxError(
                f"the process with the imported modules has ended: {error}"
            ) from None
        finally:
            report_end.close()
            os.close(control_end)
            os.close(opened)
        return LauncherFork(channel, control, descriptors[0] if descriptors else None)

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it; what it has forked ends with it."""
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


class LauncherFork(Launched):
    """A launcher that a server has forked.

    Args:
        channel: Where it reports.
        control: Its control pipe.
        process: A file that stands for its process; ``None`` if it has ended already.
    """

    def __init__(self, channel: socket.socket, control: int, process: int | None) -> None:
        super().__init__(channel, control)
        self._process = process

    def wait(self) -> None:
        """Wait for its end; see :meth:`Launched.wait`."""
        if self._process is not None:
            poll = select.poll()
            poll.register(self._process, select.POLLIN)
            poll.poll()
        self.end()

    def kill(self) -> None:
        """Kill it, and with it all that is in its namespaces; see :meth:`Launched.kill`."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def close(self) -> None:
        """Close all channels."""
        super().close()
        with self._lock:
            if self._process is not None:
                os.close(self._process)
                self._process = None


class ForkServers:
    """The servers of one sandbox, made when they are first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[Any, threading.Lock] = {}
        self._found: dict[Any, ForkServer | None] = {}

    def get(
        self,
        modules: Sequence[str],
        environment: Mapping[str, str],
        *,
        cores: str,
        user: int | None,
        maps: Sequence[tuple[str, str]],
    ) -> ForkServer | None:
        """Return the server for these modules in this environment on these cores.

        Returns:
            The server; ``None`` if phases cannot be forked from it.

        Raises:
            SandboxError: A module cannot be imported, or the server cannot be started.
        """
        key = (tuple(modules), tuple(sorted(environment.items())), cores)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            server = self._found.get(key)
            if key in self._found and (server is None or server.lives):
                return server
            if server is not None:
                server.stop()
            try:
                made = ForkServer(modules, environment, cores=cores, user=user, maps=maps)
            except CannotFork:
                made = None
            self._found[key] = made
            return made

    def stop(self) -> None:
        """End all servers."""
        with self._lock:
            servers = [server for server in self._found.values() if server is not None]
            self._found.clear()
        for server in servers:
            server.stop()
