"""A specialist: an AutoGen assistant with a charter, its tools and a fresh context each turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage
from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient

from recipelab.agents.charter import Charter
from recipelab.agents.context import TurnContext
from recipelab.agents.prompt import system_message
from recipelab.evaluation.desk import TrialDesk
from recipelab.lineage import prior_campaigns
from recipelab.playbook import Play
from recipelab.tools import (
    CheckEditTool,
    ReadRecipeTool,
    Scope,
    SpecialistWorkbench,
    SubmitTrialTool,
    Turn,
    lineage_tools,
)
from recipelab.view import Frame, render_view

MAX_TOOL_ITERATIONS = 16
"""How many times in one turn a specialist may call tools."""


class Specialist(AssistantAgent):
    """An assistant whose every turn begins with a fresh context and an empty turn record.

    Args:
        charter: What it owns and how it works.
        client: Its model.
        desk: The campaign's desk.
        plays: The pack's plays.
        round_number: The round that it takes part in.
    """

    component_provider_override = "recipelab.agents.Specialist"

    def __init__(
        self,
        charter: Charter,
        client: ChatCompletionClient,
        desk: TrialDesk,
        *,
        plays: tuple[Play, ...],
        round_number: int,
    ) -> None:
        self._turn_context = TurnContext(lambda: render_view(frame_of(charter, desk)))
        self._bench = workbench_of(charter, desk, plays, round_number)
        super().__init__(
            charter.name,
            client,
            workbench=self._bench,
            model_context=self._turn_context,
            description=f"{charter.title}; owns {', '.join(charter.surfaces)}",
            system_message=system_message(desk.pack, charter),
            max_tool_iterations=MAX_TOOL_ITERATIONS,
            reflect_on_tool_use=False,
            tool_call_summary_format="{tool_name}: {result}",
        )

    async def on_messages_stream(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> AsyncGenerator[BaseAgentEvent | BaseChatMessage | Response, None]:
        """Takes a turn; see :class:`autogen_agentchat.agents.AssistantAgent`."""
        self._bench.begin_turn()
        await self._turn_context.begin_turn()
        async for item in super().on_messages_stream(messages, cancellation_token):
            yield item


def frame_of(charter: Charter, desk: TrialDesk) -> Frame:
    """What the lineage view of one specialist is rendered from, at this moment."""
    return Frame(
        desk.store,
        desk.campaign,
        desk.pack,
        charter.name,
        charter.surfaces,
        remaining=desk.remaining,
        priors=prior_campaigns(desk.store.campaign(desk.campaign)),
    )


def workbench_of(
    charter: Charter, desk: TrialDesk, plays: tuple[Play, ...], round_number: int
) -> SpecialistWorkbench:
    """The tools of one specialist, sharing what it has done in its turn."""
    turn = Turn(round_number)
    own = tuple(play for play in plays if play.surface in charter.surfaces)
    priors = prior_campaigns(desk.store.campaign(desk.campaign))
    tools = [
        *lineage_tools(Scope(desk.store, desk.campaign, desk.pack.metric.goal, priors)),
        ReadRecipeTool(desk, own),
        CheckEditTool(desk),
        SubmitTrialTool(desk, charter.name, charter.surfaces, turn),
    ]
    return SpecialistWorkbench(tools, turn)
