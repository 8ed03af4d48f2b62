"""Reads the table at the top of a Markdown file, and says in words what is wrong with it."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from recipelab.agents.evaluator_agent import SEAT
from recipelab.core import content
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.text import plain
from recipelab.models.open import CHOICES, OFFLINE, PROVIDERS
from recipelab.packs.pack import NAME, Pack
from recipelab.tools.names import LINEAGE_TOOLS, SUBMITTING, TOOLS

_PARTS = re.compile(r"\s*^---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)(.*)", re.DOTALL | re.MULTILINE)


def read_file(file: Path) -> str:
    """The text of a file.

    Raises:
        ValueError: It cannot be read, or is not text in UTF-8.
    """
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not text in UTF-8: byte {error.start} is not") from None


def split(text: str) -> tuple[dict[str, Any], str]:
    """Parts a file into front matter and body.

    Every scalar is taken as the text that it is, so that a surface can be called ``on`` or ``no``.

    Raises:
        ValueError: There is no front matter, or it is no table of distinct keys.
    """
    parts = _PARTS.match(text)
    if parts is None:
        raise ValueError("it must begin with front matter between two lines of ---")
    try:
        node = yaml.compose(parts[1], yaml.BaseLoader)
        if not isinstance(node, yaml.MappingNode):
            raise ValueError("front matter must be a table of name, title, surfaces")
        _check_keys(node)
        table: dict[str, Any] = yaml.load(parts[1], yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"front matter is not valid YAML: {plain(str(error))}") from None
    except RecursionError:
        raise ValueError("front matter is not valid: it is nested too deep") from None
    return table, parts[2].strip()


def _check_keys(node: yaml.MappingNode) -> None:
    """YAML would take the last of two keys of one name and say nothing."""
    seen: set[str] = set()
    for key, _ in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else None
        if name is None:
            raise ValueError("front matter: a key must be a word")
        if name in seen:
            raise ValueError(f"{plain(name)}: the key is there twice")
        seen.add(name)


def explained(error: ValidationError, keys: Sequence[str]) -> list[str]:
    """What is wrong, a line for each mistake.

    Args:
        error: What the model of the table has raised.
        keys: The valid keys.
    """
    return [_line(item, keys) for item in error.errors(include_url=False)]


def _line(item: ErrorDetails, keys: Sequence[str]) -> str:
    place = plain(".".join(str(part) for part in item["loc"]))
    message = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        return message
    if item["type"] == "extra_forbidden":
        return f"{place}: no such key; valid keys: {', '.join(keys)}"
    valid = VALID[str(item["loc"][0])]
    if item["type"] == "missing":
        return f"{place}: the key is missing; valid: {valid}"
    return f"{place}: {message} (it is {reprlib.repr(item['input'])}); valid: {valid}"


SURFACE = r"^(\*|[a-z][a-z0-9_]{0,63})$"
"""The name of a surface, or the star that stands for all."""

_WORD = "lower-case letters, digits and _, with a letter first"

VALID: Mapping[str, str] = {
    "name": f"{_WORD}; the same as the file's",
    "title": "one line of at most 100 characters",
    "surfaces": f"a list of names ({_WORD}), or ['*'] for every surface of the pack",
    "body": "instructions below the front matter",
    "model": ", ".join(CHOICES),
    "tools": f"a list of {', '.join(TOOLS)}",
    "temperature": "a number from 0 to 2",
    "guided": "true, false",
}
"""The valid values of each key, in words."""


def check_surfaces(surfaces: tuple[str, ...]) -> tuple[str, ...]:
    """Checks the surfaces of a charter.

    Raises:
        ValueError: One is named twice, or the star does not stand alone.
    """
    _check_once(surfaces)
    if "*" in surfaces and len(surfaces) > 1:
        raise ValueError("* stands for every surface, so it stands alone")
    return surfaces


def check_model(spec: str) -> str:
    """Checks that the specification of a model is of a known form; nothing is opened.

    Raises:
        ValueError: It is of none.
    """
    provider, _, name = spec.partition(":")
    if spec != OFFLINE and not spec.endswith(".json") and not (provider in PROVIDERS and name):
        raise ValueError("no such model")
    return spec


def check_tools(tools: tuple[str, ...]) -> tuple[str, ...]:
    """Checks the tools of a charter.

    Raises:
        ValueError: One is unknown or named twice, or none asks the lineage, or none submits: an
            agent with these tools could never start a trial.
    """
    _check_once(tools)
    for tool in tools:
        if tool not in TOOLS:
            raise ValueError(unknown_name("tool", tool, TOOLS))
    for needed, why in ((SUBMITTING, "submits a trial"), (LINEAGE_TOOLS, "asks the lineage")):
        if not set(needed) & set(tools):
            raise ValueError(f"none of them {why}; add one of: {', '.join(needed)}")
    return tools


def _check_once(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{name!r} is there twice")
        seen.add(name)


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


SHIPPED, PROJECT = "shipped", "project"
RESERVED = (SEAT, "user")
"""Names in the group chat that are taken."""


@dataclass(frozen=True)
class FoundCharter:
    """A charter file.

    Attributes:
        name: Its name.
        file: Where it lies.
        origin: ``shipped`` with recipelab, or of the ``project`` in the working directory.
        replaces: Whether it stands in front of a shipped one of the same name.
        charter: What it holds; ``None`` if it cannot be read.
        problem: Why it cannot be read.
    """

    name: str
    file: Path
    origin: str
    replaces: bool
    charter: Charter | None
    problem: str | None


def found_charters() -> tuple[FoundCharter, ...]:
    """All charters that can be found from here, those that cannot be read too."""
    return tuple(_found(name) for name in charter_names())


def _found(name: str) -> FoundCharter:
    file = charter_file(name)
    shipped = (content.shipped_root() / content.AGENTS).resolve() / f"{name}{MARKER}"
    ours = file.resolve() == shipped.resolve()
    charter, problem = None, None
    try:
        charter = read_charter(file)
    except RecipelabError as error:
        # One that cannot be read must not hide the others.
        problem = str(error)
    origin = SHIPPED if ours else PROJECT
    return FoundCharter(name, file, origin, not ours and shipped.is_file(), charter, problem)


def charter_of(name_or_file: str) -> Charter:
    """Reads a charter by its name, or by a path that holds a ``/`` or ends in ``.md``.

    Raises:
        RecipelabError: There is none, or it cannot be read.
    """
    is_file = "/" in name_or_file or name_or_file.endswith(MARKER)
    return read_charter(Path(name_or_file)) if is_file else load_charter(name_or_file)


def charter_problems(names: Iterable[str]) -> list[str]:
    """Everything that is wrong with some charters, a line for each mistake.

    Args:
        names: Names of charters, or paths of their files.
    """
    problems: list[str] = []
    for name in names:
        try:
            problems += _problems_of(charter_of(name))
        except RecipelabError as error:
            problems += str(error).splitlines()
    return problems


def _problems_of(charter: Charter) -> Iterator[str]:
    where = f"charter {charter.name}"
    if charter.name in RESERVED:
        yield f"{where}: name: the group chat has a {charter.name} already; choose another name"
    model = charter.model or ""
    if model.endswith(".json") and not Path(model).is_file():
        yield f"{where}: model: there is no file {model} (a path starts at the working directory)"


def pack_problems(pack: Pack) -> list[str]:
    """What keeps a pack's specialists from working on it, a line for each mistake."""
    problems = _twice(pack)
    owned: set[str] = set()
    for name in dict.fromkeys(pack.specialists):
        try:
            owned |= set(load_charter(name).on(pack.surface_names).surfaces)
        except RecipelabError as error:
            problems += [f"pack {pack.name}: specialists: {line}" for line in _lines(error)]
    for surface in pack.surface_names:
        if surface not in owned:
            problems.append(f"pack {pack.name}: surface {surface}: no specialist of it owns it")
    return problems


def _twice(pack: Pack) -> list[str]:
    names = pack.specialists
    return [
        f"pack {pack.name}: specialists: {name!r} is there twice"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]


def _lines(error: RecipelabError) -> list[str]:
    return str(error).splitlines()
