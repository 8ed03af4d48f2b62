"""A specialist: an AutoGen assistant with a charter, its tools and a fresh context each turn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from functools import partial

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, TextMessage
from autogen_core import CancellationToken, FunctionCall
from autogen_core.model_context import ChatCompletionContext
from autogen_core.models import (
    ChatCompletionClient,
    CreateResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    RequestUsage,
)
from autogen_core.tools import Workbench

from recipelab.agents.card import Card
from recipelab.agents.charter import Charter
from recipelab.agents.context import CHARACTERS, TurnContext
from recipelab.agents.lineage_view import IN_TURN, SUBMITTED, ViewContext, lineage_view
from recipelab.agents.prompt import charter_message, system_message
from recipelab.core.knobs import find_knobs
from recipelab.core.logs import logger
from recipelab.core.text import shorten
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import prior_campaigns
from recipelab.models.wrappers import ModelRequest, Piece, SendRequest, WrappedClient
from recipelab.packs.load import Play
from recipelab.packs.pack import Pack
from recipelab.tools import (
    CheckEditTool,
    LineageScope,
    MoreSeedsTool,
    ReadRecipeTool,
    SpecialistWorkbench,
    SubmitTrialTool,
    TurnKnobTool,
    TurnState,
    WaitForTool,
    lineage_tools,
)
from recipelab.tools.base import AnyTool
from recipelab.tools.checks import book_of
from recipelab.tools.names import BY_NAME, SUBMITTING, TOOLS
from recipelab.tools.runs import run_tools
from recipelab.tools.scratch import searching_tools
from recipelab.tools.submit import OVER, TURN

MAX_TOOL_ITERATIONS = 16
"""How many times in one turn a specialist may call tools."""

OPENING_RECIPE = 20_000
"""Characters of a recipe that is shown whole at the beginning of a turn, at most."""

FAULT = "fault"
"""Key of the metadata of a message that says which error ended a turn."""

OTHER_TURNS = (
    "in {more} other turns of yours at the same time, which see what you see: try what they are "
    "less likely to try"
)
"""What a specialist is told that has several turns at the same time."""

YOUR_TURN = "It is your turn."
"""The message for a blind specialist that nobody has written to."""

HYPOTHESIS_CHARACTERS = 300
"""Characters of a hypothesis at most, in the message that ends a turn."""

EXCUSE_CHARACTERS = 400
"""Characters of an error at most, in the message that a turn failed."""

_log = logger(__name__)


class TurnClient(WrappedClient):
    """Ends a turn without a model once its trial is submitted, as there is nothing left to say."""

    async def around(self, request: ModelRequest, send: SendRequest) -> AsyncGenerator[Piece, None]:
        """Answer with the closing words of a turn that is over, or else with the model's."""
        if (words := closing_words(request.messages)) is not None:
            nothing = RequestUsage(prompt_tokens=0, completion_tokens=0)
            yield CreateResult(finish_reason="stop", content=words, usage=nothing, cached=False)
            return
        async for piece in send(request):
            yield piece


