"""Who is told of a trial and its phases: logs, traces, the lineage, and callers.

Logs and traces get figures and names, never text of an agent or of a recipe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from opentelemetry.trace import Span
from tenacity import RetryCallState

from recipelab.core.logs import PHASE_SPAN, TRIAL_SPAN, Value, bound, fail, logger, set_facts, span
from recipelab.core.trial import Outcome, Phase, SeedRun, Status
from recipelab.evaluation.artifacts import ArtifactStore, TrainedArtifact
from recipelab.evaluation.live import LiveBoard
from recipelab.evaluation.log_book import LogBook
from recipelab.lineage import LineageStore, TrialState
from recipelab.sandbox.base import PhaseResult
from recipelab.sandbox.processes import owner_identity
from recipelab.sandbox.slots import Slot

_log = logger(__name__)


@dataclass(frozen=True)
class ObservedTrial:
    """A trial that is being evaluated.

    Attributes:
        span: Its span.
        began: When it began, on the monotonic clock in seconds.
    """

    span: Span
    began: float = field(default_factory=time.monotonic)

    def judged(self, outcome: Outcome) -> Outcome:
        """Log and trace how the trial ended, and return its outcome."""
        kind = None if outcome.failure is None else outcome.failure.kind.value
        facts: dict[str, Value] = {"status": outcome.status.value, "score": outcome.score}
        set_facts(self.span, {**facts, "failure_kind": kind})
        if outcome.status.is_failure:
            fail(self.span, f"{outcome.status}: {kind}" if kind else outcome.status.value)
        seconds = round(time.monotonic() - self.began, 3)
        failed = {"failure_kind": kind} if kind else {}
        _log.info("trial judged", **facts, **failed, seconds=seconds)
        return outcome


@contextmanager
def observed_trial(labels: Mapping[str, str]) -> Iterator[ObservedTrial]:
    """Trace the evaluation of a trial; all that is logged meanwhile says which trial it is.

    Args:
        labels: What the trial belongs to: ``campaign``, ``trial``, and ``specialist`` if known.
    """
    text = labels.get("trial", "")
    trial: int | str | None = int(text) if text.isascii() and text.isdigit() else text or None
    campaign, specialist = labels.get("campaign"), labels.get("specialist")
    facts: dict[str, Value] = {"campaign": campaign, "trial": trial, "specialist": specialist}
    with bound(campaign=campaign, trial=trial), span(TRIAL_SPAN, facts) as started:
        yield ObservedTrial(started)


@dataclass(frozen=True)
class ObservedPhase:
    """A phase that runs in the sandbox.

    Attributes:
        span: Its span.
        facts: Which phase it is.
    """

    span: Span
    facts: Mapping[str, Value]

    def ended(self, result: PhaseResult) -> PhaseResult:
        """Log and trace how the phase ended, and return its result."""
        exit_code = {} if result.exit_code is None else {"exit": result.exit_code}
        measured: dict[str, Value] = {
            "ending": result.ending.value,
            **exit_code,
            "wall_seconds": round(result.wall_seconds, 3),
            "cpu_seconds": round(result.cpu_seconds, 3),
            "warm_seconds": round(result.warm_seconds, 3),
            "warm_cpu_seconds": round(result.warm_cpu_seconds, 3),
        }
        set_facts(self.span, measured)
        if not result.ok:
            fail(self.span, f"{result.ending}, exit code {result.exit_code}")
        known = {key: value for key, value in self.facts.items() if value is not None}
        _log.debug("phase ended", **known, **measured)
        return result


@contextmanager
def observed_phase(
    phase: Phase, seed: int, slot: Slot, labels: Mapping[str, str]
) -> Iterator[ObservedPhase]:
    """Trace a phase in the sandbox.

    Args:
        phase: The phase.
        seed: Its seed.
        slot: Where it runs.
        labels: What it belongs to; ``beside`` is the number of the incumbent that runs it.
    """
    facts: dict[str, Value] = {
        "phase": phase.value,
        "seed": None if phase is Phase.PREFLIGHT else seed,
        "slot": slot.name or None,
        "beside": labels.get("beside"),
    }
    with span(PHASE_SPAN, facts) as started:
        yield ObservedPhase(started, facts)


def log_retry(state: RetryCallState) -> None:
    """Log that the machinery failed, and that the trial is tried once more."""
    error = state.outcome.exception() if state.outcome is not None else None
    _log.warning("the machinery failed; trying again", attempt=state.attempt_number, error=error)


NOTE_SECONDS = 1.0
"""Least time between two notes of phases other than ``train``, in seconds."""


class TrialObserver:
    """Is told of the steps of one trial; this one ignores them."""

    def queued(self) -> None:
        """Note that the trial waits for a slot, for the first time or once more."""

    def began(self, phase: Phase, seed: int | None) -> None:
        """Note that a phase begins.

        Args:
            phase: The phase.
            seed: The seed of the run; ``None`` in preflight.
        """

    @contextmanager
    def wanting(self) -> Iterator[None]:
        """Note that the trial wants or holds a slot, as long as the context lasts."""
        yield

    @contextmanager
    def holding(self, slot: Slot) -> Iterator[None]:
        """Note that the trial holds a slot, as long as the context lasts."""
        yield

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Note that the trial goes on without a slot, as long as the context lasts.

        It may have another seed run that holds one at the same time.
        """
        yield

    @contextmanager
    def running(
        self, phase: Phase, seed: int | None, budget: float, slot: Slot
    ) -> Iterator[Callable[[bytes], None] | None]:
        """Note that a phase runs, as long as the context lasts.

        Args:
            phase: The phase.
            seed: The seed of the run; ``None`` in preflight.
            budget: Its budget in seconds.
            slot: Where it runs.

        Yields:
            What takes its log, piece by piece and in any thread; ``None`` if nobody wants it.
        """
        yield None

    def confirming(self, look: int, of: int) -> None:
        """Note that the trial is tested on fresh seeds.

        Args:
            look: The look that the test is at, from 1.
            of: How many looks there are at most.
        """

    def logged(self, phase: Phase, seed: int | None, log: str) -> None:
        """Note what a phase of the recipe has printed, as agents may see it.

        Args:
            phase: The phase.
            seed: The seed of the run; ``None`` in preflight.
            log: Standard output and error together.
        """

    def finished(self, digest: str, run: SeedRun, *, beside: int | None) -> None:
        """Note that a seed run has finished, so that a kill does not cost it.

        Args:
            digest: Digest of the recipe that ran.
            run: The seed run, with its metric.
            beside: The trial that ran beside it; ``None`` if none did.
        """

    def finished_runs(self, digest: str, *, beside: int | None) -> Mapping[int, SeedRun]:
        """Return the seed runs that have finished, by seed, of an attempt that did not.

        Args:
            digest: Digest of the recipe that runs.
            beside: The trial that runs beside it; ``None`` if none does.
        """
        return {}

    def measured(self, status: Status, artifact: TrainedArtifact) -> None:
        """Note how a trial ends whose artifact is about to be removed; in a thread, as it copies.

        Args:
            status: How it ends.
            artifact: What its first training left.
        """

    def of_incumbent(self) -> TrialObserver:
        """Return the observer of the incumbent's phases that run for the sake of this trial."""
        return TrialObserver()


