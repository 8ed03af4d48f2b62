"""What model calls cost: prices by model, and the client that books each call."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from autogen_core.models import ChatCompletionClient, CreateResult, RequestUsage
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recipelab.core.content import read_toml
from recipelab.core.errors import ModelError, validation_problems
from recipelab.models.open import OFFLINE
from recipelab.models.wrappers import ModelRequest, Piece, SendRequest, WrappedClient

FREE = ("offline", "ollama:")
"""Models that run on the user's own machine."""

_MILLION = 1e6

CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for English text and code; the exact count is booked after the call."""

FIRST_ANSWER = 1_000
"""Estimated tokens of an answer before there was one."""

_NEWEST_WEIGHT = 0.2
"""Weight of the newest answer in the estimate of the next."""


class Price(BaseModel):
    """The price of a model, in US dollars for a million tokens.

    Attributes:
        input: For tokens sent.
        output: For tokens received.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class PriceTable(BaseModel):
    """A user's own prices, by model as it is written after ``--model``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prices: dict[str, Price]


class Prices:
    """Prices by model: the user's own come first, then those of a maintained catalog.

    Args:
        table: The user's own prices.
    """

    def __init__(self, table: Mapping[str, Price] | None = None) -> None:
        self._table = dict(table or {})
        self._catalog: dict[str, Price | None] = {}

    @classmethod
    def read(cls, file: Path | None) -> Prices:
        """Return prices with the user's own table.

        Args:
            file: A TOML file with ``[prices."openai:gpt-4o"]``, ``input`` and ``output``; ``None``
                for the catalog alone.

        Raises:
            ModelError: The file cannot be read; the message names the place.
        """
        if file is None:
            return cls()
        try:
            table = PriceTable.model_validate(read_toml(file))
        except OSError as error:
            raise ModelError(f"{file}: cannot be read: {error.strerror}") from None
        except ValidationError as error:
            lines = [f"{file}: {line}" for line in validation_problems(error, root="prices")]
            valid = 'valid: [prices."MODEL"] with input and output in dollars a million tokens'
            raise ModelError("\n".join([*lines, valid])) from None
        except ValueError as error:
            raise ModelError(f"{file}: not valid TOML: {error}") from None
        return cls(table.prices)

    def cost(self, model: str, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Return the cost of a call in US dollars; ``None`` if the price is unknown.

        Args:
            model: The model, as after ``--model``.
            prompt_tokens: Tokens sent.
            completion_tokens: Tokens received.
        """
        price = self.price(model)
        if price is None:
            return None
        return (price.input * prompt_tokens + price.output * completion_tokens) / _MILLION

    def check(self, models: Iterable[str]) -> None:
        """Check that a limit of money can be held.

        Raises:
            ModelError: The price of a model is unknown; the message says how to give it.
        """
        unknown = sorted({model for model in models if self.price(model) is None})
        if unknown:
            tables = ", ".join(f'[prices."{model}"]' for model in unknown)
            raise ModelError(
                f"no limit of money can be held: the price of {', '.join(unknown)} is unknown; "
                f"name it in a file with {tables}, input and output in dollars a million tokens, "
                "and give the file: --prices FILE (in a plan, prices)"
            )

    def price(self, model: str) -> Price | None:
        """Return the price of a model; ``None`` if it is unknown."""
        if model in self._table:
            return self._table[model]
        if model.startswith(FREE):
            return Price(input=0.0, output=0.0)
        if model not in self._catalog:
            self._catalog[model] = _catalog_price(model)
        return self._catalog[model]


def _catalog_price(model: str) -> Price | None:
    """Return the price in the catalog that is a part of its library: nothing is downloaded."""
    from genai_prices import Usage, calc_price

    provider, _, name = model.partition(":")
    try:
        sent = calc_price(Usage(input_tokens=1000), name or provider, provider_id=provider)
        received = calc_price(Usage(output_tokens=1000), name or provider, provider_id=provider)
    except LookupError:
        return None
    return Price(input=float(sent.total_price) * 1000, output=float(received.total_price) * 1000)


class Meter(Protocol):
    """Keeps the account of calls; :class:`recipelab.budget.Ledger` is one."""

    def reserve(self, tokens: int, cost: float | None) -> None:
        """Reserve a call, or raise :class:`recipelab.core.errors.BudgetSpent`."""
        ...

    def release(self, tokens: int, cost: float | None) -> None:
        """Give a reservation back."""
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
        """Book the tokens, the time and the cost of a call."""
        ...


class MeteredClient(WrappedClient):
    """Reserves tokens and money for each call, and books what it used.

    A call whose estimate exceeds what is left of the budget raises
    :class:`recipelab.core.errors.BudgetSpent` and is not made. An answer out of a cache costs
    nothing. Where a server does not say what a call used, its estimate is booked.

    Args:
        inner: The client inside.
        meter: Returns the account of the current run; ``None`` between runs. It is asked at each
            call, because a client outlives a run.
        specialist: The name that calls are booked under.
        model: The model, as it was asked for.
        prices: The prices of models.
    """

    def __init__(
        self,
        inner: ChatCompletionClient,
        meter: Callable[[], Meter | None],
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
        self._answer_tokens = float(FIRST_ANSWER)

    async def around(self, request: ModelRequest, send: SendRequest) -> AsyncGenerator[Piece, None]:
        """Answer a request while its estimated cost is reserved, and book the result."""
        with self._reserved(request):
            started = time.monotonic()
            async for piece in send(request):
                if isinstance(piece, CreateResult):
                    self._book(self._used(request, piece), time.monotonic() - started)
                yield piece

    @contextmanager
    def _reserved(self, request: ModelRequest) -> Iterator[None]:
        meter = self._meter()
        if meter is None:
            yield
            return
        sent, received = estimated_tokens(request), round(self._answer_tokens)
        cost = self._prices.cost(self._model, sent, received)
        meter.reserve(sent + received, cost)
        try:
            yield
        finally:
            meter.release(sent + received, cost)

    def _used(self, request: ModelRequest, result: CreateResult) -> RequestUsage:
        """Return the tokens that a call took, by its server, or else by the length of its texts."""
        if result.cached:
            return RequestUsage(prompt_tokens=0, completion_tokens=0)
        usage = result.usage
        if usage.prompt_tokens or usage.completion_tokens or self._model == OFFLINE:
            return usage
        return RequestUsage(
            prompt_tokens=estimated_tokens(request),
            completion_tokens=len(str(result.content)) // CHARACTERS_PER_TOKEN,
        )

    def _book(self, usage: RequestUsage, seconds: float) -> None:
        sent, received = usage.prompt_tokens, usage.completion_tokens
        if received:
            self._answer_tokens += _NEWEST_WEIGHT * (received - self._answer_tokens)
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


def estimated_tokens(request: ModelRequest) -> int:
    """Return about how many tokens a request sends, from its number of characters."""
    schemas = (tool if isinstance(tool, Mapping) else tool.schema for tool in request.tools)
    characters = sum(len(str(message.content)) for message in request.messages)
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
