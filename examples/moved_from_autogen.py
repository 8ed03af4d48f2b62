"""Takes a campaign from AutoGen to Microsoft Agent Framework, in one environment with both.

``python examples/moved_from_autogen.py [PACK]``, with ``pip install 'recipelab[maf]'``. A team of
AutoGen begins the campaign. An agent of the framework goes on with it, as the first of a workflow,
and a reviewer who sees the lineage and asks it says how it went. The reviewer's model here follows
a rule, so that the example needs no key: put any chat client of the framework in its place.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from agent_framework import (
    Agent,
    BaseChatClient,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationLayer,
    Message,
    ResponseStream,
    WorkflowBuilder,
)

from recipelab import research_team
from recipelab.maf import LineageProvider, campaign_agent

LINEAGE = ".recipelab/lineage.db"
CAMPAIGN = "moved"


class Rule(FunctionInvocationLayer[Any], BaseChatClient[Any]):
    """A chat client without a model: it asks the lineage once, and counts what it is told."""

    def _inner_get_response(
        self,
        *,
        messages: Sequence[Message],
        stream: bool,
        options: Mapping[str, Any],
        **kwargs: Any,
    ) -> Any:
        told = [
            content
            for message in messages
            for content in message.contents
            if content.type == "function_result"
        ]
        if told:
            counts = json.loads(str(told[-1].result))["counts"]
            answer = Content.from_text(f"I count {sum(counts.values())} trials, baseline included.")
        else:
            answer = Content.from_function_call("1", "lineage_query", arguments={"limit": 1})
        if not stream:
            return self._respond(answer)
        return ResponseStream(self._stream(answer), finalizer=ChatResponse.from_updates)

    async def _respond(self, answer: Content) -> ChatResponse[Any]:
        return ChatResponse(messages=[Message("assistant", [answer])])

    async def _stream(self, answer: Content) -> AsyncIterator[ChatResponseUpdate]:
        yield ChatResponseUpdate(role="assistant", contents=[answer])


async def main(pack: str) -> None:
    """Begins with AutoGen, and goes on with the framework."""
    begun = research_team(pack, name=CAMPAIGN, sandbox="local", slots=1, trials=1)
    print("AutoGen:", (await begun.run()).messages[-1].to_text())

    research = campaign_agent(pack, name=CAMPAIGN, sandbox="local", slots=1, trials=2)
    reviewer = Agent(
        Rule(), name="reviewer", context_providers=[LineageProvider(LINEAGE, CAMPAIGN)]
    )
    workflow = (
        WorkflowBuilder(start_executor=research, output_from="all")
        .add_edge(research, reviewer)
        .build()
    )
    async for event in workflow.run("Prefer small changes.", stream=True):
        if event.type == "output" and event.data.text:
            print(f"{event.data.author_name or event.executor_id}: {event.data.text}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "airbench96"))
