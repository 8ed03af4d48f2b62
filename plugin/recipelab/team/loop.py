"""The loop of a campaign: baseline, rounds, and the reasons to stop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    TextMessage,
    ToolCallExecutionEvent,
    ToolCallRequestEvent,
)
from autogen_core import CancellationToken

from recipelab.agents import EVALUATOR, checkpoint_report, outcome_report
from recipelab.core.errors import LineageError
from recipelab.core.knobs import changed_surfaces, find_knobs
from recipelab.core.logs import logger
from recipelab.core.trial import Status
from recipelab.evaluation.calibration import baseline_text
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import PAUSED, NewMessage, NewUsage, TrialRecord
from recipelab.team.notes import NOTE, WARNING, Listener, Notes
from recipelab.team.speakers import SpeakerPolicy, TrialResult
from recipelab.team.turns import (
    Silence,
    TurnOutcome,
    TurnReader,
    TurnResult,
    idle_report,
    submission_answers,
    trials_of,
)

MAX_IDLE_ROUNDS = 3
"""Rounds in a row without a trial after which a campaign stops."""

MAX_ABORTED = 3
"""Aborted trials in a row after which a campaign stops: the machinery is broken."""

RECALLED = 200
"""Newest messages of a kind from which a resumed campaign learns who has passed."""

MAX_UNWRITTEN = 50
"""Messages of a turn that may wait for its end before they are written."""

WRITE_SECONDS = 1.0
"""Time between two transactions that write messages."""

LOOK_SECONDS = 1.0
"""Time between two looks at the lineage for changes by other processes."""

BEST = "best"
"""Key of the metadata of a run's last message: the number of the best trial."""

_log = logger(__name__)


@dataclass(frozen=True)
class Ended:
    """The end of a run of a campaign.

    Attributes:
        finished: Whether the budget was spent or the target reached, as planned.
        reason: Why it ended, in a sentence.
    """

    finished: bool
    reason: str


def opening_message(queue: TrialQueue, round_number: int) -> BaseChatMessage:
    """Return the task of a round, if the caller of the run gave none."""
    pack = queue.pack
    # The name of a pack may be that of another task, of which its profile is a small likeness.
    what = f"{pack.title} ({pack.name}, profile {pack.profile})"
    text = f"Round {round_number}: improve {pack.metric.name} of {what}."
    return TextMessage(content=text, source="user")


def closing_message(queue: TrialQueue, source: str, ended: Ended) -> TextMessage:
    """Return the last message of a run, for a larger team that the group chat takes part in.

    Args:
        queue: The campaign's trial queue.
        source: Name of the group chat.
        ended: The end of the run.
    """
    best, metric = queue.best(), queue.pack.metric
    score = best.outcome.score if best.outcome else None
    figure = f", {metric.name} {score:.4g} {metric.unit}".rstrip() if score is not None else ""
    trials = queue.ledger.spent.trials
    facts = f"Campaign {queue.campaign}: {trials} trials, best {best.number}{figure}."
    text = f"{facts} It ends: {ended.reason}."
    return TextMessage(content=text, source=source, metadata={BEST: str(best.number)})


def is_closing(message: BaseChatMessage) -> bool:
    """Return whether a message is the last one of a run, by :func:`closing_message`."""
    return BEST in message.metadata


