"""Charters: one Markdown file makes a specialist."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from recipelab import content
from recipelab.agents.charter_rules import SURFACE, check_model, check_surfaces, check_tools
from recipelab.agents.front_matter import explained, read_file, split
from recipelab.errors import RecipelabError, unknown_name
from recipelab.pack import NAME

MARKER = ".md"
EVERY = "*"
"""Stands for every surface of a pack."""

_SurfaceName = Annotated[str, Field(pattern=SURFACE)]


class CharterError(RecipelabError):
    """A charter cannot be read; the message names the file, the key and the valid values."""


class Charter(BaseModel):
    """What makes an agent a specialist.

    Attributes:
        name: The agent's name; a Python identifier, as AutoGen asks.
        title: What to call it; one line.
        surfaces: The surfaces that it owns; ``*`` alone stands for all of the pack.
        body: Its instructions, in Markdown.
        model: Specification of its model; ``None`` for the campaign's.
        tools: Names of the tools that it may use; ``None`` for all but ``turn_knob``.
        guided: Whether its model is led through its tools one by one, in their order.
        temperature: Sampling temperature of its model; ``None`` leaves it to the provider.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME)
    title: str = Field(pattern=r"^\S[^\r\n]*$", max_length=100)
    surfaces: Annotated[tuple[_SurfaceName, ...], AfterValidator(check_surfaces)] = Field(
        min_length=1
    )
    body: str = Field(min_length=1)

    model: Annotated[str, AfterValidator(check_model)] | None = None
    tools: Annotated[tuple[str, ...], AfterValidator(check_tools)] | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    guided: bool = False

    @model_validator(mode="after")
    def _led_through_tools(self) -> Self:
        if self.guided and self.tools is None:
            raise ValueError("guided: it needs the key tools, which gives the order of the steps")
        return self

    def on(self, surfaces: Sequence[str]) -> Charter:
        """The charter in a pack: ``*`` becomes every surface of it.

        Args:
            surfaces: The surfaces of the pack.

        Raises:
            CharterError: It owns a surface that the pack lacks.
        """
        if self.surfaces == (EVERY,):
            return self.model_copy(update={"surfaces": tuple(surfaces)})
        for surface in self.surfaces:
            if surface not in surfaces:
                raise CharterError(
                    f"charter {self.name}: {unknown_name('surface', surface, surfaces)}"
                )
        return self


def charter_names() -> tuple[str, ...]:
    """Names of the charters that can be found from here."""
    return tuple(name for name in content.names(content.AGENTS, marker=MARKER) if name != "README")


def charter_file(name: str) -> Path:
    """The file of a charter.

    Raises:
        RecipelabError: There is no charter of that name; the valid names are listed.
    """
    if name not in charter_names():
        raise RecipelabError(unknown_name("charter", name, charter_names()))
    return content.find(content.AGENTS, name, marker=MARKER, what="charter")


def load_charter(name: str) -> Charter:
    """Reads the charter of a specialist.

    Raises:
        RecipelabError: There is no charter of that name.
        CharterError: It cannot be read.
    """
    return read_charter(charter_file(name))


def read_charter(file: Path) -> Charter:
    """Reads one charter file.

    Raises:
        CharterError: It cannot be read; every mistake of the front matter is told, with the file,
            the key and the valid values.
    """
    try:
        head, body = split(read_file(file))
    except ValueError as error:
        raise CharterError(f"{file}: {error}") from None
    keys = [key for key in Charter.model_fields if key != "body"]
    if "body" in head:
        raise CharterError(f"{file}: body: no such key; valid keys: {', '.join(keys)}")
    try:
        charter = Charter.model_validate({**head, "body": body})
    except ValidationError as error:
        lines = [f"{file}: {line}" for line in explained(error, keys)]
        raise CharterError("\n".join(lines)) from None
    if charter.name != file.stem:
        raise CharterError(f"{file}: name: it is {charter.name!r}, but the file is {file.name}")
    return charter
