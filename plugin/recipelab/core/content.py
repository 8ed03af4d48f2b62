"""Finds content and folders: charters, sandboxes and task packs, the cache, and recipelab's home.

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

HOME_FOLDER = ".recipelab"
HOME_VARIABLE = "RECIPELAB_HOME"
LINEAGE_VARIABLE = "RECIPELAB_LINEAGE"


def shipped_root() -> Path:
    """Return the folder of the shipped content: inside the package, or the top of a checkout."""
    inside = Path(__file__).parents[1] / "content"
    return inside if inside.is_dir() else Path(__file__).parents[3]


def roots(kind: str) -> tuple[Path, ...]:
    """Return the existing folders of one kind of content, the user's own first."""
    candidates = (Path.cwd() / kind, shipped_root() / kind, *installed(kind))
    found = [path.resolve() for path in candidates if path.is_dir()]
    return tuple(dict.fromkeys(found))


def installed(kind: str) -> tuple[Path, ...]:
    """Return the folders of one kind of content that other distributions bring, by name."""
    found: list[Path] = []
    for point in sorted(entry_points(group=f"recipelab.{kind}"), key=lambda point: point.name):
        try:
            spec = find_spec(point.module)
        except ModuleNotFoundError:
            # The parent package is gone: a broken installation of another distribution.
            continue
        if spec is not None:
            found += [Path(place) for place in spec.submodule_search_locations or ()]
    return tuple(found)


def names(kind: str, *, marker: str) -> tuple[str, ...]:
    """Return the names of the content of one kind; ``marker`` is that of :func:`find`."""
    found: set[str] = set()
    for root in roots(kind):
        if marker.startswith("."):
            found |= {path.stem for path in root.glob(f"*{marker}")}
        else:
            found |= {path.parent.name for path in root.glob(f"*/{marker}")}
    return tuple(sorted(found))


def find(kind: str, name: str, *, marker: str, what: str) -> Path:
    """Return the path of one piece of content.

    Args:
        kind: Name of the folder that holds it.
        name: Its name.
        marker: ``.md`` for files, or the file that every folder of the kind has, as ``pack.toml``.
        what: What it is called in the error, as ``"task pack"``.

    Raises:
        RecipelabError: Nothing has that name; the valid names are listed.
    """
    for root in roots(kind):
        path = root / f"{name}{marker}" if marker.startswith(".") else root / name / marker
        if path.is_file() and path.resolve().is_relative_to(root):
            return path
    raise RecipelabError(unknown_name(what, name, names(kind, marker=marker)))


def cache_root() -> Path:
    """Return the per-user cache folder of recipelab; ``$XDG_CACHE_HOME`` is respected."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "recipelab"


class Home:
    """The folder that holds ``lineage.db`` and ``campaigns/NAME/``.

    Args:
        root: The folder; made when something is first written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def find(cls, root: Path | None = None) -> Home:
        """Return the given folder, else ``$RECIPELAB_HOME``, else ``.recipelab`` here."""
        return cls((root or Path(os.environ.get(HOME_VARIABLE) or HOME_FOLDER)).absolute())

    @property
    def lineage(self) -> Path | str:
        """The lineage: the URL in ``$RECIPELAB_LINEAGE``, else the database file in the folder."""
        return os.environ.get(LINEAGE_VARIABLE) or self.root / "lineage.db"

    def campaign(self, name: str) -> Path:
        """Return the folder of one campaign."""
        return self.root / "campaigns" / name

    def is_locked(self, name: str) -> bool:
        """Return whether a process runs the campaign."""
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
        """Keep other processes from running the same campaign meanwhile.

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
