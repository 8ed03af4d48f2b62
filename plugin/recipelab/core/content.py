"""Finds content and folders: charters, sandboxes and task packs, the cache, and recipelab's home.

The folders ``agents/``, ``sandboxes/`` and ``task_packs/`` of the working directory come first,
then those that ship with recipelab, then those that other distributions bring: an entry point of
the group ``recipelab.agents``, ``recipelab.sandboxes`` or ``recipelab.task_packs`` names a package
that holds such content. The package is not imported.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NamedTuple

from recipelab.core.errors import RecipelabError, unknown_name

AGENTS, SANDBOXES, TASK_PACKS = "agents", "sandboxes", "task_packs"

HOME_FOLDER = ".recipelab"
HOME_VARIABLE = "RECIPELAB_HOME"
LINEAGE_VARIABLE = "RECIPELAB_LINEAGE"

LOCK, CLAIM = "lock", "claim"
"""Files in a campaign's folder: held by the process that runs it, and by whoever chose its name."""

MAX_TEXT_BYTES = 4_000_000
"""The longest file of settings, instructions or code that is read."""

MAX_KEY_PARTS = 64
_DEEP_KEY = re.compile(rf"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){{{MAX_KEY_PARTS - 1}}}""")


def shipped_root() -> Path:
    """Return the folder of the shipped content: inside the package, or the top of a checkout."""
    inside = Path(__file__).parents[1] / "content"
    return inside if inside.is_dir() else Path(__file__).parents[3]


def roots(kind: str) -> tuple[Path, ...]:
    """Return the existing folders of one kind of content, the user's own first."""
    candidates = (Path.cwd() / kind, shipped_root() / kind, *(one.folder for one in provided(kind)))
    found = [path.resolve() for path in candidates if path.is_dir()]
    return tuple(dict.fromkeys(found))


class Provided(NamedTuple):
    """A folder of content that a distribution brings.

    Attributes:
        folder: The folder.
        distribution: Name of the distribution.
        version: Its version.
    """

    folder: Path
    distribution: str
    version: str


def provided(kind: str) -> tuple[Provided, ...]:
    """Return the folders of one kind of content that other distributions bring, by entry point."""
    found: list[Provided] = []
    for point in sorted(entry_points(group=f"recipelab.{kind}"), key=lambda point: point.name):
        try:
            spec = find_spec(point.module)
        except ModuleNotFoundError:
            # The parent package is gone: a broken installation of another distribution.
            continue
        if spec is not None:
            name, version = (point.dist.name, point.dist.version) if point.dist else ("?", "?")
            places = spec.submodule_search_locations or ()
            found += [Provided(Path(place), name, version) for place in places]
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
        # Unlike Path.is_file, this is no error for a name that no file can have.
        # A folder may be a link to a shared one, as whoever made it wanted; a name leads nowhere.
        inside = root if marker.startswith(".") else root / name
        if os.path.isfile(path) and name not in (".", "..") and leads_inside(path, inside):
            return path
    raise RecipelabError(unknown_name(what, name, names(kind, marker=marker)))


def make_private(folder: Path) -> Path:
    """Make a folder, and those above it that are missing, closed to other users of this machine.

    What exists stays as it is.

    Returns:
        The folder.
    """
    for path in (*reversed(folder.parents), folder):
        if not path.is_dir():
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
    return folder


def leads_inside(path: Path, folder: Path) -> bool:
    """Return whether a path, its links followed, lies in a folder; a circle of links does not."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def read_limited(path: Path, limit_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Return the content of a file that somebody else may have put there.

    A device or a pipe, which may have no end, is not read.

    Args:
        path: The file, or a link to it.
        limit_bytes: The most that is read.

    Raises:
        OSError: It cannot be read, is no regular file, or is longer than the limit; ``strerror``
            says which.
    """
    try:
        # Without O_NONBLOCK, to open a named pipe would wait for ever.
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    with os.fdopen(opened, "rb") as stream:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        content = stream.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise OSError(errno.EFBIG, f"it is longer than {limit_bytes:,} bytes", str(path))
    return content


def read_toml(file: Path) -> dict[str, Any]:
    """Return the table that a TOML file holds.

    Raises:
        OSError: As :func:`read_limited` raises it.
        ValueError: It is no TOML, or no UTF-8.
    """
    try:
        text = read_limited(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"its encoding is not UTF-8: byte {error.start} is invalid; save it as UTF-8"
        ) from None
    if _DEEP_KEY.search(text):
        # tomllib takes time in the square of their number.
        raise ValueError(f"a key has {MAX_KEY_PARTS} parts or more")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def cache_root() -> Path:
    """Return the per-user cache folder of recipelab; ``$XDG_CACHE_HOME`` is respected."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "recipelab"


LOOK_SECONDS = 0.2
"""How long a lock is waited for that somebody may only be looking at."""


def _lock_soon(stream: IO[str]) -> None:
    """Take a lock, unless it stays with another.

    Whoever looks whether a campaign runs holds the lock for a moment, and a page looks often.

    Raises:
        BlockingIOError: Another holds it.
    """
    given_up = time.monotonic() + LOOK_SECONDS
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > given_up:
                raise
        time.sleep(0.01)


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

    def live(self, name: str) -> Path:
        """Return the folder that shows what runs in a campaign right now."""
        return self.campaign(name) / "live"

    def logs(self, name: str) -> Path:
        """Return the folder of the logs of a campaign's trials."""
        return self.campaign(name) / "logs"

    def artifacts(self, name: str) -> Path:
        """Return the folder of the artifacts that are kept of a campaign."""
        return self.campaign(name) / "artifacts"

    def is_locked(self, name: str) -> bool:
        """Return whether a process runs the campaign."""
        try:
            with (self.campaign(name) / LOCK).open() as stream:
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
        with self._held(name, LOCK) as owner:
            if owner is not None:
                raise RecipelabError(f"campaign {name} is running already (process {owner})")
            yield

    @contextmanager
    def claimed(self, name: str) -> Iterator[None]:
        """Keep others from choosing the same name for a campaign that is about to begin.

        Raises:
            RecipelabError: Another one has chosen it.
        """
        with self._held(name, CLAIM) as owner:
            if owner is not None:
                raise RecipelabError(f"the name {name} is taken (process {owner})")
            yield

    @contextmanager
    def _held(self, name: str, file: str) -> Iterator[str | None]:
        """Hold a lock in a campaign's folder, and give ``None``, or the process that holds it."""
        is_new = not self.campaign(name).is_dir()
        folder = make_private(self.campaign(name))
        # The lock belongs to the open file, so it is gone with the process, however that dies.
        with (folder / file).open("a+") as stream:
            try:
                _lock_soon(stream)
            except BlockingIOError:
                stream.seek(0)
                yield stream.read().strip() or "?"
                return
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            try:
                yield None
            finally:
                if is_new and {path.name for path in folder.iterdir()} <= {LOCK, CLAIM}:
                    # It has not begun: something that it needs is missing.
                    shutil.rmtree(folder, ignore_errors=True)
