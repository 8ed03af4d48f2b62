"""Runs each command as a process of this machine, in namespaces if the system allows them."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from recipelab.core.errors import SandboxError, SandboxUnavailable
from recipelab.sandbox.base import PhaseLimits, PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.files import check_request, reap_folders
from recipelab.sandbox.local.groups import ControlGroups
from recipelab.sandbox.local.namespaces import interpreter
from recipelab.sandbox.local.phase import LOCAL_IDENTITY, LocalPhase
from recipelab.sandbox.local.servers import ForkServers
from recipelab.sandbox.processes import RunningPhases
from recipelab.sandbox.requirements import check_here, read_requirements

if TYPE_CHECKING:
    # It needs pydantic, and phases run without it.
    from recipelab.sandbox.spec import ImageSpec

_log = logging.getLogger(__name__)

_OLDEST_LINUX = (5, 14)
"""Older kernels count all processes of the user in the bound on processes inside."""

# It tests more than the start of Python: the command of root runs as another user, who may not be
# allowed to read all of Python's folders.
_PROGRAM = """
import os, sys
for folder in sys.path:
    if os.path.lexists(folder):
        os.stat(folder)
        os.path.isdir(folder) and os.listdir(folder)
"""
_LIMITS = PhaseLimits(seconds=10, output_mb=1, scratch_mb=1, output_files=1, log_kb=4)

WITHOUT_NAMESPACES = (
    "the local sandbox does not isolate{why}: code runs as you and sees your files and network; "
    "for isolation start Docker and use `--sandbox docker`"
)
IN_NAMESPACES = (
    "the local sandbox does not isolate as a container does: Linux namespaces keep code from your "
    "files, network and processes, but memory is limited for each process and not for all "
    "together (with GPUs not at all), CPU time is not limited, and few system calls are refused; "
    "for more start Docker and use `--sandbox docker`"
)


class LocalSandbox(Sandbox):
    """Runs each command as a process of this machine, with resource limits.

    Where an unprivileged process may make namespaces (most Linux machines), the command sees the
    system's programs and its inputs read-only, folders in memory to write to, and no files of the
    user, no network and no other processes. Outputs, scratch space and the number of processes are
    limited. Memory is limited for each process, not for all together, and not at all where a phase
    has GPUs: CUDA does not start below such a limit.

    Elsewhere a command runs in a temporary folder as the same user, with all of that user's rights.
    Neither the number of processes nor the scratch space is limited; use it for code that you would
    run by hand. :meth:`notice` tells which of the two it is, and a start without namespaces where
    they were not declined is logged as a warning.
    """

    name: ClassVar[str] = "local"
    isolated: ClassVar[bool] = False

    def __init__(
        self,
        *,
        temporary_folder: Path | None = None,
        namespaces: bool | None = None,
        pass_environment: tuple[str, ...] = (),
    ) -> None:
        """Create a sandbox; nothing is touched before :meth:`start`.

        Args:
            temporary_folder: Where phase roots are made; the system's temporary folder by default.
            namespaces: Whether commands get namespaces: ``None`` if that is possible, and ``True``
                to make :meth:`start` fail if it is not.
            pass_environment: Names of host variables that commands get if they are set.
        """
        self._temporary = temporary_folder or Path(tempfile.gettempdir())
        self._wanted = namespaces
        self._passed = pass_environment
        self._phases = RunningPhases()
        self._servers = ForkServers()
        self.groups: ControlGroups | None = None
        """Where control groups count CPU time, found at the start; without them it is sampled."""
        self._started = False
        self._namespaces = False

    @classmethod
    def from_spec(cls, spec: ImageSpec, *, build: bool, progress: Callable[[str], None]) -> Self:
        """Return a sandbox that runs this Python, whatever the image; see :class:`SandboxKind`.

        Raises:
            SandboxUnavailable: This Python lacks a package that the pack itself asks for.
        """
        if spec.below is not None:
            check_here(read_requirements(spec.requirements), interpreter())
        return cls(pass_environment=spec.container.environment)

    def notice(self) -> str:
        """Return one line on what it cannot promise on this machine, and how to get it.

        May be called before :meth:`start`; the first call runs a trivial command to find out.
        """
        if self._wanted is False:
            return WITHOUT_NAMESPACES.format(why="")
        if fault := namespaces_fault(self._temporary):
            return WITHOUT_NAMESPACES.format(why=f" here ({fault})")
        return IN_NAMESPACES

    def lost_isolation(self) -> str | None:
        """Return why commands run without namespaces, though nobody asked for that."""
        if self._wanted is not False and namespaces_fault(self._temporary):
            return self.notice()
        return None

    @property
    def image_identity(self) -> str:
        """The version of this Python, and the system."""
        return LOCAL_IDENTITY

    @property
    def started(self) -> bool:
        """Whether phases may be run."""
        return self._started

    async def start(self) -> None:
        """Try namespaces, and remove what dead processes left; see :meth:`Sandbox.start`."""
        if not self._temporary.is_dir():
            raise SandboxUnavailable(f"no temporary folder at {self._temporary}")
        reap_folders(self._temporary)
        self.groups = await asyncio.to_thread(ControlGroups.find)
        if self.groups is not None:
            self.groups.reap()
        if self._wanted is not False:
            fault = await asyncio.to_thread(namespaces_fault, self._temporary)
            if fault and self._wanted:
                raise SandboxUnavailable(f"no namespaces for the local sandbox: {fault}")
            if fault:
                _log.warning("%s", WITHOUT_NAMESPACES.format(why=f" here ({fault})"))
            self._namespaces = fault is None
        self._started = True

    async def stop(self) -> None:
        """Kill every phase that still runs; see :meth:`Sandbox.stop`."""
        self._started = False
        await self._phases.stop_all()
        self._servers.stop()

    async def run(self, request: PhaseRequest) -> PhaseResult:
        """Run one command; see :meth:`Sandbox.run`."""
        if not self._started:
            raise SandboxError("the local sandbox is not started")
        check_request(request)
        phase = LocalPhase(
            request,
            temporary=self._temporary,
            namespaces=self._namespaces,
            passed=self._passed,
            servers=self._servers,
            groups=self.groups,
        )
        return await self._phases.run(phase, name=f"phase-{request.phase}")


PROBES = 3
"""How often namespaces are tried before they are taken for missing."""


@lru_cache(maxsize=8)
def namespaces_fault(temporary: Path) -> str | None:
    """Return why namespaces cannot be made here, or ``None`` if a trivial phase ran in some.

    The answer is cached: it does not change while this process lives.

    Args:
        temporary: Where phases have their folders.
    """
    if not sys.platform.startswith("linux"):
        return "only Linux has them"
    if tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < _OLDEST_LINUX:
        return f"this is Linux {os.uname().release}; 5.14 or newer is needed"
    fault = None
    # Isolation is not done without for a process that the system killed, as where memory is short.
    for _ in range(PROBES):
        if (fault := _probe_fault(temporary)) is None:
            break
    return fault


def _probe_fault(temporary: Path) -> str | None:
    """Return why one trivial phase did not run in namespaces, or ``None`` if it did."""
    with tempfile.TemporaryDirectory() as output:
        request = PhaseRequest(
            phase="probe",
            command=("python", "-I", "-c", _PROGRAM),
            inputs=(),
            output=Path(output),
            limits=_LIMITS,
        )
        try:
            result = LocalPhase(request, temporary=temporary, namespaces=True).run()
        except SandboxError as error:
            return str(error).strip().splitlines()[-1]
    if result.ok:
        return None
    last = (result.log.strip().splitlines() or ["it did not end"])[-1]
    return f"a Python in them ended with {result.ending} {result.exit_code}: {last}"
