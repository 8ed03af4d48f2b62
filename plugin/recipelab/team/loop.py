"""Who is told how a campaign goes on."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    TextMessage,
    ToolCallExecutionEvent,
)
from autogen_core import CancellationToken

from recipelab.agents import SEAT, report
from recipelab.agents.evaluator_agent import TRIALS
from recipelab.agents.specialist import FAULT
from recipelab.core.errors import RecipelabError
from recipelab.core.logs import bound, logger
from recipelab.core.trial import Phase, Status
from recipelab.evaluation.judge import noise_words
from recipelab.evaluation.proposals import BASELINE
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import PAUSED, NewMessage, TrialFilter, TrialRecord
from recipelab.sandbox.processes import is_dead
from recipelab.team.speakers import SpeakerPolicy
from recipelab.tools.names import SUBMITTING


class Listener:
    """Told how a campaign goes on; this one does nothing with it."""

    def note(self, text: str) -> None:
        """Something a person should know."""

    def phase(self, trial: int, phase: Phase, seed: int | None) -> None:
        """A phase of a trial begins."""

    def judged(self, record: TrialRecord) -> None:
        """A trial got its status."""

    def message(self, message: BaseAgentEvent | BaseChatMessage) -> None:
        """Somebody said something in the group chat."""


Task = str | BaseChatMessage | Sequence[BaseChatMessage] | None
"""What a run may be given to do."""


@asynccontextmanager
async def told_as(desk: TrialQueue) -> AsyncIterator[None]:
    """Logs of a run tell which campaign they are of."""
    with bound(campaign=desk.campaign):
        yield


def messages_of(task: Task) -> list[BaseChatMessage] | None:
    """A task as messages; ``None`` if there is none.

    Raises:
        ValueError: It is neither text nor chat messages.
    """
    if not task:
        return None
    if isinstance(task, str):
        return [TextMessage(content=task, source="user")]
    messages = [task] if isinstance(task, BaseChatMessage) else list(task)
    if not all(isinstance(message, BaseChatMessage) for message in messages):
        raise ValueError("Task must be a string, a BaseChatMessage, or a list of BaseChatMessage.")
    return messages


def opening_words(number: int, desk: TrialQueue) -> BaseChatMessage:
    """What specialists are told at the beginning of a round, if nobody gives a task."""
    words = f"Round {number}: improve {desk.pack.metric.name} of {desk.pack.name}."
    return TextMessage(content=words, source="user")


def turns_left(turns: int | None, message: BaseAgentEvent | BaseChatMessage) -> int | None:
    """The turns that are left after a message."""
    if turns is None or not isinstance(message, BaseChatMessage) or message.source == "user":
        return turns
    return max(1, turns - 1)


def closing_words(source: str, desk: TrialQueue, ended: Ended) -> TextMessage:
    """The last word of a run, for whoever listens to the team as one of their own.

    Args:
        source: Name of the team.
        desk: The campaign's desk.
        ended: Why the run is over.
    """
    best, metric = desk.best(), desk.pack.metric
    score = best.outcome.score if best.outcome else None
    figure = f", {metric.name} {score:.4g} {metric.unit}".rstrip() if score is not None else ""
    trials = desk.ledger.spent.trials
    told = f"Campaign {desk.campaign}: {trials} trials, best {best.number}{figure}. "
    metadata = {"best": str(best.number)}
    return TextMessage(content=f"{told}It ends: {ended.reason}.", source=source, metadata=metadata)


_TEXT = 160


class Tally:
    """What has happened since a trial was taken last."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begins anew."""
        self._turns = 0
        self._silent = 0
        self._acted: set[str] = set()
        self._refused: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()

    def hear(self, message: BaseAgentEvent | BaseChatMessage) -> None:
        """Takes in a message of the group chat."""
        if isinstance(message, ToolCallExecutionEvent):
            self._acted.add(message.source)
            for result in message.content:
                if result.is_error:
                    self._refused[f"{result.name}: {_short(result.content)}"] += 1
        elif isinstance(message, BaseChatMessage) and message.source not in (SEAT, "user"):
            self._turns += 1
            self._silent += message.source not in self._acted
            self._acted.discard(message.source)
            if FAULT in message.metadata:
                self._faults[_short(message.to_text())] += 1

    def told(self) -> str:
        """The report, in a sentence or two."""
        parts = [f"{self._turns} turns, {self._silent} of them without a tool call"]
        for what, counts in (("tools answered", self._refused), ("models failed", self._faults)):
            if counts:
                (most, times), total = counts.most_common(1)[0], counts.total()
                parts.append(f"{what} {total} times with an error, most often ({times}) {most!r}")
        return "; ".join(parts)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 3]}..."


