"""Implementations by name: those that ship with recipelab, and those of other distributions."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar, cast

from recipelab.core.errors import RecipelabError, unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """The implementations of one protocol, by name.

    Another distribution adds one through an entry point of the registry's group. What ships with
    recipelab cannot be replaced by an entry point of the same name, so that a name in a pack means
    the same on every machine.

    Args:
        what: What one of them is called in an error, as ``"speaker policy"``.
        group: Group of the entry points, as ``"recipelab.speakers"``.
        builtin: Name to ``"module:attribute"`` of those that ship. They are imported when they are
            first asked for.

    Examples:
        .. code-block:: toml

            [project.entry-points."recipelab.speakers"]
            newest-first = "my_package.speakers:NewestFirst"
    """

    def __init__(self, what: str, group: str, builtin: Mapping[str, str]) -> None:
        self.what = what
        self.group = group
        self._builtin = dict(builtin)

    def __contains__(self, name: object) -> bool:
        """Whether an implementation has that name."""
        return name in self._builtin or (
            isinstance(name, str) and bool(entry_points(group=self.group, name=name))
        )

    def names(self) -> tuple[str, ...]:
        """Return the valid names: those that ship first, then those of other distributions."""
        others = {point.name for point in entry_points(group=self.group)}
        return (*self._builtin, *sorted(others - set(self._builtin)))

    def get(self, name: str) -> T:
        """Return the implementation of that name.

        Raises:
            RecipelabError: No implementation has that name (the valid ones are listed), or the
                distribution that brings it cannot be imported.
        """
        if name in self._builtin:
            module, _, attribute = self._builtin[name].partition(":")
            return cast("T", getattr(import_module(module), attribute))
        for point in entry_points(group=self.group, name=name):
            try:
                return cast("T", point.load())
            except (ImportError, AttributeError) as error:
                raise RecipelabError(
                    f"{self.what} {name!r} of {point.value!r} cannot be loaded: {error}"
                ) from error
        raise RecipelabError(unknown_name(self.what, name, self.names()))
