"""A campaign's desk in any process: what is submitted is run by whoever runs the campaign."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from recipelab.budget import BudgetLimits, Ledger
from recipelab.campaign.submitting import proposal_checker
from recipelab.core.errors import BudgetSpent
from recipelab.core.trial import Edit, Proposal
from recipelab.evaluation.log_book import LogBook
from recipelab.evaluation.proposals import Candidate, Rejected
from recipelab.evaluation.queue import WAITING_PER_SLOT, Submitted
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.packs.pack import Pack

if TYPE_CHECKING:
    from recipelab.campaign.campaign import Campaign

LOOK_SECONDS = 0.5
"""Time between two looks at the lineage for the end of a trial."""


class LineageDesk:
    """Checks proposals and writes them to the lineage, where the process that runs trials is told.

    It has what tools ask of a queue of trials (:class:`recipelab.tools.desk.Desk`), and runs
    nothing itself.

    Args:
        campaign: The campaign.
        look: Called when a trial was submitted, and at each look while one is waited for.
        limits: Returns limits that take the place of the campaign's own once it is run.

    Attributes:
        logs: The logs of its trials, as far as they were kept here.
    """

    def __init__(
        self,
        campaign: Campaign,
        look: Callable[[], None] = lambda: None,
        limits: Callable[[], BudgetLimits | None] = lambda: None,
    ) -> None:
        self._campaign = campaign
        self._look = look
        self._limits = limits
        self._checker = proposal_checker(campaign)
        self.logs: LogBook | None = LogBook(campaign.home.logs(campaign.name))

    @property
    def store(self) -> LineageStore:
        """The lineage."""
        return self._campaign.store

    @property
    def campaign(self) -> str:
        """Name of the campaign."""
        return self._campaign.name

    @property
    def pack(self) -> Pack:
        """The pack of the campaign."""
        return self._campaign.pack

    @property
    def slots(self) -> int:
        """How many phases may run at once, as far as the process tells that runs the campaign."""
        return max(1, self._campaign.now().slots.total or self._campaign.plan.slots or 1)

    @property
    def in_flight(self) -> tuple[int, ...]:
        """Numbers of the trials that wait for a slot or run."""
        briefs = self.store.in_flight_briefs(self.campaign)
        return tuple(brief.number for brief in briefs)

    @property
    def remaining(self) -> int | None:
        """Trials that may still be submitted; ``None`` without a bound."""
        left = self._ledger.remaining
        return None if left is None else max(0, left - len(self.in_flight))

    @property
    def _ledger(self) -> Ledger:
        """The account of the campaign as the lineage has it now."""
        campaign, limits = self._campaign, self._limits()
        own = campaign.plan.limits
        merged = own.model_copy(update=limits.given()) if limits is not None else own
        return Ledger(campaign.store, campaign.name, merged, goal=campaign.metric.goal)

    @property
    def is_full(self) -> bool:
        """Whether so many trials wait that agents should submit no more for now."""
        return len(self.in_flight) >= (1 + WAITING_PER_SLOT) * self.slots

    def best(self) -> TrialRecord:
        """Return the head of the working line: the last trial kept on it, or the baseline."""
        return self._campaign.best

    def recipe_of(self, number: int) -> dict[str, str]:
        """Return the files of a trial's recipe.

        Raises:
            LineageError: There is no such trial, or it was rejected and so has no recipe.
        """
        return self._checker.recipe_of(number)

    def check(self, parent: int, edits: tuple[Edit, ...]) -> Candidate | Rejected:
        """Check edits as :meth:`submit` would, without recording anything.

        Raises:
            LineageError: There is no such parent.
        """
        return self._checker.check(parent, edits)

    def submit(
        self, proposal: Proposal, *, round_number: int | None, turn: int | None = None
    ) -> Submitted:
        """Record a proposal, which is run by whoever runs the campaign unless it is rejected.

        Raises:
            LineageError: There is no such parent.
            BudgetSpent: The campaign's trials are spent or in flight.
        """
        self.check_room()
        number, checked = self._checker.take(proposal, round_number=round_number, turn=turn)
        if isinstance(checked, Rejected):
            return Submitted(number, checked)
        self._look()
        return Submitted(number, None, checked.alike)

    def submit_again(
        self,
        trial: int,
        specialist: str,
        hypothesis: str,
        *,
        round_number: int | None,
        turn: int | None = None,
    ) -> int:
        """Record a trial that measures an earlier recipe on fresh seeds, and return its number.

        Raises:
            LineageError: There is no such trial, or nothing can be learned by measuring it again.
            BudgetSpent: The campaign's trials are spent or in flight.
        """
        self.check_room()
        number, _ = self._checker.take_again(
            trial, specialist, hypothesis, round_number=round_number, turn=turn
        )
        self._look()
        return number

    def check_room(self) -> None:
        """Check that another trial may be submitted.

        Raises:
            BudgetSpent: The campaign's trials are spent or in flight.
        """
        if self.remaining == 0:
            why = self._ledger.over or "the trials in flight will spend the budget"
            raise BudgetSpent(f"campaign {self.campaign} takes no more trials: {why}")

    async def wait_for(
        self, number: int, *, seconds: float, until: asyncio.Event | None = None
    ) -> None:
        """Wait until a trial is no longer in flight.

        Args:
            number: The trial's number.
            seconds: Waits so long at most, in seconds.
            until: Ends the waiting when it is set.
        """
        given_up = time.monotonic() + seconds
        while self.store.brief(self.campaign, number).status is None:
            left = given_up - time.monotonic()
            if left <= 0 or (until is not None and until.is_set()):
                return
            self._look()
            await asyncio.sleep(min(LOOK_SECONDS, left))
