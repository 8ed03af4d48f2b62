"""This process as one of the drivers of a campaign: its beats, its place to judge, its budget."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from recipelab.budget import BudgetLimits, Ledger
from recipelab.core.errors import BudgetSpent, LeaseLost, LineageError, RecipelabError
from recipelab.core.logs import logger
from recipelab.evaluation.levels import RunningTests
from recipelab.lineage import PAUSED, CampaignRecord
from recipelab.lineage.campaigns import RUNNING
from recipelab.lineage.leases import LeaseTimes, UsedTotals
from recipelab.packs.judging_sections import Goal
from recipelab.sandbox.processes import is_dead, owner_identity

if TYPE_CHECKING:
    from recipelab.lineage import LineageStore, NewUsage

TURN_LOOKS = (0.01, 0.5)
"""Seconds between the first looks whether it is this driver's turn to judge, and at most."""

RETRY_SECONDS = 1.0
"""Pause before a beat is tried again that did not reach the database."""

_log = logger(__name__)


def check_joinable(record: CampaignRecord) -> None:
    """Check that a campaign runs, as far as the lineage knows.

    Raises:
        RecipelabError: It was stopped or is finished.
    """
    if record.state not in (RUNNING, PAUSED):
        raise RecipelabError(
            f"campaign {record.name} is {record.state} ({record.stop_reason}), so there is nothing "
            f"to join; valid: a campaign that runs; go on with it: recipelab resume {record.name}"
        )


def check_shared(store: LineageStore) -> None:
    """Check that several drivers can work on a campaign of a lineage.

    Raises:
        RecipelabError: It is a file, which one driver alone works with.
    """
    if not store.is_shared:
        raise RecipelabError(
            "a lineage in a SQLite file has one driver at a time: to let several work on one "
            "campaign, run it in a PostgreSQL database ($RECIPELAB_LINEAGE or --lineage "
            "postgresql+psycopg://user:password@host/name); docs/drivers.md tells how"
        )


