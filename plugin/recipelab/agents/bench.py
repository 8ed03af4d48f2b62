"""What a specialist is given for its turn: the lineage view, and its tools."""

from __future__ import annotations

from recipelab.agents.charter import Charter
from recipelab.evaluation.desk import TrialDesk
from recipelab.lineage import prior_campaigns
from recipelab.playbook import Play
from recipelab.tools import (
    CheckEditTool,
    ReadRecipeTool,
    Scope,
    SpecialistWorkbench,
    SubmitTrialTool,
    Turn,
    lineage_tools,
)
from recipelab.tools.bench import AnyTool
from recipelab.view import Frame


def frame_of(charter: Charter, desk: TrialDesk) -> Frame:
    """What the lineage view of one specialist is rendered from, at this moment."""
    return Frame(
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
    desk: TrialDesk,
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
    turn = Turn(round_number, blind=blind)
    own = tuple(play for play in plays if play.surface in charter.surfaces)
    tools: list[AnyTool] = [
        ReadRecipeTool(desk, own, blind=blind),
        CheckEditTool(desk, blind=blind),
        SubmitTrialTool(desk, charter.name, charter.surfaces, turn),
    ]
    if not blind:
        priors = prior_campaigns(desk.store.campaign(desk.campaign))
        scope = Scope(desk.store, desk.campaign, desk.pack.metric.goal, priors)
        tools = [*lineage_tools(scope), *tools]
    wanted = charter.tools
    return SpecialistWorkbench(
        [tool for tool in tools if wanted is None or tool.name in wanted], turn
    )
