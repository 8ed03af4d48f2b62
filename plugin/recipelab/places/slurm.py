"""Slurm as a place: each slot is a job that lives for many phases, or each phase is a job.

A job is a worker (:mod:`recipelab.places.node`) that talks with the driver through a folder on the
file system that all nodes share (:mod:`recipelab.places.spool`). The pool grows as jobs begin. A
job that is cancelled, preempted or requeued, or whose node dies, costs a retry of what it ran; the
slot comes back when Slurm runs the job again, or a new one in its place.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import ClassVar, Self

from recipelab.core.content import cache_root, make_private
from recipelab.core.errors import RecipelabError, SandboxError, SandboxUnavailable
from recipelab.core.logs import logger
from recipelab.core.text import shorten
from recipelab.places.base import Place, PlaceRequest
from recipelab.places.parcel import NodeFacts, NodeSetup
from recipelab.places.placed import NodeLink, PlacedSandbox, node_slots
from recipelab.places.setup import STORE_OPTIONS, node_setup
from recipelab.places.slurm_jobs import (
    RUNNING,
    Job,
    JobLink,
    JobShape,
    JobState,
    SlurmJobs,
    check_slurm,
)
from recipelab.places.slurm_phases import PhaseLink
from recipelab.places.spool import ENDED, SESSIONS, Hello, driver_end, read_hello
from recipelab.places.stream import StreamLink
from recipelab.sandbox.slots import Slot

_log = logger(__name__)

PER_SLOT, PER_PHASE = "slot", "phase"

_LOOK_SECONDS, _LOOK_CALM_SECONDS = 0.1, 0.5
"""How often to look for workers that have begun or ended: in a folder, which costs little."""
_ASK_SECONDS, _ASK_SOON_SECONDS = 10.0, 1.0
"""How often to ask Slurm, which is asked by many: while all goes well, and while jobs wait or are
gone."""
_TELL_SECONDS = 2.0
"""How long a job may be pending until a person is told."""
_SETTLE_SECONDS = 5.0
"""How long the other workers that are about to begin are waited for, once there is one."""
_BEGIN_SECONDS, _GONE_SECONDS = 300.0, 15.0
"""How long a job may run before its worker has begun, and after it has gone, until it is
cancelled."""
_TRIES = 3
"""Jobs that may be of no use, one after the other, until the place gives up."""
_AGAIN_SECONDS, _MOST_AGAIN_SECONDS = 5.0, 30.0
_PATIENT_SECONDS = 600.0
"""How long Slurm may fail after it has served: its controller may be begun anew."""
_LEAST_LEFT_SECONDS = 60.0

_FLAGS = {
    "partition": "partition that jobs are submitted to, as gpu",
    "account": "account that jobs are charged to",
    "qos": "quality of service of jobs",
    "constraint": "features that nodes have to have, as a100",
    "gres": "what each slot needs, as gpu:a100:1; by default the GPUs of the pack's profile",
    "mem": "memory of a job, as 32G",
    "time": "time limit of a job, as 8:00:00; by default the partition's",
}


class SlurmPlace(Place):
    """Slots that are jobs of Slurm."""

    name: ClassVar[str] = "slurm"
    options: ClassVar[Mapping[str, str]] = {
        **_FLAGS,
        "jobs": f"{PER_SLOT}: a job lives for many phases, the default; {PER_PHASE}: one a phase",
        "folder": "folder on a file system that all nodes share; by default in the user's cache",
        "setup": "a line of shell that each job runs first, as 'module load cuda'",
        **STORE_OPTIONS,
    }

    def __init__(self, request: PlaceRequest) -> None:
        options = request.options
        self._per_phase = options.get("jobs", PER_SLOT) == PER_PHASE
        if options.get("jobs", PER_SLOT) not in (PER_SLOT, PER_PHASE):
            raise RecipelabError(
                f"jobs: unknown value {options['jobs']!r}; valid: {PER_SLOT}, {PER_PHASE}"
            )
        check_slurm()
        self._request = request
        self._shape = JobShape(
            cpus=max(1, math.ceil(request.cpus)),
            gpus=request.gpus,
            flags={name: options[name] for name in _FLAGS if name in options},
            setup=options.get("setup", ""),
        )
        self._placed = PlacedSandbox(request, left=self._left)
        self.sandbox, self.pool = self._placed, self._placed.pool
        self._slots = request.slots or request.most
        self._needed = 0 if self._per_phase else self._slots
        self._jobs: dict[str, Job] = {}
        self._seen: set[str] = set()
        self._slurm: SlurmJobs | None = None
        self._setup: NodeSetup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[JobLink]] = deque()
        self._joined, self._looked = asyncio.Event(), asyncio.Event()
        self._asked = 0.0
        self._submit_after = 0.0
        self._failures = 0
        self._good: float | None = None
        self._warned = ""
        self._told = False
        self._gave_up: SandboxUnavailable | None = None

    @classmethod
    def from_request(cls, request: PlaceRequest) -> Self:
        """Return a place, which is not started yet.

        Raises:
            RecipelabError: An option has no valid value, or submitit or Slurm is missing.
        """
        return cls(request)

    async def start(self) -> None:
        """Submit jobs, and wait for the first slot; see :meth:`Place.start`."""
        self._setup = await node_setup(self._request)
        self._slurm = await asyncio.to_thread(self._made)
        await self._placed.start()
        self.pool.grows = True
        self._begin(self._watch())
        if self._per_phase:
            for number in range(self._slots):
                self._begin(self._join_phases(number))
        await self._joined.wait()
        if self._gave_up is not None:
            raise self._gave_up
        # Campaigns look once at how many slots there are.
        begin = time.monotonic()
        while self.pool.width < self._slots and self._about_to_begin(begin):
            self._looked.clear()
            await self._looked.wait()

    async def stop(self) -> None:
        """Cancel all jobs; see :meth:`Place.stop`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._placed.stop()
        for job in self._jobs.values():
            self._drop(job, "the place was closed")
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._slurm is not None:
            await self._slurm.close()

    def _made(self) -> SlurmJobs:
        """Make the spool folder, and who cleans up after this process."""
        given = self._request.options.get("folder")
        root = Path(given).expanduser().absolute() if given else cache_root() / "slurm"
        try:
            spool = Path(tempfile.mkdtemp(prefix="spool-", dir=make_private(root)))
            for name in (SESSIONS, ENDED, "log"):
                (spool / name).mkdir(mode=0o700)
        except OSError as error:
            raise RecipelabError(f"folder: {root}: {error.strerror}") from None
        jobs = SlurmJobs(spool, f"recipelab-{secrets.token_hex(6)}", self._shape)
        jobs.open()
        return jobs

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _about_to_begin(self, since: float) -> bool:
        """Return whether more slots may come at once: jobs that run have no worker yet.

        Args:
            since: When that was first asked.
        """
        now = time.monotonic()
        return now - since < _SETTLE_SECONDS and (
            self._asked < since
            or any(not (job.served or job.over or job.state.waits) for job in self._jobs.values())
        )

    async def _watch(self) -> None:
        """Look after jobs, until the place is closed."""
        try:
            while self._gave_up is None:
                await self._look()
                await self._ask()
                self._tidy()
                await self._fill()
                self._looked.set()
                await asyncio.sleep(_LOOK_CALM_SECONDS if self._calm() else _LOOK_SECONDS)
        except Exception as error:
            _log.exception("the place slurm failed")
            self._give_up(f"{type(error).__name__}: {error}")

    async def _look(self) -> None:
        """Look for workers that have begun or ended."""
        assert self._slurm is not None
        spool = self._slurm.spool
        begun, ended = await asyncio.to_thread(
            lambda: [set(os.listdir(spool / name)) for name in (SESSIONS, ENDED)]
        )
        known, self._seen = self._seen, begun
        for name in sorted(begun - known):
            if name.startswith("."):
                continue
            try:
                hello = await asyncio.to_thread(read_hello, spool / SESSIONS / name)
            except SandboxError as error:
                _log.warning("not a worker", session=name, error=str(error))
                continue
            if (job := self._jobs.get(hello.job)) is not None and not job.over:
                self._begun(job, spool / SESSIONS / name, hello)
        for job in self._jobs.values():
            link = job.link
            if link is None or job.session is None:
                continue
            if job.session.name.rpartition(".")[0] in ended:
                self._drop(job, "its worker was killed")
            elif link.lost:
                self._drop(job, link.lost)

    def _begun(self, job: Job, session: Path, hello: Hello) -> None:
        """Take in a worker: the first of its job, or that of a job that was begun again."""
        if job.link is not None:
            self._drop(job, "its job was begun again")
        job.session, job.gone = session, None
        job.link = JobLink(*driver_end(session))
        self._begin(self._join(job, job.link, hello))

    async def _join(self, job: Job, link: JobLink, hello: Hello) -> None:
        """Make a slot of a worker."""
        assert self._setup is not None
        try:
            facts = await link.greet(self._setup.model_copy(update={"node": hello.node}))
            link.slot = self._slot(job, facts)
            if not self._per_phase:
                await self._placed.join(link)
                self._joined.set()
            elif not self._hand_over(link):
                await self.give_back(link, needed=False)
                await self._cancel(job)
        except (SandboxUnavailable, SandboxError) as error:
            if job.link is link:
                job.link = None
                job.over = True
                await link.close()
                await self._cancel(job)
                self._failed(f"job {job.number} on {hello.node}: {error}")
            return
        job.served = True
        self._failures, self._good = 0, time.monotonic()

    def _slot(self, job: Job, facts: NodeFacts) -> Slot:
        """Return the slot of a job: what Slurm has given it, where it keeps it to that."""
        request = self._request
        (first, *_) = node_slots(facts, cpus=request.cpus, gpus=request.gpus)
        confined = len(facts.cores) <= self._shape.cpus
        return Slot(
            f"{facts.node}:{job.number}",
            cores=facts.cores if confined else None,
            gpus=first.gpus,
            node=facts.node,
        )

    def _hand_over(self, link: JobLink) -> bool:
        """Give a job to the phase that has waited longest for one; return whether one waits."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(link)
                return True
        return False

    async def _join_phases(self, number: int) -> None:
        """Take a slot into use each of whose phases is a job."""
        link = PhaseLink(f"slurm:{number}", self._request.gpus, self.job, self.give_back)
        try:
            await self._placed.join(link)
        except (SandboxUnavailable, SandboxError) as error:
            await link.close()
            self._failed(str(error))
            if self._gave_up is None:
                await asyncio.sleep(_AGAIN_SECONDS)
                self._begin(self._join_phases(number))
            return
        self._joined.set()

    async def job(self) -> StreamLink:
        """Return a link to the worker of a job that nobody else uses.

        Raises:
            SandboxError: There will be none.
        """
        if self._gave_up is not None:
            raise SandboxError(str(self._gave_up))
        future: asyncio.Future[JobLink] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._needed += 1
        try:
            return await future
        except BaseException:
            self._needed -= 1
            if future.done() and not future.cancelled() and future.exception() is None:
                self._begin(self.give_back(future.result(), needed=False))
            raise

    async def give_back(self, link: StreamLink, *, needed: bool = True) -> None:
        """End a job that :meth:`job` has returned.

        Args:
            link: The link to its worker.
            needed: Whether it was returned to somebody.
        """
        self._needed -= needed
        for job in self._jobs.values():
            if job.link is link:
                job.link, job.over = None, True
        await link.close()

    def _left(self, link: NodeLink, reason: str) -> None:
        """Note that the sandbox has lost a link."""
        if isinstance(link, PhaseLink):
            self._begin(link.close())
            if self._placed.started:
                self._begin(self._join_phases(int(link.slot.name.rpartition(":")[2])))
            return
        for job in self._jobs.values():
            if job.link is link:
                self._drop(job, reason)

    def _drop(self, job: Job, reason: str) -> None:
        """Note that a job has no worker any more; Slurm says whether there will be another."""
        link, job.link = job.link, None
        if link is None:
            return
        job.gone = time.monotonic()
        self._asked = 0.0
        self._placed.leave(link, f"job {job.number}: {reason}")
        self._begin(link.close())

    def _calm(self) -> bool:
        """Return whether all jobs that are needed run, and have their workers."""
        good = sum(
            job.link is not None and job.state.name == RUNNING for job in self._jobs.values()
        )
        return good == len(self._jobs) >= self._needed

    async def _ask(self) -> None:
        """Ask Slurm how the jobs do, if it is time to."""
        assert self._slurm is not None
        now = time.monotonic()
        jobs = [job for job in self._jobs.values() if not job.over or job.link is not None]
        if not jobs or now - self._asked < (_ASK_SECONDS if self._calm() else _ASK_SOON_SECONDS):
            return
        states = await self._slurm.states()
        self._asked = time.monotonic()
        if states is None:
            return
        for job in jobs:
            state = states.get(job.number)
            if state is None and now - job.submitted < _GONE_SECONDS:
                continue  # It may not be listed yet.
            job.state = state or JobState("COMPLETED", "", None)
            await self._judge(job, now)
        self._tell_pending(now)

    async def _judge(self, job: Job, now: float) -> None:
        """Draw the consequences of what Slurm says of a job."""
        state = job.state
        if state.held:
            await self._cancel(job)
        if state.over or state.waits:
            self._drop(job, f"Slurm says that it is {state.name}")
            job.gone, job.served = None, job.served and not state.waits
            if (state.over or state.held) and not job.over:
                job.over = True
                if not job.served:
                    self._failed(self._ended_words(job))
            return
        if job.link is None and state.name == RUNNING:
            job.gone = job.gone or now
            if now - job.gone > (_GONE_SECONDS if job.served else _BEGIN_SECONDS):
                job.over = True
                await self._cancel(job)
                if not job.served:
                    self._failed(self._ended_words(job))
        if state.left is not None and not self._per_phase:
            job.limit = max(job.limit or 0.0, state.left)
            self._hold_to_limit(job, state.left, job.limit)

    def _hold_to_limit(self, job: Job, left: float, limit: float) -> None:
        """Take a job out of use when it could not end another phase."""
        if job.link is None or job.retired:
            return
        if left < min(max(_LEAST_LEFT_SECONDS, 2 * job.link.longest + 30.0), limit / 2):
            _log.info("a job is near its time limit", job=job.number, left=left)
            job.retired = job.over = True
            self.pool.retire(job.link.slot, f"job {job.number} is near its time limit")

    def _ended_words(self, job: Job) -> str:
        assert self._slurm is not None
        said = self._slurm.words(job.number)
        advice = (
            f"is {self._slurm.spool.parent} on a file system that all nodes share? "
            "(--place-option folder=FOLDER)"
        )
        text = f"job {job.number} is {job.state.name}, and its worker has not begun"
        return f"{text}: {said or advice}"

    def _tell_pending(self, now: float) -> None:
        waiting = [
            job
            for job in self._jobs.values()
            if job.state.waits and not job.over and now - job.submitted > _TELL_SECONDS
        ]
        if self._told or not waiting:
            return
        self._told = True
        numbers = ", ".join(job.number for job in waiting)
        reason = waiting[0].state.reason
        jobs = f"job {numbers} is" if len(waiting) == 1 else f"jobs {numbers} are"
        self._request.say(shorten(f"waiting for Slurm: {jobs} pending ({reason})", 300))

    def _tidy(self) -> None:
        """End jobs that take no new phase and have ended their last; forget those that are over."""
        assert self._slurm is not None
        for job in list(self._jobs.values()):
            if job.retired and job.link is not None and not self.pool.in_use(job.link.slot):
                self._drop(job, "its time limit is near")
            if job.over and job.link is None:
                del self._jobs[job.number]
                self._begin(asyncio.to_thread(self._slurm.forget, job.number))

    async def _fill(self) -> None:
        """Submit jobs until there are as many as are needed."""
        assert self._slurm is not None
        while (
            sum(not job.over for job in self._jobs.values()) < self._needed
            and time.monotonic() >= self._submit_after
            and self._gave_up is None
        ):
            try:
                number = await self._slurm.submit()
            except SandboxUnavailable as error:
                if not self._jobs and not self._failures:
                    self._failures = _TRIES  # The first of all: it is what was asked for.
                self._failed(str(error))
                return
            self._jobs[number] = Job(number, time.monotonic())

    async def _cancel(self, job: Job) -> None:
        assert self._slurm is not None
        await self._slurm.cancel(job.number)

    def _failed(self, words: str) -> None:
        """Note that a job was of no use; after some, the place gives up."""
        now = time.monotonic()
        self._failures += 1
        pause = min(_AGAIN_SECONDS * (self._failures - 1), _MOST_AGAIN_SECONDS)
        self._submit_after = now + pause
        patient = self._good is not None and now - self._good < _PATIENT_SECONDS
        serves = any(job.link is not None for job in self._jobs.values())
        if self._failures >= _TRIES and not patient and not serves:
            self._give_up(words)
        elif words != self._warned:
            self._warned = words
            self._request.warn(f"Slurm: {words}")

    def _give_up(self, words: str) -> None:
        self._gave_up = SandboxUnavailable(words)
        self.pool.close(words)
        for future in self._waiting:
            if not future.done():
                future.set_exception(SandboxError(words))
        self._waiting.clear()
        self._joined.set()
