"""The workbenches: tools by name for a specialist, or for any agent that asks a lineage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from os import PathLike
from typing import Any, Self

from autogen_core import CancellationToken, Component
from autogen_core.tools import TextResultContent, ToolResult, ToolSchema, Workbench
from pydantic import BaseModel, ValidationError

from recipelab.core.errors import unknown_name
from recipelab.core.logs import logger
from recipelab.lineage import LineageStore
from recipelab.packs.judging_sections import Goal
from recipelab.tools.base import AnyTool, TextTool, explained, repaired
from recipelab.tools.checks import TurnState
from recipelab.tools.lineage import (
    LineageConfig,
    LineageScope,
    lineage_tools,
    opened_lineage,
)

CALL_SECONDS = 30.0
"""A call that takes longer is given up: the database may be locked, or its server gone."""

_log = logger(__name__)


async def answer_or_error(
    name: str, call: Awaitable[tuple[str, bool]], token: CancellationToken, seconds: float
) -> tuple[str, bool]:
    """Return the answer of a call, and whether it is an error; nothing is raised.

    AutoGen's agents hang for ever when a workbench raises, or when a call that was cancelled does
    not come back. So every error, cancellation and time-out becomes an answer that the model reads.

    Args:
        name: Name of the tool.
        call: The call, which the token cancels: its answer, and whether that is an error.
        token: The token of the call.
        seconds: How long the call takes before it gives up, in seconds.

    Raises:
        asyncio.CancelledError: Somebody else than the token cancelled the waiting.
    """
    try:
        return await call
    except asyncio.CancelledError:
        if not token.is_cancelled():
            raise
        return "cancelled", True
    except TimeoutError:
        return f"{name}: no answer within {seconds:g} seconds", True
    except Exception as error:  # the agent would hang on anything raised from here
        return f"{type(error).__name__}: {error}", True


class ToolWorkbench(Workbench):
    """Tools by name, whose calls never raise; see :func:`answer_or_error`.

    Args:
        tools: The tools.
    """

    def __init__(self, tools: Sequence[AnyTool]) -> None:
        self._tools = {tool.name: tool for tool in tools}

    @property
    def schemas(self) -> list[ToolSchema]:
        """The schemas of the tools."""
        # Never kept here: the menu of a tool may change from call to call.
        return [tool.schema for tool in self._tools.values()]

    async def list_tools(self) -> list[ToolSchema]:
        """Return the schemas of the tools."""
        return self.schemas

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
        call_id: str | None = None,
    ) -> ToolResult:
        """Call a tool; return an error result if anything goes wrong or the token cancels it."""
        token = cancellation_token or CancellationToken()
        started = time.monotonic()
        call = self._answered(name, arguments or {}, token, call_id)
        text, is_error = await answer_or_error(name, call, token, self._seconds(name))
        _log.debug("tool", tool=name, error=is_error, seconds=time.monotonic() - started)
        return ToolResult(name=name, result=[TextResultContent(content=text)], is_error=is_error)

    async def _answered(
        self, name: str, arguments: Mapping[str, Any], token: CancellationToken, call_id: str | None
    ) -> tuple[str, bool]:
        """Return the answer of a tool, or words on arguments that do not fit."""
        try:
            return await self.call(name, arguments, token, call_id), False
        except ValidationError as error:
            tool = self._tools[name]
            keys = tool.example_keys if isinstance(tool, TextTool) else ()
            return explained(tool.schema, error, keys), True

    async def call(
        self, name: str, arguments: Mapping[str, Any], token: CancellationToken, call_id: str | None
    ) -> str:
        """Return the answer of a tool as text.

        Raises:
            Exception: Whatever goes wrong; :meth:`call_tool` makes a result of it.
        """
        if name not in self._tools:
            raise LookupError(unknown_name("tool", name, self._tools))
        tool = self._tools[name]
        call = asyncio.ensure_future(
            tool.run_json(repaired(arguments, tool.schema), token, call_id)
        )
        token.link_future(call)
        return tool.return_value_as_string(await asyncio.wait_for(call, self._seconds(name)))

    def _seconds(self, name: str) -> float:
        """Return how long a call of a tool may take, in seconds."""
        tool = self._tools.get(name)
        own = tool.call_seconds if isinstance(tool, TextTool) else None
        return CALL_SECONDS if own is None else own

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def reset(self) -> None:
        """Nothing to reset."""

    async def save_state(self) -> Mapping[str, Any]:
        """Return an empty state."""
        return {}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        """Nothing to load."""


class SpecialistWorkbench(ToolWorkbench):
    """The tools of one specialist. Calls of one message are answered one by one, in their order.

    So a submission may rest on a question that stands before it in the same message.

    Attributes:
        turn: The record of the specialist's turn, which the tools share.

    Args:
        tools: The tools.
        turn: The record of the specialist's turn.
    """

    component_provider_override = "recipelab.tools.SpecialistWorkbench"

    def __init__(self, tools: Sequence[AnyTool], turn: TurnState) -> None:
        super().__init__(tools)
        self.turn = turn
        self._in_order = asyncio.Lock()

    def begin_turn(self) -> None:
        """Begin a turn of the specialist."""
        self.turn.begin()

    async def call(
        self, name: str, arguments: Mapping[str, Any], token: CancellationToken, call_id: str | None
    ) -> str:
        """Return the answer of a tool; from then on the specialist knows something of the past."""
        async with self._in_order:
            answer = await super().call(name, arguments, token, call_id)
        self.turn.has_asked = True
        return answer

    async def reset(self) -> None:
        """Forget the turn."""
        self.turn.begin()

    async def save_state(self) -> Mapping[str, Any]:
        """Return the record of the turn."""
        return {"asked": self.turn.has_asked, "submitted": list(self.turn.submitted)}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on with the turn that :meth:`save_state` returned."""
        self.turn.has_asked = bool(state.get("asked"))
        self.turn.submitted = [int(number) for number in state.get("submitted", ())]

    def _to_config(self) -> BaseModel:
        # Its queue owns a running sandbox, which no JSON can carry.
        raise NotImplementedError("a specialist's workbench lives inside a running campaign")


