"""Trees: the manifests of files and folders of this machine, whose hashes are taken once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recipelab.core.errors import SandboxError
from recipelab.places.parcel import SINGLE, Tree, TreeEntry

_MOST_KNOWN = 1 << 17
_SETTLED_SECONDS = 0.5
"""A file that was touched within this time may be touched again without another time to show."""
_MOST_NAMES = 4096


class Stand(NamedTuple):
    """What the kernel says of a file: the same as long as nobody touches it."""

    size: int
    inode: int
    modified: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stand:
        """Return the stand of a file that was looked at."""
        return cls(found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)


class Packed(NamedTuple):
    """A tree, and where its files lie.

    Attributes:
        tree: The manifest.
        digest: Its digest.
        files: Digest of each different file, and a path that has it.
    """

    tree: Tree
    digest: str
    files: dict[str, Path]


class Hashes:
    """SHA-256 of files, read again only where the kernel says that they were touched."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stand, str]] = {}
        self._lock = threading.Lock()

    def of(self, path: Path) -> tuple[str, int]:
        """Return digest and size of a regular file. No link is followed.

        Raises:
            OSError: It cannot be read.
            SandboxError: It is no regular file.
        """
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise SandboxError(f"{path} is no regular file")
            stand = Stand.of(found)
            known = self._known.get(str(path))
            if known is not None and known[0] == stand:
                return known[1], stand.size
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - stand.changed > _SETTLED_SECONDS * 1e9:
            with self._lock:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[str(path)] = stand, digest
        return digest, stand.size

    def learn(self, path: Path, digest: str) -> None:
        """Note the digest of a file that was just written, and that nobody else writes to."""
        with self._lock, contextlib.suppress(OSError):
            self._known[str(path)] = Stand.of(path.lstat()), digest

    def pack(self, source: Path) -> Packed:
        """Return the tree of a file or folder. Links in a folder stay links.

        Raises:
            SandboxError: It cannot be read, or holds what is neither file, folder nor link.
        """
        files: dict[str, Path] = {}
        try:
            source = source.resolve(strict=True)
            if source.is_dir():
                entries = sorted(self._below(source, "", files), key=lambda entry: entry.path)
                tree = Tree(entries=tuple(entries))
            else:
                tree = Tree(is_file=True, entries=(self._file(source, SINGLE, files),))
            return Packed(tree, tree.digest, files)
        except (OSError, UnicodeError, ValueError) as error:
            raise SandboxError(f"an input cannot be sent: {source}: {error}") from error

    def _below(self, folder: Path, prefix: str, files: dict[str, Path]) -> Iterator[TreeEntry]:
        with os.scandir(folder) as found:
            for one in found:
                path, name = Path(one.path), prefix + one.name
                if one.is_symlink():
                    yield TreeEntry(path=name, kind="link", link=os.readlink(path))
                elif one.is_dir(follow_symlinks=False):
                    yield TreeEntry(path=name, kind="folder")
                    yield from self._below(path, f"{name}/", files)
                else:
                    yield self._file(path, name, files)

    def _file(self, path: Path, name: str, files: dict[str, Path]) -> TreeEntry:
        digest, size = self.of(path)
        executable = bool(path.lstat().st_mode & 0o111)
        files[digest] = path
        return TreeEntry(path=name, executable=executable, size=size, digest=digest)


def stand_of_folder(folder: Path) -> str:
    """Return a digest of what lies on top in a folder: names, kinds, and sizes of files.

    It tells a folder from another one that has its place on another machine, and costs nothing.

    Raises:
        OSError: It cannot be read.
    """
    total = hashlib.sha256()
    for name in sorted(os.listdir(folder))[:_MOST_NAMES]:
        found = os.stat(folder / name, follow_symlinks=False)
        kind = stat.S_IFMT(found.st_mode)
        size = found.st_size if stat.S_ISREG(found.st_mode) else 0
        total.update(f"{kind:o} {size} ".encode() + os.fsencode(name) + b"\0")
    return total.hexdigest()
