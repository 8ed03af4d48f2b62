"""What models cost: the user's own table first, then a maintained catalogue."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recipelab.errors import ModelError

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
