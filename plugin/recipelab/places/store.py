"""A node's store: files by their hash, put together to trees once, and kept within a bound.

Workers of one node, and campaigns of one user, share it. A blob is a file that nobody may write
to; a tree is a folder of hard links to blobs. Trees that have gone unused for longest go first
where the store has grown beyond its bound, and none that a phase uses or is about to use.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from recipelab.core.errors import SandboxError, SandboxUnavailable
from recipelab.places.parcel import PIECE_BYTES, Piece, Tree, TreeEntry, TreesMissing
from recipelab.places.trees import Hashes, Packed, Stand
from recipelab.sandbox.files import new_folder, reap_folders, remove_tree

KEPT_SECONDS = 600.0
"""How long what was asked for is kept at least."""

_ROOT, _USED, _STANDS, _MANIFEST = "root", "used", "stands", "manifest"
_DIGITS = frozenset("0123456789abcdef")


class Damaged(Exception):
    """What the store has of a tree is not what its digest says; it was thrown out."""


class NodeStore:
    """The store. Its methods may be called in several threads.

    Args:
        root: Its folder; made if it is not there.
        most_bytes: Bound on the size of its files.

    Raises:
        SandboxUnavailable: The folder is not this user's alone.
    """

    def __init__(self, root: Path, *, most_bytes: int) -> None:
        self._root = root
        self._most = most_bytes
        self._hashes = Hashes()
        self._stands: dict[Path, Stand] = {}
        self._parts: dict[str, tuple[IO[bytes], hashlib._Hash]] = {}
        self._lock = threading.Lock()
        self._added = 0
        _make_private(root)
        for name in ("blobs", "trees", "work"):
            (root / name).mkdir(mode=0o700, exist_ok=True)
        reap_folders(root / "work")
        self._work = new_folder(root / "work", what="node")
        self._size = self._measure()

    def close(self) -> None:
        """Remove what is only this worker's. What is stored stays."""
        for file, _ in self._parts.values():
            file.close()
        self._parts.clear()
        remove_tree(self._work)

    def folder(self) -> Path:
        """Return a new empty folder on the disk of the store."""
        return Path(tempfile.mkdtemp(dir=self._work))

    def missing(self, digests: Sequence[str]) -> list[str]:
        """Return those of some trees and blobs that are not there; the others are kept a while."""
        return [digest for digest in digests if not self._touch(digest)]

    def _touch(self, digest: str) -> bool:
        _check(digest)
        used = self._tree(digest) / _USED
        try:
            os.utime(used)
            return True
        except FileNotFoundError:
            pass
        blob = self._blob(digest)
        with contextlib.suppress(FileNotFoundError):
            if blob.stat().st_nlink == 1:
                os.utime(blob)
            return True
        return False

    def put(self, piece: Piece) -> None:
        """Take a piece of a blob; with the last one, the blob is stored.

        Raises:
            SandboxError: It comes out of turn, the blob is not what its digest says, or the disk
                is full.
        """
        digest = _check(piece.digest)
        try:
            with self._lock:
                self._append(digest, piece)
            if piece.last:
                self._keep_bound()
        except OSError as error:
            raise SandboxError(f"the node cannot store a file: {error}") from error

    def _append(self, digest: str, piece: Piece) -> None:
        if piece.offset == 0:
            if (old := self._parts.pop(digest, None)) is not None:
                old[0].close()
            self._parts[digest] = (self._work / f"part-{digest}").open("wb"), hashlib.sha256()
        if digest not in self._parts:
            raise SandboxError(f"a piece of {digest[:12]} came before the first one")
        file, total = self._parts[digest]
        if file.tell() != piece.offset:
            raise SandboxError(f"a piece of {digest[:12]} came out of turn")
        file.write(piece.data)
        total.update(piece.data)
        if not piece.last:
            return
        del self._parts[digest]
        file.close()
        if total.hexdigest() != digest:
            os.unlink(file.name)
            raise SandboxError(f"a file is not what its hash says ({digest[:12]}): sent by halves?")
        self._adopt(Path(file.name), digest)

    def _adopt(self, file: Path, digest: str) -> None:
        """Make a file of this worker a blob."""
        file.chmod(0o444)
        blob = self._blob(digest)
        if blob.exists():
            file.unlink()
            return
        blob.parent.mkdir(mode=0o700, exist_ok=True)
        self._added += file.stat().st_size
        file.replace(blob)
        self._stands[blob] = Stand.of(blob.lstat())

    def read(self, digest: str, offset: int, most: int = PIECE_BYTES) -> Piece:
        """Return a piece of a blob.

        Args:
            digest: The blob.
            offset: Where the piece begins.
            most: Most bytes of it.

        Raises:
            SandboxError: There is no such blob.
        """
        try:
            with self._blob(_check(digest)).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(offset)
                data = file.read(most)
        except (OSError, ValueError) as error:
            raise SandboxError(f"the node has no file {digest[:12]} any more: {error}") from error
        return Piece(digest, offset, data, offset + len(data) >= size)

    def take(self, packed: Packed) -> None:
        """Move the files of a folder of this worker into the store, as a tree.

        Raises:
            SandboxError: The disk is full.
        """
        try:
            with self._lock:
                for digest, file in packed.files.items():
                    self._adopt(file, digest)
                if not self._tree(packed.digest).exists():
                    self._assemble(packed.digest, packed.tree)
            self._keep_bound()
        except OSError as error:
            raise SandboxError(f"the node cannot store what a phase left: {error}") from error

    @contextlib.contextmanager
    def using(self, digests: Sequence[str]) -> Iterator[list[Path]]:
        """Give the folders (or files) of trees, which are whole, and stay while the context lasts.

        Raises:
            TreesMissing: Trees are not there, or were damaged.
            SandboxError: The disk is full.
        """
        with contextlib.ExitStack() as stack:
            gone = list[str]()
            for digest in dict.fromkeys(digests):
                try:
                    self._hold(_check(digest), stack)
                except (Damaged, FileNotFoundError):
                    gone.append(digest)
                except OSError as error:
                    raise SandboxError(f"the node cannot make room for files: {error}") from error
            if gone:
                raise TreesMissing(gone)
            yield [self._tree(digest) / _ROOT for digest in digests]

    def _hold(self, digest: str, stack: contextlib.ExitStack) -> None:
        """Make a tree if it is not there, keep others from removing it, and see that it is whole.

        Raises:
            Damaged: It is not.
            FileNotFoundError: Something of it is missing.
        """
        tree = self._tree(digest)
        if not tree.exists():
            with self._lock:
                self._assemble(digest, Tree.from_bytes(self._blob(digest).read_bytes()))
        lock = stack.enter_context((tree / _USED).open("rb"))
        fcntl.flock(lock, fcntl.LOCK_SH)
        # It may have been removed between the two.
        os.utime(tree / _USED)
        if self.changed(digest):
            raise Damaged

    def changed(self, digest: str) -> bool:
        """Return whether a tree has changed; it is thrown out then, with the files that have."""
        tree = self._tree(digest)
        bad: list[TreeEntry] | None = None
        try:
            manifest = Tree.from_bytes((tree / _MANIFEST).read_bytes())
            known = json.loads((tree / _STANDS).read_bytes())
            bad = [one for one in manifest.entries if self._is_other(tree, manifest, one, known)]
        except (OSError, ValueError, SandboxError):
            pass
        if bad == []:
            return False
        for digest in {one.digest for one in bad or () if one.digest is not None}:
            for blob in self._blobs(digest):
                blob.unlink(missing_ok=True)
        self._remove(tree)
        return True

    def _is_other(
        self, tree: Path, manifest: Tree, entry: TreeEntry, known: dict[str, list[int]]
    ) -> bool:
        """Return whether an entry of a tree is not what the manifest says."""
        path = _place(tree, manifest, entry)
        try:
            found = path.lstat()
            if entry.kind == "link":
                return os.readlink(path) != entry.link
            if entry.kind == "folder":
                return not stat.S_ISDIR(found.st_mode)
            if Stand.of(found) == Stand(*known[entry.path]):
                return False
            # A link of another tree to the same file changes a time of it, too.
            return not self._is(path, str(entry.digest))
        except (OSError, SandboxError, KeyError, TypeError):
            return True

    def _is(self, path: Path, digest: str) -> bool:
        """Return whether a file has these bytes; it is read only if somebody touched it."""
        stand = Stand.of(path.lstat())
        if self._stands.get(path) == stand:
            return True
        if self._hashes.of(path)[0] != digest:
            return False
        self._stands[path] = stand
        return True

    def _assemble(self, digest: str, tree: Tree) -> None:
        """Put a tree together from blobs."""
        made = self.folder()
        root = made / _ROOT
        if not tree.is_file:
            root.mkdir()
        stands: dict[str, Stand] = {}
        for entry in tree.entries:
            path = _place(made, tree, entry)
            if entry.kind == "folder":
                path.mkdir()
            elif entry.kind == "link":
                path.symlink_to(str(entry.link))
            else:
                blob = self._blob_as(entry)
                os.link(blob, path)
                self._stands[blob] = stands[entry.path] = Stand.of(path.lstat())
        for folder, _, _ in () if tree.is_file else os.walk(root):
            os.chmod(folder, 0o555)
        (made / _MANIFEST).write_bytes(tree.to_bytes())
        (made / _STANDS).write_text(json.dumps(stands))
        (made / _USED).touch()
        made.chmod(0o755)
        try:
            made.rename(self._tree(digest))
        except OSError:
            remove_tree(made)  # Another worker was faster.
            if not self._tree(digest).exists():
                raise
        self._blob(digest).unlink(missing_ok=True)

    def _blob_as(self, entry: TreeEntry) -> Path:
        """Return the blob of an entry, with its mode.

        Raises:
            FileNotFoundError: It is not there, or was changed, and is thrown out.
        """
        blob, other = self._blobs(str(entry.digest))
        for one in (blob, other) if entry.executable else (blob,):
            if one.exists() and not self._is(one, str(entry.digest)):
                one.unlink()
        if not entry.executable:
            return blob
        if not other.exists():
            copy = self._work / other.name
            shutil.copyfile(blob, copy)
            copy.chmod(0o555)
            copy.replace(other)
        return other

    def _keep_bound(self) -> None:
        """Remove what has gone unused for longest, if the store is larger than it may be."""
        if self._size + self._added <= self._most:
            return
        self._size, self._added = self._measure(), 0
        before = time.time() - KEPT_SECONDS
        trees = sorted((_age(tree / _USED), tree) for tree in (self._root / "trees").iterdir())
        for used, tree in trees:
            if self._size <= self._most or used > before:
                break
            self._evict(tree)
        self._size -= self._sweep(before)

    def _evict(self, tree: Path) -> None:
        """Remove a tree that no phase uses, and its files that no other tree has."""
        with contextlib.suppress(OSError), (tree / _USED).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                entries = Tree.from_bytes((tree / _MANIFEST).read_bytes()).entries
            except SandboxError:
                entries = ()
            self._remove(tree)
            for entry in entries:
                for blob in self._blobs(entry.digest) if entry.digest is not None else ():
                    self._size -= _drop_unused(blob)

    def _sweep(self, before: float) -> int:
        """Remove blobs that no tree has, and nobody asked for lately; returns their bytes."""
        freed = 0
        for blob in (self._root / "blobs").glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                if blob.stat().st_ctime < before:
                    freed += _drop_unused(blob)
        return freed

    def _measure(self) -> int:
        total = 0
        for blob in (self._root / "blobs").glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                total += blob.stat().st_size
        return total

    def _remove(self, tree: Path) -> None:
        # In one step: nobody sees a half of it.
        gone = self.folder() / tree.name
        with contextlib.suppress(FileNotFoundError):
            tree.rename(gone)
        remove_tree(gone.parent)

    def _tree(self, digest: str) -> Path:
        return self._root / "trees" / digest

    def _blob(self, digest: str) -> Path:
        return self._root / "blobs" / digest[:2] / digest

    def _blobs(self, digest: str) -> tuple[Path, Path]:
        """Return the places of a file, and of the same file as one that may be executed."""
        blob = self._blob(digest)
        return blob, blob.with_name(f"{blob.name}x")


def _check(digest: str) -> str:
    if len(digest) != 64 or not _DIGITS.issuperset(digest):
        raise SandboxError(f"{digest[:80]!r} is no SHA-256")
    return digest


def _place(top: Path, tree: Tree, entry: TreeEntry) -> Path:
    """Return where an entry of a tree lies; the manifest was checked, so it is below the root."""
    return top / _ROOT if tree.is_file else top / _ROOT / entry.path


def _drop_unused(blob: Path) -> int:
    """Remove a blob that no tree has; returns its bytes."""
    with contextlib.suppress(FileNotFoundError):
        found = blob.stat()
        if found.st_nlink == 1:
            blob.unlink()
            return found.st_size
    return 0


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _make_private(folder: Path) -> None:
    """Make a folder of this user alone, or see that it is one.

    Raises:
        SandboxUnavailable: It is not.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise SandboxUnavailable(f"no store at {folder}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise SandboxUnavailable(
            f"{folder} is not a folder that this user alone may change; name another for the store"
        )


def default_root() -> Path:
    """Return the folder of the store of this user on this machine."""
    # Not the cache folder: it may be in a home that several machines share.
    return Path(tempfile.gettempdir()) / f"recipelab-store-{os.getuid()}"
