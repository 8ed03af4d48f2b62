"""Runs commands as processes of this machine: limits and cleaning up, but no isolation."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

from recipelab.errors import SandboxError, SandboxUnavailable
from recipelab.sandbox.base import PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.inputs import check_request
from recipelab.sandbox.local_phase import LocalPhase
from recipelab.sandbox.staging import reap_folders
from recipelab.sandbox.threads import RunningPhases

NOTICE = (
    "the local sandbox does not isolate: code runs as you and sees your files and network; "
    "for isolation start Docker and use `--sandbox docker`"
)


class LocalSandbox(Sandbox):
    """Runs each command in a temporary folder, with resource limits, as the same user.

    It does not keep code from reading or writing the user's files; use it for code that you would
    run by hand. Memory is limited for each process, not for all of them together, and the number of
    processes is not limited.
    """

    name: ClassVar[str] = "local"
    isolated: ClassVar[bool] = False
    notice: ClassVar[str | None] = NOTICE

    def __init__(self, *, temporary_folder: Path | None = None) -> None:
        """Makes a sandbox; nothing is touched before :meth:`start`.

        Args:
            temporary_folder: Where phase roots are made; the system's by default.
        """
        self._temporary = temporary_folder or Path(tempfile.gettempdir())
        self._phases = RunningPhases()
        self._started = False

    async def start(self) -> None:
        """Removes phase roots of dead processes; see :meth:`Sandbox.start`."""
        if not self._temporary.is_dir():
            raise SandboxUnavailable(f"no temporary folder at {self._temporary}")
        reap_folders(self._temporary)
        self._started = True

    async def stop(self) -> None:
        """Kills every phase that still runs; see :meth:`Sandbox.stop`."""
        self._started = False
        await self._phases.stop_all()

    async def run(self, request: PhaseRequest) -> PhaseResult:
        """Runs one command; see :meth:`Sandbox.run`."""
        if not self._started:
            raise SandboxError("the local sandbox is not started")
        check_request(request)
        phase = LocalPhase(request, temporary=self._temporary)
        return await self._phases.run(phase, name=f"phase-{request.phase}")
