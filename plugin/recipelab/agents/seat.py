"""The evaluator's seat: an agent without a model that says aloud how trials ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseChatMessage, TextMessage
from autogen_core import CancellationToken

from recipelab.evaluation.desk import TrialDesk
from recipelab.lineage import TrialRecord

SEAT = "evaluator"
"""Name of the seat in the group chat."""


class EvaluatorSeat(BaseChatAgent):
    """Waits for the next trials to end and reports them, so that the transcript holds the outcome.

    Args:
        desk: The campaign's desk.
    """

    def __init__(self, desk: TrialDesk) -> None:
        super().__init__(SEAT, "Reports how trials ended; measures, never proposes.")
        self._desk = desk

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        """Plain text."""
        return (TextMessage,)

    async def on_messages(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> Response:
        """Reports the next trials that end; says so if none is running."""
        waiting = asyncio.ensure_future(self._desk.next_ended())
        cancellation_token.link_future(waiting)
        ended = await waiting
        text = "\n\n".join(self._report(record) for record in ended) or "No trial is running."
        metadata = {"trials": ",".join(str(record.number) for record in ended)} if ended else {}
        return Response(chat_message=TextMessage(content=text, source=self.name, metadata=metadata))

    async def on_reset(self, cancellation_token: CancellationToken) -> None:
        """The seat keeps nothing to forget."""

    def _report(self, record: TrialRecord) -> str:
        outcome = record.outcome
        if outcome is None:
            return f"Trial {record.number} has no outcome yet."
        metric = self._desk.pack.metric
        lines = [
            f"Trial {record.number} ({record.surface} by {record.specialist}): {outcome.status}."
        ]
        if outcome.score is not None:
            error = f" +- {outcome.score_se:.2g}" if outcome.score_se is not None else ""
            lines.append(f"{metric.name} {outcome.score:.4g}{error} {metric.unit}.")
        if outcome.delta is not None:
            error = f" +- {outcome.delta_se:.2g}" if outcome.delta_se is not None else ""
            lines.append(f"Against the best: {outcome.delta:+.4g}{error} {metric.unit}.")
        lines += [
            f"Gate {gate.name}: {gate.value:.4g}, margin {gate.margin:+.3g}."
            for gate in outcome.gates
        ]
        lines.append(f"Reason: {outcome.reason}.")
        excerpt = outcome.failure.excerpt if outcome.failure is not None else ""
        if excerpt and excerpt != outcome.reason:
            lines.append(excerpt)
        return "\n".join(lines)
