"""A specialist: an AutoGen assistant with a charter, its tools and a fresh context each turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, TextMessage
from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient

from recipelab.agents.charter import Charter
from recipelab.agents.context import CHARACTERS, TurnContext
from recipelab.agents.lineage_view import ViewContext, render_view
from recipelab.agents.prompt import system_message
from recipelab.core.logs import logger
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import prior_campaigns
from recipelab.packs.load import Play
from recipelab.packs.pack import Pack
from recipelab.tools import (
    CheckEditTool,
    LineageScope,
    ReadRecipeTool,
    SpecialistWorkbench,
    SubmitTrialTool,
    TurnKnobTool,
    TurnState,
    lineage_tools,
)
from recipelab.tools.base import AnyTool

MAX_TOOL_ITERATIONS = 16
"""How many times in one turn a specialist may call tools."""

FAULT = "fault"
"""Key of the metadata of a message that says why a turn came to nothing."""

YOUR_TURN = "It is your turn."
"""What a specialist hears that is told nothing of past trials, once the round has begun."""

_log = logger(__name__)


class Specialist(AssistantAgent):
    """An assistant whose every turn begins with a fresh context and an empty turn record.

    A turn whose model fails ends with a message that says so: an error that left an agent would
    end the whole group chat, and with it the turns of all others.

    Args:
        charter: What it owns and how it works.
        client: Its model.
        pack: The campaign's pack.
        desk: The campaign's desk; ``None`` while the campaign is not open, and then it cannot act.
        plays: The pack's plays.
        round_number: The round that it takes part in.
        blind: Whether it is told nothing of past trials, for control campaigns.
        characters: How much its context holds, in characters.
    """

    component_provider_override = "recipelab.agents.Specialist"

    def __init__(
        self,
        charter: Charter,
        client: ChatCompletionClient,
        pack: Pack,
        desk: TrialQueue | None,
        *,
        plays: tuple[Play, ...] = (),
        round_number: int | None = None,
        blind: bool = False,
        characters: int = CHARACTERS,
    ) -> None:
        self._blind = blind

        def view() -> str:
            return render_view(frame_of(charter, desk)) if desk and not blind else ""

        self._turn_context = TurnContext(view, characters=characters)
        self._bench = (
            workbench_of(charter, desk, plays, round_number, blind=blind)
            if desk
            else SpecialistWorkbench([], TurnState(round_number))
        )
        super().__init__(
            charter.name,
            client,
            workbench=self._bench,
            model_context=self._turn_context,
            description=f"{charter.title}; owns {', '.join(charter.surfaces)}",
            system_message=system_message(pack, charter, blind=blind),
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
        heard = _of_people(messages) if self._blind else messages
        try:
            async for item in super().on_messages_stream(heard, cancellation_token):
                yield item
        except Exception as error:  # whatever a model client raises, the others go on
            _log.warning("turn failed", specialist=self.name, error=repr(error))
            yield Response(chat_message=self._excuse(error))

    def _excuse(self, error: Exception) -> TextMessage:
        told = " ".join(str(error).split())[:400] or type(error).__name__
        return TextMessage(
            content=f"I could not finish my turn: {told}",
            source=self.name,
            metadata={FAULT: type(error).__name__},
        )


def _of_people(messages: Sequence[BaseChatMessage]) -> list[BaseChatMessage]:
    """What people said; a model has to be told something, or some providers refuse the call."""
    heard = [message for message in messages if message.source == "user"]
    return heard or [TextMessage(content=YOUR_TURN, source="user")]


def frame_of(charter: Charter, desk: TrialQueue) -> ViewContext:
    """What the lineage view of one specialist is rendered from, at this moment."""
    return ViewContext(
        desk.store,
        desk.campaign,
        desk.pack,
        charter.name,
        charter.surfaces,
        remaining=desk.remaining,
        priors=prior_campaigns(desk.store.campaign(desk.campaign)),
    )


def workbench_of(
    charter: Charter,
    desk: TrialQueue,
    plays: tuple[Play, ...],
    round_number: int | None,
    *,
    blind: bool = False,
) -> SpecialistWorkbench:
    """The tools of one specialist, sharing what it has done in its turn.

    Args:
        charter: The specialist.
        desk: The campaign's desk.
        plays: The pack's plays.
        round_number: The round that it takes part in.
        blind: Whether it is told nothing of past trials: it then has no lineage tools, reads only
            the recipe that is to be edited, and need not ask before it submits.
    """
    turn = TurnState(round_number, blind=blind)
    own = tuple(play for play in plays if play.surface in charter.surfaces)
    submit = SubmitTrialTool(desk, charter.name, charter.surfaces, turn)
    tools: list[AnyTool] = [
        ReadRecipeTool(desk, own, blind=blind),
        CheckEditTool(desk, blind=blind),
        submit,
    ]
    if not blind:
        priors = prior_campaigns(desk.store.campaign(desk.campaign))
        scope = LineageScope(desk.store, desk.campaign, desk.pack.metric.goal, priors)
        tools = [*lineage_tools(scope), *tools]
    if charter.tools is not None:
        # A menu says which changes were tried, so those who may not know do not have it.
        menu = [] if blind else [TurnKnobTool(desk, charter.surfaces, submit)]
        tools = [tool for tool in (*tools, *menu) if tool.name in charter.tools]
    return SpecialistWorkbench(tools, turn)
