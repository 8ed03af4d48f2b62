"""Charters: the Markdown files that make an agent a specialist, and how one is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from recipelab.core.content import read_limited
from recipelab.core.errors import RecipelabError, unknown_name, validation_problems
from recipelab.core.text import plain
from recipelab.models.open import CHOICES, OFFLINE, PROVIDERS
from recipelab.packs.judging_sections import NAME
from recipelab.tools.names import LINEAGE_TOOLS, SUBMITTING, TOOLS

EVERY_SURFACE = "*"
"""Stands for every surface of a pack."""

MAX_CHARTER_BYTES = 400_000
"""A longer charter is refused: no model could be given it as its instructions."""
MAX_FRONT_MATTER = 20_000
"""Characters of front matter at most; a parser of YAML takes seconds for many more."""

_NAME_IN_WORDS = "lower-case letters, digits and _, with a letter first"

Effort = Literal["minimal", "low", "medium", "high"]

VALID: Mapping[str, str] = {
    "name": f"{_NAME_IN_WORDS}; the same as the file's",
    "title": "one line of at most 100 characters",
    "surfaces": f"a list of names ({_NAME_IN_WORDS}), or ['*'] for every surface of the pack",
    "body": "instructions below the front matter",
    "model": ", ".join(CHOICES),
    "tools": f"a list of {', '.join(TOOLS)}",
    "temperature": "a number from 0 to 2",
    "max_tokens": "a whole number from 1",
    "reasoning_effort": ", ".join(get_args(Effort)),
    "share": "a number from 0 to 0.5",
    "guided": "true, false",
    "workbench": "a JSON file beside the charter: the component of an AutoGen workbench or tool",
}
"""The valid values of each key, in words."""

_SurfaceName = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9_]{0,63})$")]


class CharterError(RecipelabError):
    """A charter cannot be read; the message names the file, the key and the valid values."""


class Charter(BaseModel):
    """The front matter and the body of a charter.

    Attributes:
        name: The agent's name; a Python identifier, as AutoGen asks.
        title: Its title; one line.
        surfaces: The surfaces that it owns; ``*`` alone stands for all of the pack.
        body: Its instructions, in Markdown.
        model: Specification of its model; ``None`` for the campaign's.
        tools: Names of the tools that it may use; ``None`` for all but those of
            :data:`~recipelab.tools.names.BY_NAME`.
        temperature: Sampling temperature of its model; ``None`` leaves it to the provider.
        max_tokens: Tokens of one answer of its model at most; ``None`` for the campaign's limit.
        reasoning_effort: How much a reasoning model is to think; ``None`` leaves it to the
            provider. Models that do not reason refuse it.
        share: Share of the trials that is its own, whatever its credit; 0 for none.
        guided: Whether its model is led through its tools one by one, in their order.
        workbench: File with the component of a workbench or a tool from outside, as for literature;
            ``None`` for none. A specialist that is told nothing of past trials never has it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME)
    title: str = Field(pattern=r"^\S[^\r\n]*$", max_length=100)
    surfaces: tuple[_SurfaceName, ...] = Field(min_length=1)
    body: str = Field(min_length=1)

    model: str | None = None
    tools: tuple[str, ...] | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    reasoning_effort: Effort | None = None
    share: float = Field(default=0.0, ge=0, le=0.5)
    guided: bool = False
    workbench: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._/-]+\.json$")

    @field_validator("surfaces")
    @classmethod
    def _check_surfaces(cls, surfaces: tuple[str, ...]) -> tuple[str, ...]:
        _check_unique(surfaces)
        if EVERY_SURFACE in surfaces and len(surfaces) > 1:
            raise ValueError("* stands for every surface, so it stands alone")
        return surfaces

    @field_validator("model")
    @classmethod
    def _check_model(cls, spec: str | None) -> str | None:
        """Check the form of the specification; nothing is opened."""
        if spec is None or spec == OFFLINE or spec.endswith(".json"):
            return spec
        provider, _, name = spec.partition(":")
        if provider not in PROVIDERS or not name:
            raise ValueError("no such model")
        return spec

    @field_validator("tools")
    @classmethod
    def _check_tools(cls, tools: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Check the names, and that an agent with these tools could start a trial at all."""
        if tools is None:
            return None
        _check_unique(tools)
        for tool in tools:
            if tool not in TOOLS:
                raise ValueError(unknown_name("tool", tool, TOOLS))
        for needed, use in ((SUBMITTING, "submits a trial"), (LINEAGE_TOOLS, "asks the lineage")):
            if not set(needed) & set(tools):
                raise ValueError(f"none of them {use}; add one of: {', '.join(needed)}")
        return tools

    @model_validator(mode="after")
    def _check_guided(self) -> Self:
        if self.guided and self.tools is None:
            raise ValueError("guided: it needs the key tools, which gives the order of the steps")
        return self

    def on(self, surfaces: Sequence[str]) -> Charter:
        """Return the charter with the surfaces that it owns in a pack.

        Args:
            surfaces: The surfaces of the pack; ``*`` becomes all of them.

        Raises:
            CharterError: It owns a surface that the pack lacks.
        """
        if self.surfaces == (EVERY_SURFACE,):
            return self.model_copy(update={"surfaces": tuple(surfaces)})
        for surface in self.surfaces:
            if surface not in surfaces:
                raise CharterError(
                    f"charter {self.name}: {unknown_name('surface', surface, surfaces)}"
                )
        return self


def _check_unique(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is there twice")


def read_charter(file: Path) -> Charter:
    """Read one charter file.

    Raises:
        CharterError: It cannot be read; the message has a line for every mistake of the front
            matter, with the file, the key and the valid values.
    """
    try:
        # Line ends as in any text file: those of Windows become plain ones.
        text = read_limited(file, MAX_CHARTER_BYTES).decode("utf-8-sig")
        head, body = _split(text.replace("\r\n", "\n").replace("\r", "\n"))
    except OSError as error:
        raise CharterError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CharterError(f"{file}: not text in UTF-8: byte {error.start} is invalid") from None
    except ValueError as error:
        raise CharterError(f"{file}: {error}") from None
    keys = sorted(set(Charter.model_fields) - {"body"})
    if "body" in head:
        raise CharterError(f"{file}: body: no such key; valid: {', '.join(keys)}")
    try:
        charter = Charter.model_validate({**head, "body": body})
    except ValidationError as error:
        lines = (f"{file}: {plain(line)}" for line in _problems(error, keys))
        raise CharterError("\n".join(lines)) from None
    if charter.workbench is not None:
        place = file.parent / charter.workbench
        if not place.is_file():
            raise CharterError(
                f"{file}: workbench: no file {charter.workbench!r} beside the charter"
            )
        charter = charter.model_copy(update={"workbench": str(place)})
    if charter.name != file.stem:
        raise CharterError(f"{file}: name: it is {charter.name!r}, but the file is {file.name}")
    return charter


_FRONT_MATTER = re.compile(r"\s*^---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)(.*)", re.DOTALL | re.MULTILINE)


def _split(text: str) -> tuple[dict[str, Any], str]:
    """Split the text of a charter into front matter and body.

    Every scalar is read as the text that it is, so that a surface can be called ``on`` or ``no``.

    Raises:
        ValueError: There is no front matter, or it is not a table of distinct keys.
    """
    parts = _FRONT_MATTER.match(text)
    if parts is None:
        raise ValueError("it must begin with front matter between two lines of ---")
    if len(parts[1]) > MAX_FRONT_MATTER:
        raise ValueError(f"front matter: at most {MAX_FRONT_MATTER:,} characters are read")
    try:
        node = yaml.compose(parts[1], yaml.BaseLoader)
        if not isinstance(node, yaml.MappingNode):
            raise ValueError("front matter must be a table of name, title, surfaces")
        # YAML itself would silently take the last of two values of one key.
        keys = [key.value if isinstance(key, yaml.ScalarNode) else None for key, _ in node.value]
        for key in keys:
            if key is None:
                raise ValueError("front matter: a key must be a word")
            if keys.count(key) > 1:
                raise ValueError(f"{plain(key)}: the key is there twice")
        return yaml.load(parts[1], yaml.BaseLoader), parts[2].strip()
    except yaml.YAMLError as error:
        raise ValueError(f"front matter is not valid YAML: {plain(str(error))}") from None
    except RecursionError:
        raise ValueError("front matter is not valid: it is nested too deep") from None


def _problems(error: ValidationError, keys: Iterable[str]) -> list[str]:
    """Return a line for each mistake, with the valid keys or the valid values of its key."""
    lines = validation_problems(error, root="charter", valid=lambda place: keys)
    mistaken = [str(item["loc"][0]) if item["loc"] else "" for item in error.errors()]
    return [
        f"{line}; valid: {VALID[key]}" if key in VALID else line
        for line, key in zip(lines, mistaken, strict=True)
    ]
