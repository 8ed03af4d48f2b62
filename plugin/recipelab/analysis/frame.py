"""A campaign's trials as a frame of pandas or Polars, where one of them is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from recipelab.errors import RecipelabError, unknown_name
from recipelab.exchange.tables import trial_rows
from recipelab.lineage import LineageStore

LIBRARIES = ("pandas", "polars")


def frame(store: LineageStore, campaign: str, library: str | None = None) -> Any:
    """The trials of a campaign, a row each.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        library: ``pandas`` or ``polars``; ``None`` takes the first that is installed.

    Returns:
        A data frame of the library, with the columns of ``recipelab export --format csv``.

    Raises:
        RecipelabError: There is no such campaign or library, or it is not installed.
    """
    if library is not None and library not in LIBRARIES:
        raise RecipelabError(unknown_name("library", library, LIBRARIES))
    wanted = LIBRARIES if library is None else (library,)
    found = next((name for name in wanted if find_spec(name) is not None), None)
    if found is None:
        raise RecipelabError(f"a frame needs {' or '.join(wanted)}; install it with pip")
    return import_module(found).DataFrame(list(trial_rows(store, campaign)))
