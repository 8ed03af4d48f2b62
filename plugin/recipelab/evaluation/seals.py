"""Hashes of files that nobody may change while a trial runs."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

_Signature = tuple[int, int, int, int]
_GONE = "(gone)"
_NO_FILE = "(no regular file)"
_PIECE = 1 << 20


class Seals:
    """Remembers what files were, and tells which of them have changed since.

    A file is read again only if the kernel says that it was touched: its size, its inode or the
    time of its last change, which no unprivileged program can set. So looking is cheap, and data of
    many gigabytes is hashed once.
    """

    def __init__(self) -> None:
        self._sealed: dict[Path, str] = {}
        self._hashed: dict[Path, tuple[_Signature, str]] = {}

    def copy(self) -> Seals:
        """The same seals, to add others to. What was hashed once is not hashed again."""
        other = Seals()
        other._sealed, other._hashed = dict(self._sealed), self._hashed
        return other

    def __len__(self) -> int:
        return len(self._sealed)

    def add(self, *places: Path) -> None:
        """Seals files, and every file below folders, as they are now."""
        for path in _files(places):
            self._sealed[path] = self._hash(path)

    def drop(self, folder: Path) -> None:
        """Forgets the seals of every file below a folder."""
        self._sealed = {
            path: before for path, before in self._sealed.items() if folder not in path.parents
        }

    def broken(self) -> tuple[Path, str, str] | None:
        """The first sealed file that is not what it was, with both hashes; ``None`` if all are."""
        for path, before in self._sealed.items():
            after = self._hash(path)
            if after != before:
                return path, before, after
        return None

    def _hash(self, path: Path) -> str:
        try:
            found = path.stat()
            signature = (found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
            known = self._hashed.get(path)
            if known is None or known[0] != signature:
                known = self._hashed[path] = (signature, _sha256(path))
        except OSError:
            return _GONE
        return known[1]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    # Not blocking matters where a named pipe has taken the place of a file.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return _NO_FILE
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _files(places: Iterable[Path]) -> Iterable[Path]:
    for place in places:
        if place.is_dir():
            below = sorted(path for path in place.rglob("*") if path.is_file())
            yield from (path for path in below if "__pycache__" not in path.parts)
        else:
            yield place
