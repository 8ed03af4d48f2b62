"""Gets the data files of a pack, once per user, checked by hash.

The first place that has the right file is taken: the folder that the user names, then the file's
sources in the pack. The hash in the pack decides. Where it has none, the size decides, and the hash
of what was fetched first is written down: from then on it has to be that. Files lie below
``~/.cache/recipelab/data`` (``$XDG_CACHE_HOME`` is respected), read-only, named by their hash.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from recipelab.core.content import cache_root, make_private
from recipelab.core.errors import DataError
from recipelab.packs.data_sections import DataFile, UrlSource
from recipelab.packs.pack import Pack
from recipelab.packs.sources import (
    DataFolder,
    Fetcher,
    FetchError,
    Places,
    file_sha256,
    gzip_sha256,
    partial_path,
)

TOLD_FILES = 3
"""Files that an error tells all about; of more it gives the names."""


def ensure_data(
    pack: Pack,
    *,
    say: Callable[[str], None],
    clone: Path | None = None,
    folder: Path | None = None,
) -> dict[str, Path]:
    """Make sure that every data file of a pack is in the cache.

    Args:
        pack: The pack.
        say: Called with one line for each file that is fetched.
        clone: The user's clone of upstream, where data may lie that upstream's own tools fetched.
        folder: Where to look for the files first, however they are called there and how deep.

    Returns:
        Name of each data file to its path in the cache.

    Raises:
        DataError: Some files cannot be had; all others are in the cache. The message lists each
            place and why it failed.
    """
    found = DataFolder(folder) if folder is not None else None
    places = Places(pack.root, clone, found)
    fetch_command = f"recipelab packs fetch {pack.name} --profile {pack.profile}"
    paths: dict[str, Path] = {}
    failed: dict[str, str] = {}
    for item in pack.data:
        try:
            paths[item.file] = _ensure(item, places, fetch_command, say)
        except DataError as error:
            failed[item.file] = str(error)
    if failed:
        raise DataError(_failed_text(failed, fetch_command, folder))
    for item in pack.data:
        for source in item.sources:
            if isinstance(source, UrlSource):
                # Files that share an archive share its download, which only now nobody needs.
                partial_path(source.url).unlink(missing_ok=True)
    return paths


def size_text(size: int) -> str:
    """Return a number of bytes for people, as ``17.3 kB``, ``200.0 MB`` or ``17.26 GB``."""
    if size < 1_000_000:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1_000_000_000 else f"{size / 1e9:.2f} GB"


def is_cached(item: DataFile) -> bool:
    """Return whether the right file is in the cache."""
    path = cached_path(item)
    return path.is_file() and _mismatch(item, path) is None


def cached_path(item: DataFile) -> Path:
    """Return where a data file lies in the cache when it was fetched."""
    key = item.sha256
    if key is None:
        sources = "\n".join(source.model_dump_json() for source in item.sources)
        key = f"first-seen-{hashlib.sha256(sources.encode()).hexdigest()}"
    return cache_root() / "data" / key / item.file


def forget_first_seen(pack: Pack, patterns: Iterable[str]) -> tuple[str, ...]:
    """Forget the hashes that were seen first, with the files, so that others may be fetched.

    Args:
        pack: The pack.
        patterns: Names of data files for which the pack has no hash, or patterns as ``shard_*``.

    Returns:
        The names of the files that were forgotten.

    Raises:
        DataError: A pattern fits no file without a hash in the pack; nothing is forgotten then.
    """
    unhashed = {item.file: item for item in pack.data if item.sha256 is None}
    chosen: dict[str, DataFile] = {}
    for pattern in patterns:
        names = fnmatch.filter(unhashed, pattern)
        if not names:
            hashed = [item.file for item in pack.data if item.sha256 is not None]
            if fnmatch.filter(hashed, pattern):
                raise DataError(f"the pack has the hash of {pattern}: there is nothing to forget")
            raise DataError(
                f"{pack.name} has no data file {pattern!r} without a hash; "
                f"valid: {_names(unhashed) or '(none)'}, or a pattern"
            )
        chosen |= {name: unhashed[name] for name in names}
    for item in chosen.values():
        cached_path(item).unlink(missing_ok=True)
        _first_seen(item).unlink(missing_ok=True)
    return tuple(chosen)


def _ensure(item: DataFile, places: Places, fetch_command: str, say: Callable[[str], None]) -> Path:
    target = cached_path(item)
    if is_cached(item):
        return target
    make_private(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
        fetched = _from_any_place(item, places, Path(scratch), fetch_command, say)
        fetched.chmod(0o444)
        if item.sha256 is None:
            _first_seen(item).write_text(f"{file_sha256(fetched)}\n", "ascii")
        # A rename is atomic: two campaigns that fetch at once both end with the whole file.
        os.replace(fetched, target)
    return target


def _from_any_place(
    item: DataFile,
    places: Places,
    scratch: Path,
    fetch_command: str,
    say: Callable[[str], None],
) -> Path:
    """Return a checked copy of the file, from the first place that has it."""
    reasons: list[str] = []
    fetcher = Fetcher(scratch, places, limit_bytes=4 * item.bytes)
    copy = scratch / ".checked"
    for name, fetch in _attempts(item, fetcher, places):
        try:
            fetched = fetch()
            shutil.copyfile(fetched, copy)
        except FetchError as error:
            reasons.append(str(error))
            continue
        except OSError as error:
            reasons.append(f"{name}: {error.strerror}: {error.filename}")
            continue
        if name in ("path", "clone"):
            name = str(fetched)
        problem = _mismatch(item, copy)
        if problem is None:
            size = size_text(copy.stat().st_size)
            how = "" if item.sha256 else ", by its size"
            say(f"{item.file}: {size} from {name}{how} ({item.license})")
            return copy
        reasons.append(f"{name}: {problem}")
        if item.size_fits(copy.stat().st_size) and _first_seen(item).is_file():
            reasons.append(f"  if it is meant to be another: {fetch_command} --forget {item.file}")
        for source in item.sources:
            if isinstance(source, UrlSource) and fetched == partial_path(source.url):
                # What was downloaded is another file, so the next attempt starts anew.
                fetched.unlink(missing_ok=True)
    known = f" (sha256 {item.sha256[:12]}...)" if item.sha256 else ""
    raise DataError("\n  ".join([f"cannot get {item.file}{known}:", *reasons]))


def _attempts(
    item: DataFile, fetcher: Fetcher, places: Places
) -> Iterator[tuple[str, Callable[[], Path]]]:
    """Yield the places where a file may be: the name of each, and what brings the file."""
    if places.folder is not None:
        for found in places.folder.candidates(item):
            yield found.name, partial(fetcher.take, found)
    for source in item.sources:
        yield source.kind, partial(fetcher.fetch, source)


def _failed_text(failed: Mapping[str, str], fetch_command: str, folder: Path | None) -> str:
    lines = list(failed.values())[:TOLD_FILES]
    if rest := list(failed)[TOLD_FILES:]:
        lines.append(f"and {len(rest)} more: {_names(rest)}")
    if folder is None:
        lines.append(f"if they are somewhere on this machine: {fetch_command} --data FOLDER")
    return "\n".join(lines)


def _names(names: Iterable[str]) -> str:
    """Return names for a message; of a long list the first and the last."""
    listed = list(names)
    if len(listed) <= 2 * TOLD_FILES:
        return ", ".join(listed)
    return f"{', '.join(listed[:TOLD_FILES])}, ... {listed[-1]}"


def _first_seen(item: DataFile) -> Path:
    """Return where the hash of a file is written down for which the pack has none."""
    return cached_path(item).with_name(f"{item.file}.sha256")


def _mismatch(item: DataFile, path: Path) -> str | None:
    """Return how a file differs from the one that the pack names; ``None`` if it does not."""
    size = path.stat().st_size
    if item.sha256 is None and not item.size_fits(size):
        return (
            f"{size:,} bytes, where {item.bytes:,} are expected, give or take "
            f"{item.tolerance:.0%}: cut off, or another file"
        )
    expected, which = item.sha256, "another file"
    if expected is None and _first_seen(item).is_file():
        expected, which = _first_seen(item).read_text("ascii").strip(), "not the one fetched first"
    if expected is None:
        return None
    digest = file_sha256(path)
    if digest == expected or (item.content_sha256 and gzip_sha256(path) == item.content_sha256):
        return None
    wanted = f"{item.bytes:,} bytes" if item.sha256 else f"sha256 {expected[:12]}..."
    return f"{which}: {size:,} bytes, sha256 {digest[:12]}... (expected {wanted})"


def data_digests(pack: Pack, paths: Mapping[str, Path]) -> dict[str, str]:
    """Return the SHA-256 of each data file, as its pack or the first fetch wrote it down.

    Args:
        pack: The pack.
        paths: Path of each data file by its name, as :func:`ensure_data` returns them.
    """
    found: dict[str, str] = {}
    for item in pack.data:
        if item.sha256 is not None:
            found[item.file] = item.sha256
        elif _first_seen(item).is_file():
            found[item.file] = _first_seen(item).read_text("ascii").strip()
        elif item.file in paths:
            found[item.file] = file_sha256(paths[item.file])
    return found
