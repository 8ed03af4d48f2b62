"""A campaign: rounds of group chat over one pack until the budget is spent; can be resumed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from autogen_agentchat.base import TaskResult
from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    ToolCallExecutionEvent,
)
from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient

from recipelab.agents import load_charter
from recipelab.errors import RecipelabError
from recipelab.evaluation.desk import BASELINE, TrialDesk
from recipelab.lineage import LineageStore, TrialFilter, TrialRecord
from recipelab.log import logger
from recipelab.playbook import load_playbook
from recipelab.sandbox.owner import is_dead
from recipelab.team import RoundRobin, build_team
from recipelab.trial import Phase, Status

_log = logger(__name__)

MAX_IDLE_ROUNDS = 3
"""Rounds in a row without a trial after which a campaign stops."""

MAX_ABORTED = 3
"""Aborted trials in a row after which a campaign stops: the machinery is broken."""

STOP_SECONDS = 5.0


class Listener(Protocol):
    """Told how a campaign goes on; owns the display."""

    def note(self, text: str) -> None:
        """Something a person should know."""
        ...

    def phase(self, trial: int, phase: Phase, seed: int | None) -> None:
        """A phase of a trial begins."""
        ...

    def judged(self, record: TrialRecord) -> None:
        """A trial got its status."""
        ...

    def message(self, message: BaseAgentEvent | BaseChatMessage) -> None:
        """Somebody said something in the group chat."""
        ...


@dataclass(frozen=True)
class Ended:
    """How a run of a campaign came to its end.

    Attributes:
        finished: Whether the budget was spent, as planned.
        reason: Why it ended, in a sentence.
    """

    finished: bool
    reason: str


class Campaign:
    """Runs one campaign at its desk.

    Args:
        desk: Takes proposals; its evaluator's sandbox must have been started.
        client: The model of every specialist.
        listener: Told how it goes on.
    """

    def __init__(self, desk: TrialDesk, client: ChatCompletionClient, listener: Listener) -> None:
        self._desk = desk
        self._client = client
        self._listener = listener
        self._charters = [load_charter(name) for name in desk.pack.specialists]
        self._plays = load_playbook(desk.pack)
        self._aborted_in_a_row = 0
        self._last_heard = time.monotonic()

    @property
    def _store(self) -> LineageStore:
        return self._desk.store

    @property
    def _name(self) -> str:
        return self._desk.campaign

    async def run(self) -> Ended:
        """Runs rounds until the budget is spent or the campaign is stuck.

        Returns:
            Why it ended; the lineage holds it too.

        Raises:
            RecipelabError: The baseline does not pass its own gates.
            asyncio.CancelledError: It was stopped; what was running can be retried by a resume.
        """
        try:
            await self._baseline()
            await self._unfinished()
            ended = await self._rounds()
        except (asyncio.CancelledError, Exception) as error:
            await self._desk.stop()
            why = "stopped by hand" if isinstance(error, asyncio.CancelledError) else str(error)
            self._store.end_campaign(self._name, "stopped", why)
            raise
        self._store.end_campaign(
            self._name, "finished" if ended.finished else "stopped", ended.reason
        )
        return ended

    async def _baseline(self) -> None:
        if not self._store.counts(self._name):
            self._desk.propose_baseline()
        elif self._is_open(BASELINE):
            self._desk.retry(BASELINE)
        await self._collect()
        record = self._store.trial(self._name, BASELINE)
        if record.outcome is None or record.outcome.status is not Status.BASELINE:
            reason = record.outcome.reason if record.outcome else "it has no outcome"
            raise RecipelabError(f"the baseline of {self._desk.pack.name} fails: {reason}")

    async def _unfinished(self) -> None:
        """Runs again what a dead process left running, and what was aborted."""
        for lease in self._store.dead_leases(lambda owner: not is_dead(owner)):
            self._store.release_slot(lease.campaign, lease.trial, lease.slot)
        aborted = self._store.query(
            self._name, TrialFilter(statuses=(Status.ABORTED,), order="oldest", limit=100)
        )
        for record in [*self._store.in_flight(self._name), *aborted.items]:
            self._listener.note(f"trial {record.number} has no measured outcome: running it again")
            self._desk.retry(record.number)
            await self._collect()

    def _is_open(self, number: int) -> bool:
        outcome = self._store.trial(self._name, number).outcome
        return outcome is None or outcome.status is Status.ABORTED

    async def _collect(self) -> None:
        while self._desk.running:
            for record in await self._desk.next_ended():
                self._judged(record)

    def _judged(self, record: TrialRecord) -> None:
        aborted = record.outcome is not None and record.outcome.status is Status.ABORTED
        self._aborted_in_a_row = self._aborted_in_a_row + 1 if aborted else 0
        self._listener.judged(record)

    async def _rounds(self) -> Ended:
        idle = 0
        while self._desk.remaining != 0:
            before = self._measured()
            error = await self._round()
            if self._aborted_in_a_row >= MAX_ABORTED:
                return Ended(False, f"{MAX_ABORTED} trials in a row were aborted by the machinery")
            idle = 0 if self._measured() > before else idle + 1
            if idle >= MAX_IDLE_ROUNDS:
                why = error or "no specialist had a new proposal"
                return Ended(False, f"{idle} rounds in a row brought no trial: {why}")
        return Ended(True, "the budget is spent")

    def _measured(self) -> int:
        counts = self._store.counts(self._name)
        return sum(n for status, n in counts.items() if status is not None and status.counts)

    async def _round(self) -> str | None:
        """Runs one round; gives the error that ended it early, if one did."""
        number = self._store.start_round(self._name)
        speakers = RoundRobin([c.name for c in self._charters], offset=self._measured())
        team = build_team(
            self._desk,
            self._charters,
            {charter.name: self._client for charter in self._charters},
            speakers,
            plays=self._plays,
            round_number=number,
            turns=len(self._charters),
        )
        token = CancellationToken()
        listening = asyncio.ensure_future(self._listen(team, number, token))
        try:
            return await asyncio.shield(listening)
        except asyncio.CancelledError:
            # AutoGen ends a run cleanly only through its own token.
            token.cancel()
            with suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait_for(listening, STOP_SECONDS)
            raise

    async def _listen(self, team: Any, number: int, token: CancellationToken) -> str | None:
        task = f"Round {number}: improve {self._desk.pack.metric.name} of {self._desk.pack.name}."
        try:
            async for item in team.run_stream(task=task, cancellation_token=token):
                if not isinstance(item, TaskResult):
                    self._heard(item, number)
        except RuntimeError as error:
            # A model's failure comes out of AutoGen as this, its traceback as text.
            reason = (str(error).strip().splitlines() or ["unknown"])[-1]
            _log.warning("round ended early", campaign=self._name, round=number, reason=reason)
            self._listener.note(f"round {number} ended early: {reason}")
            await self._collect()
            return reason
        return None

    def _heard(self, message: BaseAgentEvent | BaseChatMessage, number: int) -> None:
        trials = trials_of(message)
        self._store.add_message(
            self._name,
            round_number=number,
            source=message.source,
            type=type(message).__name__,
            payload=message.dump(),
            trial=trials[0] if trials else None,
        )
        self._listener.message(message)
        self._count_usage(message, number)
        if isinstance(message, BaseChatMessage):
            for trial in trials:
                self._judged(self._store.trial(self._name, trial))

    def _count_usage(self, message: BaseAgentEvent | BaseChatMessage, number: int) -> None:
        """Adds what the model took for a message; the time is that since the message before."""
        now = time.monotonic()
        waited, self._last_heard = now - self._last_heard, now
        usage = message.models_usage
        if usage is not None:
            self._store.add_usage(
                self._name,
                specialist=message.source,
                model=self._store.campaign(self._name).model,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                seconds=waited,
                round_number=number,
            )


def trials_of(message: BaseAgentEvent | BaseChatMessage) -> Sequence[int]:
    """The trials that a message of the group chat is about."""
    if isinstance(message, BaseChatMessage):
        told = message.metadata.get("trials", "")
        return [int(number) for number in told.split(",") if number]
    if isinstance(message, ToolCallExecutionEvent):
        answers = [
            r.content for r in message.content if r.name == "submit_trial" and not r.is_error
        ]
        tables: list[Mapping[str, Any]] = [json.loads(answer) for answer in answers]
        return [int(table["trial"]) for table in tables if "trial" in table]
    return []


def deadline_after(hours: float | None) -> float | None:
    """The time on the monotonic clock that lies some hours ahead."""
    return None if hours is None else time.monotonic() + hours * 3600.0
