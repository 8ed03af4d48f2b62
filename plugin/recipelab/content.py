"""Finds the drop-in content: charters, sandboxes and task packs.

The folders ``agents/``, ``sandboxes/`` and ``task_packs/`` of the working directory come first,
then those that ship with recipelab, then those that other distributions bring: an entry point of
the group ``recipelab.agents``, ``recipelab.sandboxes`` or ``recipelab.task_packs`` names a package
that holds such content. The package is not imported.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from recipelab.errors import RecipelabError, unknown_name

AGENTS, SANDBOXES, TASK_PACKS = "agents", "sandboxes", "task_packs"


def shipped_root() -> Path:
    """The folder that holds the shipped content: beside the package, or the checkout's top."""
    inside = Path(__file__).parent / "content"
    return inside if inside.is_dir() else Path(__file__).parents[2]


def roots(kind: str) -> tuple[Path, ...]:
    """The existing folders of one kind of content, the user's own first."""
    candidates = (Path.cwd() / kind, shipped_root() / kind, *installed(kind))
    found = [path.resolve() for path in candidates if path.is_dir()]
    return tuple(dict.fromkeys(found))


def installed(kind: str) -> tuple[Path, ...]:
    """The folders of one kind of content that other distributions bring, by name."""
    found: list[Path] = []
    for point in sorted(entry_points(group=f"recipelab.{kind}"), key=lambda point: point.name):
        try:
            spec = find_spec(point.module)
        except ModuleNotFoundError:
            # Its parent package is gone: a broken installation of somebody else is not our error.
            continue
        if spec is not None:
            found += [Path(place) for place in spec.submodule_search_locations or ()]
    return tuple(found)


def names(kind: str, *, marker: str) -> tuple[str, ...]:
    """Names of the content of one kind: folders that hold ``marker``, or files that end in it."""
    found: set[str] = set()
    for root in roots(kind):
        if marker.startswith("."):
            found |= {path.stem for path in root.glob(f"*{marker}")}
        else:
            found |= {path.parent.name for path in root.glob(f"*/{marker}")}
    return tuple(sorted(found))


def find(kind: str, name: str, *, marker: str, what: str) -> Path:
    """The path of one piece of content.

    Args:
        kind: Name of the folder that holds it.
        name: Its name.
        marker: ``.md`` for files, or the file that makes a folder one, as ``pack.toml``.
        what: What to call it in the error.

    Raises:
        RecipelabError: There is none of that name; the valid names are listed.
    """
    for root in roots(kind):
        path = root / f"{name}{marker}" if marker.startswith(".") else root / name / marker
        if path.is_file() and path.resolve().is_relative_to(root):
            return path
    raise RecipelabError(unknown_name(what, name, names(kind, marker=marker)))
