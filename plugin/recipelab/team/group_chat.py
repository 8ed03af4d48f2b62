"""The AutoGen team that runs a campaign, and its configuration as JSON holds it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from pathlib import Path
from typing import Any, Self

from autogen_agentchat.base import ChatAgent, TaskResult, Team, TerminationCondition
from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    ModelClientStreamingChunkEvent,
)
from autogen_core import AgentRuntime, CancellationToken, ComponentModel
from autogen_core.model_context import ChatCompletionContext
from autogen_core.models import ChatCompletionClient
from pydantic import BaseModel, Field
from sqlalchemy.engine import make_url

from recipelab.core.content import Home
from recipelab.core.errors import LineageError
from recipelab.core.logs import bound
from recipelab.evaluation.pace import TurnPace
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.session import CampaignSession, Overrides
from recipelab.plan import Plan
from recipelab.team.loop import (
    CampaignLoop,
    Ended,
    closing_message,
    opening_message,
)
from recipelab.team.messages import (
    MessageType,
    OpenMessageFactory,
    ResearchState,
    SavedType,
    Task,
    loaded_type,
    saved_type,
    task_messages,
)
from recipelab.team.notes import Listener, Notes
from recipelab.team.participants import Participants, check_pack
from recipelab.team.round import Item, RoundGroupChat, TeamLabel
from recipelab.team.runtime import RoundTokens, relay
from recipelab.team.seats import Seats, loop_of, seated
from recipelab.team.termination import SafeCondition

NAME = "recipelab"
DESCRIPTION = "Specialists that improve a training recipe, and the evaluator that measures it."

MAX_KEPT_MESSAGES = 1_000
"""Newest messages that the result of a run holds; the lineage has all."""


class ResearchGroupChatConfig(BaseModel):
    """Configuration of :class:`recipelab.team.ResearchGroupChat`.

    Attributes:
        plan: The plan of the campaign.
        home: Folder of papers and lineage; ``None`` for ``$RECIPELAB_HOME`` or ``.recipelab``.
        lineage: Path or URL of the lineage, without a password; ``None`` for that of the home.
        name: Name of the team.
        description: The description that the selector of a larger team is shown.
        participants: Agents or teams besides the specialists.
        termination_condition: Ends a run before the campaign's budget does.
        max_turns: Turns after which a run ends.
        emit_team_events: Whether the stream says who was selected.
        custom_message_types: Message types besides AutoGen's own.
        model_context: What a specialist keeps of a turn.
        model_client_stream: Whether the answers of specialists are streamed as they come.
    """

    plan: Plan
    home: str | None = None
    lineage: str | None = None
    name: str = NAME
    description: str = DESCRIPTION
    participants: list[ComponentModel] = Field(default_factory=list)
    termination_condition: ComponentModel | None = None
    max_turns: int | None = None
    emit_team_events: bool = False
    custom_message_types: list[SavedType] = Field(default_factory=list)
    model_context: ComponentModel | None = None
    model_client_stream: bool = False


class ResearchGroupChat(RoundGroupChat):
    """A selector group chat of specialists that runs a campaign.

    A run measures the baseline, unless the lineage has it already, and goes through rounds until
    the budget is spent. Each round is a fresh group chat, so nothing grows with the number of
    trials, and an error in one round does not harm the next. Everything that is measured is in the
    lineage; a run of a campaign that is there already continues it.

    A run reads from top to bottom in ``_run`` (open the campaign, keep the newest messages, close)
    and ``_messages`` (baseline, then round after round). The steps of the campaign are methods of
    :class:`recipelab.team.loop.CampaignLoop`; the life of a single round is told by
    :class:`recipelab.team.round.RoundManager`.

    Attributes:
        ended: The end of the last run; ``None`` before and while it runs.
        listener: Hears how the campaign goes on.

    Args:
        plan: The plan of the campaign.
        home: Folder of its papers, and of its lineage by default; ``None`` for
            ``$RECIPELAB_HOME`` or ``.recipelab``.
        lineage: Path or URL of the lineage, if it is elsewhere.
        overrides: Parts of the campaign that the caller brings along.
        clients: Model clients of the caller, by name of the participant; the empty name stands for
            every participant without one.
        participants: Agents or teams besides the specialists; each has a turn at the beginning of
            every round.
        termination_condition: Ends a run before the budget does.
        max_turns: Turns after which a run ends.
        listener: Hears how the campaign goes on.
        name: Name of the team.
        description: The description that the selector of a larger team is shown.
        emit_team_events: Whether the stream says who was selected.
        runtime: The caller's runtime, which the caller starts and stops; each round registers its
            agents there anew. JSON does not hold it.
        custom_message_types: Message types besides AutoGen's own. Only a saved state needs them:
            a message that a guest says or a larger team hands on is known by itself.
        model_context: Chooses what a specialist keeps of a turn behind the lineage view; each turn
            begins with a copy of it.
        model_client_stream: Whether the answers of specialists are streamed as they come.

    Raises:
        RecipelabError: Pack, charter or model cannot be had; the message says what to do.
    """

    component_config_schema = ResearchGroupChatConfig  # type: ignore[assignment]
    component_provider_override = "recipelab.team.ResearchGroupChat"

    def __init__(
        self,
        plan: Plan,
        *,
        home: Home | None = None,
        lineage: str | None = None,
        overrides: Overrides | None = None,
        clients: Mapping[str, ChatCompletionClient] | None = None,
        participants: Sequence[ChatAgent | Team] = (),
        termination_condition: TerminationCondition | None = None,
        max_turns: int | None = None,
        listener: Listener | None = None,
        name: str = NAME,
        description: str = DESCRIPTION,
        emit_team_events: bool = False,
        runtime: AgentRuntime | None = None,
        custom_message_types: Sequence[MessageType] = (),
        model_context: ChatCompletionContext | None = None,
        model_client_stream: bool = False,
    ) -> None:
        self.ended: Ended | None = None
        self.listener = listener or Listener()
        self._newest: deque[BaseAgentEvent | BaseChatMessage] = deque(maxlen=MAX_KEPT_MESSAGES)
        self._notes = Notes(name, lambda: self.listener, self._newest.append)
        self._session = CampaignSession(
            plan,
            home or Home.find(),
            lineage,
            overrides or Overrides(),
            say=self._notes.say,
            warn=self._notes.warn,
            on_phase=lambda trial, phase, seed: self.listener.phase(trial, phase, seed),
        )
        self._members = Participants(
            self._session,
            clients or {},
            participants,
            model_context=model_context,
            model_client_stream=model_client_stream,
        )
        self._given_home = home
        self._given_runtime = runtime
        self._custom_types = tuple(custom_message_types)
        self._known_messages = OpenMessageFactory(self._custom_types, participants)
        self._label = TeamLabel(name, description, emit_team_events)
        self._condition = termination_condition
        self._safe_condition = SafeCondition.around(termination_condition)
        self._turn_limit = max_turns
        self._turn_pace = TurnPace()
        self._pending_state: Mapping[str, Any] | None = None
        self._running = False
        self._entered: AbstractAsyncContextManager[TrialQueue] | None = None
        self._assemble_idle()

    @property
    def plan(self) -> Plan:
        """The plan of the campaign; it has the campaign's name once the campaign has begun."""
        return self._session.plan

    async def __aenter__(self) -> Self:
        """Keep the campaign open over several runs, so that trials go on between them."""
        self._entered = self._session.opened()
        await self._entered.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        """Stop what runs, and close the models that were opened here."""
        entered, self._entered = self._entered, None
        if entered is not None:
            await entered.__aexit__(*exc)
        await self.close()

    async def close(self) -> None:
        """Close the models that were opened here; the team cannot run any more."""
        await self._members.close()

    def agents(self) -> AbstractAsyncContextManager[Seats]:
        """Open the campaign and give its agents, for a graph or another team of one's own.

        Inside, the baseline is measured, a turn of a specialist ends with a trial that is queued,
        and one of the agent ``evaluator`` waits for the next trials to end and reports them; if
        none runs, it says so. Trials, tokens and limits are the campaign's, and the lineage has
        them; the words of the chat it has not. At the end trials in flight are stopped, to be run
        again by the next run. Open models are closed by :meth:`close`.

        Raises:
            RuntimeError: The team is running.
            RecipelabError: As :meth:`run_stream` raises it.

        Examples:
            .. code-block:: python

                async with research_team("airbench96", trials=2).agents() as agents:
                    opt, evaluator = agents["opt"], agents["evaluator"]
                    await RoundRobinGroupChat([opt, evaluator], max_turns=4).run(task="Go.")
        """
        if self._running:
            raise RuntimeError("The group chat is currently running. It must be stopped first.")
        return seated(self._session, self._members, self.listener, self._notes, self.name)

    async def run_stream(
        self,
        *,
        task: Task = None,
        cancellation_token: CancellationToken | None = None,
        output_task_messages: bool = True,
    ) -> AsyncGenerator[Item, None]:
        """Run the campaign; see :meth:`autogen_agentchat.teams.BaseGroupChat.run_stream`.

        Args:
            task: The task that the specialists are given at the beginning of every round.
            cancellation_token: Ends the run; the next run continues what was in flight.
            output_task_messages: Whether the task is in the stream.

        Yields:
            Messages as they come, and at last the result, which holds the newest messages.

        Raises:
            ValueError: The team is running already, or the task is neither text nor messages.
            RecipelabError: Data, sandbox, slots, budget or baseline is not as it has to be; the
                message says what to do.
            asyncio.CancelledError: The run was canceled.
        """
        if self._running:
            raise ValueError(
                "The team is already running, it cannot run again until it is stopped."
            )
        self._running = True
        token = cancellation_token or CancellationToken()
        try:
            # A team around this one hands on what was said, and does not want to hear it again.
            words = task_messages(task, nested=not output_task_messages)
            run = self._run(words, token, show_task=output_task_messages)
            # Closed here, should the consumer leave: Python alone would close it at some time.
            async with aclosing(relay(run, token, self._notes.streamed)) as items:
                async for item in items:
                    yield item
        finally:
            self._running = False

    async def _run(
        self, task: list[BaseChatMessage] | None, token: CancellationToken, *, show_task: bool
    ) -> AsyncGenerator[Item, None]:
        """Open the campaign, yield the messages of its rounds, and tell how it ended."""
        self.ended = None
        self._newest.clear()
        async with self._session.opened() as queue:
            loop = loop_of(self._session, self._members, queue, self.listener, self._notes)
            with bound(campaign=queue.campaign), self._notes.kept(loop.keep):
                try:
                    messages = self._messages(queue, loop, task, token, show_task=show_task)
                    async with aclosing(messages):
                        async for message in messages:
                            if not isinstance(message, ModelClientStreamingChunkEvent):
                                self._newest.append(message)
                            yield message
                except BaseException as error:
                    await queue.stop()
                    reason = str(error) if isinstance(error, Exception) else "stopped by hand"
                    self.ended = Ended(False, reason)
                    with suppress(LineageError):  # It may be what has ended the run.
                        loop.end(self.ended)
                    raise
                ended = self.ended or Ended(False, "it was stopped")
                closing = closing_message(queue, self.name, ended)
                loop.hear(closing)
                loop.end(ended)
                yield closing
                yield TaskResult(messages=[*self._newest, closing], stop_reason=ended.reason)

    async def _messages(
        self,
        queue: TrialQueue,
        loop: CampaignLoop,
        task: list[BaseChatMessage] | None,
        token: CancellationToken,
        *,
        show_task: bool,
    ) -> AsyncGenerator[BaseAgentEvent | BaseChatMessage, None]:
        """Measure the baseline, and yield the messages of round after round to the end."""
        for message in await loop.measure_baseline(token, self.name):
            yield message
        loop.requeue_unfinished()
        turns_left, tokens = self._turn_limit, RoundTokens(token)
        async with loop.following_lineage(on_stop=token.cancel):
            while True:
                await loop.wait_for_others(token)
                if self.ended is not None or (ended := loop.ended) is not None:
                    break
                number = loop.start_round()
                await self._assemble_round(queue, loop, turns_left)
                words = task or [opening_message(queue, number)]
                round_stream = self._round_stream(words, tokens.next_round(), show_task=show_task)
                error = ""
                with bound(round=number):
                    try:
                        async with aclosing(round_stream):
                            async for item in round_stream:
                                if isinstance(item, TaskResult):
                                    self._note_stop(item.stop_reason)
                                    continue
                                if isinstance(item, ModelClientStreamingChunkEvent):
                                    # Its words are in the message that follows.
                                    yield item
                                    continue
                                loop.hear(item)
                                if turns_left and isinstance(item, BaseChatMessage):
                                    turns_left = max(1, turns_left - (item.source != "user"))
                                yield item
                    except RuntimeError as failure:
                        # AutoGen raises this for an error of a participant, with its traceback.
                        error = (str(failure).strip().splitlines() or ["unknown"])[-1]
                loop.end_round(error)
            self.ended = self.ended or ended
            if self.ended is not None:
                for message in await loop.settle(token, self.ended):
                    yield message

    async def _assemble_round(
        self, queue: TrialQueue, loop: CampaignLoop, turns_left: int | None
    ) -> None:
        scheduler = self._members.scheduler(queue, self._turn_pace, loop.silence)
        self._assemble(
            self._label,
            self._members.for_round(queue, loop.round, scheduler, loop.keep_judged),
            self._members.selector,
            scheduler=scheduler,
            policy=loop.policy,
            warn=self._notes.warn_once,
            termination_condition=self._safe_condition,
            max_turns=turns_left,
        )
        state, self._pending_state = self._pending_state, None
        if state is not None:
            await super().load_state(state)

    def _note_stop(self, reason: str | None) -> None:
        if self._scheduler is None or not self._scheduler.round_over:
            # The user's own condition ended it: another run can continue the campaign.
            self.ended = Ended(False, reason or "it was stopped")
        if self._safe_condition is not None:
            self._safe_condition.check()

    def _assemble_idle(self) -> None:
        """Assemble a team that can be described and saved between runs, but not run as it is."""
        self._assemble(
            self._label,
            self._members.for_round(),
            self._members.selector,
            termination_condition=self._condition,
            max_turns=self._turn_limit,
        )

    async def reset(self) -> None:
        """Forget the chat. What was measured stays, and the next run continues the campaign.

        Raises:
            RuntimeError: The team is running.
        """
        if self._running:
            raise RuntimeError("The group chat is currently running. It must be stopped first.")
        self._pending_state = None
        if self._condition is not None:
            await self._condition.reset()
        self._assemble_idle()

    async def pause(self) -> None:
        """Begin no trial and no turn until :meth:`resume`; trials that run go on.

        Raises:
            RuntimeError: The team does not run.
        """
        self._pause(True)

    async def resume(self) -> None:
        """Begin trials and turns again after :meth:`pause`.

        Raises:
            RuntimeError: The team does not run.
        """
        self._pause(False)

    def _pause(self, paused: bool) -> None:
        if self._session.queue is None:
            raise RuntimeError("The group chat has not been initialized: it does not run.")
        self._session.queue.paused = paused

    async def save_state(self) -> Mapping[str, Any]:
        """Return the chat of the last round, and the name of its campaign."""
        state = self._pending_state or await super().save_state()
        return {**state, "campaign": self.plan.name}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        """Load a saved chat: the next round begins with it, in the saved campaign.

        Raises:
            RuntimeError: The team is running.
            ValidationError: The state is not that of a research team.
            ValueError: It is that of a team with other participants.
        """
        if self._running:
            raise RuntimeError("The team cannot be loaded while it is running.")
        saved = ResearchState.model_validate(dict(state))
        missing = [name for name in self._participant_names if name not in saved.agent_states]
        if missing:
            raise ValueError(
                f"the state holds no {', '.join(missing)}: it is that of a team of "
                f"{', '.join(saved.agent_states)}"
            )
        if saved.campaign:
            self._session.plan = self.plan.model_copy(update={"name": saved.campaign})
        self._pending_state = saved.model_dump(exclude={"campaign"})

    def _to_config(self) -> ResearchGroupChatConfig:  # type: ignore[override]
        store, context = self._session.overrides.store, self._members.model_context
        lineage = store.url if store else self._session.lineage
        if lineage is not None and "://" in lineage:
            # A password stays in the environment.
            url = make_url(lineage).set(password=None)
            lineage = url.render_as_string(hide_password=False)
        return ResearchGroupChatConfig(
            plan=self._members.models.saved_plan(),
            lineage=lineage,
            home=None if self._given_home is None else str(self._given_home.root),
            participants=[guest.dump_component() for guest in self._members.guests],
            termination_condition=self._condition.dump_component() if self._condition else None,
            max_turns=self._turn_limit,
            name=self._label.name,
            description=self._label.description,
            emit_team_events=self._label.emit_team_events,
            custom_message_types=[saved_type(one) for one in self._custom_types],
            model_context=context.dump_component() if context else None,
            model_client_stream=self._members.model_client_stream,
        )

    @classmethod
    def _from_config(cls, config: ResearchGroupChatConfig) -> Self:  # type: ignore[override]
        check_pack(config.plan)
        condition = config.termination_condition
        guests: list[ChatAgent | Team] = [
            Team.load_component(model)
            if model.component_type == Team.component_type
            else ChatAgent.load_component(model)
            for model in config.participants
        ]
        return cls(
            config.plan,
            home=Home.find(Path(config.home)) if config.home else None,
            lineage=config.lineage,
            participants=guests,
            termination_condition=TerminationCondition.load_component(condition)
            if condition
            else None,
            max_turns=config.max_turns,
            name=config.name,
            description=config.description,
            emit_team_events=config.emit_team_events,
            custom_message_types=[loaded_type(one) for one in config.custom_message_types],
            model_context=ChatCompletionContext.load_component(config.model_context)
            if config.model_context
            else None,
            model_client_stream=config.model_client_stream,
        )
