"""The two ways to run a campaign: as a group chat of specialists, or from a script.

A group chat proposes by itself. A script opens the campaign's trial queue and submits proposals of
its own; :class:`OpenQueue` is that queue, with the baseline measured, and hands each judged trial
to whoever waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from recipelab.campaign.planning import Say, say_nothing
from recipelab.campaign.submitting import Pickup, Submission
from recipelab.core.errors import BudgetSpent
from recipelab.core.logs import bound, logger
from recipelab.core.trial import Proposal
from recipelab.evaluation.proposals import Approve
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.session import CampaignSession, Overrides
from recipelab.lineage import TrialRecord
from recipelab.team import Listener, ResearchGroupChat
from recipelab.team.loop import following_lineage

if TYPE_CHECKING:
    from recipelab.campaign.campaign import Campaign

LOOK_SECONDS = 1.0
"""How long an idle queue waits before it looks whether another process has submitted a trial."""

_log = logger(__name__)


class _SayingListener(Listener):
    """Hands what a person should know to the campaign, and drops the rest."""

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign

    def note(self, text: str) -> None:
        """Say it."""
        self._campaign.say(text)

    def warning(self, text: str) -> None:
        """Say it, or log it where nobody listens."""
        warn_by(self._campaign.say)(text)


def warn_by(say: Say) -> Say:
    """Return a function that warns a person: by ``say``, or by the log if that says nothing."""
    return _log.warning if say is say_nothing else say


def research_chat(
    campaign: Campaign, listener: Listener | None, approve: Approve | None, options: dict[str, Any]
) -> ResearchGroupChat:
    """Make the AutoGen team that runs a campaign in its lineage; see :meth:`Campaign.team`."""
    return ResearchGroupChat(
        campaign.plan,
        home=campaign.home,
        overrides=_overrides(campaign, approve),
        listener=listener or _SayingListener(campaign),
        **options,
    )


def _overrides(campaign: Campaign, approve: Approve | None) -> Overrides:
    given = campaign.overrides or Overrides()
    return replace(given, store=campaign.store, approve=approve or given.approve)


class OpenQueue:
    """The trial queue of a campaign that a script has opened, and those who wait for its trials.

    Args:
        queue: The queue, with a judged baseline.
    """

    def __init__(self, queue: TrialQueue) -> None:
        self.queue = queue
        self._waiting: dict[int, asyncio.Future[TrialRecord]] = {}
        self._ended: deque[TrialRecord] = deque()
        self._submitted = asyncio.Event()
        self._changed = asyncio.Event()
        self._error: Exception | None = None

    def submit(self, proposal: Proposal) -> Submission:
        """Check a proposal and queue its trial.

        Raises:
            BudgetSpent: The budget has no room for another trial.
            LineageError: The proposal's parent is not a trial.
        """
        if self.queue.remaining == 0:
            why = self.queue.ledger.over or "the trials in flight will spend the budget"
            raise BudgetSpent(f"campaign {self.queue.campaign} takes no more trials: {why}")
        found = self.queue.submit(proposal, round_number=None)
        if found.rejection is not None:
            return Submission(found.number, found.rejection, (), None)
        self._submitted.set()
        pickup = Pickup.UNPAUSED if self.queue.paused else Pickup.NOW
        return Submission(found.number, None, found.alike, pickup)

    async def evaluate(self, proposal: Proposal) -> TrialRecord:
        """Submit a proposal and wait for its trial to be judged."""
        submission = self.submit(proposal)
        if submission.rejection is not None:
            return self.queue.store.trial(self.queue.campaign, submission.number)
        waiter: asyncio.Future[TrialRecord] = asyncio.get_running_loop().create_future()
        self._waiting[submission.number] = waiter
        return await waiter

    async def judged(self) -> AsyncIterator[TrialRecord]:
        """Yield the trials that nobody else waits for as they end, until none is in flight."""
        while True:
            while self._ended:
                yield self._ended.popleft()
            if self._error is not None:
                raise self._error
            if not self.queue.running:
                return
            self._changed.clear()
            await self._changed.wait()

    async def collect(self) -> None:
        """Hand each judged trial to the one who waits for it; runs as long as the queue is open."""
        try:
            while True:
                if self.queue.running:
                    self._hand_over(await self.queue.next_ended())
                    continue
                self._submitted.clear()
                try:
                    await asyncio.wait_for(self._submitted.wait(), LOOK_SECONDS)
                except TimeoutError:
                    continue
        except Exception as error:
            # A fault of this program: nobody may wait for ever because of it.
            self._error = error
            for waiter in self._waiting.values():
                if not waiter.done():
                    waiter.set_exception(error)
            self._changed.set()

    def _hand_over(self, records: tuple[TrialRecord, ...]) -> None:
        for record in records:
            waiter = self._waiting.pop(record.number, None)
            if waiter is None or waiter.done():
                self._ended.append(record)
            else:
                waiter.set_result(record)
        self._changed.set()


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


@asynccontextmanager
async def open_queue(campaign: Campaign, approve: Approve | None) -> AsyncIterator[OpenQueue]:
    """Open a campaign for a script: sandbox, slots and baseline are ready inside.

    What an earlier process left in flight runs again. At the end, trials in flight are stopped, to
    be run again by whoever opens or resumes the campaign next.

    Raises:
        RecipelabError: Data, sandbox, slots or a budget are missing, another process runs the
            campaign, or the baseline misses one of its own gates, by more than its noise allows.
    """
    overrides = _overrides(campaign, approve)
    session = CampaignSession(
        campaign.plan,
        campaign.home,
        overrides=overrides,
        say=campaign.say,
        warn=warn_by(campaign.say),
    )
    async with session.opened() as queue:
        finished, reason = False, "the script that ran it has ended"
        try:
            with bound(campaign=campaign.name):
                queue.ensure_baseline()
                await queue.baseline_elsewhere()
                while queue.running:
                    await queue.next_ended()
                    await queue.baseline_elsewhere()
                queue.checked_baseline()
                queue.requeue_unfinished()
                opened = OpenQueue(queue)
                owner = asyncio.current_task()
                on_stop = partial(_cancel, owner) if owner is not None else None
                async with following_lineage(queue, campaign.say, on_stop=on_stop):
                    collector = asyncio.create_task(opened.collect())
                    try:
                        yield opened
                    finally:
                        collector.cancel()
                        await asyncio.gather(collector, return_exceptions=True)
            if queue.remaining == 0 and not queue.running:
                finished, reason = True, queue.ledger.over or "the budget is spent"
                if queue.ledger.has_time and queue.is_last("finished", reason):
                    await queue.settle()
        except BaseException as error:
            reason = str(error) if isinstance(error, Exception) else "stopped by hand"
            raise
        finally:
            await queue.stop()
            queue.end("finished" if finished else "stopped", reason)
