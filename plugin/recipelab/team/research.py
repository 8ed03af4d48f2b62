"""The research group chat: a whole campaign as one AutoGen team."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Self

from autogen_agentchat.base import ChatAgent, TaskResult, Team, TerminationCondition
from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    ModelClientStreamingChunkEvent,
)
from autogen_agentchat.state import TeamState
from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient

from recipelab.evaluation.desk import TrialDesk
from recipelab.home import Home
from recipelab.lab import Lab, Parts
from recipelab.log import bound
from recipelab.plan import Plan
from recipelab.team.attendant import attended
from recipelab.team.conductor import Conductor, Ended
from recipelab.team.config import DESCRIPTION, NAME, ResearchGroupChatConfig, saved_url
from recipelab.team.crew import Crew
from recipelab.team.listener import Listener
from recipelab.team.policies import policy_of
from recipelab.team.pump import pumped
from recipelab.team.round_chat import Item, RoundChat, Shown
from recipelab.team.tokens import RoundTokens
from recipelab.team.words import (
    Task,
    closing_words,
    messages_of,
    opening_words,
    told_as,
    turns_left,
)

KEPT_MESSAGES = 1_000
"""Newest messages that the result of a run holds; the lineage has all."""


class ResearchGroupChat(RoundChat):
    """A selector group chat of specialists that runs a campaign.

    A run measures the baseline if that is still to do, and then goes through rounds until the
    budget is spent. Each round is a fresh group chat, so nothing grows with the number of trials,
    and an error in one round does not harm the next. Everything measured is in the lineage; a run
    of a campaign that is there already goes on with it.

    Args:
        plan: What is asked of the campaign.
        home: Where its papers are, and its lineage by default.
        lineage: Path or URL of the lineage, if it is elsewhere.
        parts: Parts that the caller brings along.
        clients: Model clients of the caller's own, by name of the participant; the empty name
            stands for all others.
        participants: Agents or teams besides the specialists; each has the floor once a round.
        termination_condition: Ends a run before the budget does.
        max_turns: Turns after which a run ends.
        listener: Told how it goes on.
        name: Name of the team.
        description: What a selector of a larger team is told of it.
        emit_team_events: Whether the stream says who was selected.

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
        parts: Parts | None = None,
        clients: Mapping[str, ChatCompletionClient] | None = None,
        participants: Sequence[ChatAgent | Team] = (),
        termination_condition: TerminationCondition | None = None,
        max_turns: int | None = None,
        listener: Listener | None = None,
        name: str = NAME,
        description: str = DESCRIPTION,
        emit_team_events: bool = False,
    ) -> None:
        self.ended: Ended | None = None
        self.listener = listener or Listener()
        self._lab = Lab(
            plan,
            home or Home.find(),
            lineage,
            parts or Parts(),
            say=lambda text: self.listener.note(text),
            watch=lambda trial, phase, seed: self.listener.phase(trial, phase, seed),
        )
        self._crew = Crew(self._lab, clients or {}, participants)
        self._shown: Shown = {
            "name": name,
            "description": description,
            "emit_team_events": emit_team_events,
        }
        self._condition = termination_condition
        self._turn_limit = max_turns
        self._pending: Mapping[str, Any] | None = None
        self._conducting = False
        self._entered: AbstractAsyncContextManager[TrialDesk] | None = None
        self._put_together(None, None)

    @property
    def plan(self) -> Plan:
        """What is asked of the campaign; with its name once it has begun."""
        return self._lab.plan

    async def __aenter__(self) -> Self:
        """Keeps the campaign open over several runs, so that trials go on between them."""
        self._entered = self._lab.opened()
        await self._entered.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        """Stops what runs, and closes models that are this team's own."""
        entered, self._entered = self._entered, None
        if entered is not None:
            await entered.__aexit__(*exc)
        await self.close()

    async def close(self) -> None:
        """Closes models that are this team's own; it cannot run any more."""
        await self._crew.close()

    async def run_stream(
        self,
        *,
        task: Task = None,
        cancellation_token: CancellationToken | None = None,
        output_task_messages: bool = True,
    ) -> AsyncGenerator[Item, None]:
        """Runs the campaign; see :meth:`autogen_agentchat.teams.BaseGroupChat.run_stream`.

        Args:
            task: What the specialists are told at the beginning of every round.
            cancellation_token: Ends the run; what is in flight can be gone on with.
            output_task_messages: Whether the task is in the stream.

        Yields:
            Messages as they come, and at last the result, which holds the newest messages.

        Raises:
            ValueError: The team is running already, or the task is none.
            RecipelabError: Something the user can mend: data, sandbox, slots, budget, baseline.
            asyncio.CancelledError: The run was cancelled.
        """
        if self._conducting:
            raise ValueError(
                "The team is already running, it cannot run again until it is stopped."
            )
        self._conducting = True
        token = cancellation_token or CancellationToken()
        try:
            source = self._run(messages_of(task), token, output_task_messages)
            # Closed here and now, should whoever listens leave: Python alone would do it some day.
            async with aclosing(pumped(source, token)) as items:
                async for item in items:
                    yield item
        finally:
            self._conducting = False

    async def reset(self) -> None:
        """Forgets the chat. What was measured stays, and the next run goes on with it.

        Raises:
            RuntimeError: The team is running.
        """
        if self._conducting:
            raise RuntimeError("The group chat is currently running. It must be stopped first.")
        self._pending = None
        if self._condition is not None:
            await self._condition.reset()
        self._put_together(None, None)

    async def pause(self) -> None:
        """Begins no trial and no turn until :meth:`resume`; what runs goes on.

        Raises:
            RuntimeError: The team does not run.
        """
        self._pause(True)

    async def resume(self) -> None:
        """Goes on after :meth:`pause`.

        Raises:
            RuntimeError: The team does not run.
        """
        self._pause(False)

    async def save_state(self) -> Mapping[str, Any]:
        """The chat of the last round, and which campaign it belongs to."""
        state = self._pending or await super().save_state()
        return {**state, "campaign": self.plan.name}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes up a saved chat: the next round begins with it, in the saved campaign.

        Raises:
            RuntimeError: The team is running.
            ValidationError: It is no state of a team.
        """
        if self._conducting:
            raise RuntimeError("The team cannot be loaded while it is running.")
        chat = {key: value for key, value in state.items() if key != "campaign"}
        TeamState.model_validate(chat)
        if state.get("campaign"):
            self._lab.plan = self.plan.model_copy(update={"name": state["campaign"]})
        self._pending = chat

    async def _run(
        self, task: list[BaseChatMessage] | None, token: CancellationToken, show: bool
    ) -> AsyncGenerator[Item, None]:
        self.ended = None
        async with self._lab.opened() as desk, told_as(desk):
            policy = policy_of(self.plan, self._crew.charters, desk)
            conductor = Conductor(desk, self.listener, policy, blind=self.plan.blind)
            said: deque[BaseAgentEvent | BaseChatMessage] = deque(maxlen=KEPT_MESSAGES)
            try:
                rounds = self._rounds(conductor, desk, task, token, show)
                async with aclosing(rounds):
                    async for message in rounds:
                        if not isinstance(message, ModelClientStreamingChunkEvent):
                            said.append(message)
                        yield message
            except BaseException as error:
                await desk.stop()
                why = str(error) if isinstance(error, Exception) else "stopped by hand"
                conductor.end(Ended(False, why))
                raise
            ended = self.ended or Ended(False, "it was stopped")
            closing = closing_words(self.name, desk, ended)
            conductor.hear(closing)
            conductor.end(ended)
            yield closing
            yield TaskResult(messages=[*said, closing], stop_reason=ended.reason)

    async def _rounds(
        self,
        conductor: Conductor,
        desk: TrialDesk,
        task: list[BaseChatMessage] | None,
        token: CancellationToken,
        show: bool,
    ) -> AsyncGenerator[BaseAgentEvent | BaseChatMessage, None]:
        for told in await conductor.baseline(token, self.name):
            yield told
        conductor.unfinished()
        turns, tokens = self._turn_limit, RoundTokens(token)
        async with attended(desk, self.listener.note):
            while self.ended is None and (ended := conductor.ended) is None:
                number = conductor.begin_round()
                self._put_together(desk, conductor, turns)
                await self._take_up()
                words = task or [opening_words(number, desk)]
                messages = self._round(conductor, words, tokens.fresh(), show)
                with bound(round=number):
                    async with aclosing(messages):
                        async for message in messages:
                            turns = turns_left(turns, message)
                            yield message
            self.ended = self.ended or ended

    async def _round(
        self,
        conductor: Conductor,
        task: list[BaseChatMessage],
        token: CancellationToken,
        show: bool,
    ) -> AsyncGenerator[BaseAgentEvent | BaseChatMessage, None]:
        error = ""
        try:
            async for item in self._round_stream(task, token, show=show):
                if isinstance(item, TaskResult):
                    self._note_stop(item.stop_reason)
                else:
                    conductor.hear(item)
                    yield item
        except RuntimeError as failed:
            # An error of a participant comes out of AutoGen as this, its traceback as text.
            error = (str(failed).strip().splitlines() or ["unknown"])[-1]
        self._crew.learn(self._floor)
        conductor.end_round(error)

    def _note_stop(self, reason: str | None) -> None:
        if self._floor is None or not self._floor.round_over:
            # The user's own condition ended it: the campaign can go on another time.
            self.ended = Ended(False, reason or "it was stopped")

    async def _take_up(self) -> None:
        """Takes up a chat that was loaded, if there is one."""
        pending, self._pending = self._pending, None
        if pending is not None:
            await super().load_state(pending)

    def _put_together(
        self, desk: TrialDesk | None, conductor: Conductor | None, turns: int | None = None
    ) -> None:
        floor = self._crew.floor(desk) if desk else None
        number = conductor.round if conductor else None
        self._assembled(
            self._crew.participants(desk, number, floor),
            self._crew.selector,
            floor=floor,
            policy=conductor.policy if conductor else None,
            ask_model=self._crew.asks_model,
            termination_condition=self._condition,
            max_turns=turns,
            **self._shown,
        )

    def _pause(self, paused: bool) -> None:
        if self._lab.desk is None:
            raise RuntimeError("The group chat has not been initialized: it does not run.")
        self._lab.desk.paused = paused

    def _to_config(self) -> ResearchGroupChatConfig:  # type: ignore[override]
        return ResearchGroupChatConfig(
            plan=self._crew.saved_plan(),
            lineage=saved_url(self._lab),
            home=str(self._lab.home.root),
            participants=[guest.dump_component() for guest in self._crew.guests],
            termination_condition=self._condition.dump_component() if self._condition else None,
            max_turns=self._turn_limit,
            **self._shown,
        )

    @classmethod
    def _from_config(cls, config: ResearchGroupChatConfig) -> Self:  # type: ignore[override]
        return cls(config.plan, **config.arguments())