class Driver:
    """A process that drives a campaign, beside others or ready for others to come.

    Args:
        store: The lineage, which acts for this driver from :meth:`enter` on.
        campaign: Name of the campaign.
        model: The model of its specialists.
        times: How long it may be silent.
        joins: Whether others may drive the campaign already.

    Attributes:
        campaign: Name of the campaign.
        number: Its number among the drivers of the campaign; another one after it was given up.
        joined: Whether it joined others.
        age: Age of the campaign's run when it came, in seconds.
        lost: Whether the others have given it up.
        left: Whether it has left.
    """

    def __init__(
        self, store: LineageStore, campaign: str, *, model: str, times: LeaseTimes, joins: bool
    ) -> None:
        self.campaign = campaign
        self.number = 0
        self.joined = joins
        self.age = 0.0
        self.lost = False
        self.left = False
        self._store = store
        self._model = model
        self._times = times

    def enter(self, *, alone: bool = False) -> None:
        """Become a driver of the campaign, for the first time or once more.

        Args:
            alone: Whether no other may drive it.

        Raises:
            LineageError: It is to be alone, and others drive the campaign.
        """
        for other in self._store.drivers(self.campaign, live=True):
            if is_dead(other.process):  # It ran on this machine: nobody needs to wait for it.
                self._store.give_up_process(self.campaign, other.process)
        self.number, self.age = self._store.enter_campaign(
            self.campaign,
            host=socket.gethostname(),
            process=owner_identity(),
            model=self._model,
            times=self._times,
            joins=not alone,
        )
        self.lost = False

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Keep its leases for as long as the context lasts."""
        task = asyncio.create_task(self._beat(), name=f"{self.campaign}-driver")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._times.beat)
            number = self.number
            try:
                # In a thread: a database that does not answer may not hold up the campaign.
                live = await asyncio.to_thread(self._store.beat, self.campaign, number, self._times)
            except LineageError as error:
                _log.warning("the lineage does not hear this driver", error=str(error))
                await asyncio.sleep(min(RETRY_SECONDS, self._times.beat))
                continue
            if number == self.number:  # It may have come again meanwhile.
                self.lost = self.lost or not live

    def leave(self, state: str, reason: str, *, unless_last: bool = False) -> bool:
        """Leave the campaign, which the last one ends; return whether it is the last."""
        last = self._store.leave_campaign(self.campaign, state, reason, unless_last=unless_last)
        self.left = not (last and unless_last)
        return last

    def close(self) -> None:
        """Leave, if nobody has told before how the campaign ends."""
        if not self.left:
            with suppress(LineageError):
                self.leave("stopped", "its driver has ended")


class SharedTests(RunningTests):
    """The tests of all drivers of a campaign, and one turn to judge for them all.

    Drivers come to their turn in the order in which they asked. One that dies in its turn holds up
    the others until its lease is over; so do its tests in the levels of others.

    Args:
        store: The lineage, which acts for a driver.
        campaign: Name of the campaign.
    """

    def __init__(self, store: LineageStore, campaign: str) -> None:
        super().__init__()
        self._store = store
        self._campaign = campaign

    @asynccontextmanager
    async def judging(self) -> AsyncIterator[None]:
        """Hold the turn to judge, of this driver and here, as long as the context lasts.

        Raises:
            LeaseLost: This driver was given up meanwhile.
        """
        async with super().judging():
            wait, most = TURN_LOOKS
            try:
                while not self._store.ask_to_judge(self._campaign):
                    await asyncio.sleep(wait)
                    wait = min(most, 1.5 * wait)
                yield
            finally:
                self._give_back()

    def _give_back(self) -> None:
        try:
            self._store.end_judging(self._campaign)
        except LineageError as error:
            # It stays with this driver, which may judge again, or loses it with its lease.
            _log.warning("the turn to judge could not be given back", error=str(error))

    @property
    def running(self) -> int:
        """How many tests run of all drivers."""
        return self._store.running_tests(self._campaign)

    def begin(self, name: str) -> None:
        """Note for all that a test begins."""
        self._store.begin_test(self._campaign, name)

    def end(self, name: str) -> None:
        """Note for all that a test has ended."""
        try:
            self._store.end_test(self._campaign, name)
        except LineageError as error:
            # Counted for longer than it runs, it makes the levels of others smaller, and not wrong.
            _log.warning("the end of a test could not be told", test=name, error=str(error))


class SharedLedger(Ledger):
    """The account of a campaign that several drivers spend from.

    A trial in flight is its own reservation: the transaction that proposes it counts those of all
    drivers. What calls of models may take is reserved in the lineage, if it is bounded, and given
    back in the transaction that writes what they took. The figures of others are as new as the
    last :meth:`refresh`; the lineage itself refuses what would overspend.

    Args:
        store: The lineage, which acts for a driver.
        driver: The driver.
        limits: What may be spent.
        goal: Which way the metric is better.
        say: Called with each warning that is due.
        clock: Returns seconds that only go up.
    """

    def __init__(
        self,
        store: LineageStore,
        driver: Driver,
        limits: BudgetLimits,
        *,
        goal: Goal = Goal.MINIMIZE,
        say: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._totals = UsedTotals()
        self._elsewhere = 0
        self._unwritten: list[NewUsage] = []
        super().__init__(store, driver.campaign, limits, goal=goal, say=say, clock=clock)
        self._began = clock() - driver.age
        self.refresh()

    def _read_lineage(self) -> None:
        super()._read_lineage()
        self._totals = self._store.used_totals(self._campaign, UsedTotals())

    def refresh(self) -> None:
        """Take in what the other drivers have spent since, and how the trials of all ended."""
        counts = self._store.counts(self._campaign)
        self._trials = sum(n for status, n in counts.items() if status and status.counts)
        self._elsewhere = max(0, counts.get(None, 0) - len(self._running))
        self._totals = self._store.used_totals(self._campaign, self._totals)
        if any(status and status.is_parent for status in counts):
            self._best = self._store.best_brief(self._campaign).score
        if self.limits.plateau is not None:
            self._since_kept = self._tried_since_kept()
        self._sum_up()

    def _sum_up(self) -> None:
        own = [item for item in self._unwritten if item.model != "device"]
        held = [item for item in self._unwritten if item.model == "device"]
        self._tokens = self._totals.tokens + sum(i.prompt_tokens + i.completion_tokens for i in own)
        self._money = self._totals.money + sum(item.cost for item in own)
        self._device_seconds = self._totals.device_seconds + sum(item.seconds for item in held)
        self._device_trials = self._totals.device_trials + len(held)

    @property
    def running_elsewhere(self) -> int:
        """Trials in flight that this driver does not run."""
        return self._elsewhere

    @property
    def _flying(self) -> int:
        return len(self._running) + self._elsewhere

    def defer_usage(self, kept: list[NewUsage] | None) -> None:
        """Put usage into a list that its owner writes and clears; ``None`` writes it at once."""
        super().defer_usage(kept)
        self._unwritten = [] if kept is None else kept

    @property
    def reserved(self) -> tuple[int, float] | None:
        """Tokens and dollars of calls that are being made; ``None`` where neither is bounded."""
        if self.limits.tokens is None and self.limits.money is None:
            return None
        return self._tokens_reserved, self._money_reserved

    def reserve(self, tokens: int, cost: float | None) -> None:
        """Reserve what a call of a model may take, among those of all drivers.

        Raises:
            BudgetSpent: As in :class:`Ledger`.
        """
        if self.reserved is None:
            super().reserve(tokens, cost)
            return
        asked = [item for item in self._unwritten if item.model != "device"]
        used = sum(item.prompt_tokens + item.completion_tokens for item in asked)
        paid = sum(item.cost for item in asked)
        try:
            self._totals = self._store.reserve_calls(
                self._campaign,
                tokens=used + self._tokens_reserved + tokens,
                money=paid + self._money_reserved + (cost or 0.0),
                most_tokens=self.limits.tokens,
                most_money=self.limits.money,
                since=self._totals,
            )
        except BudgetSpent:
            self._totals = self._store.used_totals(self._campaign, self._totals)
            self._sum_up()
            self._note_no_room(tokens, cost or 0.0)
            raise
        except LeaseLost as error:
            # The queue sees to it that the driver comes again; this turn ends.
            raise BudgetSpent(f"{error}: call again") from error
        self._sum_up()
        self._tokens_reserved += tokens
        self._money_reserved += cost or 0.0
