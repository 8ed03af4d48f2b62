"""A whole campaign as one agent of Microsoft Agent Framework."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import Any, Literal, Unpack, overload
from uuid import uuid4

from agent_framework import (
    AgentResponse,
    AgentResponseUpdate,
    AgentRunInputs,
    AgentSession,
    BaseAgent,
    Message,
    ResponseStream,
    normalize_messages,
)
from autogen_agentchat.messages import BaseChatMessage

from recipelab.campaign.campaign import Campaign
from recipelab.campaign.reader import enter_store, find_home
from recipelab.evaluation.proposals import Approve
from recipelab.lineage import LineageStore
from recipelab.maf.updates import (
    USER,
    CampaignOutcome,
    outcome_update,
    response_of,
    task_of,
    update_of,
)
from recipelab.sandbox import Sandbox
from recipelab.team.factory import Model, TeamOptions, TeamRequest, team_request
from recipelab.team.group_chat import DESCRIPTION, NAME
from recipelab.team.loop import is_closing

CAMPAIGN = "campaign"
"""Key of the campaign's name in what a session keeps for the agent."""


class CampaignAgent(BaseAgent):
    """A campaign as one agent: a run measures, proposes and judges until the budget is spent.

    Its team of specialists is recipelab's AutoGen team, so a campaign that was begun there goes on
    here, and the other way round. The words of a run are the task that the specialists are given at
    the beginning of every round. What the team says is streamed as updates; the response holds the
    outcome alone, as all the rest is in the lineage.

    Which campaign a run is about: the one that the agent was given by name; else the one that the
    session had before; else a new one. A campaign that is there goes on, with the agent's limits.
    A run that is cancelled, or whose stream is closed, stops within seconds, and the next run takes
    up what was in flight.

    Args:
        request: What the campaign and its team are.
        id: The id of the agent; ``None`` for a new one.
    """

    def __init__(self, request: TeamRequest, *, id: str | None = None) -> None:
        super().__init__(
            id=id,
            name=request.chat.get("name", NAME),
            description=request.chat.get("description", DESCRIPTION),
        )
        self._request = request

    @overload
    def run(
        self,
        messages: AgentRunInputs | None = None,
        *,
        stream: Literal[False] = ...,
        session: AgentSession | None = None,
        function_invocation_kwargs: Mapping[str, Any] | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
    ) -> Awaitable[AgentResponse[Any]]: ...

    @overload
    def run(
        self,
        messages: AgentRunInputs | None = None,
        *,
        stream: Literal[True],
        session: AgentSession | None = None,
        function_invocation_kwargs: Mapping[str, Any] | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
    ) -> ResponseStream[AgentResponseUpdate, AgentResponse[Any]]: ...

    def run(
        self,
        messages: AgentRunInputs | None = None,
        *,
        stream: bool = False,
        session: AgentSession | None = None,
        function_invocation_kwargs: Mapping[str, Any] | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
    ) -> Awaitable[AgentResponse[Any]] | ResponseStream[AgentResponseUpdate, AgentResponse[Any]]:
        """Run the campaign to its end, or go on with it.

        Args:
            messages: The task of the specialists; nothing for "improve the metric".
            stream: Whether what the team says is streamed. Close a stream that is left early:
                ``async with agent.run(..., stream=True) as updates``.
            session: Remembers which campaign it is about, also when it was stored and read again.
            function_invocation_kwargs: Not used: the campaign has its own tools.
            client_kwargs: Not used: the campaign has its own models.

        Returns:
            The outcome, or a stream of updates whose final response is the outcome.

        Raises:
            RecipelabError: Data, sandbox, slots, budget or baseline is not as it has to be; the
                message says what to do. A stream raises it when it is read.
        """
        updates = self._updates(normalize_messages(messages), session)
        if stream:
            return ResponseStream(updates, finalizer=response_of)
        return _last_response(updates)

    async def _updates(
        self, messages: Sequence[Message], session: AgentSession | None
    ) -> AsyncGenerator[AgentResponseUpdate]:
        response_id, closing, task = uuid4().hex, None, task_of(messages)
        told = {message.id for message in task or ()}
        with self._campaign(session) as campaign:
            spoken = campaign.stream(task=task, **self._options())
            async with aclosing(spoken):
                async for message in spoken:
                    if message.id in told or message.source == USER:
                        continue  # The task, in each round anew: whoever runs the agent knows it.
                    if isinstance(message, BaseChatMessage) and is_closing(message):
                        closing = message
                    elif update := update_of(message, self.id, response_id):
                        yield update
            if closing is None:
                raise AssertionError("unreachable: a run that ends has closing words")
            yield outcome_update(closing, CampaignOutcome.of(campaign), self.id, response_id)

    @contextmanager
    def _campaign(self, session: AgentSession | None) -> Iterator[Campaign]:
        """Open the campaign that a run is about, and have the session remember it."""
        asked = self._request
        kept = {} if session is None else session.state.setdefault(str(self.name), {})
        name, lineage = asked.plan.name or kept.get(CAMPAIGN), asked.overrides.store
        with ExitStack() as stack:
            home = find_home(asked.home)
            store = lineage or enter_store(home, asked.lineage, stack, create=True)
            if name is None:
                campaign = Campaign.create(
                    asked.plan, home=home, lineage=store, overrides=asked.overrides
                )
                stack.enter_context(campaign)
            else:
                plan = asked.plan.model_copy(update={"name": name})
                campaign = Campaign(store, name, plan=plan, home=home, overrides=asked.overrides)
            kept[CAMPAIGN] = campaign.name
            yield campaign

    def _options(self) -> dict[str, Any]:
        """Return the arguments of the team that runs the campaign."""
        return {"clients": self._request.clients, **self._request.chat}