LOOK_SECONDS = 1.0
"""How often it looks."""


@asynccontextmanager
async def attended(desk: TrialQueue, say: Callable[[str], None]) -> AsyncIterator[None]:
    """Looks every second, for as long as the context lasts.

    Args:
        desk: The campaign's desk.
        say: Told when the campaign is paused, goes on, or gets a proposal.
    """
    task = asyncio.ensure_future(_look(desk, say))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _look(desk: TrialQueue, say: Callable[[str], None]) -> None:
    while True:
        look(desk, say)
        await asyncio.sleep(LOOK_SECONDS)


def look(desk: TrialQueue, say: Callable[[str], None]) -> None:
    """Takes in what has changed since the last look."""
    paused = desk.store.campaign(desk.campaign).state == PAUSED
    if paused != desk.paused:
        say("paused: trials that run go on, none is begun" if paused else "going on")
        desk.paused = paused
    for number in desk.adopt():
        say(f"trial {number} was proposed from outside: it is queued")


_log = logger(__name__)

MAX_IDLE_ROUNDS = 3
"""Rounds in a row without a trial after which a campaign stops."""

MAX_ABORTED = 3
"""Aborted trials in a row after which a campaign stops: the machinery is broken."""

UNWRITTEN = 50
"""Messages of a turn that wait for its end before they are written."""

RETRIED = 200
"""Aborted trials that a resumed campaign runs again at most."""


@dataclass(frozen=True)
class Ended:
    """How a run of a campaign came to its end.

    Attributes:
        finished: Whether the budget was spent or the goal reached, as planned.
        reason: Why it ended, in a sentence.
    """

    finished: bool
    reason: str


