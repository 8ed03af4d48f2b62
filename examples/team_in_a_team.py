"""Lets the research team take part in a larger AutoGen team, whose reviewer hears the outcome.

``python examples/team_in_a_team.py [PACK]``. The reviewer here follows a rule, so that the example
needs no key: put an ``AssistantAgent`` with a model of yours in its place.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.conditions import TextMentionTermination
from autogen_agentchat.messages import BaseChatMessage, TextMessage
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_agentchat.ui import Console
from autogen_core import CancellationToken

from recipelab import research_team


class Reviewer(BaseChatAgent):
    """Reads what the research team says last, and approves of it."""

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        """Plain text."""
        return (TextMessage,)

    async def on_messages(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> Response:
        """Sums up what was kept."""
        kept = sum("kept." in message.to_text() for message in messages)
        last = messages[-1].to_text()
        text = f"{last} I count {kept} kept. APPROVED"
        return Response(chat_message=TextMessage(content=text, source=self.name))

    async def on_reset(self, cancellation_token: CancellationToken) -> None:
        """It remembers nothing."""


async def main(pack: str) -> None:
    """Runs both, one after the other, until the reviewer approves."""
    research = research_team(pack, sandbox="local", trials=2, slots=1)
    team = RoundRobinGroupChat(
        [research, Reviewer("reviewer", "Reviews what research has found.")],
        termination_condition=TextMentionTermination("APPROVED", sources=["reviewer"]),
    )
    await Console(team.run_stream(task="Make the recipe better, then review it."))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "airbench96"))
