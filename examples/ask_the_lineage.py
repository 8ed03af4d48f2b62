"""Gives the lineage of a campaign to an agent of your own AutoGen app, as a tool.

Run it where a campaign has run: ``python examples/ask_the_lineage.py [NAME]``. The model is a
replay, so that the example needs no key: put any model client of yours in its place.
"""

from __future__ import annotations

import asyncio
import sys

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.ui import Console
from autogen_core import FunctionCall
from autogen_core.models import CreateResult, ModelInfo, RequestUsage
from autogen_ext.models.replay import ReplayChatCompletionClient

from recipelab import LineageQueryTool, LineageStore

QUESTION = '{"status": ["gate_missed", "crashed"], "limit": 5}'


def replayed_model() -> ReplayChatCompletionClient:
    """A model that asks for the failures, then says that it has read them."""
    call = CreateResult(
        finish_reason="function_calls",
        content=[FunctionCall(id="1", name="lineage_query", arguments=QUESTION)],
        usage=RequestUsage(prompt_tokens=0, completion_tokens=0),
        cached=False,
    )
    info = ModelInfo(
        vision=False,
        function_calling=True,
        json_output=False,
        family="unknown",
        structured_output=False,
    )
    return ReplayChatCompletionClient([call, "I have read what failed."], model_info=info)


async def main(name: str | None) -> None:
    """Lets a reviewer look up what failed in a campaign."""
    with LineageStore.open(".recipelab/lineage.db") as store:
        campaign = name or store.campaigns()[-1].name
        reviewer = AssistantAgent(
            "reviewer",
            replayed_model(),
            tools=[LineageQueryTool(store, campaign)],
            max_tool_iterations=2,
        )
        await Console(reviewer.run_stream(task=f"What failed in {campaign}, and why?"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
