"""The lineage as a context provider: an agent of the framework sees what a specialist sees."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from os import PathLike
from typing import Any

from agent_framework import (
    AgentSession,
    ContextProvider,
    Message,
    SessionContext,
    SupportsAgentRun,
)

from recipelab.agents.context import VIEW_SOURCE, view_context
from recipelab.agents.lineage_view import render_lineage_view
from recipelab.lineage import LineageStore
from recipelab.maf.tools import lineage_function_tools
from recipelab.tools.lineage import opened_lineage


class LineageProvider(ContextProvider):
    """Shows an agent the lineage view of the moment in front of each run, and gives it the tools.

    The view is a message of the context and no instruction, as it holds words of other agents. It
    is not kept in the session's history, so that it is never an old one.

    Args:
        lineage: Path or URL of the lineage, which has to be there, or an open one. What is opened
            here stays open as long as the provider is there.
        campaign: Name of the campaign to view; it has to be there when the agent runs.
        specialist: The specialist whose own trials are set apart from those of the others;
            ``None`` for the name of the agent.
        surfaces: The surfaces that it owns.
        pack: Name or folder of the campaign's pack; ``None`` for the one it was started with.
        tools: Whether the agent may ask the lineage, too.
        source_id: The name of the provider among those of the agent.

    Raises:
        LineageError: There is no lineage at the path.
    """

    def __init__(
        self,
        lineage: LineageStore | str | PathLike[str],
        campaign: str,
        *,
        specialist: str | None = None,
        surfaces: Sequence[str] = (),
        pack: str | None = None,
        tools: bool = True,
        source_id: str = VIEW_SOURCE,
    ) -> None:
        super().__init__(source_id)
        self._store = opened_lineage(lineage)
        self._campaign = campaign
        self._specialist = specialist
        self._surfaces = tuple(surfaces)
        self._pack = pack
        self._tools = lineage_function_tools(self._store, campaign) if tools else []

    async def before_run(
        self,
        *,
        agent: SupportsAgentRun,
        session: AgentSession,
        context: SessionContext,
        state: dict[str, Any],
    ) -> None:
        """Add the view and the tools.

        Raises:
            RecipelabError: The campaign has not begun, or its pack is not found from here.
        """
        name = self._specialist or agent.name or "agent"
        view = await asyncio.to_thread(self._view, name)
        context.extend_messages(self, [Message("user", [view], author_name=VIEW_SOURCE)])
        context.extend_tools(self.source_id, self._tools)

    def _view(self, specialist: str) -> str:
        return render_lineage_view(
            view_context(self._store, self._campaign, specialist, self._surfaces, pack=self._pack)
        )
