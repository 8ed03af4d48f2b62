"""The contract of a sandbox: one phase in, what was measured from outside out.

A sandbox runs one command with read-only inputs, collects what it left in ``out/``, and measures
time and memory itself. It knows nothing of recipes, scores or trials.

The command's working directory (the *phase root*) holds the inputs at their target paths and an
empty, writable ``out/``. Everything else is read-only or not there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

OUTPUT_DIRECTORY = "out"
"""Where a command writes, below the phase root."""


@dataclass(frozen=True)
class PhaseLimits:
    """Bounds that a sandbox puts on one phase.

    Attributes:
        seconds: Wall-clock deadline; at the deadline every process is killed.
        memory_mb: Memory in MiB.
        cpus: CPU cores (Docker) and the thread count that numeric libraries are told.
        pids: Number of processes and threads.
        output_mb: Size of everything under ``out/`` in MiB.
        scratch_mb: Size of the temporary folder in MiB, where the sandbox can bound it.
        output_files: Number of files under ``out/``.
        log_kb: Size of the kept log in KiB; of a longer one, head and tail are kept.
        cpu_set: Numbers of the only cores that may be used; ``None`` for any. A sandbox that
            cannot pin (macOS has no way) runs the phase on any core.
        gpus: Ids of the only GPUs that may be used, as ``("0",)``; without any, none is there.
    """

    seconds: float
    memory_mb: int = 2048
    cpus: float = 1.0
    pids: int = 128
    output_mb: int = 256
    scratch_mb: int = 512
    output_files: int = 256
    log_kb: int = 64
    cpu_set: tuple[int, ...] | None = None
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Input:
    """A host file or folder that the command sees read-only.

    Attributes:
        source: Absolute path on the host.
        target: Path below the phase root, with forward slashes, as ``data/train.gz``.
    """

    source: Path
    target: str


@dataclass(frozen=True)
class PhaseRequest:
    """One command to run.

    Attributes:
        phase: Name of the phase, for labels and messages.
        command: The command line; a first word ``python`` means the sandbox's own Python 3.
        inputs: What the command may read.
        output: Existing empty host folder that receives the regular files left in ``out/``.
        limits: The bounds.
        environment: Extra environment variables; nothing is inherited from the host.
        labels: What it belongs to (campaign, trial, seed), for reaping and listing.
        tripwires: Names of folders below the phase root that are there, empty and writable, and
            that an honest command has no reason to write to, as ``evaluator``. What is left in one
            is named in :attr:`PhaseResult.tampered` and goes nowhere.
    """

    phase: str
    command: tuple[str, ...]
    inputs: tuple[Input, ...]
    output: Path
    limits: PhaseLimits
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    tripwires: tuple[str, ...] = ()


class Ending(StrEnum):
    """How the command came to its end."""

    EXITED = "exited"
    DEADLINE = "deadline"
    MEMORY = "memory"
    OUTPUT = "output"


@dataclass(frozen=True)
class PhaseResult:
    """What the sandbox saw from outside.

    Attributes:
        ending: Whether the command ended by itself or was stopped by a limit.
        exit_code: The exit code; negative for a signal; ``None`` when it was killed by a limit.
        wall_seconds: Wall-clock time of the command in seconds.
        cpu_seconds: CPU time (user + system) of all its processes in seconds.
        peak_memory_mb: Largest memory use in MiB, or ``None`` where it cannot be told.
        log: Standard output and error together, bounded, with a line where the middle was cut.
        refused: Outputs that were not taken, each with the reason, as ``out/a (symbolic link)``.
        environment: What it ran in, for the record, as ``docker recipelab/cpu sha256:...``.
        tampered: What the command left in tripwires, as ``evaluator/score.py``; sorted, at most 64.
        refused_processes: How often the system refused a process or thread at the limit, or
            ``None`` where that cannot be told.
    """

    ending: Ending
    exit_code: int | None
    wall_seconds: float
    cpu_seconds: float
    peak_memory_mb: float | None
    log: str
    refused: tuple[str, ...] = ()
    environment: str = ""
    tampered: tuple[str, ...] = ()
    refused_processes: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the command ended by itself with exit code 0."""
        return self.ending is Ending.EXITED and self.exit_code == 0


class Sandbox(ABC):
    """Runs commands under limits. Use it as an async context manager.

    Entering removes what a dead process left behind; leaving stops everything that still runs.
    """

    name: ClassVar[str]
    """Short name, as ``docker`` or ``local``."""

    isolated: ClassVar[bool]
    """Whether code in it is kept from the host's files, network and processes."""

    def notice(self) -> str | None:
        """Return one line on what it cannot promise here, and how to get that; or ``None``."""
        return None

    @abstractmethod
    async def run(self, request: PhaseRequest) -> PhaseResult:
        """Runs one command to its end, to a limit, or to cancellation.

        Cancelling the awaiting task kills every process of the phase before the cancellation
        goes on.

        Args:
            request: The command, its inputs and its limits.

        Returns:
            What was measured from outside. A failing command is a result, not an error.

        Raises:
            SandboxError: The machinery failed; the command is not to blame.
        """

    @abstractmethod
    async def start(self) -> None:
        """Gets ready and removes what dead processes left behind.

        Raises:
            SandboxUnavailable: This sandbox cannot run here.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Stops whatever still runs and frees everything. Safe to call twice."""

    @property
    @abstractmethod
    def started(self) -> bool:
        """Whether it has been started and not stopped."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
