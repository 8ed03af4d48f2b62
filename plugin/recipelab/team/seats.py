"""The agents of a campaign for a team of one's own: a graph, or turns by a rule."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from autogen_agentchat.base import ChatAgent
from autogen_core import CancellationToken

from recipelab.core.errors import LineageError, RecipelabError, unknown_name
from recipelab.core.logs import bound
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.session import CampaignSession
from recipelab.team.loop import CampaignLoop, Ended
from recipelab.team.notes import Listener, Notes
from recipelab.team.participants import Participants
from recipelab.team.speakers import open_policy


class Seats(dict[str, ChatAgent]):
    """The agents of a campaign by name: its specialists, and the evaluator."""

    def __missing__(self, name: str) -> ChatAgent:
        raise RecipelabError(unknown_name("agent of the campaign", name, self))


def loop_of(
    session: CampaignSession,
    members: Participants,
    queue: TrialQueue,
    listener: Listener,
    notes: Notes,
) -> CampaignLoop:
    """Return the loop of one run of a campaign.

    Args:
        session: The campaign, which is open.
        members: Its participants.
        queue: Its trial queue.
        listener: Hears how it goes on.
        notes: Hears what people should know.
    """
    charters, plan = members.charters, session.plan
    return CampaignLoop(
        queue,
        listener,
        notes,
        open_policy(plan, charters, queue),
        {charter.name: charter.surfaces for charter in charters},
        blind=plan.blind,
    )


@asynccontextmanager
async def seated(
    session: CampaignSession,
    members: Participants,
    listener: Listener,
    notes: Notes,
    source: str,
) -> AsyncIterator[Seats]:
    """Open a campaign and yield its agents; see :meth:`recipelab.ResearchGroupChat.agents`.

    Args:
        session: The campaign.
        members: Its participants.
        listener: Hears how it goes on.
        notes: Hears what people should know.
        source: The source of the message about the baseline, which the lineage keeps.
    """
    async with session.opened() as queue:
        with bound(campaign=queue.campaign):
            loop = loop_of(session, members, queue, listener, notes)
            ended = Ended(False, "the team around its agents has ended")
            try:
                await loop.measure_baseline(CancellationToken(), source)
                loop.requeue_unfinished()
                agents = members.for_round(
                    queue, loop.start_round(), before_report=loop.keep_judged
                )
                own = {*members.guests}
                async with loop.following_lineage():
                    yield Seats(
                        (agent.name, agent)
                        for agent in agents
                        if isinstance(agent, ChatAgent) and agent not in own
                    )
                if (spent := loop.ended) is not None and spent.finished:
                    ended = spent
                    await loop.settle(CancellationToken(), spent)
            except BaseException as error:
                ended = Ended(False, str(error) or type(error).__name__)
                raise
            finally:
                await queue.stop()
                with suppress(LineageError):  # It may be what has ended the context.
                    loop.end(ended)