class LineageObserver(TrialObserver):
    """Writes the steps to the lineage, so that anybody can see what runs where.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        number: The trial's number.
        sandbox: Name of the sandbox, for the leases.
        on_phase: Called with each phase and its seed, too.
        is_queued: Whether the lineage is known to have the trial as queued.
        live: Where people look what runs; ``None`` where nobody can.
        artifacts: Where artifacts are kept; ``None`` where none is.
        logs: Where logs are kept; ``None`` where none is.
        on_rest: Called with whether the trial needs no slot, when that changes.

    Attributes:
        device_seconds: How long the trial has held slots so far, in seconds.
    """

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        number: int,
        sandbox: str,
        on_phase: Callable[[Phase, int | None], None],
        *,
        is_queued: bool = False,
        live: LiveBoard | None = None,
        artifacts: ArtifactStore | None = None,
        logs: LogBook | None = None,
        on_rest: Callable[[bool], None] = lambda resting: None,
    ) -> None:
        self._live = live
        self._logs = logs
        self._on_rest = on_rest
        self._wants = self._rests = 0
        self._is_resting = False
        self._artifacts = artifacts
        self._store = store
        self._campaign = campaign
        self._number = number
        self._sandbox = sandbox
        self._on_phase = on_phase
        self._is_queued = is_queued
        self._noted: Phase | None = None
        self._noted_at = 0.0
        self.device_seconds = 0.0

    def queued(self) -> None:
        """Set the trial to queued; an aborted one loses its outcome."""
        self._noted = None
        if self._is_queued:
            return
        if self._store.brief(self._campaign, self._number).state is not TrialState.QUEUED:
            self._store.advance(self._campaign, self._number, TrialState.QUEUED)
        self._is_queued = True

    def began(self, phase: Phase, seed: int | None) -> None:
        """Set the trial to running in a phase.

        A later phase is written if it is ``train``, where the time of a trial goes, or if the last
        write is a second old: shorter phases are over before anyone has looked.
        """
        self._on_phase(phase, seed)
        now = time.monotonic()
        is_due = phase is Phase.TRAIN or now - self._noted_at >= NOTE_SECONDS
        if self._noted is None or (phase is not self._noted and is_due):
            self._store.advance(self._campaign, self._number, TrialState.RUNNING, phase)
            self._noted, self._noted_at, self._is_queued = phase, now, False

    @contextmanager
    def holding(self, slot: Slot) -> Iterator[None]:
        """Store the lease of a slot, and release it when the context ends."""
        self._store.lease_slot(
            self._campaign,
            self._number,
            slot.name,
            sandbox=self._sandbox,
            owner=owner_identity(),
        )
        since = time.monotonic()
        held = nullcontext() if self._live is None else self._live.now.holding(slot.name)
        try:
            with held:
                yield
        finally:
            self.device_seconds += time.monotonic() - since
            self._store.release_slot(self._campaign, self._number, slot.name)

    @contextmanager
    def wanting(self) -> Iterator[None]:
        """Count the slots that the trial wants or holds."""
        self._wants += 1
        self._tell_rest()
        try:
            yield
        finally:
            self._wants -= 1
            self._tell_rest()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Let others have the slots of the trial, if it wants none."""
        self._rests += 1
        self._tell_rest()
        try:
            yield
        finally:
            self._rests -= 1
            self._tell_rest()

    def _tell_rest(self) -> None:
        if (resting := self._rests > 0 and not self._wants) is not self._is_resting:
            self._is_resting = resting
            self._on_rest(resting)

    @contextmanager
    def running(
        self, phase: Phase, seed: int | None, budget: float, slot: Slot, *, beside: bool = False
    ) -> Iterator[Callable[[bytes], None] | None]:
        """Show people that a phase runs, of the trial or of the incumbent beside it."""
        if self._live is None:
            yield None
            return
        with self._live.running(
            self._number, phase, seed, budget, beside=beside, slot=slot.name
        ) as tell:
            yield tell

    def confirming(self, look: int, of: int, *, kind: str = "trial") -> None:
        """Show people how far the test is."""
        if self._live is not None:
            self._live.now.confirming(self._number, look, of, kind)

    def logged(self, phase: Phase, seed: int | None, log: str) -> None:
        """Keep the log beside the lineage."""
        if self._logs is not None:
            self._logs.keep(self._number, phase, seed, log)

    def finished(self, digest: str, run: SeedRun, *, beside: int | None) -> None:
        """Keep the seed run in the lineage until the trial is judged."""
        self._store.add_finished_run(self._campaign, self._number, digest, run, beside=beside)

    def finished_runs(self, digest: str, *, beside: int | None) -> Mapping[int, SeedRun]:
        """Return the seed runs that the lineage has of a trial without an outcome."""
        return self._store.finished_runs(self._campaign, self._number, digest, beside=beside)

    def measured(self, status: Status, artifact: TrainedArtifact) -> None:
        """Keep the artifact, if it may be wanted."""
        if self._artifacts is not None and self._artifacts.wants(status):
            self._artifacts.put(self._number, artifact)

    def of_incumbent(self) -> TrialObserver:
        """Return an observer for which the incumbent's slots are this trial's; its phases not."""
        return _SlotObserver(self)


class _SlotObserver(TrialObserver):
    """Passes on which slots are held, what runs beside the trial, and what a checkpoint has run."""

    def __init__(self, trial: LineageObserver) -> None:
        self._trial = trial

    @contextmanager
    def wanting(self) -> Iterator[None]:
        with self._trial.wanting():
            yield

    @contextmanager
    def resting(self) -> Iterator[None]:
        with self._trial.resting():
            yield

    @contextmanager
    def holding(self, slot: Slot) -> Iterator[None]:
        with self._trial.holding(slot):
            yield

    @contextmanager
    def running(
        self, phase: Phase, seed: int | None, budget: float, slot: Slot
    ) -> Iterator[Callable[[bytes], None] | None]:
        with self._trial.running(phase, seed, budget, slot, beside=True) as tell:
            yield tell

    def finished(self, digest: str, run: SeedRun, *, beside: int | None) -> None:
        self._trial.finished(digest, run, beside=beside)

    def finished_runs(self, digest: str, *, beside: int | None) -> Mapping[int, SeedRun]:
        return self._trial.finished_runs(digest, beside=beside)

    def confirming(self, look: int, of: int) -> None:
        # Of a checkpoint: the head and the certified recipe hold slots for it, and nothing else.
        self._trial.confirming(look, of, kind="checkpoint")
