"""The workbench of a specialist: its four tools, which never raise and never hang."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from autogen_core import CancellationToken
from autogen_core.tools import BaseTool, TextResultContent, ToolResult, ToolSchema, Workbench
from pydantic import BaseModel, ValidationError

from recipelab.errors import unknown_name
from recipelab.log import logger
from recipelab.tools.base import Answer
from recipelab.tools.submit_tool import Turn

_log = logger(__name__)

AnyTool = BaseTool[Any, Answer]


class SpecialistWorkbench(Workbench):
    """Tools that share what one specialist has done in its turn.

    AutoGen's agents hang for ever when a workbench raises, so every error becomes a result that
    the model can read and mend.

    Args:
        tools: The tools.
        turn: The turn that they share.
    """

    component_provider_override = "recipelab.tools.SpecialistWorkbench"

    def __init__(self, tools: Sequence[AnyTool], turn: Turn) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._turn = turn

    def begin_turn(self) -> None:
        """The specialist was given the floor."""
        self._turn.begin()

    async def list_tools(self) -> list[ToolSchema]:
        """The schemas of the tools."""
        return [tool.schema for tool in self._tools.values()]

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
        call_id: str | None = None,
    ) -> ToolResult:
        """Calls a tool; whatever goes wrong is an error result, cancellation by the token too."""
        token = cancellation_token or CancellationToken()
        started = time.monotonic()
        try:
            text, is_error = await self._call(name, arguments or {}, token, call_id), False
        except asyncio.CancelledError:
            if not token.is_cancelled():
                raise
            text, is_error = "cancelled", True
        except ValidationError as error:
            text, is_error = _explained(name, error), True
        except Exception as error:  # the agent would hang on anything raised from here
            text, is_error = f"{type(error).__name__}: {error}", True
        _log.debug("tool", tool=name, error=is_error, seconds=time.monotonic() - started)
        return ToolResult(name=name, result=[TextResultContent(content=text)], is_error=is_error)

    async def _call(
        self, name: str, arguments: Mapping[str, Any], token: CancellationToken, call_id: str | None
    ) -> str:
        if name not in self._tools:
            raise LookupError(unknown_name("tool", name, self._tools))
        tool = self._tools[name]
        call = asyncio.ensure_future(tool.run_json(arguments, token, call_id))
        token.link_future(call)
        answer = tool.return_value_as_string(await call)
        if name == "lineage_query":
            self._turn.asked = True
        return answer

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def reset(self) -> None:
        """Forgets the turn."""
        self._turn.begin()

    async def save_state(self) -> Mapping[str, Any]:
        """The turn, as far as it is known."""
        return {"asked": self._turn.asked, "submitted": self._turn.submitted}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        """Takes the turn up where :meth:`save_state` left it."""
        self._turn.asked = bool(state.get("asked"))
        self._turn.submitted = cast("int | None", state.get("submitted"))

    def _to_config(self) -> BaseModel:
        # A desk owns a running sandbox, which no JSON can carry.
        raise NotImplementedError("a specialist's workbench lives inside a running campaign")


def _explained(name: str, error: ValidationError) -> str:
    lines = [f"{name}: the arguments do not fit:"]
    for item in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in item["loc"]) or "arguments"
        lines.append(f"- {place}: {item['msg']}")
    return "\n".join(lines)