class CampaignLoop:
    """Leads one run of a campaign from its baseline to its end.

    :meth:`recipelab.team.ResearchGroupChat.run_stream` calls it in this order:

    1. :meth:`measure_baseline`, which measures trial 0 unless the lineage has it already,
    2. :meth:`requeue_unfinished`, for what an earlier run left behind,
    3. while :attr:`ended` is ``None``: :meth:`start_round`, :meth:`hear` for every message of the
       round, and :meth:`end_round`,
    4. :meth:`end`.

    Messages are written to the lineage when a turn ends, at most once in :data:`WRITE_SECONDS`,
    together with the usage that was booked meanwhile: every transaction waits for the disk. A
    process that is killed loses the words of the turns that it was in, and no trial, because
    trials are written by the trial queue itself.

    Attributes:
        round: Number of the current round; ``None`` before the first.
        silence: Who had nothing to say.

    Args:
        queue: The campaign's trial queue.
        listener: Hears of messages and trials.
        notes: Hears what people should know.
        policy: Picks specialists; learns from turns and trials.
        specialists: Their names, and the surfaces of each.
        blind: Whether outcomes are kept from the chat.
    """

    def __init__(
        self,
        queue: TrialQueue,
        listener: Listener,
        notes: Notes,
        policy: SpeakerPolicy,
        specialists: Mapping[str, Collection[str]],
        *,
        blind: bool = False,
    ) -> None:
        self.policy = policy
        self.round: int | None = None
        self.silence = Silence(specialists, blind=blind)
        self._queue = queue
        self._store = queue.store
        self._campaign = queue.campaign
        self._listener = listener
        self._notes = notes
        self._blind = blind
        self._turns = TurnReader(specialists)
        self._idle_turns: list[TurnOutcome] = []
        self._idle_rounds = 0
        self._submitted = False
        self._aborted_in_a_row = 0
        self._round_error = ""
        self._judged: dict[int, TrialRecord] = {}
        self._unwritten: list[NewMessage] = []
        self._unwritten_usage: list[NewUsage] = []
        self._written = -math.inf
        queue.ledger.defer_usage(self._unwritten_usage)
        self._recall_passes(specialists)

    def _recall_passes(self, specialists: Collection[str]) -> None:
        """Learn from the lineage who had nothing to say in an earlier run, and what came since."""
        calls, words = (
            self._store.newest_messages(self._campaign, type=kind.__name__, limit=RECALLED)
            for kind in (ToolCallExecutionEvent, TextMessage)
        )
        if not words:
            return
        # A turn whose calls are no longer among the newest would look like a pass.
        since = calls[-1].position if len(calls) == RECALLED else 0
        ended = words[0].created_at
        notes = self._store.notes(self._campaign)
        self.silence.notes_are(frozenset(n.number for n in notes if n.created_at <= ended))
        reader = TurnReader(specialists)
        for said in sorted((*calls, *words), key=lambda one: one.position):
            if said.position < since:
                continue
            kind = TextMessage if said.type == TextMessage.__name__ else ToolCallExecutionEvent
            message = kind.model_validate(said.payload)
            turn = reader.read(message)
            if turn is not None:
                self.silence.turn_ended(turn)
            elif message.source == EVALUATOR:
                for number in trials_of(message):
                    trial = self._store.brief(self._campaign, number)
                    if trial.status is not None:
                        changed = self._changed_by(number, trial.status)
                        self.silence.trial_judged(trial.status, trial.surface, changed)

    async def measure_baseline(
        self, token: CancellationToken, source: str
    ) -> tuple[BaseChatMessage, ...]:
        """Measure the baseline, unless it was measured before.

        Args:
            token: Cancels the waiting.
            source: The source of the message about it.

        Returns:
            The report on the baseline, and a message about noise, gates and projections; nothing if
            it was measured before.

        Raises:
            RecipelabError: The baseline misses one of its own gates, by more than its noise allows.
        """
        self._queue.ensure_baseline()
        message: BaseChatMessage | None = None
        while await self._baseline_runs(token):
            waiting = asyncio.ensure_future(self._queue.next_ended())
            token.link_future(waiting)
            records = await waiting
            if not records:
                continue  # Another driver has it by now.
            message = outcome_report(self._queue, records, blind=self._blind)
            self.keep_judged(records)
            self.hear(message)
        record = self._queue.checked_baseline()
        if message is None:
            return ()
        text = baseline_text(self._queue.pack, record)
        self._listener.note(text)
        noise = TextMessage(content=text, source=source)
        self.hear(noise)
        return message, noise

    async def _baseline_runs(self, token: CancellationToken) -> bool:
        """Return whether the baseline runs here, once it does not run elsewhere."""
        elsewhere = asyncio.ensure_future(self._queue.baseline_elsewhere())
        token.link_future(elsewhere)
        await elsewhere
        return bool(self._queue.running)

    def requeue_unfinished(self) -> None:
        """Queue the trials that a dead process left in flight, and those that were aborted."""
        for number in self._queue.requeue_unfinished():
            self._notes.say(f"trial {number} has no measured outcome: running it again")

    def start_round(self) -> int:
        """Start the next round, and return its number."""
        self.round = self._store.start_round(self._campaign)
        self._queue.ledger.round = self.round
        self._submitted = False
        self._turns.start_round()
        notes = self._store.notes(self._campaign)
        self.silence.notes_are(frozenset(note.number for note in notes))
        self.silence.start_round()
        return self.round

    def hear(self, message: BaseAgentEvent | BaseChatMessage) -> None:
        """Keep a message of the group chat for the lineage, and follow what it says."""
        trials = trials_of(message)
        about = trials[0] if trials else None
        kind = type(message).__name__
        turn = self._turns.number_of(message)
        said = NewMessage(message.source, kind, message.dump(), about, turn=turn)
        self._unwritten.append(said)
        ends_turn = isinstance(message, BaseChatMessage)
        if (ends_turn and self._is_write_due()) or len(self._unwritten) >= MAX_UNWRITTEN:
            self._write()
        self._listener.message(message)
        if isinstance(message, ToolCallExecutionEvent):
            self._submitted |= any(not a.rejected for a in submission_answers(message))
        outcome = self._turns.read(message)
        if outcome is not None:
            self._idle_turns.append(outcome)
        self._tell_now(message, outcome)
        if isinstance(message, BaseChatMessage):
            for trial in trials:
                record = self._judged.pop(trial, None)
                if record is not None:
                    self._learn(record)

    def _tell_now(
        self, message: BaseAgentEvent | BaseChatMessage, outcome: TurnOutcome | None
    ) -> None:
        """Tell people what whoever has the floor does, and why a turn brought no trial."""
        if isinstance(message, ToolCallRequestEvent):
            self._queue.now.calls(message.source, [call.name for call in message.content])
        elif isinstance(message, ToolCallExecutionEvent):
            self._queue.now.calls(message.source, ())
        if outcome is not None and outcome.result is not TurnResult.SUBMITTED:
            words = {TurnResult.REJECTED: "every proposal was rejected: "}.get(outcome.result, "")
            said = message.to_text() if isinstance(message, BaseChatMessage) else ""
            self._queue.now.passed(outcome.specialist, words + (outcome.fault or said))

    def keep(self, message: BaseChatMessage) -> None:
        """Keep what people were told for the lineage; it is no part of the chat."""
        kind = type(message).__name__
        if isinstance(message, TextMessage) and message.metadata.get(NOTE) == WARNING:
            self._queue.now.warn(message.content)
        told = NewMessage(message.source, kind, message.dump(), created_at=message.created_at)
        self._unwritten.append(told)

    def keep_judged(self, records: Sequence[TrialRecord]) -> None:
        """Keep trials that the evaluator is about to report, so that nobody reads them again.

        Whoever is picked next is picked with these in mind: the report is heard later than that.
        """
        self._judged |= {record.number: record for record in records}
        for record in records:
            result = TrialResult.of_record(record)
            changed = self._changed_by(record.number, result.status)
            self.silence.trial_judged(result.status, result.surface, changed)
            self.policy.trial_judged(result)

    def _changed_by(self, number: int, status: Status) -> frozenset[str]:
        """Return the surfaces whose knobs a kept trial has changed; of others nothing stays."""
        if status is not Status.KEPT:
            return frozenset()
        parents = self._store.brief(self._campaign, number).parents
        if not parents:
            return frozenset()
        before, after = (self._store.files(self._campaign, n) for n in (parents[0], number))
        return changed_surfaces(find_knobs(before), find_knobs(after))

    def _learn(self, record: TrialRecord) -> None:
        aborted = record.status is Status.ABORTED and not record.was_killed
        self._aborted_in_a_row = self._aborted_in_a_row + 1 if aborted else 0
        self._listener.judged(record)

    def end_round(self, error: str = "") -> None:
        """End a round.

        Args:
            error: The error that ended it early; empty if none did.
        """
        self._round_error = error
        self._write()
        if error:
            self._notes.warn(f"round {self.round} ended early: {error}")
        if self._submitted:
            self._idle_rounds = 0
            self._idle_turns.clear()
        else:
            self._idle_rounds += 1

    @property
    def ended(self) -> Ended | None:
        """Why the campaign is over; ``None`` while it goes on."""
        if self._aborted_in_a_row >= MAX_ABORTED:
            return Ended(False, f"{MAX_ABORTED} trials in a row were aborted by the machinery")
        if self._queue.running:
            return None
        if self._queue.remaining == 0:
            reason = self._queue.ledger.over or "the budget has no room for another trial"
            return Ended(True, reason)
        if self._idle_rounds >= MAX_IDLE_ROUNDS:
            why = self._round_error or idle_report(self._idle_turns)
            return Ended(False, f"{self._idle_rounds} rounds in a row brought no trial: {why}")
        return None

    async def settle(self, token: CancellationToken, ended: Ended) -> tuple[BaseChatMessage, ...]:
        """Test what is left of the working line when a campaign ends as planned.

        A campaign that has used up its time is not given more: a person can ask for the test.

        Args:
            token: Cancels the waiting.
            ended: How the campaign ends.

        Returns:
            The report on the checkpoint; nothing if none was made.
        """
        if not ended.finished or not self._queue.ledger.has_time:
            return ()
        if not self._queue.is_last("finished", ended.reason):
            return ()  # Whoever ends last tests the line.
        waiting = asyncio.ensure_future(self._queue.settle())
        token.link_future(waiting)
        await waiting
        checkpoints = self._queue.take_checkpoints()
        if not checkpoints:
            return ()
        message = checkpoint_report(self._queue, checkpoints, blind=self._blind)
        self.hear(message)
        return (message,)

    def end(self, ended: Ended) -> None:
        """Write to the lineage how the run ended."""
        self._write()
        self._queue.ledger.defer_usage(None)
        self._queue.end("finished" if ended.finished else "stopped", ended.reason)

    @asynccontextmanager
    async def following_lineage(
        self, on_stop: Callable[[], None] | None = None
    ) -> AsyncIterator[None]:
        """Follow the lineage, and write messages that are overdue, while the context lasts.

        Args:
            on_stop: Called when somebody asks for the end of the campaign.
        """
        async with following_lineage(self._queue, self._notes.say, self._looked, on_stop):
            yield

    async def wait_for_others(self, token: CancellationToken) -> None:
        """Wait while nothing can be done here, and the trials of other drivers may change that.

        Args:
            token: Cancels the waiting.
        """
        idle = self._idle_rounds > 0
        waiting = asyncio.ensure_future(self._queue.wait_for_others(idle=idle))
        token.link_future(waiting)
        await waiting

    def _looked(self) -> None:
        """Learn from trials of other drivers and notes of people, and write what is overdue."""
        for trial in self._queue.take_others():
            result = TrialResult.of_brief(trial)
            self.silence.trial_judged(result.status, result.surface)
            self.policy.trial_judged(result)
            if trial.status is Status.KEPT:
                self._notes.say(f"trial {trial.number} of another driver is kept: {trial.reason}")
        notes = self._store.notes(self._campaign)
        self.silence.notes_are(frozenset(note.number for note in notes))
        if self._unwritten and self._is_write_due():
            self._write()

    def _is_write_due(self) -> bool:
        return time.monotonic() - self._written >= WRITE_SECONDS

    def _write(self) -> None:
        if self._unwritten or self._unwritten_usage:
            self._store.add_messages(
                self._campaign,
                self._unwritten,
                round_number=self.round,
                usage=self._unwritten_usage,
                reserved=self._queue.ledger.reserved,
            )
            self._unwritten.clear()
            self._unwritten_usage.clear()
        self._written = time.monotonic()


