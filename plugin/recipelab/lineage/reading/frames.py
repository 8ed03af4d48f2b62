"""A page of trials that can become a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from typing import Any, overload

from recipelab.core.errors import LineageError
from recipelab.lineage.answers import TrialBrief


class TrialBriefs(Sequence[TrialBrief]):
    """Trials in order.

    Args:
        items: The trials.
    """

    def __init__(self, items: Sequence[TrialBrief]) -> None:
        self._items = tuple(items)

    @overload
    def __getitem__(self, index: int) -> TrialBrief: ...

    @overload
    def __getitem__(self, index: slice) -> TrialBriefs: ...

    def __getitem__(self, index: int | slice) -> TrialBrief | TrialBriefs:
        if isinstance(index, slice):
            return TrialBriefs(self._items[index])
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"TrialBriefs({len(self)} trials)"

    def columns(self) -> dict[str, list[Any]]:
        """The values by column, in plain types: names of closed lists as text, parents as lists."""
        names = [field.name for field in fields(TrialBrief)]
        return {name: [_plain(getattr(item, name)) for item in self] for name in names}

    def to_pandas(self) -> Any:
        """The trials as a pandas ``DataFrame``.

        Raises:
            LineageError: pandas is not installed.
        """
        return _library("pandas").DataFrame(self.columns())

    def to_polars(self) -> Any:
        """The trials as a Polars ``DataFrame``.

        Raises:
            LineageError: Polars is not installed.
        """
        return _library("polars").DataFrame(self.columns(), strict=False)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise LineageError(f"a frame needs {name}, which is missing: pip install {name}") from error