async def _last_response(updates: AsyncGenerator[AgentResponseUpdate]) -> AgentResponse[Any]:
    last: AgentResponseUpdate | None = None
    async with aclosing(updates):
        async for update in updates:
            last = update
    return response_of([] if last is None else [last])


def campaign_agent(
    pack: str,
    *,
    profile: str | None = None,
    model: Model = "offline",
    models: Mapping[str, Model] | None = None,
    lineage: str | Path | LineageStore | None = None,
    sandbox: str | Sandbox = "auto",
    home: str | Path | None = None,
    approve: Approve | None = None,
    **options: Unpack[TeamOptions],
) -> CampaignAgent:
    """Return a campaign as an agent of Microsoft Agent Framework.

    The arguments are those of :func:`recipelab.research_team`, word for word.

    Args:
        pack: Name or folder of a task pack.
        profile: Profile of the pack; ``None`` for its default.
        model: A model as after ``--model``, or an AutoGen model client; a client is not closed.
        models: Models of single specialists, by name.
        lineage: Path or URL of the lineage, or an open one, which stays open.
        sandbox: ``auto``, ``docker``, ``local``, or a sandbox; one that was started stays so.
        home: Folder of papers and lineage; ``None`` for ``$RECIPELAB_HOME`` or ``.recipelab``.
        approve: Asked before each trial: an async function that takes the trial's record and
            returns ``None``, or the reason against the trial; ``None`` asks nobody.
        **options: Limits (``trials``, ``hours``, ...), what else a plan says (``name`` of the
            campaign, ``seed``, ...), and how the team is; ``team_name`` and ``description`` are
            those of the agent, too.

    Raises:
        RecipelabError: An argument is not valid; the message lists the valid choices.

    Examples:
        .. code-block:: python

            agent = campaign_agent("airbench96", profile="mini", sandbox="local", trials=3)
            session = agent.create_session()
            response = await agent.run("Prefer small changes.", session=session)
            print(response.text, session.state)
    """
    return CampaignAgent(
        team_request(
            pack,
            profile=profile,
            model=model,
            models=models,
            lineage=lineage,
            sandbox=sandbox,
            home=home,
            approve=approve,
            **options,
        )
    )
