"""Gets the data files of a pack, once per user, checked by hash.

Whichever of a file's sources answers first is taken; the hash in the pack decides whether it is
the right file. Files live under ``~/.cache/recipelab/data`` (``$XDG_CACHE_HOME`` is respected),
read-only, named by their hash.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from recipelab.errors import DataError
from recipelab.fetch import FetchError, fetch
from recipelab.pack import Pack
from recipelab.pack_parts import DataFile

Say = Callable[[str], None]


def cache_root() -> Path:
    """The per-user cache folder of recipelab."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "recipelab"


def ensure_data(pack: Pack, *, say: Say) -> dict[str, Path]:
    """Makes sure that every data file of a pack is in the cache.

    Args:
        pack: The pack whose files are wanted.
        say: Told, one line each, what is fetched from where.

    Returns:
        Name of each data file to its path in the cache.

    Raises:
        DataError: A file cannot be had; the message lists each source and why it failed.
    """
    return {item.file: _ensure(item, pack.root, say) for item in pack.data}


def is_cached(item: DataFile) -> bool:
    """Whether the right file is in the cache already."""
    path = _cached_path(item)
    return path.is_file() and _mismatch(item, path) is None


def _cached_path(item: DataFile) -> Path:
    return cache_root() / "data" / item.sha256 / item.file


def _ensure(item: DataFile, pack_root: Path, say: Say) -> Path:
    target = _cached_path(item)
    if is_cached(item):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
        found = _from_any_source(item, pack_root, Path(scratch), say)
        found.chmod(0o444)
        # A rename is atomic: two campaigns that fetch at once both end with the whole file.
        os.replace(found, target)
    return target


def _from_any_source(item: DataFile, pack_root: Path, scratch: Path, say: Say) -> Path:
    reasons: list[str] = []
    for number, source in enumerate(item.sources):
        folder = scratch / str(number)
        folder.mkdir()
        try:
            raw = fetch(source, folder, pack_root=pack_root, limit_bytes=4 * item.bytes)
        except FetchError as error:
            reasons.append(f"{error.place}: {error.reason}")
            continue
        copy = folder / ".checked"
        shutil.copyfile(raw, copy)
        problem = _mismatch(item, copy)
        if problem is None:
            say(f"{item.file}: {item.bytes / 1e6:.1f} MB from {source.kind} ({item.license})")
            return copy
        reasons.append(f"{source.kind}: {problem}")
    listed = "\n  ".join(reasons)
    raise DataError(f"cannot get {item.file} (sha256 {item.sha256[:12]}...):\n  {listed}")


def _mismatch(item: DataFile, path: Path) -> str | None:
    with path.open("rb") as stream:
        digest = _sha256(stream)
    if digest == item.sha256 or (item.content_sha256 and _content(path) == item.content_sha256):
        return None
    size = path.stat().st_size
    return f"another file: {size:,} bytes, sha256 {digest[:12]}... (expected {item.bytes:,} bytes)"


def _content(path: Path) -> str | None:
    """Hash of what a gzip file holds; ``None`` if it is none."""
    try:
        with gzip.open(path) as stream:
            return _sha256(stream)
    except (OSError, EOFError, zlib.error):
        return None


def _sha256(stream: IO[bytes] | gzip.GzipFile) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
