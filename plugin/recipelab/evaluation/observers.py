"""What logs and traces are told of a trial and its phases: figures and names, never their text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.trace import Span
from tenacity import RetryCallState

from recipelab.core.logs import PHASE_SPAN, TRIAL_SPAN, Value, bound, describe, fail, logger, span
from recipelab.core.trial import Outcome, Phase
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
        """Tells how it ended, and gives the outcome back."""
        kind = None if outcome.failure is None else outcome.failure.kind.value
        facts: dict[str, Value] = {"status": outcome.status.value, "score": outcome.score}
        describe(self.span, {**facts, "failure_kind": kind})
        if outcome.status.is_failure:
            fail(self.span, f"{outcome.status}: {kind}" if kind else outcome.status.value)
        seconds = round(time.monotonic() - self.began, 3)
        failed = {"failure_kind": kind} if kind else {}
        _log.info("trial judged", **facts, **failed, seconds=seconds)
        return outcome


@contextmanager
def observed_trial(labels: Mapping[str, str]) -> Iterator[ObservedTrial]:
    """Around the evaluation of a trial: all that is logged meanwhile says which trial it is.

    Args:
        labels: What the trial belongs to: ``campaign``, ``trial``, and ``specialist`` if known.
    """
    told = labels.get("trial", "")
    trial: int | str | None = int(told) if told.isascii() and told.isdigit() else told or None
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
        """Tells how it ended, and gives the result back."""
        exit_code = {} if result.exit_code is None else {"exit": result.exit_code}
        measured: dict[str, Value] = {
            "ending": result.ending.value,
            **exit_code,
            "wall_seconds": round(result.wall_seconds, 3),
            "cpu_seconds": round(result.cpu_seconds, 3),
        }
        describe(self.span, measured)
        if not result.ok:
            fail(self.span, f"{result.ending}, exit code {result.exit_code}")
        known = {key: value for key, value in self.facts.items() if value is not None}
        _log.debug("phase ended", **known, **measured)
        return result


@contextmanager
def observed_phase(
    phase: Phase, seed: int, slot: Slot, labels: Mapping[str, str]
) -> Iterator[ObservedPhase]:
    """Around a phase in the sandbox.

    Args:
        phase: The phase.
        seed: Its seed.
        slot: Where it runs.
        labels: What it belongs to; ``beside`` says that the best runs it beside a trial.
    """
    facts: dict[str, Value] = {
        "phase": phase.value,
        "seed": None if phase is Phase.PREFLIGHT else seed,
        "slot": slot.name or None,
        "beside": labels.get("beside"),
    }
    with span(PHASE_SPAN, facts) as started:
        yield ObservedPhase(started, facts)


def tries_again(state: RetryCallState) -> None:
    """Tells that the machinery failed, and that the trial is tried once more."""
    error = state.outcome.exception() if state.outcome is not None else None
    _log.warning("the machinery failed; trying again", attempt=state.attempt_number, error=error)


NOTE_SECONDS = 1.0
"""Least time between two notes of phases other than ``train``."""


class Watch:
    """Is told of the steps of one trial; this one does nothing with it."""

    def queued(self) -> None:
        """The trial waits for a slot, for the first time or once more."""

    def began(self, phase: Phase, seed: int | None) -> None:
        """A phase begins.

        Args:
            phase: The phase.
            seed: The seed of the run; ``None`` in preflight.
        """

    def measured(self) -> None:
        """Every seed run has its score; what is left is to judge."""

    @contextmanager
    def holding(self, slot: Slot) -> Iterator[None]:
        """The trial holds a slot, as long as the context lasts."""
        yield

    def of_the_best(self) -> Watch:
        """Who is told while the best runs for the sake of this trial: nobody, by default."""
        return Watch()


class LineageWatch(Watch):
    """Writes the steps to the lineage, so that anybody can see what runs where.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        number: The trial's number.
        sandbox: Name of the sandbox, for the leases.
        told: Told of each phase, too.
        is_queued: Whether the lineage is known to have the trial as queued.

    Attributes:
        device_seconds: How long the trial has held slots so far, in seconds.
    """

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        number: int,
        sandbox: str,
        told: Callable[[Phase, int | None], None],
        *,
        is_queued: bool = False,
    ) -> None:
        self._store = store
        self._campaign = campaign
        self._number = number
        self._sandbox = sandbox
        self._told = told
        self._is_queued = is_queued
        self._noted: Phase | None = None
        self._noted_at = 0.0
        self.device_seconds = 0.0

    def queued(self) -> None:
        """Notes that the trial waits; an aborted one loses its outcome."""
        self._noted = None
        if self._is_queued:
            return
        if self._store.brief(self._campaign, self._number).state is not TrialState.QUEUED:
            self._store.advance(self._campaign, self._number, TrialState.QUEUED)
        self._is_queued = True

    def began(self, phase: Phase, seed: int | None) -> None:
        """Notes that the trial runs, and tells of the phase.

        A later phase is noted if it is ``train``, where the time of a trial goes, or if the last
        note is a second old: phases that short are over before anybody has looked.
        """
        self._told(phase, seed)
        now = time.monotonic()
        is_due = phase is Phase.TRAIN or now - self._noted_at >= NOTE_SECONDS
        if self._noted is None or (phase is not self._noted and is_due):
            self._store.advance(self._campaign, self._number, TrialState.RUNNING, phase)
            self._noted, self._noted_at, self._is_queued = phase, now, False

    @contextmanager
    def holding(self, slot: Slot) -> Iterator[None]:
        """Notes the lease of a slot for as long as it lasts."""
        self._store.lease_slot(
            self._campaign,
            self._number,
            slot.name,
            sandbox=self._sandbox,
            owner=owner_identity(),
        )
        since = time.monotonic()
        try:
            yield
        finally:
            self.device_seconds += time.monotonic() - since
            self._store.release_slot(self._campaign, self._number, slot.name)

    def of_the_best(self) -> Watch:
        """The slots that the best holds are this trial's; its phases are not."""
        return _Holder(self)


class _Holder(Watch):
    """Passes on which slots are held, and nothing else."""

    def __init__(self, trial: LineageWatch) -> None:
        self._trial = trial

    @contextmanager
    def holding(self, slot: Slot) -> Iterator[None]:
        with self._trial.holding(slot):
            yield
