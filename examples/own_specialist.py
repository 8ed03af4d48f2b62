"""Puts a specialist of one's own to work: a charter is all it takes.

``python examples/own_specialist.py [PACK]``. A charter in ``agents/`` of the working folder is
found by its name. The team here also has a guest: an agent of one's own that has a turn at the
beginning of each round, and whose words the specialists hear.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseChatMessage, TextMessage
from autogen_agentchat.ui import Console
from autogen_core import CancellationToken

from recipelab import research_team

CHARTER = """\
---
name: frugal
title: The frugal one
surfaces: ["*"]
tools: [lineage_query, near_misses, read_recipe, check_edit, submit_trial]
---
You take away what is not needed. Look up what was added last, and try the recipe without it.
"""


class Adviser(BaseChatAgent):
    """Says one thing, once a round."""

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        """Plain text."""
        return (TextMessage,)

    async def on_messages(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> Response:
        """Gives advice."""
        return Response(chat_message=TextMessage(content="Less is more.", source=self.name))

    async def on_reset(self, cancellation_token: CancellationToken) -> None:
        """It remembers nothing."""


async def main(pack: str) -> None:
    """Runs two trials with the specialist alone."""
    team = research_team(
        pack,
        specialists=("frugal",),
        participants=[Adviser("adviser", "Gives advice.")],
        sandbox="local",
        trials=2,
        slots=1,
    )
    await Console(team.run_stream())


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else "airbench96"
    folder = Path("task_packs", wanted).resolve()
    with tempfile.TemporaryDirectory() as project:
        os.chdir(project)
        Path("agents").mkdir()
        Path("agents/frugal.md").write_text(CHARTER)
        asyncio.run(main(str(folder) if folder.is_dir() else wanted))
