"""Data that lie on this machine: files and folders of the user's own, known by what is in them.

Such data are never fetched, and what lies there counts. A file of some megabytes is copied into the
cache under its hash, so that a campaign is not disturbed when it is edited; a larger one and a
folder are used where they lie. A folder has one hash, over the names, sizes and contents of all
files below it (its *manifest*). Hashes are written down with size, time and inode of each file, so
that only what was touched is read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from recipelab.core.content import cache_root, leads_inside, make_private
from recipelab.core.errors import DataError
from recipelab.packs.data_sections import DataFile, PathSource, expanded_path

COPIED_BYTES = 64 << 20
"""Size up to which a file is copied into the cache."""
TOLD_BYTES = 256 << 20
"""Size from which a person is told that something is hashed."""
TOLD_FILES = 10_000
"""The same for the number of files."""

_TIMES, _STAND = ".touched", ".stand"
_SEEN: dict[Path, str] = {}
"""How folders stood when this process looked what they hold."""
_Touched = tuple[int, int, int]
"""Size in bytes, time of the last change in nanoseconds, and inode of a file."""


def own_path(item: DataFile, root: Path) -> Path | None:
    """Return where a data file or folder of the user's own lies; ``None`` if nothing is there.

    Args:
        item: The data.
        root: The folder of the pack, where relative paths start.
    """
    for source in item.sources:
        if not isinstance(source, PathSource):
            return None
        try:
            path = root / expanded_path(source.path)
        except ValueError:
            continue
        if path.exists():
            return Path(os.path.abspath(path))
    return None


@dataclass(frozen=True)
class Content:
    """What lies at a place.

    Attributes:
        sha256: Hash of the file, or of the manifest of the folder.
        bytes: Size of all files.
        files: Their number.
        unreadable: A file that only its owner can read, below the place; ``None`` if there is none.
    """

    sha256: str
    bytes: int
    files: int
    unreadable: str | None = None


def content_of(path: Path, say: Callable[[str], None] = lambda text: None) -> Content:
    """Return what a file or folder holds; only what was touched since the last time is read.

    Args:
        path: The file or folder.
        say: Called with one line before much is read.

    Raises:
        DataError: It cannot be read, or holds what no sandbox could show: a link that leads out of
            the folder, a device or a pipe.
    """
    try:
        if path.is_dir():
            return _Folder(path).content(say)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: it is no regular file")
        known = _read_times(path)
        found = {"": _hash(path, _touched(status), known.get(""), say)}
        if found != known:
            _write_times(path, found)
        unreadable = None if status.st_mode & 0o004 else path.name
        return Content(found[""][1], status.st_size, 1, unreadable)
    except OSError as error:
        raise DataError(f"{error.filename or path}: {error.strerror}") from None


def hashes_below(folder: Path) -> set[str]:
    """Return the hashes of the files below a folder that are not empty.

    Raises:
        DataError: As :func:`content_of`.
    """
    content_of(folder)
    return {digest for (size, _, _), digest in _read_times(folder).values() if size}


def in_place(path: Path) -> bool:
    """Return whether data that a campaign uses are where their owner keeps and edits them."""
    if path.is_dir():
        return True
    cached = path.is_relative_to(cache_root() / "data")
    return not cached and path.is_file() and path.stat().st_size > COPIED_BYTES


def stand_of(path: Path) -> str:
    """Return a digest of names, sizes and times below a place, which changes when it is touched.

    Nothing is read but the tables of the file system.

    Raises:
        DataError: As :func:`content_of`.
    """
    try:
        return _stand(_entries(path) if path.is_dir() else [("", path.stat())])
    except OSError as error:
        raise DataError(f"{error.filename or path}: {error.strerror}") from None


def stand_seen(path: Path) -> str:
    """Return how a place stood when :func:`content_of` last looked; as it stands, if it did not."""
    return _SEEN.get(path) or stand_of(path)


def _stand(files: Iterable[tuple[str, os.stat_result]]) -> str:
    total = hashlib.sha256()
    for name, s in files:
        line = f"{name}\0{s.st_size} {s.st_mtime_ns} {s.st_ino} {s.st_mode & 0o004}\n"
        total.update(line.encode("utf-8", "surrogateescape"))
    return total.hexdigest()


class _Folder:
    """A folder whose manifest is made.

    Args:
        top: The folder.
    """

    def __init__(self, top: Path) -> None:
        self._top = top
        self._files = _entries(top)

    def content(self, say: Callable[[str], None]) -> Content:
        """Return what it holds; where nothing was touched, as it was written down."""
        stand, noted = _stand(self._files), _times_path(self._top).with_suffix(_STAND)
        _SEEN[self._top] = stand
        with contextlib.suppress(OSError, ValueError, TypeError):
            before, told = json.loads(noted.read_text("utf-8"))
            if before == stand:
                return Content(**told)
        found = self._content(say)
        _put(noted, json.dumps([stand, asdict(found)]).encode())
        return found

    def _content(self, say: Callable[[str], None]) -> Content:
        known = _read_times(self._top)
        size = sum(status.st_size for _, status in self._files)
        new = [s.st_size for name, s in self._files if not _is_known(_touched(s), known.get(name))]
        if sum(new) > TOLD_BYTES or len(new) > TOLD_FILES:
            say(f"{self._top}: {len(new):,} files, {sum(new) / 1e9:.2f} GB are hashed, this once")
        found = {
            name: _hash(self._top / name, _touched(status), known.get(name))
            for name, status in self._files
        }
        total = hashlib.sha256()
        for name, ((length, _, _), digest) in found.items():
            total.update(f"{name}\0{length}\0{digest}\n".encode("utf-8", "surrogateescape"))
        if found != known:
            _write_times(self._top, found)
        closed = (name for name, status in self._files if not status.st_mode & 0o004)
        return Content(total.hexdigest(), size, len(found), next(closed, None))


def _entries(top: Path) -> list[tuple[str, os.stat_result]]:
    """Return the files below a folder with their status, sorted by their paths below it.

    Raises:
        DataError: There is a link that leads out of it, or what is neither file nor folder.
        OSError: It cannot be read.
    """
    todo = [""]
    found: list[tuple[str, os.stat_result]] = []
    while todo:
        prefix = todo.pop()
        with os.scandir(top / prefix if prefix else top) as entries:
            for entry in entries:
                name = f"{prefix}{entry.name}"
                if entry.is_symlink() and not leads_inside(Path(entry.path), top):
                    raise DataError(
                        f"{entry.path}: a link that leads out of the data folder, where no "
                        "sandbox could follow it; put the file itself there"
                    )
                if entry.is_dir():
                    # What a link to a folder leads to is counted where it lies.
                    todo += [f"{name}/"] if not entry.is_symlink() else []
                    continue
                status = entry.stat()
                if not stat.S_ISREG(status.st_mode):
                    raise DataError(f"{entry.path}: it is neither a file nor a folder")
                found.append((name, status))
    return sorted(found, key=lambda pair: pair[0])


def _touched(status: os.stat_result) -> _Touched:
    return status.st_size, status.st_mtime_ns, status.st_ino


_Known = tuple[_Touched, str]


def _is_known(touched: _Touched, known: _Known | None) -> bool:
    return known is not None and known[0] == touched


def _hash(
    path: Path,
    touched: _Touched,
    known: _Known | None,
    say: Callable[[str], None] = lambda text: None,
) -> _Known:
    if known is not None and known[0] == touched:
        return known
    if touched[0] > TOLD_BYTES:
        say(f"{path}: {touched[0] / 1e9:.2f} GB are hashed, this once")
    with path.open("rb") as stream:
        return touched, hashlib.file_digest(stream, "sha256").hexdigest()


def _times_path(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path)).hexdigest()
    return cache_root() / "hashes" / f"{name}{_TIMES}"


def _read_times(path: Path) -> dict[str, _Known]:
    """Return the hashes that were written down for a place, by the path of each file below it.

    What does not look as it was written is left out: that file is hashed again.
    """
    try:
        lines = _times_path(path).read_bytes().split(b"\n")
    except OSError:
        return {}
    known: dict[str, _Known] = {}
    for line in lines:
        size, _, rest = line.partition(b" ")
        try:
            time, inode, digest, name = rest.split(b" ", 3)
            known[os.fsdecode(name.replace(b"\0", b"\n"))] = (
                (int(size), int(time), int(inode)),
                digest.decode("ascii"),
            )
        except ValueError:
            continue
    return known


def _write_times(path: Path, found: dict[str, _Known]) -> None:
    """Write hashes down; that they cannot be kept only costs time."""
    target = _times_path(path)
    lines = [
        b"%d %d %d %s %s" % (*touched, digest.encode(), os.fsencode(name).replace(b"\n", b"\0"))
        for name, (touched, digest) in found.items()
    ]
    _put(target, b"\n".join(lines))


def _put(target: Path, content: bytes) -> None:
    """Write a file as a whole, whoever writes it at the same time."""
    make_private(target.parent)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".new-", delete=False) as stream:
        stream.write(content)
    os.replace(stream.name, target)
