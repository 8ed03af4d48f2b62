"""A specialist: an AutoGen assistant with a charter, its tools and a fresh context each turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, TextMessage
from autogen_core import CancellationToken
from autogen_core.model_context import ChatCompletionContext
from autogen_core.models import ChatCompletionClient

from recipelab.agents.charter import Charter
from recipelab.agents.context import CHARACTERS, TurnContext
from recipelab.agents.lineage_view import ViewContext, render_lineage_view
from recipelab.agents.prompt import system_message
from recipelab.core.logs import logger
from recipelab.core.text import shorten
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
"""Key of the metadata of a message that says which error ended a turn."""

YOUR_TURN = "It is your turn."
"""The message for a blind specialist that nobody has written to."""

EXCUSE_CHARACTERS = 400
"""Characters of an error at most, in the message that a turn failed."""

_log = logger(__name__)


class Specialist(AssistantAgent):
    """An assistant whose every turn begins with a fresh context and an empty turn record.

    A turn whose model fails ends with a message that says so: an error that leaves an agent ends
    the whole group chat, and with it the turns of all others.

    Args:
        charter: Its surfaces and its instructions.
        client: Its model.
        pack: The campaign's pack.
        queue: The campaign's queue of trials; ``None`` while the campaign is not open, and then it
            cannot act.
        plays: The pack's plays.
        round_number: The round that it takes part in.
        blind: Whether it is told nothing of past trials, for control campaigns.
        characters: How much its context holds, in characters.
        model_context: Chooses what is kept of a turn behind the lineage view; each turn begins with
            a copy of it.
        model_client_stream: Whether its answers are streamed as they come.
    """

    component_provider_override = "recipelab.agents.Specialist"

    def __init__(
        self,
        charter: Charter,
        client: ChatCompletionClient,
        pack: Pack,
        queue: TrialQueue | None,
        *,
        plays: tuple[Play, ...] = (),
        round_number: int | None = None,
        blind: bool = False,
        characters: int = CHARACTERS,
        model_context: ChatCompletionContext | None = None,
        model_client_stream: bool = False,
    ) -> None:
        self._blind = blind

        def view() -> str:
            if queue is None or blind:
                return ""
            return render_lineage_view(view_context_of(charter, queue))

        self._turn_context = TurnContext(view, characters=characters, inner=model_context)
        self._turn_workbench = (
            workbench_of(charter, queue, plays, round_number, blind=blind)
            if queue
            else SpecialistWorkbench([], TurnState(round_number))
        )
        super().__init__(
            charter.name,
            client,
            workbench=self._turn_workbench,
            model_context=self._turn_context,
            description=f"{charter.title}; owns {', '.join(charter.surfaces)}",
            system_message=system_message(pack, charter, blind=blind),
            model_client_stream=model_client_stream,
            max_tool_iterations=MAX_TOOL_ITERATIONS,
            reflect_on_tool_use=False,
            tool_call_summary_format="{tool_name}: {result}",
        )

    async def on_messages_stream(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> AsyncGenerator[BaseAgentEvent | BaseChatMessage | Response, None]:
        """Take a turn; see :class:`autogen_agentchat.agents.AssistantAgent`."""
        self._turn_workbench.begin_turn()
        await self._turn_context.begin_turn()
        if self._blind:
            messages = [message for message in messages if message.source == "user"]
            # Some providers refuse a call without any message.
            messages = messages or [TextMessage(content=YOUR_TURN, source="user")]
        try:
            async for item in super().on_messages_stream(messages, cancellation_token):
                yield item
        except Exception as error:  # whatever a model client raises, the others go on
            _log.warning("turn failed", specialist=self.name, error=repr(error))
            kind = type(error).__name__
            text = shorten(str(error), EXCUSE_CHARACTERS) or kind
            excuse = f"I could not finish my turn: {text}"
            yield Response(
                chat_message=TextMessage(content=excuse, source=self.name, metadata={FAULT: kind})
            )


def view_context_of(charter: Charter, queue: TrialQueue) -> ViewContext:
    """Return the context of a specialist's lineage view, at this moment."""
    return ViewContext(
        queue.store,
        queue.campaign,
        queue.pack,
        charter.name,
        charter.surfaces,
        remaining=queue.remaining,
        priors=prior_campaigns(queue.store.campaign(queue.campaign)),
    )


def workbench_of(
    charter: Charter,
    queue: TrialQueue,
    plays: tuple[Play, ...],
    round_number: int | None,
    *,
    blind: bool = False,
) -> SpecialistWorkbench:
    """Return the tools of a specialist, which share the record of its turn.

    Args:
        charter: The specialist.
        queue: The campaign's queue of trials.
        plays: The pack's plays.
        round_number: The round that it takes part in.
        blind: Whether it is told nothing of past trials: it then has no lineage tools, reads only
            the recipe that is to be edited, and need not ask before it submits.
    """
    turn = TurnState(round_number, blind=blind)
    own = tuple(play for play in plays if play.surface in charter.surfaces)
    submit = SubmitTrialTool(queue, charter.name, charter.surfaces, turn)
    tools: list[AnyTool] = [
        ReadRecipeTool(queue, own, blind=blind),
        CheckEditTool(queue, blind=blind),
        submit,
    ]
    if not blind:
        priors = prior_campaigns(queue.store.campaign(queue.campaign))
        scope = LineageScope(queue.store, queue.campaign, queue.pack.metric.goal, priors)
        tools = [*lineage_tools(scope), *tools]
    if charter.tools is not None:
        # The menu of turn_knob shows which changes were tried, so a blind specialist has none.
        menu = [] if blind else [TurnKnobTool(queue, charter.surfaces, submit)]
        tools = [tool for tool in (*tools, *menu) if tool.name in charter.tools]
    return SpecialistWorkbench(tools, turn)
