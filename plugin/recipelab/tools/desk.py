"""What tools ask of a campaign: its recipes, its checks, and its trials."""

from __future__ import annotations

import asyncio
from typing import Protocol

from recipelab.budget import Ledger
from recipelab.core.trial import Edit, Proposal
from recipelab.evaluation.log_book import LogBook
from recipelab.evaluation.proposals import Candidate, Rejected
from recipelab.evaluation.queue import Submitted
from recipelab.evaluation.scratch import ScratchBench
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.packs.pack import Pack


class Desk(Protocol):
    """Where proposals are checked and submitted, and trials are waited for.

    A :class:`~recipelab.evaluation.queue.TrialQueue` is one, in the process that runs the campaign,
    and :class:`~recipelab.campaign.lineage_desk.LineageDesk` another, in any process.
    """

    @property
    def store(self) -> LineageStore:
        """The lineage."""

    @property
    def campaign(self) -> str:
        """Name of the campaign."""

    @property
    def pack(self) -> Pack:
        """The pack of the campaign."""

    @property
    def slots(self) -> int:
        """How many trials may run at once."""

    @property
    def logs(self) -> LogBook | None:
        """The logs of its trials; ``None`` where none are kept."""

    @property
    def in_flight(self) -> tuple[int, ...]:
        """Numbers of the trials that wait for a slot or run."""

    @property
    def remaining(self) -> int | None:
        """Trials that may still be submitted; ``None`` without a bound."""

    @property
    def is_full(self) -> bool:
        """Whether so many trials wait that agents should submit no more for now."""

    def best(self) -> TrialRecord:
        """Return the head of the working line."""

    def recipe_of(self, number: int) -> dict[str, str]:
        """Return the files of a trial's recipe."""

    def check(self, parent: int, edits: tuple[Edit, ...]) -> Candidate | Rejected:
        """Check edits without recording anything."""

    def submit(
        self, proposal: Proposal, *, round_number: int | None, turn: int | None = None
    ) -> Submitted:
        """Record a proposal, and have its trial run unless it is rejected at once."""

    def submit_again(
        self,
        trial: int,
        specialist: str,
        hypothesis: str,
        *,
        round_number: int | None,
        turn: int | None = None,
    ) -> int:
        """Have an earlier recipe measured on fresh seeds, and return the number of the trial."""

    async def wait_for(
        self, number: int, *, seconds: float, until: asyncio.Event | None = None
    ) -> None:
        """Wait until a trial is no longer in flight, for so many seconds at most."""


class BenchDesk(Desk, Protocol):
    """A desk that has a scratch bench, and the account on which its seconds are booked."""

    @property
    def bench(self) -> ScratchBench | None:
        """Where code runs in the campaign's sandbox that is no trial; ``None`` for nowhere."""

    @property
    def ledger(self) -> Ledger:
        """What may still be spent."""

    @property
    def paused(self) -> bool:
        """Whether nothing new begins for now."""