def closing_words(messages: Sequence[LLMMessage]) -> str | None:
    """Return what a specialist says at the end of a turn whose last calls ended it.

    Args:
        messages: The conversation; the last one holds the results of the last calls.

    Returns:
        The trials with their hypotheses; ``None`` if the turn goes on.
    """
    last = messages[-1] if messages else None
    if not isinstance(last, FunctionExecutionResultMessage):
        return None
    if any(result.is_error for result in last.content):
        return None
    answers = {
        result.call_id: json.loads(result.content)
        for result in last.content
        if result.name in SUBMITTING
    }
    if not answers or any(answer.get(TURN) != OVER for answer in answers.values()):
        return None
    calls = messages[-2].content if len(messages) > 1 else ""
    reasons = {
        call.id: str(json.loads(call.arguments).get("hypothesis", ""))
        for call in calls
        if isinstance(call, FunctionCall)
    }
    return " ".join(
        f"{SUBMITTED} {answer['trial']}: {shorten(reasons.get(call_id, ''), HYPOTHESIS_CHARACTERS)}"
        for call_id, answer in answers.items()
    )


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
        closing: Set when the round is to end, so that it waits for no trial any more.
        literature: Tools from outside; a blind specialist does not get them.
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
        closing: asyncio.Event | None = None,
        literature: Workbench | None = None,
    ) -> None:
        self._blind = blind
        self._another = partial(
            Specialist,
            charter,
            client,
            pack,
            queue,
            plays=plays,
            round_number=round_number,
            blind=blind,
            characters=characters,
            model_context=model_context,
            model_client_stream=model_client_stream,
            closing=closing,
            literature=literature,
        )
        self._card = Card(queue, blind=blind) if queue is not None else None
        self._campaign = (charter, pack, queue)
        self._round_number = round_number
        self._turn_context = TurnContext(
            self._open_turn, characters=characters, inner=model_context
        )
        self._turn_workbench = (
            workbench_of(charter, queue, plays, round_number, blind=blind, closing=closing)
            if queue
            else SpecialistWorkbench([], TurnState(round_number, blind=blind))
        )
        super().__init__(
            charter.name,
            TurnClient(client),
            workbench=[self._turn_workbench, *([literature] if literature and not blind else [])],
            model_context=self._turn_context,
            description=f"{charter.title}; owns {', '.join(charter.surfaces)}",
            system_message=system_message(pack, blind=blind),
            model_client_stream=model_client_stream,
            max_tool_iterations=MAX_TOOL_ITERATIONS,
            reflect_on_tool_use=False,
            tool_call_summary_format="{tool_name}: {result}",
        )

    def another(self) -> Specialist:
        """Return one like it, with a context and tools of its own, for turns at the same time."""
        return self._another()

    def _open_turn(self) -> tuple[str, ...]:
        """Return the messages with which a turn begins.

        They go from what is the same for all specialists, for as long as the best is, to what is
        this one's alone: a provider that keeps prefixes reads the most of it once.
        """
        charter, pack, queue = self._campaign
        own = charter_message(pack, charter, blind=self._blind)
        if queue is None or self._card is None:
            return (own,)
        turn, past = self._turn_workbench.turn, ""
        with queue.store.moment():
            if self._blind:
                best = queue.best().number
            else:
                shown = lineage_view(view_context_of(charter, queue))
                turn.opened(shown.best, is_whole=shown.is_whole)
                past, best = shown.text, shown.best
            code = opening_recipe(charter, queue, best, turn)
            common = "\n\n".join(filter(None, (code, self._card.render())))
        turn.number = queue.store.add_turn(
            queue.campaign,
            charter.name,
            view="\n\n".join(filter(None, (common, past))),
            round_number=self._round_number,
        )
        return common, own, past

    async def on_messages_stream(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> AsyncGenerator[BaseAgentEvent | BaseChatMessage | Response, None]:
        """Take a turn; see :class:`autogen_agentchat.agents.AssistantAgent`."""
        self._turn_workbench.begin_turn()
        if self._card is not None:
            await self._card.look()
        await self._turn_context.begin_turn()
        if self._blind:
            messages = [message for message in messages if message.source == "user"]
            # Some providers refuse a call without any message.
            messages = messages or [TextMessage(content=YOUR_TURN, source="user")]
        seen: list[BaseAgentEvent | BaseChatMessage] = []
        try:
            async for item in super().on_messages_stream(messages, cancellation_token):
                if isinstance(item, Response):
                    self._mark(item.chat_message)
                else:
                    self._mark(item)
                    seen.append(item)
                yield item
        except Exception as error:  # whatever a model client raises, the others go on
            _log.warning("turn failed", specialist=self.name, error=repr(error))
            kind = type(error).__name__
            text = shorten(str(error), EXCUSE_CHARACTERS) or kind
            excuse = f"I could not finish my turn: {text}"
            said = TextMessage(content=excuse, source=self.name, metadata={FAULT: kind})
            self._mark(said)
            yield Response(chat_message=said, inner_messages=seen)

    def _mark(self, message: BaseAgentEvent | BaseChatMessage) -> None:
        """Say in the metadata of a message to which turn it belongs: turns overlap."""
        if (number := self._turn_workbench.turn.number) is not None:
            message.metadata[IN_TURN] = str(number)


def opening_recipe(charter: Charter, queue: TrialQueue, best: int, turn: TurnState) -> str:
    """Return the recipe that most edits are of, so that a turn need not begin by reading it.

    Nothing is shown of a recipe that is long, or to a specialist that is led from tool to tool or
    may not read recipes. Files without a knob, as scripts that load and predict, are named.

    Args:
        charter: The specialist.
        queue: The campaign's queue of trials.
        best: Number of the best trial.
        turn: The record of its turn, which notes what is shown.
    """
    if charter.guided or "read_recipe" not in (charter.tools or TOOLS):
        return ""
    files = queue.recipe_of(best)
    if sum(map(len, files.values())) > OPENING_RECIPE:
        return ""
    tuned = {knob.path for knob in find_knobs(files)} or set(files)
    shown = {path: text for path, text in files.items() if path in tuned}
    turn.files.note(0 if turn.blind else best, shown)
    parts = [f"## The recipe {'to be edited' if turn.blind else f'of trial {best}, the best'}"]
    parts += [f"--- {path}\n{text}" for path, text in shown.items()]
    if left := sorted(set(files) - tuned):
        parts.append(f"--- Not shown, as no knob is in them: {', '.join(left)} (read_recipe)")
    return "\n".join(parts)


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
        seeds_done=queue.seeds_done,
        slots=queue.slots,
        trial_seconds=queue.trial_seconds,
        speakers=frozenset((charter.name, *queue.pack.specialists)),
        free_slots=queue.free_slots,
        thinking=_thinking_beside(charter.name, queue),
        check_of=book_of(queue).of_turn,
    )


