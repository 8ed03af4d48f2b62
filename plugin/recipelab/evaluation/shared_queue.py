"""The queue of a driver that shares its campaign with others: it runs the trials that it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from recipelab.core.errors import LeaseLost
from recipelab.core.logs import logger
from recipelab.core.recipe import Recipe
from recipelab.core.trial import FailureKind, Proposal, Status
from recipelab.evaluation.campaign_line import MEASURED
from recipelab.evaluation.driver import Driver, SharedLedger
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.proposals import BASELINE
from recipelab.evaluation.queue import MAX_RETRIED, WAITING_PER_SLOT, Submitted, TrialQueue
from recipelab.lineage import LineageStore, TrialBrief, TrialFilter
from recipelab.lineage.campaigns import ENDS

LOOK_SECONDS = 0.5
"""Time between two looks at the lineage while there is nothing to do but wait for others."""

_log = logger(__name__)


class SharedQueue(TrialQueue):
    """Takes proposals in and runs trials, beside the queues of other drivers of the campaign.

    It runs the trials that its driver holds: those that were submitted here, and trials in flight
    that nobody holds, as of a driver that has died or left, or of a person. A trial that another
    one has taken meanwhile is dropped without an outcome. The campaign's limits, its line and its
    end are common; see ``docs/drivers.md``.

    Args:
        store: The lineage, which acts for the driver.
        campaign: Name of the campaign.
        evaluator: Judges recipes; its sandbox must have been started.
        driver: This process among the drivers; it is one already.
        ledger: The account that all share.
        **options: As of :class:`TrialQueue`.
    """

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        evaluator: Evaluator,
        *,
        driver: Driver,
        ledger: SharedLedger,
        **options: Any,
    ) -> None:
        super().__init__(store, campaign, evaluator, ledger=ledger, **options)
        self._driver = driver
        self._shared = ledger
        self._look = store.look_at_drivers(campaign)
        self._heard = store.judged_since(campaign, 0)[-1:]
        self._mine: set[int] = set()
        self._given_up: set[int] = set()
        self._dropped: list[asyncio.Task[None]] = []
        self._others_judged: list[TrialBrief] = []
        self._news = 0
        self._told_stop = False
        self._told_kills: set[int] = set()

    def submit(
        self, proposal: Proposal, *, round_number: int | None, turn: int | None = None
    ) -> Submitted:
        """Record a proposal, and queue its trial; see :meth:`TrialQueue.submit`.

        Raises:
            LineageError: There is no such parent, or the others have given this driver up.
            BudgetSpent: The drivers together have spent the budget, or trials in flight will.
        """
        found = super().submit(proposal, round_number=round_number, turn=turn)
        if found.rejection is not None:
            self._mine.add(found.number)
        return found

    def refresh(self) -> None:
        """Take in what the other drivers did, and come again if they have given this one up."""
        if self._driver.left:
            return
        self._look = self.store.look_at_drivers(self.campaign)
        if not self._look.live or self._driver.lost:
            self._come_again()
            return
        self._shared.refresh()
        self._hear_judged()

    def _hear_judged(self) -> None:
        order = self._heard[0][0] if self._heard else 0
        new = [
            one for one in self.store.judged_since(self.campaign, order) if one not in self._heard
        ]
        self._heard = tuple(new[-1:]) or self._heard
        others = [number for _, number in new if number not in self._mine]
        self._mine.difference_update(number for _, number in new)
        for brief in self.store.briefs_of(self.campaign, others) if others else ():
            if brief.status is None:
                continue  # It runs again meanwhile.
            self._others_judged.append(brief)
            self._news += 1
            if brief.status in MEASURED:
                self._runner.line.judged_elsewhere(brief.number)

    def take_others(self) -> tuple[TrialBrief, ...]:
        """Return the trials that other drivers had judged since the last call, in order."""
        found, self._others_judged = tuple(self._others_judged), []
        return found

    def _come_again(self) -> None:
        """Drop all trials, which are others' by now, and be a driver under a new number.

        What runs has to have ended before, so that nothing of it is taken for the new one's.
        """
        if not self._dropped:
            _log.warning("silent for too long: others have the trials", driver=self._driver.number)
        for number in self.in_flight:
            task = self._running.get(number)
            self._forget(number)
            if task is not None:
                task.cancel()
                self._dropped.append(task)
        self._dropped = [task for task in self._dropped if not task.done()]
        if self._dropped:
            return
        if self.store.campaign(self.campaign).state in ENDS:
            self._look = replace(self._look, stop=True)  # The others have ended it meanwhile.
            return
        self._driver.lost = True
        self._driver.enter()

    def _forget(self, number: int) -> None:
        """Drop a trial without an outcome: it is another driver's."""
        self._running.pop(number, None)
        if number in self._waiting:
            self._waiting.remove(number)
        self._recipes.pop(number, None)
        specialist = self._owners.pop(number, "")
        self._mine.discard(number)
        self.ledger.ended(number, specialist, None, 0.0)
        self._changed.set()
        self._told_end(number)

    async def stop(self) -> None:
        """Stop the running trials, those too that were dropped; see :meth:`TrialQueue.stop`."""
        await super().stop()
        await asyncio.gather(*self._dropped, return_exceptions=True)

    async def _run(self, number: int) -> None:
        try:
            await super()._run(number)
        except LeaseLost as error:
            _log.warning("a trial is another driver's by now", trial=number, error=str(error))
            self._given_up.add(number)

    def _done(self, number: int, task: asyncio.Task[None]) -> None:
        if number in self._given_up:
            self._given_up.discard(number)
            if self._running.get(number) is task:
                self._forget(number)
                self._fill()
            return
        super()._done(number, task)

    def _queue(self, number: int, specialist: str, recipe: Recipe | None = None) -> None:
        self._mine.add(number)
        super()._queue(number, specialist, recipe)

    def ensure_baseline(self) -> None:
        """Queue the baseline, if this driver is the one that measures it, and nobody has yet."""
        if not self._look.calibrates:
            return
        if not self.store.counts(self.campaign):
            self.propose_baseline()
            return
        status = self.store.brief(self.campaign, BASELINE).status
        if status is Status.BASELINE:
            return
        if status is not None:
            if self._driver.joined:
                return  # Whoever goes on with the campaign has mended the pack; nobody has here.
            self._checker.renew_baseline()
        self._queue_all(self.store.take_trials(self.campaign, 1))

    async def baseline_elsewhere(self) -> None:
        """Wait until the baseline is measured by another driver, or is this one's to measure."""
        while not self.running and not self._look.stop:
            if (
                self.store.counts(self.campaign)
                and self.store.brief(self.campaign, BASELINE).status is not None
            ):
                return
            await asyncio.sleep(LOOK_SECONDS)
            self.refresh()
            if self._look.live and not self._driver.lost:
                self.ensure_baseline()

    async def wait_for_others(self, *, idle: bool) -> None:
        """Wait while nothing can be done here, and the trials of other drivers may change that.

        One that dies leaves its trials to those that wait.

        Args:
            idle: Whether nobody here had anything to propose, so that only news can help.
        """
        heard = self._news
        while not self.running and not self._told_stop:
            self.refresh()
            if self._driver.left or not self._shared.running_elsewhere:
                return
            if self.remaining != 0 and not (idle and self._news == heard):
                return
            await asyncio.sleep(LOOK_SECONDS)

    def requeue_unfinished(self) -> tuple[int, ...]:
        """Take what nobody holds; one that did not join runs aborted trials again, too."""
        if self._driver.joined:
            return self.adopt()
        self._carry_over()
        self._release_dead_slots()
        again = list(self.store.take_trials(self.campaign, MAX_RETRIED))
        aborted = TrialFilter(statuses=(Status.ABORTED,), order="oldest", limit=MAX_RETRIED)
        briefs = self.store.briefs(self.campaign, aborted).items
        numbers = [b.number for b in briefs if b.failure_kind is not FailureKind.KILLED]
        again += self.store.take_again(self.campaign, numbers)
        known = set(self.running)
        return self._queue_all(number for number in again if number not in known)

    adopted = "was proposed from outside, or left by another driver"

    def adopt(self) -> tuple[int, ...]:
        """Take trials in flight that nobody holds: as many as there are slots free, or one.

        Returns:
            Their numbers.
        """
        driver = self._driver
        if driver.lost or driver.left or not (self._look.live and self._look.free):
            return ()
        free = self.slots - len(self.in_flight)
        if free <= 0 and len(self._waiting) >= WAITING_PER_SLOT * self.slots:
            return ()
        try:
            taken = self.store.take_trials(self.campaign, max(1, free))
        except LeaseLost:
            driver.lost = True
            return ()
        return self._queue_all(taken)

    def _queue_all(self, numbers: Iterable[int]) -> tuple[int, ...]:
        found = []
        for number in numbers:
            self._queue(number, self.store.brief(self.campaign, number).specialist)
            found.append(number)
        return tuple(found)

    def _kills_asked(self) -> tuple[int, ...]:
        """Return own trials that people want ended; wishes for those of others are handed on."""
        found = [number for number in self._look.kills if number not in self._told_kills]
        self._told_kills.update(found)  # The wish is there until the trial has ended.
        for number in super()._kills_asked():
            if number in self.in_flight:
                found.append(number)
            else:
                self.store.ask_driver_to_kill(self.campaign, number)
        return tuple(dict.fromkeys(found))

    def take_stop(self) -> bool:
        """Return whether somebody has asked for the end of the campaign, here or elsewhere."""
        if super().take_stop():
            self.store.ask_drivers_to_stop(self.campaign)
        elif not self._look.stop:
            return False
        asked, self._told_stop = not self._told_stop, True
        return asked

    def is_last(self, state: str, reason: str) -> bool:
        """Leave unless this is the last driver; return whether it is, and so ends the campaign."""
        return self._driver.leave(state, reason, unless_last=True)

    def end(self, state: str, reason: str) -> None:
        """Leave the campaign, and end it if no other driver is there."""
        self._driver.leave(state, reason)