class LineageWorkbench(ToolWorkbench, Component[LineageConfig]):
    """The ten tools that answer questions about a campaign. They only read.

    Calls never raise and never hang: errors, cancellation and time-outs become results. The
    campaign may begin later than the workbench is made.

    Args:
        lineage: Path or URL of the lineage, which has to be there, or an open one. What is opened
            here is closed by :meth:`stop`, and opens by itself for a call after that.
        campaign: Name of the campaign to ask about.
        goal: Whether a smaller or a larger metric is better; ``None`` for what the campaign says.
        priors: Names of other campaigns that may be asked about, too.

    Raises:
        LineageError: There is no lineage at the path.
    """

    component_config_schema = LineageConfig
    component_provider_override = "recipelab.tools.LineageWorkbench"

    def __init__(
        self,
        lineage: LineageStore | str | PathLike[str],
        campaign: str,
        *,
        goal: Goal | None = None,
        priors: tuple[str, ...] = (),
    ) -> None:
        self._scope = LineageScope(opened_lineage(lineage), campaign, goal, priors)
        self._is_owner = not isinstance(lineage, LineageStore)
        super().__init__(lineage_tools(self._scope))

    async def stop(self) -> None:
        """Close the lineage, if it was opened here."""
        if self._is_owner:
            self._scope.store.close()

    def _to_config(self) -> LineageConfig:
        return LineageConfig.of(self._scope)

    @classmethod
    def _from_config(cls, config: LineageConfig) -> Self:
        return cls(config.lineage, config.campaign, goal=config.goal, priors=config.priors)
