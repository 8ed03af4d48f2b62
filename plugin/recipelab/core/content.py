"""Finds the drop-in content: charters, sandboxes and task packs.

The folders ``agents/``, ``sandboxes/`` and ``task_packs/`` of the working directory come first,
then those that ship with recipelab, then those that other distributions bring: an entry point of
the group ``recipelab.agents``, ``recipelab.sandboxes`` or ``recipelab.task_packs`` names a package
that holds such content. The package is not imported.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from recipelab.core.errors import RecipelabError, unknown_name

AGENTS, SANDBOXES, TASK_PACKS = "agents", "sandboxes", "task_packs"


def shipped_root() -> Path:
    """The folder that holds the shipped content: beside the package, or the checkout's top."""
    inside = Path(__file__).parents[1] / "content"
    return inside if inside.is_dir() else Path(__file__).parents[3]


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


def cache_root() -> Path:
    """The per-user cache folder of recipelab; ``$XDG_CACHE_HOME`` is respected."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "recipelab"


DEFAULT = ".recipelab"
VARIABLE = "RECIPELAB_HOME"
LINEAGE_VARIABLE = "RECIPELAB_LINEAGE"


class Home:
    """The folder that holds ``lineage.db`` and ``campaigns/NAME/``.

    Args:
        root: The folder; made when something is first written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def find(cls, root: Path | None = None) -> Home:
        """The folder asked for, else ``$RECIPELAB_HOME``, else ``.recipelab`` here."""
        return cls((root or Path(os.environ.get(VARIABLE) or DEFAULT)).absolute())

    @property
    def lineage(self) -> Path | str:
        """The lineage: the URL in ``$RECIPELAB_LINEAGE``, else the database file in the folder."""
        return os.environ.get(LINEAGE_VARIABLE) or self.root / "lineage.db"

    def campaign(self, name: str) -> Path:
        """The folder of one campaign."""
        return self.root / "campaigns" / name

    def is_locked(self, name: str) -> bool:
        """Whether some process runs a campaign."""
        try:
            with (self.campaign(name) / "lock").open() as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Keeps a second process from running the same campaign.

        Raises:
            RecipelabError: Another process runs it.
        """
        folder = self.campaign(name)
        folder.mkdir(parents=True, exist_ok=True)
        # The lock belongs to the open file, so it is gone with the process, however that dies.
        with (folder / "lock").open("a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                owner = stream.read().strip() or "?"
                raise RecipelabError(
                    f"campaign {name} is running already (process {owner})"
                ) from None
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            yield
