"""The configuration of a research group chat: all that JSON needs to hold to run it again."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import Any, Self

from autogen_agentchat.base import ChatAgent, TaskResult, Team, TerminationCondition
from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    ModelClientStreamingChunkEvent,
)
from autogen_agentchat.state import TeamState
from autogen_core import CancellationToken, ComponentModel
from autogen_core.models import ChatCompletionClient
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.engine import make_url

from recipelab.budget import BudgetLimits
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError
from recipelab.core.logs import bound
from recipelab.evaluation.proposals import Approve
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.session import CampaignSession, Overrides
from recipelab.lineage import LineageStore
from recipelab.plan import Plan
from recipelab.sandbox import Sandbox
from recipelab.team.loop import (
    CampaignLoop,
    Ended,
    Listener,
    Task,
    attended,
    closing_words,
    messages_of,
    opening_words,
    told_as,
    turns_left,
)
from recipelab.team.participants import Participants
from recipelab.team.round import Item, RoundChat, RoundTokens, Shown, pumped
from recipelab.team.speakers import policy_of

NAME = "recipelab"
DESCRIPTION = "Specialists that improve a training recipe, and the evaluator's seat."


class ResearchGroupChatConfig(BaseModel):
    """Configuration of :class:`recipelab.team.ResearchGroupChat`.

    Attributes:
        plan: What is asked of the campaign.
        home: Folder of papers and lineage; ``None`` for ``$RECIPELAB_HOME`` or ``.recipelab``.
        lineage: Path or URL of the lineage, without a password; ``None`` for that of the home.
        name: Name of the team.
        description: What a selector of a larger team is told of it.
        participants: Agents or teams besides the specialists.
        termination_condition: Ends a run before the campaign's budget does.
        max_turns: Turns after which a run ends.
        emit_team_events: Whether the stream says who was selected.
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

    def arguments(self) -> dict[str, Any]:
        """What the team is made from, besides its plan."""
        condition = self.termination_condition
        return {
            "home": Home.find(Path(self.home) if self.home else None),
            "lineage": self.lineage,
            "participants": [_participant(model) for model in self.participants],
            "termination_condition": condition and TerminationCondition.load_component(condition),
            "max_turns": self.max_turns,
            "name": self.name,
            "description": self.description,
            "emit_team_events": self.emit_team_events,
        }


def _participant(model: ComponentModel) -> ChatAgent | Team:
    if model.component_type == Team.component_type:
        return Team.load_component(model)
    return ChatAgent.load_component(model)


def saved_url(lab: CampaignSession) -> str | None:
    """Where a lab's lineage is, as it may be saved: a password stays in the environment."""
    url = lab.overrides.store.url if lab.overrides.store else lab.lineage
    if url is None or "://" not in url:
        return url
    return make_url(url).set(password=None).render_as_string(hide_password=False)


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
        parts: Overrides | None = None,
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
        self._lab = CampaignSession(
            plan,
            home or Home.find(),
            lineage,
            parts or Overrides(),
            say=lambda text: self.listener.note(text),
            on_phase=lambda trial, phase, seed: self.listener.phase(trial, phase, seed),
        )
        self._crew = Participants(self._lab, clients or {}, participants)
        self._shown: Shown = {
            "name": name,
            "description": description,
            "emit_team_events": emit_team_events,
        }
        self._condition = termination_condition
        self._turn_limit = max_turns
        self._pending: Mapping[str, Any] | None = None
        self._conducting = False
        self._entered: AbstractAsyncContextManager[TrialQueue] | None = None
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
            conductor = CampaignLoop(desk, self.listener, policy, blind=self.plan.blind)
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
        conductor: CampaignLoop,
        desk: TrialQueue,
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
        conductor: CampaignLoop,
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
        self, desk: TrialQueue | None, conductor: CampaignLoop | None, turns: int | None = None
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
        if self._lab.queue is None:
            raise RuntimeError("The group chat has not been initialized: it does not run.")
        self._lab.queue.paused = paused

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


Model = str | ChatCompletionClient

_LIMITS = tuple(BudgetLimits.model_fields)


def research_team(
    pack: str,
    *,
    profile: str | None = None,
    model: Model = "offline",
    models: Mapping[str, Model] | None = None,
    lineage: str | Path | LineageStore | None = None,
    sandbox: str | Sandbox = "auto",
    home: str | Path | None = None,
    approve: Approve | None = None,
    **more: Any,
) -> ResearchGroupChat:
    """Makes the AutoGen team of a campaign.

    Args:
        pack: Name or folder of a task pack.
        profile: Profile of the pack; ``None`` for its default.
        model: A model as after ``--model``, or an AutoGen model client; a client is not closed.
        models: Models of single specialists, by name.
        lineage: Path or URL of the lineage, or an open one, which stays open.
        sandbox: ``auto``, ``docker``, ``local``, or a sandbox; one that was started stays so.
        home: Folder of papers and lineage; ``None`` for ``$RECIPELAB_HOME`` or ``.recipelab``.
        approve: Asked before each trial: an async function that is told of the trial and returns
            ``None``, or why it is not to be tried; ``None`` asks nobody.
        **more: limits (``trials``, ``hours``, ``device_hours``, ``tokens``, ``money``, ``target``,
            ``plateau``), other fields of :class:`recipelab.Plan` (``name``, ``seed``, ``slots``,
            ``arm``, ``speakers``, ...), and other arguments of
            :class:`recipelab.ResearchGroupChat` (``participants``, ``termination_condition``,
            ``max_turns``, ``listener``, ...).

    Returns:
        A team that is run like any other: ``run``, ``run_stream``, ``Console``, as a participant of
        another team, or saved with ``dump_component``.

    Raises:
        RecipelabError: An argument is not valid, or something cannot be had; the message lists the
            valid choices.

    Examples:
        .. code-block:: python

            import asyncio

            from autogen_agentchat.ui import Console

            from recipelab import research_team


            async def main() -> None:
                team = research_team("airbench96", profile="mini", sandbox="local", trials=3)
                await Console(team.run_stream())


            asyncio.run(main())
    """
    given = {"": model, **(models or {})}
    clients = {name: one for name, one in given.items() if isinstance(one, ChatCompletionClient)}
    limits = {name: more.pop(name) for name in _LIMITS if name in more}
    fields = {name: more.pop(name) for name in Plan.model_fields if name in more}
    try:
        plan = Plan(
            pack=str(pack),
            profile=profile,
            model=model if isinstance(model, str) else "offline",
            models={name: one for name, one in (models or {}).items() if isinstance(one, str)},
            sandbox=sandbox if isinstance(sandbox, str) else sandbox.name,
            approve=approve is not None,
            limits=BudgetLimits(**limits) if limits else fields.pop("limits", BudgetLimits()),
            **fields,
        )
    except ValidationError as error:
        raise RecipelabError(_explained(error)) from None
    store = lineage if isinstance(lineage, LineageStore) else None
    box = None if isinstance(sandbox, str) else sandbox
    return ResearchGroupChat(
        plan,
        home=Home.find(Path(home) if home else None),
        lineage=None if store or lineage is None else str(lineage),
        parts=Overrides(store=store, sandbox=box, approve=approve),
        clients=clients,
        **more,
    )


def _explained(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in item["loc"]) or "arguments"
        lines.append(f"{place}: {item['msg']}")
    return "\n".join(lines)
