"""Puts specialists and the evaluator of a campaign into a graph of one's own.

``python examples/graph_of_agents.py [PACK]``. Two specialists propose at the same time, the
evaluator measures, and a critic of yours sums up. ``agents()`` opens the campaign: its baseline is
measured, its limits hold, and the lineage has every trial.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseChatMessage, TextMessage
from autogen_agentchat.teams import DiGraphBuilder, GraphFlow
from autogen_agentchat.ui import Console
from autogen_core import CancellationToken

from recipelab import research_team


class Critic(BaseChatAgent):
    """Says how many of the reports speak of a trial; put a model of yours in its place."""

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        """Plain text."""
        return (TextMessage,)

    async def on_messages(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> Response:
        """Reads what the evaluator has measured."""
        reports = [message.to_text() for message in messages if message.source == "evaluator"]
        measured = sum(report.startswith("Trial ") for report in reports)
        text = f"I have read {measured} report of the evaluator."
        return Response(chat_message=TextMessage(content=text, source=self.name))

    async def on_reset(self, cancellation_token: CancellationToken) -> None:
        """It remembers nothing."""


async def main(pack: str) -> None:
    """Runs the graph once."""
    research = research_team(pack, sandbox="local", trials=2, slots=2, share_devices=True)
    async with research.agents() as agents:
        first, second, *_ = (agent for name, agent in agents.items() if name != "evaluator")
        evaluator, critic = agents["evaluator"], Critic("critic", "Sums up.")
        builder = DiGraphBuilder()
        for node in (first, second, evaluator, critic):
            builder.add_node(node)
        builder.add_edge(first, evaluator).add_edge(second, evaluator)
        builder.add_edge(evaluator, critic)
        graph = GraphFlow([first, second, evaluator, critic], builder.build())
        await Console(graph.run_stream(task="Propose one small change each."))
    await research.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "airbench96"))
