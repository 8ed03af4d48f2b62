"""The shorthand for a campaign's team: names and objects instead of a plan and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autogen_core.models import ChatCompletionClient

from recipelab.budget import BudgetLimits
from recipelab.core.content import Home
from recipelab.evaluation.proposals import Approve
from recipelab.evaluation.session import Overrides
from recipelab.lineage import LineageStore
from recipelab.plan import Plan, asked
from recipelab.sandbox import Sandbox
from recipelab.team.group_chat import ResearchGroupChat

Model = str | ChatCompletionClient
"""A model as after ``--model``, or an AutoGen model client."""


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
        **more: Limits (``trials``, ``hours``, ``device_hours``, ``tokens``, ``money``, ``target``,
            ``plateau``), other fields of :class:`recipelab.Plan` (``name``, ``seed``, ``slots``,
            ``arm``, ``speakers``, ...), and other arguments of
            :class:`recipelab.ResearchGroupChat` (``participants``, ``termination_condition``,
            ``max_turns``, ``listener``, ...).

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
    given = {"": model, **(models or {})}
    clients = {name: one for name, one in given.items() if isinstance(one, ChatCompletionClient)}
    limits = {name: more.pop(name) for name in BudgetLimits.model_fields if name in more}
    fields = {name: more.pop(name) for name in Plan.model_fields if name in more}
    plan = asked(
        Plan,
        pack=str(pack),
        profile=profile,
        model=model if isinstance(model, str) else "offline",
        models={name: one for name, one in (models or {}).items() if isinstance(one, str)},
        sandbox=sandbox if isinstance(sandbox, str) else sandbox.name,
        approve=approve is not None,
        limits=asked(BudgetLimits, **limits) if limits else fields.pop("limits", BudgetLimits()),
        **fields,
    )
    store = lineage if isinstance(lineage, LineageStore) else None
    box = None if isinstance(sandbox, str) else sandbox
    return ResearchGroupChat(
        plan,
        home=Home.find(Path(home) if home else None),
        lineage=None if store or lineage is None else str(lineage),
        overrides=Overrides(store=store, sandbox=box, approve=approve),
        clients=clients,
        **more,
    )