def _thinking_beside(specialist: str, queue: TrialQueue) -> tuple[str, ...]:
    """Return who thinks at the same time, other turns of the specialist among them."""
    names = tuple(name for name in queue.now.thinking if name != specialist)
    more = queue.now.turns_of(specialist) - 1
    return names if more < 1 else (*names, f"{specialist}, {OTHER_TURNS.format(more=more)}")


def workbench_of(
    charter: Charter,
    queue: TrialQueue,
    plays: tuple[Play, ...],
    round_number: int | None,
    *,
    blind: bool = False,
    closing: asyncio.Event | None = None,
) -> SpecialistWorkbench:
    """Return the tools of a specialist, which share the record of its turn.

    Args:
        charter: The specialist.
        queue: The campaign's queue of trials.
        plays: The pack's plays.
        round_number: The round that it takes part in.
        blind: Whether it is told nothing of past trials: it then has no lineage tools, and reads
            only the recipe that is to be edited.
        closing: Set when the round is to end.
    """
    turn = TurnState(round_number, blind=blind, book=book_of(queue))
    own = tuple(play for play in plays if play.surface in charter.surfaces)
    submit = SubmitTrialTool(queue, charter.name, charter.surfaces, turn)
    tools: list[AnyTool] = [
        ReadRecipeTool(queue, own, blind=blind, shown=turn.files),
        CheckEditTool(queue, charter.surfaces, turn),
        *searching_tools(queue, turn, blind=blind),
        submit,
    ]
    if not blind:
        priors = prior_campaigns(queue.store.campaign(queue.campaign))
        goal = queue.pack.metric.goal
        scope = LineageScope(queue.store, queue.campaign, goal, priors, queue.seeds_done)
        # The menu of turn_knob shows which changes were tried, so a blind specialist has none.
        menu = TurnKnobTool(queue, charter.surfaces, submit)
        wait = WaitForTool(queue, turn, closing)
        again = MoreSeedsTool(queue, charter.name, turn)
        tools = [*lineage_tools(scope, brief=True), *run_tools(queue), *tools, again, wait, menu]
    wanted = set(TOOLS) - set(BY_NAME) if charter.tools is None else set(charter.tools)
    return SpecialistWorkbench([tool for tool in tools if tool.name in wanted], turn)