@asynccontextmanager
async def following_lineage(
    queue: TrialQueue,
    say: Callable[[str], None],
    at_each_look: Callable[[], None] | None = None,
    on_stop: Callable[[], None] | None = None,
) -> AsyncIterator[None]:
    """Follow what other processes write to the lineage, for as long as the context lasts.

    Args:
        queue: The campaign's trial queue.
        say: Called with the text when the campaign is paused, goes on, or gets a proposal.
        at_each_look: Called after each look at the lineage.
        on_stop: Called when somebody asks for the end of the campaign.
    """

    def look() -> None:
        apply_external_changes(queue, say)
        if on_stop is not None and queue.take_stop():
            say("stopped, as somebody asked")
            on_stop()
        if at_each_look is not None:
            at_each_look()

    async def follow() -> None:
        reached = True
        while True:
            try:
                look()
                reached = True
            except LineageError as error:
                if reached:  # It may be back before anybody needs it.
                    _log.warning("the lineage cannot be followed for now", error=str(error))
                reached = False
            await asyncio.sleep(LOOK_SECONDS)

    task = asyncio.ensure_future(follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def apply_external_changes(queue: TrialQueue, say: Callable[[str], None]) -> None:
    """Pause or resume a queue as its campaign in the lineage is, end and queue trials."""
    queue.refresh()
    paused = queue.store.campaign(queue.campaign).state == PAUSED
    if paused != queue.paused:
        say("paused: trials that run go on, none is begun" if paused else "going on")
        queue.paused = paused
    for number in queue.take_kills():
        say(f"trial {number} is ended, as somebody asked")
    for number in queue.adopt():
        say(f"trial {number} {queue.adopted}: it is queued")