class CampaignLoop:
    """Leads one run of a campaign from its baseline to its end.

    Args:
        desk: The campaign's desk.
        listener: Told how it goes on.
        policy: Picks specialists; learns from outcomes.
        blind: Whether outcomes are kept from the chat.
    """

    def __init__(
        self, desk: TrialQueue, listener: Listener, policy: SpeakerPolicy, *, blind: bool = False
    ) -> None:
        self._desk = desk
        self._store = desk.store
        self._name = desk.campaign
        self._listener = listener
        self.policy = policy
        self._blind = blind
        self._tally = Tally()
        self._aborted_in_a_row = 0
        self._idle_rounds = 0
        self._submitted = 0
        self._error = ""
        self._unwritten: list[NewMessage] = []
        self.round: int | None = None

    async def baseline(self, token: CancellationToken, source: str) -> tuple[BaseChatMessage, ...]:
        """Sees to it that the baseline has been measured.

        Args:
            token: Cancels the waiting.
            source: Who tells of the noise.

        Returns:
            What is said of it, and of the noise; nothing if it was measured before.

        Raises:
            RecipelabError: It does not pass its own gates.
        """
        counts = self._store.counts(self._name)
        if not counts:
            self._desk.propose_baseline()
        elif self._is_open(BASELINE):
            self._desk.retry(BASELINE)
        told = await self._awaited(token)
        record = self._store.trial(self._name, BASELINE)
        if record.outcome is None or record.outcome.status is not Status.BASELINE:
            reason = record.outcome.reason if record.outcome else "it has no outcome"
            raise RecipelabError(f"the baseline of {self._desk.pack.name} fails: {reason}")
        if told is None:
            return ()
        words = noise_words(self._desk.pack, record)
        self._listener.note(words)
        noise = TextMessage(content=words, source=source)
        self.hear(noise)
        return told, noise

    def unfinished(self) -> None:
        """Queues what a dead process left in flight, and what was aborted."""
        for lease in self._store.dead_leases(lambda owner: not is_dead(owner)):
            self._store.release_slot(lease.campaign, lease.trial, lease.slot)
        wanted = TrialFilter(statuses=(Status.ABORTED,), order="oldest", limit=RETRIED)
        aborted = self._store.briefs(self._name, wanted).items
        for brief in [*self._store.in_flight_briefs(self._name), *aborted]:
            self._listener.note(f"trial {brief.number} has no measured outcome: running it again")
            self._desk.retry(brief.number)

    def begin_round(self) -> int:
        """Begins the next round."""
        self.round = self._store.start_round(self._name)
        self._desk.ledger.round = self.round
        self._submitted = 0
        return self.round

    def end_round(self, error: str = "") -> None:
        """Takes note of how a round went.

        Args:
            error: What ended it before its time.
        """
        self._error = error
        self.write()
        if error:
            _log.warning("round ended early", campaign=self._name, round=self.round, reason=error)
            self._listener.note(f"round {self.round} ended early: {error}")
        self._idle_rounds = 0 if self._submitted else self._idle_rounds + 1
        if self._submitted:
            self._tally.clear()

    @property
    def ended(self) -> Ended | None:
        """Why the campaign is over; ``None`` while it goes on."""
        if self._aborted_in_a_row >= MAX_ABORTED:
            return Ended(False, f"{MAX_ABORTED} trials in a row were aborted by the machinery")
        if self._desk.remaining == 0 and not self._desk.running:
            return Ended(True, self._desk.ledger.over or "the budget has no room for another trial")
        if self._idle_rounds >= MAX_IDLE_ROUNDS and not self._desk.running:
            why = self._error or self._tally.told()
            return Ended(False, f"{self._idle_rounds} rounds in a row brought no trial: {why}")
        return None

    def hear(self, message: BaseAgentEvent | BaseChatMessage) -> None:
        """Writes a message of the group chat to the lineage, and follows what it says."""
        trials = trials_of(message)
        about = trials[0] if trials else None
        kind = type(message).__name__
        self._unwritten.append(NewMessage(message.source, kind, message.dump(), about))
        if isinstance(message, BaseChatMessage) or len(self._unwritten) >= UNWRITTEN:
            self.write()
        self._listener.message(message)
        self._tally.hear(message)
        if isinstance(message, ToolCallExecutionEvent):
            self._submitted += len(accepted(message))
        if isinstance(message, BaseChatMessage):
            for trial in trials:
                self._judged(self._store.trial(self._name, trial))

    def write(self) -> None:
        """Writes to the lineage what was heard: a turn at a time, as a write waits for the disk."""
        if self._unwritten:
            self._store.add_messages(self._name, self._unwritten, round_number=self.round)
            self._unwritten = []

    def end(self, ended: Ended) -> None:
        """Writes to the lineage how the run ended."""
        self.write()
        state = "finished" if ended.finished else "stopped"
        self._store.end_campaign(self._name, state, ended.reason)

    async def _awaited(self, token: CancellationToken) -> BaseChatMessage | None:
        told: BaseChatMessage | None = None
        while self._desk.running:
            waiting = asyncio.ensure_future(self._desk.next_ended())
            token.link_future(waiting)
            ended = await waiting
            told = report(self._desk, ended, blind=self._blind)
            self.hear(told)
        return told

    def _is_open(self, number: int) -> bool:
        outcome = self._store.trial(self._name, number).outcome
        return outcome is None or outcome.status is Status.ABORTED

    def _judged(self, record: TrialRecord) -> None:
        aborted = record.outcome is not None and record.outcome.status is Status.ABORTED
        self._aborted_in_a_row = self._aborted_in_a_row + 1 if aborted else 0
        self.policy.learn(self._store.brief(self._name, record.number))
        self._listener.judged(record)


def trials_of(message: BaseAgentEvent | BaseChatMessage) -> Sequence[int]:
    """The trials that a message of the group chat is about."""
    if isinstance(message, BaseChatMessage):
        told = message.metadata.get(TRIALS, "")
        return [int(number) for number in told.split(",") if number]
    if isinstance(message, ToolCallExecutionEvent):
        return [int(table["trial"]) for table in _submitted(message)]
    return []


def accepted(message: ToolCallExecutionEvent) -> list[int]:
    """The trials that were taken, as a message with the answers of tools tells."""
    return [int(t["trial"]) for t in _submitted(message) if t.get("status") != Status.REJECTED]


def _submitted(message: ToolCallExecutionEvent) -> list[Mapping[str, Any]]:
    answers = [r.content for r in message.content if r.name in SUBMITTING and not r.is_error]
    tables: list[Mapping[str, Any]] = [json.loads(answer) for answer in answers]
    return [table for table in tables if "trial" in table]
