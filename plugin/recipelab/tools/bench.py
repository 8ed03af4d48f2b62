"""A workbench whose calls never raise and never hang."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from autogen_core import CancellationToken
from autogen_core.tools import BaseTool, TextResultContent, ToolResult, ToolSchema, Workbench
from pydantic import ValidationError

from recipelab.errors import unknown_name
from recipelab.log import logger
from recipelab.tools.base import Answer
from recipelab.tools.mending import explained, mended

CALL_SECONDS = 30.0
"""A call that takes longer is given up: a database may be locked, or its server gone."""

_log = logger(__name__)

AnyTool = BaseTool[Any, Answer]


class ToolBench(Workbench):
    """Tools by name.

    AutoGen's agents hang for ever when a workbench raises, and when a call that was cancelled does
    not come back; so every error becomes a result that the model can read and mend.

    Args:
        tools: The tools.
    """

    def __init__(self, tools: Sequence[AnyTool]) -> None:
        self._tools = {tool.name: tool for tool in tools}

    async def list_tools(self) -> list[ToolSchema]:
        """The schemas of the tools."""
        # Never kept here: the menu of a tool may change from call to call.
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
        except TimeoutError:
            text, is_error = f"{name}: no answer within {CALL_SECONDS:g} seconds", True
        except ValidationError as error:
            text, is_error = explained(self._tools[name].schema, error), True
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
        fitting = mended(arguments, tool.schema)
        call = asyncio.ensure_future(tool.run_json(fitting, token, call_id))
        token.link_future(call)
        answer = tool.return_value_as_string(await asyncio.wait_for(call, CALL_SECONDS))
        self.answered(name)
        return answer

    def answered(self, name: str) -> None:
        """A tool has answered without an error."""

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def reset(self) -> None:
        """Nothing to reset."""

    async def save_state(self) -> Mapping[str, Any]:
        """There is no state."""
        return {}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        """There is no state."""
