"""Gives the lineage of a campaign to an agent of your own AutoGen app, beside tools of its own.

Run it where a campaign has run: ``python examples/ask_the_lineage.py [NAME]``. The model is a
replay, so that the example needs no key: put any model client of yours in its place. AutoGen takes
either tools or workbenches, so tools of your own go into a workbench, too.
"""

from __future__ import annotations

import asyncio
import sys

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.ui import Console
from autogen_core import FunctionCall
from autogen_core.models import CreateResult, ModelInfo, RequestUsage
from autogen_core.tools import FunctionTool, StaticWorkbench
from autogen_ext.models.replay import ReplayChatCompletionClient

from recipelab import LineageStore, LineageWorkbench

QUESTION = '{"status": ["gate_missed", "crashed"], "limit": 5}'


LINEAGE = ".recipelab/lineage.db"


async def tell_the_team(text: str) -> str:
    """Tell the team something; a tool of your own."""
    return f"told: {text}"


def replayed_model() -> ReplayChatCompletionClient:
    """A model that asks for the failures, tells the team, and says that it has read them."""
    calls = (
        FunctionCall(id="1", name="lineage_query", arguments=QUESTION),
        FunctionCall(id="2", name="tell_the_team", arguments='{"text": "I am reading."}'),
    )
    call = CreateResult(
        finish_reason="function_calls",
        content=list(calls),
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


def newest_campaign() -> str:
    """The name of the newest campaign."""
    with LineageStore.open(LINEAGE) as store:
        return store.campaigns()[-1].name


async def main(name: str | None) -> None:
    """Lets a reviewer look up what failed in a campaign."""
    campaign = name or newest_campaign()
    own = StaticWorkbench([FunctionTool(tell_the_team, "Tell the team something.")])
    # Not in ``tools=``: there AutoGen's agents hang when they are cancelled during a call.
    async with LineageWorkbench(LINEAGE, campaign) as lineage:
        reviewer = AssistantAgent(
            "reviewer", replayed_model(), workbench=[own, lineage], max_tool_iterations=2
        )
        await Console(reviewer.run_stream(task=f"What failed in {campaign}, and why?"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
