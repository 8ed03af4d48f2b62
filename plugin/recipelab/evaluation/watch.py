"""Who is told how a trial gets on while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from recipelab.lineage import LineageStore, TrialState
from recipelab.sandbox.owner import owner_identity
from recipelab.sandbox.slots.pool import Slot
from recipelab.trial import Phase


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
    ) -> None:
        self._store = store
        self._campaign = campaign
        self._number = number
        self._sandbox = sandbox
        self._told = told
        self.device_seconds = 0.0

    def queued(self) -> None:
        """Notes that the trial waits; an aborted one loses its outcome."""
        if self._store.brief(self._campaign, self._number).state is not TrialState.QUEUED:
            self._store.advance(self._campaign, self._number, TrialState.QUEUED)

    def began(self, phase: Phase, seed: int | None) -> None:
        """Notes the phase, and tells of it."""
        self._told(phase, seed)
        self._store.advance(self._campaign, self._number, TrialState.RUNNING, phase)

    def measured(self) -> None:
        """Notes that the trial is measured."""
        self._store.advance(self._campaign, self._number, TrialState.MEASURED)

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
