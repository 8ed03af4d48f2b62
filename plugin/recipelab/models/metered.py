"""What models cost: the user's own table first, then a maintained catalogue."""

from __future__ import annotations

import time
import tomllib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage, RequestUsage
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recipelab.core.errors import ModelError
from recipelab.models.wrappers import ToolChoice, WrappedClient

FREE = ("offline", "ollama:")
"""Models that run on the user's own machine."""

_MILLION = 1e6


class Price(BaseModel):
    """What a model costs, in US dollars for a million tokens.

    Attributes:
        input: For tokens sent.
        output: For tokens received.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class PriceTable(BaseModel):
    """A user's own prices, by model as after ``--model``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prices: dict[str, Price]


class Prices:
    """Looks up what calls cost.

    Args:
        table: The user's own prices, which come first.
    """

    def __init__(self, table: Mapping[str, Price] | None = None) -> None:
        self._table = dict(table or {})
        self._known: dict[str, Price | None] = {}

    @classmethod
    def read(cls, file: Path | None) -> Prices:
        """Prices with a user's own table.

        Args:
            file: A TOML file with ``[prices."openai:gpt-4o"]``, ``input`` and ``output``.

        Raises:
            ModelError: The file cannot be read; the message names the place.
        """
        if file is None:
            return cls()
        try:
            table = PriceTable.model_validate(tomllib.loads(file.read_text("utf-8")))
        except OSError as error:
            raise ModelError(f"{file}: cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ModelError(f"{file}: not valid TOML: {error}") from None
        except ValidationError as error:
            lines = [
                f"{file}: {'.'.join(map(str, item['loc']))}: {item['msg']}"
                for item in error.errors(include_url=False)
            ]
            valid = 'valid: [prices."MODEL"] with input and output in dollars a million tokens'
            raise ModelError("\n".join([*lines, valid])) from None
        return cls(table.prices)

    def cost(self, model: str, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What a call costs in US dollars; ``None`` if the price is unknown.

        Args:
            model: The model, as after ``--model``.
            prompt_tokens: Tokens sent.
            completion_tokens: Tokens received.
        """
        price = self.price(model)
        if price is None:
            return None
        return (price.input * prompt_tokens + price.output * completion_tokens) / _MILLION

    def price(self, model: str) -> Price | None:
        """The price of a model; ``None`` if it is unknown."""
        if model in self._table:
            return self._table[model]
        if model.startswith(FREE):
            return Price(input=0.0, output=0.0)
        if model not in self._known:
            self._known[model] = _catalogued(model)
        return self._known[model]


def _catalogued(model: str) -> Price | None:
    """The price in the catalogue, which is a part of its library: nothing is fetched."""
    from genai_prices import Usage, calc_price

    provider, _, name = model.partition(":")
    try:
        sent = calc_price(Usage(input_tokens=1000), name or provider, provider_id=provider)
        received = calc_price(Usage(output_tokens=1000), name or provider, provider_id=provider)
    except LookupError:
        return None
    return Price(input=float(sent.total_price) * 1000, output=float(received.total_price) * 1000)


CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for English text and code; the exact count is settled afterwards."""

FIRST_ANSWER = 1_000
"""Tokens that an answer is taken to have before there was one."""

_NEW = 0.2


class Meter(Protocol):
    """Keeps the account of calls; :class:`recipelab.budget.Ledger` is one."""

    def reserve(self, tokens: int, cost: float | None) -> None:
        """Reserves a call, or raises :class:`recipelab.core.errors.BudgetSpent`."""
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
    characters += sum(map(_schema_length, schemas))
    return characters // CHARACTERS_PER_TOKEN


_MAX_SCHEMAS = 256
_SCHEMA_LENGTHS: dict[int, tuple[Mapping[str, Any], int]] = {}


def _schema_length(schema: Mapping[str, Any]) -> int:
    """Return the characters of a schema, counted once for each object.

    Tools give out the same object at every call. The table holds the schema itself, so that its
    id stays its own.
    """
    known = _SCHEMA_LENGTHS.get(id(schema))
    if known is not None:
        return known[1]
    if len(_SCHEMA_LENGTHS) >= _MAX_SCHEMAS:
        _SCHEMA_LENGTHS.clear()
    length = len(str(schema))
    _SCHEMA_LENGTHS[id(schema)] = (schema, length)
    return length
