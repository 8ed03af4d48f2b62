"""Charters: one Markdown file makes a specialist."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from recipelab import content
from recipelab.errors import RecipelabError, unknown_name
from recipelab.pack import NAME
from recipelab.tool_names import LINEAGE_TOOLS, SUBMITTING, TOOLS

MARKER = ".md"
KEYS = ("name", "title", "surfaces", "model", "tools", "temperature", "guided")
EVERY = "*"
"""Stands for every surface of a pack."""


class CharterError(RecipelabError):
    """A charter cannot be read; the message names the file, the key and the valid values."""


class Charter(BaseModel):
    """What makes an agent a specialist.

    Attributes:
        name: The agent's name; a Python identifier, as AutoGen asks.
        title: What to call it.
        surfaces: The surfaces that it owns.
        body: Its instructions, in Markdown.
        model: Specification of its model; ``None`` for the campaign's.
        tools: Names of the tools that it may use; ``None`` for all.
        guided: Whether its model is led through its tools one by one, in their order.
        temperature: Sampling temperature of its model; ``None`` leaves it to the provider.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME)
    title: str
    surfaces: tuple[str, ...] = Field(min_length=1)
    body: str = Field(min_length=1)

    model: str | None = None
    tools: tuple[str, ...] | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    guided: bool = False

    @field_validator("tools")
    @classmethod
    def _usable(cls, tools: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if tools is None:
            return None
        for name in tools:
            if name not in TOOLS:
                raise ValueError(unknown_name("tool", name, TOOLS))
        for needed in (SUBMITTING, LINEAGE_TOOLS):
            if not set(tools) & set(needed):
                raise ValueError(f"one of these must be among them: {', '.join(needed)}")
        return tools

    @model_validator(mode="after")
    def _led(self) -> Self:
        if self.guided and self.tools is None:
            raise ValueError("guided needs tools: the order in which they are called")
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


def load_charter(name: str) -> Charter:
    """Reads the charter of a specialist.

    Raises:
        RecipelabError: There is no charter of that name.
        CharterError: It cannot be read.
    """
    return read_charter(content.find(content.AGENTS, name, marker=MARKER, what="charter"))


def read_charter(file: Path) -> Charter:
    """Reads one charter file; see :func:`load_charter`."""
    head, body = _split(file)
    try:
        charter = Charter.model_validate({**head, "body": body.strip()})
    except ValidationError as error:
        lines = []
        for item in error.errors(include_url=False):
            place = ".".join(str(part) for part in item["loc"])
            lines.append(f"{file}: {place}: {item['msg']}; valid keys: {', '.join(KEYS)}")
        raise CharterError("\n".join(lines)) from None
    if charter.name != file.stem:
        raise CharterError(f"{file}: name: it is {charter.name!r}, but the file is {file.name}")
    return charter


def _split(file: Path) -> tuple[dict[str, Any], str]:
    parts = file.read_text("utf-8").split("---\n", 2)
    if len(parts) != 3 or parts[0].strip():
        raise CharterError(f"{file}: it must begin with front matter between two lines of ---")
    try:
        head = yaml.safe_load(parts[1])
    except yaml.YAMLError as error:
        raise CharterError(f"{file}: front matter is not valid YAML: {error}") from None
    if not isinstance(head, dict):
        raise CharterError(f"{file}: front matter must be a table of name, title, surfaces")
    return head, parts[2]
