"""A model client whose calls are reserved before and settled after."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage, RequestUsage
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

from recipelab.models.prices import Prices
from recipelab.models.wrapped import ToolChoice, WrappedClient

CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for English text and code; the exact count is settled afterwards."""

FIRST_ANSWER = 1_000
"""Tokens that an answer is taken to have before there was one."""

_NEW = 0.2


class Meter(Protocol):
    """Keeps the account of calls; :class:`recipelab.budget.Ledger` is one."""

    def reserve(self, tokens: int, cost: float | None) -> None:
        """Reserves a call, or raises :class:`recipelab.errors.BudgetSpent`."""
        ...

    def release(self, tokens: int, cost: float | None) -> None:
        """Gives a reservation back."""
        ...

    def used(
        self,
        specialist: str,
        model: str,
        *,
        prompt_tokens: int,
        completion_tokens: int,
        seconds: float,
        cost: float | None,
    ) -> None:
        """Books what a call has taken."""
        ...


class MeteredClient(WrappedClient):
    """Reserves tokens and money for each call, and books what it took.

    Args:
        inner: The client inside.
        meter: The account; asked for at each call, as it belongs to a run.
        specialist: Who calls.
        model: The model, as it was asked for.
        prices: What models cost.
    """

    def __init__(
        self,
        inner: ChatCompletionClient,
        meter: MeterSource,
        *,
        specialist: str,
        model: str,
        prices: Prices,
    ) -> None:
        super().__init__(inner)
        self._meter = meter
        self._specialist = specialist
        self._model = model
        self._prices = prices
        self._answer = float(FIRST_ANSWER)

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: ToolChoice = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        """See :class:`autogen_core.models.ChatCompletionClient`.

        Raises:
            BudgetSpent: There is no budget left for the call.
        """
        with self._reserved(messages, tools):
            since = time.monotonic()
            result = await super().create(
                messages,
                tools=tools,
                tool_choice=tool_choice,
                json_output=json_output,
                extra_create_args=extra_create_args,
                cancellation_token=cancellation_token,
            )
            self._book(result.usage, time.monotonic() - since)
        return result

    async def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: ToolChoice = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[str | CreateResult, None]:
        """As :meth:`create`, piece by piece."""
        with self._reserved(messages, tools):
            since = time.monotonic()
            stream = super().create_stream(
                messages,
                tools=tools,
                tool_choice=tool_choice,
                json_output=json_output,
                extra_create_args=extra_create_args,
                cancellation_token=cancellation_token,
            )
            async for item in stream:
                if isinstance(item, CreateResult):
                    self._book(item.usage, time.monotonic() - since)
                yield item

    @contextmanager
    def _reserved(
        self, messages: Sequence[LLMMessage], tools: Sequence[Tool | ToolSchema]
    ) -> Iterator[None]:
        meter = self._meter()
        if meter is None:
            yield
            return
        sent = estimated_tokens(messages, tools)
        tokens = sent + round(self._answer)
        cost = self._prices.cost(self._model, sent, round(self._answer))
        meter.reserve(tokens, cost)
        try:
            yield
        finally:
            meter.release(tokens, cost)

    def _book(self, usage: RequestUsage, seconds: float) -> None:
        sent, received = usage.prompt_tokens, usage.completion_tokens
        self._answer += _NEW * (received - self._answer)
        meter = self._meter()
        if meter is not None:
            meter.used(
                self._specialist,
                self._model,
                prompt_tokens=sent,
                completion_tokens=received,
                seconds=seconds,
                cost=self._prices.cost(self._model, sent, received),
            )


class MeterSource(Protocol):
    """Gives the account of the run that goes on; ``None`` between runs."""

    def __call__(self) -> Meter | None:
        """The account."""
        ...


def estimated_tokens(messages: Sequence[LLMMessage], tools: Sequence[Tool | ToolSchema]) -> int:
    """About how many tokens a call sends: characters by four."""
    schemas = (tool if isinstance(tool, Mapping) else tool.schema for tool in tools)
    characters = sum(len(str(message.content)) for message in messages)
    characters += sum(len(str(schema)) for schema in schemas)
    return characters // CHARACTERS_PER_TOKEN
