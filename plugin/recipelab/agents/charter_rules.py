"""What single keys of a charter may hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from recipelab.errors import unknown_name
from recipelab.models.providers import PROVIDERS
from recipelab.models.registry import CHOICES, OFFLINE
from recipelab.tool_names import LINEAGE_TOOLS, SUBMITTING, TOOLS

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
