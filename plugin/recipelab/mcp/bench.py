"""The scratch bench of a campaign that this process runs, for the sessions of its clients."""

from __future__ import annotations

from typing import Any

from recipelab.budget import Ledger
from recipelab.campaign.campaign import Campaign
from recipelab.campaign.lineage_desk import LineageDesk
from recipelab.evaluation.scratch import ScratchBench
from recipelab.mcp.driver import PREPARE_SECONDS, OwnDriver
from recipelab.mcp.session import Session
from recipelab.tools.base import AnyTool, TextTool
from recipelab.tools.checks import Refused
from recipelab.tools.runs import ProfileTool
from recipelab.tools.scratch import bench_tools


class DriverDesk(LineageDesk):
    """A desk whose process may run the campaign, and then has its bench and its ledger.

    Args:
        campaign: The campaign.
        driver: Runs it, where nobody else does.
    """

    def __init__(self, campaign: Campaign, driver: OwnDriver) -> None:
        super().__init__(campaign, driver.look, driver.limits)
        self._driver = driver

    @property
    def bench(self) -> ScratchBench | None:
        """Where code runs in the campaign's sandbox that is no trial.

        Raises:
            RecipelabError: This process does not run the campaign.
        """
        return self._driver.queue.bench

    @property
    def ledger(self) -> Ledger:
        """The account of the campaign where it runs.

        Raises:
            RecipelabError: This process does not run the campaign.
        """
        return self._driver.queue.ledger

    @property
    def paused(self) -> bool:
        """Whether nothing new begins for now.

        Raises:
            RecipelabError: This process does not run the campaign.
        """
        return self._driver.queue.paused


class LentTool(TextTool[Any]):
    """A specialist's tool of the scratch bench, which a session has while it may spend something.

    Args:
        tool: The tool.
        desk: The desk that the tool asks.
        session: The session.
        driver: Keeps the campaign open meanwhile.
    """

    def __init__(
        self, tool: TextTool[Any], desk: DriverDesk, session: Session, driver: OwnDriver
    ) -> None:
        super().__init__(tool.args_type(), tool.name, tool.description)
        self.is_brief = tool.is_brief
        self.call_seconds = tool.call_seconds
        self._parts = tool, desk, session, driver

    async def answer(self, args: Any) -> str:
        """Return the answer of the tool.

        Raises:
            Refused: The session's budget is spent, or its turn began without a view.
            BudgetSpent: No trial could come of it.
            RecipelabError: This process does not run the campaign, or as the tool raises it.
        """
        tool, desk, session, driver = self._parts
        session.check_budget()
        if not session.is_in_view:
            # The seconds are those of a turn, and the best is that of its opening.
            raise Refused("begin a turn first: campaign_view")
        desk.check_room()
        return await driver.lend(lambda: tool.answer(args), PREPARE_SECONDS)


def lent_tools(desk: DriverDesk, session: Session, driver: OwnDriver) -> list[AnyTool]:
    """Return the tools of the scratch bench, as far as pack and server allow them.

    Args:
        desk: The campaign's desk.
        session: The session, whose turns bound what they spend.
        driver: Runs the campaign, where nobody else does.
    """
    if not driver.may_lend:
        return []
    tools = (*bench_tools(desk, session.turn), ProfileTool(desk))
    return [LentTool(tool, desk, session, driver) for tool in tools]
