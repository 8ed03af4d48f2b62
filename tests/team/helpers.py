"""Models for tests of the group chat: scripted ones behind the same interface as real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Literal

from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

from recipelab import Plan, ResearchGroupChat
from recipelab.budget import BudgetLimits
from recipelab.models import OfflineClient


class Watched(OfflineClient):
    """The offline model, which notes who asks, fails on order, and takes its time.

    Args:
        fails: How many calls fail first.
        holds: Set to let calls go on; ``None`` lets them go on at once.
    """

    def __init__(self, *, fails: int = 0, holds: asyncio.Event | None = None) -> None:
        super().__init__(seed=1)
        self.fails = fails
        self.holds = holds
        self.calls = 0
        self.at_once = 0
        self.most_at_once = 0
        self.seen: list[Sequence[LLMMessage]] = []
        self._at_two: Callable[[], None] = lambda: None

    def when_two_think(self, act: Callable[[], None]) -> None:
        self._at_two = act

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: Tool | Literal["auto", "required", "none"] = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        self.calls += 1
        self.seen.append(list(messages))
        if self.calls <= self.fails:
            raise ValueError("the provider does not like it")
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.at_once == 2:
            self._at_two()
        try:
            if self.holds is not None:
                waiting = asyncio.ensure_future(self.holds.wait())
                if cancellation_token is not None:
                    cancellation_token.link_future(waiting)
                await waiting
            return await super().create(messages, tools=tools, tool_choice=tool_choice)
        finally:
            self.at_once -= 1


class Naming(Watched):
    """A selector that answers with set words."""

    def __init__(self, *answers: str) -> None:
        super().__init__()
        self.answers = list(answers)
        self.prompts: list[str] = []

    async def create(self, messages: Sequence[LLMMessage], **more: Any) -> CreateResult:
        self.prompts.append(str(messages[0].content))
        answer = self.answers.pop(0) if self.answers else "nobody"
        result = await OfflineClient.create(self, messages)
        return result.model_copy(update={"content": answer, "finish_reason": "stop"})

    async def create_stream(
        self, messages: Sequence[LLMMessage], **more: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        yield await self.create(messages)


def team_of(
    trials: int = 4, clients: Mapping[str, ChatCompletionClient] | None = None, **more: Any
) -> ResearchGroupChat:
    """A team on the toy pack of the working directory, one trial at a time by default."""
    rest = {name: more.pop(name) for name in list(more) if name not in Plan.model_fields}
    fields = {"sandbox": "local", "slots": 1, "ahead": 0, "speakers": "round-robin", **more}
    limits = fields.pop("limits", BudgetLimits(trials=trials))
    return ResearchGroupChat(Plan(pack="toy", limits=limits, **fields), clients=clients, **rest)
