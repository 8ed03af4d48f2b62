"""The contract of a sandbox: it runs one phase, and returns what it measured from outside.

A sandbox runs one command with read-only inputs, collects what the command left in ``out/``, and
measures time and memory itself. It knows nothing of recipes, scores or trials.

The *phase root* holds the inputs at their target paths and an empty, writable ``out/``. Everything
else is read-only or missing. It is the working directory of the command, unless that is a folder
below it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import ClassVar, Self

OUTPUT_DIRECTORY = "out"
"""Folder below the phase root that a command writes to."""

HOST_NAME = "sandbox"
"""Host name inside a sandbox. It resolves to the loopback address: without that, processes of one
command cannot meet (``torch.distributed.run`` takes the host name as the address of rank 0)."""


ERROR_FILE = ".torchelastic-error.json"
"""File below ``out/`` into which a launcher of PyTorch writes the first failure of a process
(``TORCHELASTIC_ERROR_FILE``). It is no output: the sandbox takes it away after the phase."""


@dataclass(frozen=True)
class PhaseLimits:
    """The limits that a sandbox enforces on one phase.

    Attributes:
        seconds: Wall-clock deadline; at the deadline every process is killed.
        memory_mb: Memory in MiB.
        cpus: Number of CPU cores (Docker). Numeric libraries are set to as many threads, divided
            by ``processes``.
        processes: Number of processes that the command starts to compute side by side.
        pids: Number of processes and threads.
        output_mb: Size of everything under ``out/`` in MiB.
        scratch_mb: Size of the temporary folder in MiB, if the sandbox can limit it.
        output_files: Number of files under ``out/``.
        log_kb: Size of the log in KiB; of a longer one, head and tail are kept.
        cpu_set: Numbers of the only cores that may be used; ``None`` for any. A sandbox that
            cannot pin processes (macOS has no way to) uses any core.
        gpus: Ids of the only GPUs that are visible, as ``("0",)``.
    """

    seconds: float
    memory_mb: int = 2048
    cpus: float = 1.0
    processes: int = 1
    pids: int = 128
    output_mb: int = 256
    scratch_mb: int = 512
    output_files: int = 256
    log_kb: int = 64
    cpu_set: tuple[int, ...] | None = None
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Input:
    """A file or folder of the host that the command can read and not change.

    Attributes:
        source: Absolute path on the host.
        target: Path below the phase root, with forward slashes, as ``data/train.gz``. It may lie
            in a folder that is an input too, which then has a file or folder of that name.
        writable: Whether the command gets a private copy of a folder that it may change; the copy
            counts as temporary files, and is dropped with them.
        as_is: Whether a folder is mounted where it lies, whatever its size: it is neither copied
            nor linked nor looked through.
    """

    source: Path
    target: str
    writable: bool = False
    as_is: bool = False


WATCH_BYTES = 1 << 20
"""How much of a watched file is read, in bytes."""


@dataclass(frozen=True)
class Watch:
    """A file that a command appends to, and who is told of it while the command runs.

    Attributes:
        file: Its name in ``out/``. It is no output: the sandbox takes it away after the phase.
        tell: Called with each piece that was appended, in a thread of the sandbox; returns whether
            to stop the command. It must not raise.
    """

    file: str
    tell: Callable[[bytes], bool]


@dataclass(frozen=True)
class PhaseRequest:
    """One command to run.

    Attributes:
        phase: Name of the phase, for labels and messages.
        command: The command line; ``python`` as its program means the sandbox's own Python 3.
        inputs: The files and folders that the command may read.
        output: Existing empty host folder that receives the regular files left in ``out/``.
        limits: The limits.
        environment: Extra environment variables; none is inherited from the host.
        labels: What the phase is for (campaign, trial, seed), to list and reap its containers.
        tripwires: Names of empty, writable folders below the phase root that an honest command has
            no reason to write to, as ``evaluator``. Files left in one are named in
            :attr:`PhaseResult.tampered` and are not collected.
        warm: Names of modules that are imported before the command begins; the command is
            ``python SCRIPT ARGS...`` then. Time and deadline count from the hand-over, the memory
            of the imports counts as the command's.
        watch: The file that is handed over while the command runs.
        tell: Called with each piece of its output when that comes, in a thread of the sandbox. It
            must neither raise nor wait.
        directory: Working directory of the command, below the phase root; empty for the root.
        node: Name of the machine to run on, where there are several; empty for any.
        slot: Name of the slot that is leased for it; empty for none.
    """

    phase: str
    command: tuple[str, ...]
    inputs: tuple[Input, ...]
    output: Path
    limits: PhaseLimits
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    tripwires: tuple[str, ...] = ()
    warm: tuple[str, ...] = ()
    watch: Watch | None = None
    tell: Callable[[bytes], None] | None = None
    directory: str = ""
    node: str = ""
    slot: str = ""

    @property
    def upwards(self) -> str:
        """What leads from the working directory to the phase root: ``../`` for each folder."""
        return "../" * len(PurePosixPath(self.directory).parts)


class Ending(StrEnum):
    """How the command ended: by itself, or stopped at a limit."""

    EXITED = "exited"
    DEADLINE = "deadline"
    MEMORY = "memory"
    OUTPUT = "output"
    STOPPED = "stopped"
    """Whoever watched a file of the command said so."""


@dataclass(frozen=True)
class PhaseResult:
    """What the sandbox measured from outside.

    Attributes:
        ending: Whether the command ended by itself or was stopped at a limit.
        exit_code: The exit code; negative for a signal; ``None`` if it was killed at a limit.
        wall_seconds: Wall-clock time of the command in seconds.
        cpu_seconds: CPU time (user + system) of all its processes in seconds.
        peak_memory_mb: Largest memory use in MiB, or ``None`` if it is unknown.
        log: Standard output and error together; if it was too long, a line tells what was cut out.
        refused: Outputs that were not taken, each with the reason, as ``out/a (symbolic link)``.
        environment: The environment, for the record, as ``docker recipelab/cpu sha256:...``.
        tampered: Paths left in tripwires, as ``evaluator/score.py``; sorted, at most 64.
        refused_processes: How often the system refused a process or thread at the limit, or
            ``None`` if that is unknown.
        error_file: What the command left in :data:`ERROR_FILE`, cut; the command wrote it, so it
            may be anything.
        watched: What the command left in the watched file, up to :data:`WATCH_BYTES`.
        warm_seconds: Wall-clock seconds of the imports before the hand-over (and of the start of
            Python), which are not in ``wall_seconds``; 0 where nothing was imported.
        warm_cpu_seconds: CPU seconds of the same, which are not in ``cpu_seconds``.
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
    error_file: str = ""
    warm_seconds: float = 0.0
    warm_cpu_seconds: float = 0.0
    watched: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the command ended by itself with exit code 0."""
        return self.ending is Ending.EXITED and self.exit_code == 0


class Sandbox(ABC):
    """Runs commands under limits. Use it as an async context manager.

    Entering removes what dead processes left behind; leaving stops everything that still runs.
    Another distribution can add a kind of sandbox: see :mod:`recipelab.sandbox.choose`.
    """

    name: ClassVar[str]
    """Short name, as ``docker`` or ``local``."""

    isolated: ClassVar[bool]
    """Whether it keeps code from the host's files, network and processes."""

    def notice(self) -> str | None:
        """Return one line on what it cannot promise on this machine, or ``None``."""
        return None

    def lost_isolation(self) -> str | None:
        """Return one line on isolation that its kind stands for and this machine does not give.

        ``None`` if nothing is lost that whoever made it has not done without.
        """
        return None

    @property
    def image_identity(self) -> str:
        """What commands run in, once it was started: an image and its hash, a Python's version.

        Measurements of one campaign have to have it in common. Empty if that is unknown.
        """
        return ""

    @abstractmethod
    async def run(self, request: PhaseRequest) -> PhaseResult:
        """Run one command to its end, to a limit, or to cancellation.

        If the awaiting task is cancelled, every process of the phase is killed before the
        cancellation takes effect.

        Args:
            request: The command, its inputs and its limits.

        Returns:
            The measurements. A failing command is a result, not an error.

        Raises:
            SandboxError: The machinery failed; the command is not to blame.
        """

    @abstractmethod
    async def start(self) -> None:
        """Get ready, and remove what dead processes left behind.

        Raises:
            SandboxUnavailable: This sandbox cannot run on this machine.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Stop everything that still runs, and free all resources. May be called twice."""

    @property
    @abstractmethod
    def started(self) -> bool:
        """Whether it has been started, and not stopped since."""

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
