"""One line for an app: a campaign as an AutoGen team."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autogen_core.models import ChatCompletionClient
from pydantic import ValidationError

from recipelab.budget import Limits
from recipelab.errors import RecipelabError
from recipelab.evaluation.approval import Approve
from recipelab.home import Home
from recipelab.lab import Parts
from recipelab.lineage import LineageStore
from recipelab.plan import Plan
from recipelab.sandbox import Sandbox
from recipelab.team.research import ResearchGroupChat

Model = str | ChatCompletionClient

_LIMITS = tuple(Limits.model_fields)


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
        **more: Limits (``trials``, ``hours``, ``device_hours``, ``tokens``, ``money``, ``target``,
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
            limits=Limits(**limits) if limits else fields.pop("limits", Limits()),
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
        parts=Parts(store=store, sandbox=box, approve=approve),
        clients=clients,
        **more,
    )


def _explained(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in item["loc"]) or "arguments"
        lines.append(f"{place}: {item['msg']}")
    return "\n".join(lines)
