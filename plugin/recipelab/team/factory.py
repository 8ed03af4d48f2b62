"""The shorthand for a campaign's team: names and objects instead of a plan and its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

from autogen_agentchat.base import ChatAgent, Team, TerminationCondition
from autogen_core import AgentRuntime
from autogen_core.model_context import ChatCompletionContext
from autogen_core.models import ChatCompletionClient

from recipelab.budget import BudgetLimits
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.evaluation.proposals import Approve
from recipelab.evaluation.session import Overrides
from recipelab.lineage import LineageStore
from recipelab.plan import Arm, KeepArtifacts, Plan, asked
from recipelab.sandbox import Sandbox
from recipelab.team.group_chat import ResearchGroupChat
from recipelab.team.messages import MessageType
from recipelab.team.notes import Listener

Model = str | ChatCompletionClient
"""A model as after ``--model``, or an AutoGen model client."""


class LimitOptions(TypedDict, total=False):
    """The limits of a campaign, one by one; see :class:`recipelab.BudgetLimits`."""

    trials: int | None
    hours: float | None
    device_hours: float | None
    tokens: int | None
    money: float | None
    target: float | None
    plateau: int | None


class PlanOptions(TypedDict, total=False):
    """What else a plan says; see :class:`recipelab.Plan`. ``name`` is that of the campaign."""

    name: str | None
    base_url: str | None
    max_tokens: int | None
    prices: str | None
    seed: int
    limits: BudgetLimits
    slots: int | None
    share_devices: bool
    place: str
    place_options: Mapping[str, str]
    priors: Sequence[str]
    arm: Arm | str
    specialists: Sequence[str]
    speakers: str
    exploration: float
    ahead: int | None
    turns: int | None
    characters: int | None
    follows: str | None
    keep_artifacts: KeepArtifacts | str
    accept_self_reported: bool


class ChatOptions(TypedDict, total=False):
    """How the group chat is; see :class:`recipelab.ResearchGroupChat`."""

    participants: Sequence[ChatAgent | Team]
    termination_condition: TerminationCondition | None
    max_turns: int | None
    listener: Listener | None
    description: str
    emit_team_events: bool
    runtime: AgentRuntime | None
    custom_message_types: Sequence[MessageType]
    model_context: ChatCompletionContext | None
    model_client_stream: bool


class TeamOptions(LimitOptions, PlanOptions, ChatOptions, total=False):
    """The keyword arguments of :func:`research_team` besides those that it names itself."""

    team_name: str


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
    **options: Unpack[TeamOptions],
) -> ResearchGroupChat:
    """Return the AutoGen team of a campaign.

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
        **options: Limits (``trials``, ``hours``, ..., or all of them as ``limits``), what else a
            plan says (``name`` of the campaign, ``seed``, ``slots``, ``speakers``, ...), and how
            the chat is (``team_name``, ``participants``, ``termination_condition``, ...); see
            :class:`TeamOptions`.

    Returns:
        A team that runs like any other: by ``run``, ``run_stream`` or ``Console``, as a participant
        of another team, or from JSON.

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
    asked_for = team_request(
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
    return ResearchGroupChat(
        asked_for.plan,
        home=asked_for.home,
        lineage=asked_for.lineage,
        overrides=asked_for.overrides,
        clients=asked_for.clients,
        **asked_for.chat,
    )


@dataclass(frozen=True)
class TeamRequest:
    """What the arguments of :func:`research_team` ask for.

    Attributes:
        plan: The plan of the campaign.
        home: Folder of papers and lineage; ``None`` for ``$RECIPELAB_HOME`` or ``.recipelab``.
        lineage: Path or URL of the lineage; ``None`` for that of the home, or one that is open.
        overrides: An open lineage, a sandbox and an approver, where such were given.
        clients: The model clients that were given, by name of the specialist.
        chat: The other arguments of :class:`recipelab.ResearchGroupChat`.
    """

    plan: Plan
    home: Home | None
    lineage: str | None
    overrides: Overrides
    clients: Mapping[str, ChatCompletionClient]
    chat: Mapping[str, Any]


def team_request(
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
) -> TeamRequest:
    """Return what the arguments of :func:`research_team`, which describes them, ask for.

    Raises:
        RecipelabError: As :func:`research_team` raises it for its arguments.
    """
    given = {"": model, **(models or {})}
    clients = {name: one for name, one in given.items() if isinstance(one, ChatCompletionClient)}
    more = _checked(dict(options))
    limits = {name: more.pop(name) for name in LimitOptions.__annotations__ if name in more}
    fields = {name: more.pop(name) for name in PlanOptions.__annotations__ if name in more}
    if "team_name" in more:
        more["name"] = more.pop("team_name")
    plan = asked(
        Plan,
        pack=str(pack),
        profile=profile,
        model=model if isinstance(model, str) else "offline",
        models={name: one for name, one in (models or {}).items() if isinstance(one, str)},
        sandbox=sandbox if isinstance(sandbox, str) else sandbox.name,
        approve=approve is not None,
        **{"limits": asked(BudgetLimits, **limits), **fields},
    )
    store = lineage if isinstance(lineage, LineageStore) else None
    box = None if isinstance(sandbox, str) else sandbox
    return TeamRequest(
        plan,
        home=Home.find(Path(home)) if home else None,
        lineage=None if store or lineage is None else str(lineage),
        overrides=Overrides(store=store, sandbox=box, approve=approve),
        clients=clients,
        chat=more,
    )


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Return options that are all known, and do not contradict each other.

    Raises:
        RecipelabError: An option is unknown, or there are limits in both ways.
    """
    for name in options:
        if name not in TeamOptions.__annotations__:
            valid = (*(research_team.__kwdefaults__ or ()), *TeamOptions.__annotations__)
            raise RecipelabError(unknown_name("argument of research_team", name, valid))
    single = [name for name in LimitOptions.__annotations__ if name in options]
    if single and "limits" in options:
        raise RecipelabError(
            f"limits and {', '.join(single)} both say what may be spent: give limits=BudgetLimits("
            f"{', '.join(f'{name}=...' for name in single)}), or leave limits out"
        )
    return options
