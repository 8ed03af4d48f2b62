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

from recipelab.cache import cache_root
from recipelab.download import partial_path
from recipelab.errors import DataError
from recipelab.fetch import FetchError, fetch
from recipelab.pack import Pack
from recipelab.pack_parts import DataFile

Say = Callable[[str], None]


def ensure_data(pack: Pack, *, say: Say, clone: Path | None = None) -> dict[str, Path]:
    """Makes sure that every data file of a pack is in the cache.

    Args:
        pack: The pack whose files are wanted.
        say: Told, one line each, what is fetched from where.
        clone: The user's clone of upstream, where data may lie that upstream's own tools fetched.

    Returns:
        Name of each data file to its path in the cache.

    Raises:
        DataError: A file cannot be had; the message lists each source and why it failed.
    """
    found = {item.file: _ensure(item, pack.root, clone, say) for item in pack.data}
    for url in {
        source.url for item in pack.data for source in item.sources if source.kind == "url"
    }:
        # Files that share an archive share its download; now nobody needs it any more.
        partial_path(url).unlink(missing_ok=True)
    return found


def is_cached(item: DataFile) -> bool:
    """Whether the right file is in the cache already."""
    path = _cached_path(item)
    return path.is_file() and _mismatch(item, path) is None


def _cached_path(item: DataFile) -> Path:
    key = item.sha256
    if key is None:
        told = "\n".join(source.model_dump_json() for source in item.sources)
        key = f"first-seen-{hashlib.sha256(told.encode()).hexdigest()}"
    return cache_root() / "data" / key / item.file


def _first_seen(item: DataFile) -> Path:
    """Where the hash is written down of a file whose hash nobody publishes."""
    return _cached_path(item).with_name(f"{item.file}.sha256")


def _expected(item: DataFile) -> str | None:
    note = _first_seen(item)
    if item.sha256 is not None or not note.is_file():
        return item.sha256
    return note.read_text("ascii").strip()


def _ensure(item: DataFile, pack_root: Path, clone: Path | None, say: Say) -> Path:
    target = _cached_path(item)
    if is_cached(item):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
        found = _from_any_source(item, pack_root, clone, Path(scratch), say)
        found.chmod(0o444)
        if item.sha256 is None:
            with found.open("rb") as stream:
                _first_seen(item).write_text(f"{_sha256(stream)}\n", "ascii")
        # A rename is atomic: two campaigns that fetch at once both end with the whole file.
        os.replace(found, target)
    return target


def _from_any_source(
    item: DataFile, pack_root: Path, clone: Path | None, scratch: Path, say: Say
) -> Path:
    reasons: list[str] = []
    for number, source in enumerate(item.sources):
        folder = scratch / str(number)
        folder.mkdir()
        limit = 4 * item.bytes
        try:
            raw = fetch(source, folder, pack_root=pack_root, clone=clone, limit_bytes=limit)
        except FetchError as error:
            reasons.append(f"{error.place}: {error.reason}")
            continue
        copy = folder / ".checked"
        shutil.copyfile(raw, copy)
        problem = _mismatch(item, copy)
        if problem is None:
            say(f"{item.file}: {item.bytes / 1e6:.1f} MB from {source.kind} ({item.license})")
            return copy
        if source.kind == "url":
            # Whatever lies there is not what is wanted: the next attempt starts anew.
            partial_path(source.url).unlink(missing_ok=True)
        reasons.append(f"{source.kind}: {problem}")
    listed = "\n  ".join(reasons)
    known = f" (sha256 {item.sha256[:12]}...)" if item.sha256 else ""
    raise DataError(f"cannot get {item.file}{known}:\n  {listed}")


def _mismatch(item: DataFile, path: Path) -> str | None:
    expected = _expected(item)
    if expected is None:
        return None
    with path.open("rb") as stream:
        digest = _sha256(stream)
    if digest == expected or (item.content_sha256 and _content(path) == item.content_sha256):
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
