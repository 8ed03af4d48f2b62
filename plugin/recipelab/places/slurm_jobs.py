"""Jobs of Slurm: submitted, looked at, cancelled, for a driver that may be killed at any time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from recipelab.core.errors import RecipelabError, SandboxUnavailable
from recipelab.core.logs import logger
from recipelab.core.text import plain, shorten
from recipelab.places.parcel import Parcel, Reply
from recipelab.places.spool import ENDED, SESSIONS, work
from recipelab.places.stream import StreamLink

_log = logger(__name__)

_SECONDS = 60.0
_GUARD_SECONDS = 10.0
_COLUMNS = ("%i", "%T", "%r", "%L")
_LEFT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
_OVER = frozenset(
    (
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    )
)

# It reads until its standard input ends, which it does however the driver dies. A driver that has
# ended well says so before. Jobs may be on their way to the queue still: so more than once.
_GUARD = """
read -r word && exit 0
for pause in 0 1 4 30; do
  sleep "$pause"
  scancel --user="$1" --name="$2" 2>/dev/null
  rm -rf "$3" 2>/dev/null
done
"""


class JobState(NamedTuple):
    """What Slurm says of a job.

    Attributes:
        name: Its state, as ``RUNNING``.
        reason: Why it is in that state, as ``Resources``.
        left: Seconds until its time limit; ``None`` if there is none, or it does not run.
    """

    name: str
    reason: str
    left: float | None

    @property
    def over(self) -> bool:
        """Whether it has ended, and will not begin again."""
        return self.name in _OVER

    @property
    def waits(self) -> bool:
        """Whether it waits to begin, for the first time or once more."""
        return self.name in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")

    @property
    def held(self) -> bool:
        """Whether it waits for ever, as its node could not begin it."""
        return self.waits and "launch failed" in self.reason


RUNNING = "RUNNING"
SUBMITTED = JobState("PENDING", "", None)


def read_states(text: str) -> dict[str, JobState]:
    """Read what ``squeue`` prints: number, state, reason and time left, by ``|``.

    Lines that are something else are left out.
    """
    found: dict[str, JobState] = {}
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) == len(_COLUMNS) and parts[0].isdigit():
            number, name, reason, left = parts
            found[number] = JobState(name, shorten(plain(reason), 100), read_seconds(left))
    return found


def read_seconds(text: str) -> float | None:
    """Return the seconds of a time as Slurm writes it, ``[[D-]HH:]MM:SS``; ``None`` for others."""
    match = _LEFT.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


class JobLink(StreamLink):
    """The driver's end of a job's worker.

    Attributes:
        longest: Seconds of the longest phase that it ran.
    """

    longest: float = 0.0

    async def run(
        self,
        name: str,
        parcel: Parcel,
        tell: Callable[[bytes], None],
        watch: Callable[[bytes], bool],
    ) -> Reply:
        """Run a phase; see :class:`StreamLink`."""
        begin = time.monotonic()
        try:
            return await super().run(name, parcel, tell, watch)
        finally:
            self.longest = max(self.longest, time.monotonic() - begin)


@dataclass
class Job:
    """A job that was submitted.

    Attributes:
        number: Its number.
        submitted: When, by the monotonic clock.
        state: What Slurm said last.
        session: The folder of its worker; ``None`` before one has begun.
        link: The link to its worker, while there is one.
        served: Whether a worker of it was ever of use.
        limit: Seconds that it had left when it was first seen to run.
        gone: Since when it has no worker.
        retired: Whether it takes no new phase.
        over: Whether it is no longer counted: another takes its place.
    """

    number: str
    submitted: float
    state: JobState = SUBMITTED
    session: Path | None = None
    link: JobLink | None = None
    served: bool = False
    limit: float | None = None
    gone: float | None = None
    retired: bool = False
    over: bool = False


@dataclass(frozen=True)
class JobShape:
    """What each job asks for.

    Attributes:
        cpus: Number of cores.
        gpus: Number of GPUs; they are asked for where ``gres`` says nothing.
        flags: Options of ``sbatch``, without dashes: ``partition``, ``gres``, ``time``, ...
        setup: A line of shell that runs before the worker; empty for none.
    """

    cpus: int
    gpus: int
    flags: Mapping[str, str]
    setup: str = ""


class SlurmJobs:
    """The jobs of one place, all under one name.

    Args:
        spool: The spool folder; logs of jobs go below it.
        name: The name, which no other place has.
        shape: What each job asks for.
    """

    def __init__(self, spool: Path, name: str, shape: JobShape) -> None:
        self.spool = spool
        self.name = name
        self._shape = shape
        self._user = str(os.getuid())
        self._executor: Any = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._turn = asyncio.Lock()

    def open(self) -> None:
        """Begin a process that cancels all jobs and removes the folder when this one is dead."""
        self._guard = subprocess.Popen(
            ("sh", "-c", _GUARD, "recipelab-slurm-guard", self._user, self.name, str(self.spool)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            # Ctrl-C and the end of a terminal are for the driver; this one outlives it.
            start_new_session=True,
        )

    async def close(self) -> None:
        """Cancel all jobs, remove the folder, and end the guard. May be called twice."""
        guard, self._guard = self._guard, None
        if guard is None:
            return
        async with self._turn:
            try:
                await _call("scancel", f"--user={self._user}", f"--name={self.name}")
                word = b"done\n"
            except SandboxUnavailable:
                word = b""
        for _ in range(50):
            # A worker that ends still writes that it ends.
            await asyncio.to_thread(shutil.rmtree, self.spool, ignore_errors=True)
            if not self.spool.exists():
                break
            await asyncio.sleep(0.1)
        if self.spool.exists():
            word = b""  # What is left over is the guard's, which has more time.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            await asyncio.to_thread(guard.communicate, word, timeout=_GUARD_SECONDS)

    async def submit(self) -> str:
        """Submit a job that is a worker, and return its number.

        Raises:
            SandboxUnavailable: Slurm refuses it; the message says why.
        """
        async with self._turn:
            if self._guard is None:
                raise SandboxUnavailable("the place was closed")
            work = asyncio.ensure_future(asyncio.to_thread(self._submit))
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                # A job that nobody knows of would wait in the queue for ever.
                await asyncio.gather(work, return_exceptions=True)
                raise

    def _submit(self) -> str:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        executor = self._executor = self._executor or self._made()
        try:
            return str(executor.submit(work, str(self.spool)).job_id)
        except (FailedJobError, FailedSubmissionError) as error:
            words = shorten(plain(str(error)), 300)
            raise SandboxUnavailable(f"Slurm refuses the job: {words}") from None
        except OSError as error:
            raise SandboxUnavailable(f"the job cannot be submitted: {error}") from None

    def _made(self) -> Any:
        from submitit import SlurmExecutor

        shape = self._shape
        flags: dict[str, str | bool] = {"requeue": True, **shape.flags}
        if shape.gpus and not {"gres", "gpus-per-node"} & set(flags):
            flags["gpus-per-node"] = str(shape.gpus)
        executor = SlurmExecutor(self.spool / "log")
        ended = shlex.quote(str(self.spool / ENDED))
        executor.update_parameters(
            job_name=self.name,
            time=None,  # That of the partition, unless a flag says more.
            cpus_per_task=shape.cpus,
            setup=[shape.setup] if shape.setup else None,
            # The shell is left when the worker was killed, and tells it.
            teardown=[f': > {ended}/"$SLURM_JOB_ID.${{SLURM_RESTART_COUNT:-0}}"'],
            # Without srun: a job may be one of a machine on which srun cannot start steps.
            use_srun=False,
            additional_parameters=flags,
        )
        return executor

    async def states(self) -> dict[str, JobState] | None:
        """Return what Slurm says of its jobs, by number; ``None`` if it does not answer."""
        try:
            text = await _call(
                "squeue",
                f"--user={self._user}",
                f"--name={self.name}",
                "--states=all",
                "--noheader",
                f"--format={'|'.join(_COLUMNS)}",
            )
        except SandboxUnavailable as error:
            _log.warning("Slurm does not answer", error=str(error))
            return None
        return read_states(text)

    async def cancel(self, number: str) -> None:
        """Cancel a job."""
        with contextlib.suppress(SandboxUnavailable):
            await _call("scancel", number)

    def words(self, number: str) -> str:
        """Return the last words of a job's log; empty if there are none."""
        for path in sorted(self._papers(number)):
            if not path.name.endswith("_log.err"):
                continue
            with contextlib.suppress(OSError):
                lines = path.read_bytes()[-4096:].decode("utf-8", "replace").split("\n")
                said = [line.strip() for line in lines if line.strip()]
                if said:
                    return shorten(plain(said[-1]), 300)
        return ""

    def forget(self, number: str) -> None:
        """Remove what a job has left in the folder, which is listed again and again."""
        for folder in (self.spool / SESSIONS).glob(f"{number}.*"):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (*(self.spool / ENDED).glob(f"{number}.*"), *self._papers(number)):
            file.unlink(missing_ok=True)

    def _papers(self, number: str) -> Iterable[Path]:
        """Yield the files of submitit, and the logs of a job."""
        return (self.spool / "log").glob(f"{number}_*")


async def _call(program: str, *arguments: str) -> str:
    """Run a program of Slurm, and return what it prints.

    Raises:
        SandboxUnavailable: It fails, is not there, or does not end.
    """

    def run() -> str:
        try:
            ended = subprocess.run(
                (program, *arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SandboxUnavailable(f"{program}: {error}") from None
        if ended.returncode:
            words = shorten(plain(ended.stderr.decode("utf-8", "replace").strip()), 300)
            raise SandboxUnavailable(f"{program}: {words or f'exit code {ended.returncode}'}")
        return ended.stdout.decode("utf-8", "replace")

    return await asyncio.to_thread(run)


def check_slurm() -> None:
    """Check that jobs can be submitted from this machine.

    Raises:
        RecipelabError: A package or a program is missing; the message says how to get it.
    """
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise RecipelabError(
            'the place slurm needs submitit: pip install "recipelab[slurm]"'
        ) from None
    for program in ("sbatch", "srun", "squeue", "scancel"):
        if shutil.which(program) is None:
            raise RecipelabError(
                f"the place slurm needs {program}, which is not on this machine: start the "
                "campaign on a login node of the cluster"
            )
