"""What a campaign does around its rounds: the baseline, unfinished trials, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    TextMessage,
    ToolCallExecutionEvent,
)
from autogen_core import CancellationToken

from recipelab.agents import report
from recipelab.agents.seat import TRIALS
from recipelab.errors import RecipelabError
from recipelab.evaluation.calibration import noise_words
from recipelab.evaluation.desk import TrialDesk
from recipelab.evaluation.intake import BASELINE
from recipelab.lineage import NewMessage, TrialFilter, TrialRecord
from recipelab.log import logger
from recipelab.sandbox.owner import is_dead
from recipelab.team.listener import Listener
from recipelab.team.speakers import SpeakerPolicy
from recipelab.team.tally import Tally
from recipelab.tool_names import SUBMITTING
from recipelab.trial import Status

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


class Conductor:
    """Leads one run of a campaign from its baseline to its end.

    Args:
        desk: The campaign's desk.
        listener: Told how it goes on.
        policy: Picks specialists; learns from outcomes.
        blind: Whether outcomes are kept from the chat.
    """

    def __init__(
        self, desk: TrialDesk, listener: Listener, policy: SpeakerPolicy, *, blind: bool = False
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
