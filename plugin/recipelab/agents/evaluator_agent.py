"""The evaluator's seat: an agent without a model that says aloud how trials ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict

from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseChatMessage, TextMessage
from autogen_core import CancellationToken

from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import TrialRecord
from recipelab.packs.sections import Metric

SEAT = "evaluator"
"""Name of the seat in the group chat."""

TRIALS, SPENT = "trials", "spent"
"""Keys of a report's metadata: numbers of the trials told of; what the campaign has used."""


class EvaluatorAgent(BaseChatAgent):
    """Waits for the next trials to end and reports them, so that the transcript holds the outcome.

    Args:
        desk: The campaign's desk; ``None`` while the campaign is not open.
        closing: Set when the round is to end, so that nobody waits for a trial any more.
        blind: Whether outcomes are kept from the chat.
    """

    def __init__(
        self,
        desk: TrialQueue | None,
        closing: asyncio.Event | None = None,
        *,
        blind: bool = False,
    ) -> None:
        super().__init__(SEAT, "Reports how trials ended; measures, never proposes.")
        self._desk = desk
        self._closing = closing
        self._blind = blind

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        """Plain text."""
        return (TextMessage,)

    async def on_messages(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> Response:
        """Reports the next trials that end; says so if none is running."""
        if self._desk is None:
            raise RuntimeError("the evaluator's seat has no desk: its campaign is not open")
        waiting = asyncio.ensure_future(self._desk.next_ended(self._closing))
        cancellation_token.link_future(waiting)
        ended = await waiting
        told = report(self._desk, ended, blind=self._blind) if ended else self._nothing(self._desk)
        return Response(chat_message=told)

    async def on_reset(self, cancellation_token: CancellationToken) -> None:
        """The seat keeps nothing to forget."""

    def _nothing(self, desk: TrialQueue) -> TextMessage:
        going = len(desk.in_flight)
        text = f"The round ends; trials in flight: {going}." if going else "No trial is running."
        return TextMessage(content=text, source=self.name)


def report(desk: TrialQueue, ended: Sequence[TrialRecord], *, blind: bool = False) -> TextMessage:
    """What the seat says of trials that have ended.

    Args:
        desk: The campaign's desk.
        ended: The judged trials.
        blind: Whether outcomes are kept from the chat.

    Returns:
        A message; its metadata holds the numbers of the trials and what the campaign has used.
    """
    metric = desk.pack.metric
    texts = ("A trial has ended." if blind else _told(record, metric) for record in ended)
    return TextMessage(content="\n\n".join(texts), source=SEAT, metadata=_metadata(desk, ended))


def _metadata(desk: TrialQueue, ended: Sequence[TrialRecord]) -> dict[str, str]:
    numbers = ",".join(str(record.number) for record in ended)
    return {TRIALS: numbers, SPENT: json.dumps(asdict(desk.ledger.spent))}


def _told(record: TrialRecord, metric: Metric) -> str:
    outcome = record.outcome
    if outcome is None:
        return f"Trial {record.number} has no outcome yet."
    lines = [f"Trial {record.number} ({record.surface} by {record.specialist}): {outcome.status}."]
    if outcome.score is not None:
        error = f" +- {outcome.score_se:.2g}" if outcome.score_se is not None else ""
        lines.append(f"{metric.name} {outcome.score:.4g}{error} {metric.unit}.")
    if outcome.delta is not None:
        error = f" +- {outcome.delta_se:.2g}" if outcome.delta_se is not None else ""
        lines.append(f"Against the best: {outcome.delta:+.4g}{error} {metric.unit}.")
    lines += [f"Gate {gate.name}: {gate.figures}." for gate in outcome.gates]
    lines.append(f"Reason: {outcome.reason}.")
    excerpt = outcome.failure.excerpt if outcome.failure is not None else ""
    if excerpt and excerpt != outcome.reason:
        lines.append(excerpt)
    return "\n".join(lines)
