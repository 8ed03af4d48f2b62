"""The evaluator in the group chat: an agent without a model that reports how trials ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseChatMessage, TextMessage
from autogen_core import CancellationToken

from recipelab.core.trial import Checkpoint, Outcome
from recipelab.evaluation.metric import METRIC, PREDICT_PART, TRAIN_PART
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import TrialRecord
from recipelab.lineage.trial_view import checkpoint_words, evidence_words, status_words
from recipelab.packs.judging_sections import Gate, Metric
from recipelab.tools.rows import on_seeds

EVALUATOR = "evaluator"
"""Name of the evaluator in the group chat."""

TRIALS, SPENT = "trials", "spent"
"""Keys of a report's metadata: numbers of its trials; what the campaign has used."""


class EvaluatorAgent(BaseChatAgent):
    """Waits for the next trials to end and reports them, so that the transcript holds the outcome.

    Args:
        queue: The campaign's queue of trials; ``None`` while the campaign is not open.
        closing: Set when the round is to end, so that nobody waits for a trial any more.
        blind: Whether outcomes are kept from the chat.
        before_report: Called with the judged trials before they are reported.
    """

    def __init__(
        self,
        queue: TrialQueue | None,
        closing: asyncio.Event | None = None,
        *,
        blind: bool = False,
        before_report: Callable[[Sequence[TrialRecord]], None] | None = None,
    ) -> None:
        super().__init__(EVALUATOR, "Reports how trials ended; measures, never proposes.")
        self._queue = queue
        self._closing = closing
        self._blind = blind
        self._before_report = before_report

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        """Plain text."""
        return (TextMessage,)

    async def on_messages(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> Response:
        """Report the next trials that end, or that none is running."""
        if self._queue is None:
            raise RuntimeError("the evaluator has no queue of trials: its campaign is not open")
        waiting = asyncio.ensure_future(self._queue.next_ended(self._closing))
        cancellation_token.link_future(waiting)
        ended = await waiting
        if self._before_report is not None:
            self._before_report(ended)
        if ended:
            report = outcome_report(self._queue, ended, blind=self._blind)
            if checkpoints := self._queue.take_checkpoints():
                tested = checkpoint_report(self._queue, checkpoints, blind=self._blind)
                report.content = f"{report.content}\n\n{tested.content}"
            return Response(chat_message=report)
        running = len(self._queue.in_flight)
        text = (
            f"The round ends; trials in flight: {running}." if running else "No trial is running."
        )
        return Response(chat_message=TextMessage(content=text, source=self.name))

    async def on_reset(self, cancellation_token: CancellationToken) -> None:
        """Do nothing: there is no state to forget."""


def outcome_report(
    queue: TrialQueue, ended: Sequence[TrialRecord], *, blind: bool = False
) -> TextMessage:
    """Return the evaluator's report of trials that have ended.

    Args:
        queue: The campaign's queue of trials.
        ended: The judged trials.
        blind: Whether outcomes are kept from the chat.

    Returns:
        A message; its metadata holds the numbers of the trials and what the campaign has used.
    """
    metric, gates = queue.pack.metric, queue.pack.gates
    texts = (
        "A trial has ended." if blind else _outcome_text(record, metric, gates) for record in ended
    )
    return TextMessage(
        content="\n\n".join(texts),
        source=EVALUATOR,
        metadata={
            TRIALS: ",".join(str(record.number) for record in ended),
            SPENT: json.dumps(asdict(queue.ledger.spent)),
        },
    )


def checkpoint_report(
    queue: TrialQueue, checkpoints: Sequence[Checkpoint], *, blind: bool = False
) -> TextMessage:
    """Return the evaluator's report of tests of the working line.

    Args:
        queue: The campaign's queue of trials.
        checkpoints: What was found.
        blind: Whether outcomes are kept from the chat.
    """
    metric = queue.pack.metric
    texts = (
        "The working line was tested." if blind else checkpoint_words(one, metric.name, metric.unit)
        for one in checkpoints
    )
    return TextMessage(
        content="\n\n".join(texts),
        source=EVALUATOR,
        metadata={SPENT: json.dumps(asdict(queue.ledger.spent))},
    )


def _by_seed(outcome: Outcome, metric: Metric, gates: Iterable[Gate]) -> list[str]:
    """Return what differs between seeds: the parts of the metric, and what gates measure."""
    names = {METRIC: metric.name, TRAIN_PART: "train", PREDICT_PART: "predict"}
    if not metric.charge_predict:
        names = {METRIC: metric.name}
    names |= {gate.measure: gate.measure for gate in gates}
    told = []
    for measure, name in names.items():
        values = [run.measures.get(measure) for run in outcome.seed_runs]
        known = [value for value in values if value is not None]
        if len(known) == len(values) > 1 and len(set(known)) > 1:
            told.append(f"{name} {', '.join(f'{value:.4g}' for value in known)}")
    return [f"By seed: {'; '.join(told)}."] if told else []


def _outcome_text(record: TrialRecord, metric: Metric, gates: Sequence[Gate]) -> str:
    outcome = record.outcome
    if outcome is None:
        return f"Trial {record.number} has no outcome yet."
    status = status_words(outcome.status, record.standing)
    lines = [f"Trial {record.number} ({record.surface} by {record.specialist}): {status}."]
    if outcome.score is not None:
        error = f" +- {outcome.score_se:.2g}" if outcome.score_se is not None else ""
        lines.append(f"{metric.name} {outcome.score:.4g}{error} {metric.unit}.")
    if outcome.delta is not None:
        error = f" +- {outcome.delta_se:.2g}" if outcome.delta_se is not None else ""
        against = outcome.evidence.against if outcome.evidence is not None else None
        best = "the best" if against is None else f"trial {against}, the best then"
        seeds = on_seeds(sorted(outcome.judged_seeds))
        lines.append(f"Against {best}{seeds}: {outcome.delta:+.4g}{error} {metric.unit}.")
    if outcome.evidence is not None:
        lines += [f"{words}." for words in evidence_words(outcome.evidence)]
    lines += [f"Gate {gate.name}: {gate.figures}." for gate in outcome.gates]
    lines += _by_seed(outcome, metric, gates)
    lines.append(f"Reason: {outcome.reason}.")
    excerpt = outcome.failure.excerpt if outcome.failure is not None else ""
    if excerpt and excerpt != outcome.reason:
        lines.append(excerpt)
    return "\n".join(lines)
