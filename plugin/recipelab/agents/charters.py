"""Finding charters: those of the working directory, and those that ship with recipelab."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipelab.agents.charter import Charter, read_charter
from recipelab.agents.evaluator_agent import EVALUATOR
from recipelab.core import content
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.packs.pack import Pack

SUFFIX = ".md"

SHIPPED, PROJECT = "shipped", "project"
"""Origins of a charter."""

RESERVED = (EVALUATOR, "user")
"""Names that the group chat has for others than specialists."""


def charter_names() -> tuple[str, ...]:
    """Return the names of the charters that can be found from the working directory."""
    return tuple(name for name in content.names(content.AGENTS, marker=SUFFIX) if name != "README")


def charter_file(name: str) -> Path:
    """Return the file of a charter.

    Raises:
        RecipelabError: There is no charter of that name; the valid names are listed.
    """
    if name not in charter_names():
        raise RecipelabError(unknown_name("charter", name, charter_names()))
    return content.find(content.AGENTS, name, marker=SUFFIX, what="charter")


def load_charter(name: str) -> Charter:
    """Read a charter by its name.

    Raises:
        RecipelabError: There is no charter of that name.
        CharterError: It cannot be read.
    """
    return read_charter(charter_file(name))


def charter_of(name_or_file: str) -> Charter:
    """Read a charter by its name, or by a path that holds a ``/`` or ends in ``.md``.

    Raises:
        RecipelabError: There is no such charter, or it cannot be read.
    """
    is_file = "/" in name_or_file or name_or_file.endswith(SUFFIX)
    return read_charter(Path(name_or_file)) if is_file else load_charter(name_or_file)


@dataclass(frozen=True)
class FoundCharter:
    """A charter file that was found, whether or not it can be read.

    Attributes:
        name: The name of the charter.
        file: The file.
        origin: ``shipped`` with recipelab, or of the ``project`` in the working directory.
        replaces: Whether it replaces a shipped one of the same name.
        charter: The charter; ``None`` if the file cannot be read.
        problem: The reason why it cannot be read.
    """

    name: str
    file: Path
    origin: str
    replaces: bool
    charter: Charter | None
    problem: str | None


def found_charters() -> tuple[FoundCharter, ...]:
    """Return all charters that can be found from the working directory."""
    return tuple(_found(name) for name in charter_names())


def _found(name: str) -> FoundCharter:
    file = charter_file(name)
    shipped = (content.shipped_root() / content.AGENTS).resolve() / f"{name}{SUFFIX}"
    is_shipped = file.resolve() == shipped.resolve()
    charter, problem = None, None
    try:
        charter = read_charter(file)
    except RecipelabError as error:
        # A file that cannot be read must not hide the others.
        problem = str(error)
    return FoundCharter(
        name,
        file,
        SHIPPED if is_shipped else PROJECT,
        not is_shipped and shipped.is_file(),
        charter,
        problem,
    )


def charter_problems(names: Iterable[str]) -> list[str]:
    """Return a line for every mistake in some charters.

    Args:
        names: Names of charters, or paths of their files.
    """
    problems: list[str] = []
    for name in names:
        try:
            charter = charter_of(name)
        except RecipelabError as error:
            problems += str(error).splitlines()
            continue
        where = f"charter {charter.name}"
        if charter.name in RESERVED:
            problems.append(
                f"{where}: name: the group chat has a participant {charter.name} already; "
                "choose another name"
            )
        model = charter.model or ""
        if model.endswith(".json") and not os.path.isfile(model):
            problems.append(
                f"{where}: model: there is no file {model} (a relative path starts at the working "
                "directory)"
            )
    return problems


def pack_problems(pack: Pack) -> list[str]:
    """Return a line for every mistake that keeps a pack's specialists from working on it."""
    names = pack.specialists
    distinct = tuple(dict.fromkeys(names))
    where = f"pack {pack.name}"
    problems = [
        f"{where}: specialists: {name!r} is there twice"
        for name in distinct
        if names.count(name) > 1
    ]
    owned: set[str] = set()
    for name in distinct:
        try:
            owned |= set(load_charter(name).on(pack.surface_names).surfaces)
        except RecipelabError as error:
            problems += [f"{where}: specialists: {line}" for line in str(error).splitlines()]
    problems += [
        f"{where}: surface {surface}: no specialist of the pack owns it{_who_could(surface, names)}"
        for surface in pack.surface_names
        if surface not in owned
    ]
    return problems


def _who_could(surface: str, taken: Sequence[str]) -> str:
    """Return the end of a message: the charters that can be had and would own a surface."""
    found = []
    for name in charter_names():
        if name in taken:
            continue
        try:
            owns = load_charter(name).on((surface,)).surfaces
        except RecipelabError:
            continue
        found += [name] * bool(owns)
    # One of the surface's own name fits best; one that owns any comes last.
    found.sort(key=lambda name: (name != surface, name))
    if not found:
        return "; none that can be found fits: write a charter agents/NAME.md (docs/charters.md)"
    return f"; add to specialists: {' or '.join(found[:3])}"
