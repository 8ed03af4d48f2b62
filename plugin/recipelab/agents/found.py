"""The charters that can be found from here: where each comes from, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from recipelab import content
from recipelab.agents.charter import (
    MARKER,
    Charter,
    charter_file,
    charter_names,
    load_charter,
    read_charter,
)
from recipelab.agents.seat import SEAT
from recipelab.errors import RecipelabError
from recipelab.pack import Pack

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
