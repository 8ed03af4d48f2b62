"""Makes the policy that a plan names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from recipelab.agents import Charter
from recipelab.arms import Speakers
from recipelab.evaluation.desk import TrialDesk
from recipelab.lineage import TrialFilter
from recipelab.plan import Plan
from recipelab.team.credit import WINDOW, Credit
from recipelab.team.speakers import RoundRobin, SpeakerPolicy


def policy_of(plan: Plan, charters: Sequence[Charter], desk: TrialDesk) -> SpeakerPolicy:
    """The policy of a campaign, which knows what the lineage tells.

    With ``model`` it is what steps in when the model names nobody who may speak. Agents who are
    told nothing of past trials take turns: who is asked would tell of gains.
    """
    past = desk.store.briefs(desk.campaign, TrialFilter(in_flight=False, limit=WINDOW)).items
    if plan.blind or plan.speakers is Speakers.ROUND_ROBIN:
        return RoundRobin(Counter(brief.specialist for brief in past))
    return Credit(
        {charter.name: charter.surfaces for charter in charters},
        desk.pack.metric.goal,
        exploration=plan.exploration,
        past=reversed(past),
    )
