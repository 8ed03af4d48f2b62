"""Finds the drop-in content: charters, sandboxes and task packs.

The folders ``agents/``, ``sandboxes/`` and ``task_packs/`` of the working directory come first,
then those that ship with recipelab.
"""

from __future__ import annotations

from pathlib import Path

from recipelab.errors import RecipelabError, unknown_name

AGENTS, SANDBOXES, TASK_PACKS = "agents", "sandboxes", "task_packs"


def shipped_root() -> Path:
    """The folder that holds the shipped content: beside the package, or the checkout's top."""
    inside = Path(__file__).parent / "content"
    return inside if inside.is_dir() else Path(__file__).parents[2]


def roots(kind: str) -> tuple[Path, ...]:
    """The existing folders of one kind of content, the user's own first."""
    candidates = (Path.cwd() / kind, shipped_root() / kind)
    found = [path.resolve() for path in candidates if path.is_dir()]
    return tuple(dict.fromkeys(found))


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
