"""Gets the data of a pack, checked by hash.

Data that lie on this machine are taken from there as they are now (see
:mod:`~recipelab.packs.own_data`). Of all others the first place that has the right file is taken,
once per user: the folder that the user names, then the file's sources in the pack. The hash in the
pack decides. Where it has none, the size decides, and the hash of what was fetched first is written
down: from then on it has to be that. Files lie below ``~/.cache/recipelab/data``
(``$XDG_CACHE_HOME`` is respected), read-only, named by their hash.
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
from recipelab.packs.data_folder import DataFolder, file_sha256, gzip_sha256
from recipelab.packs.data_sections import DataFile, PathSource, UrlSource
from recipelab.packs.own_data import COPIED_BYTES, Content, content_of, own_path
from recipelab.packs.pack import Pack
from recipelab.packs.sources import Fetcher, FetchError, Places, partial_path

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
            own = _ensure_own(item, pack, say)
            paths[item.file] = own or _ensure(item, places, fetch_command, say)
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


def is_here(item: DataFile, root: Path) -> bool:
    """Return whether the right data is on this machine, where nothing has to be fetched.

    Args:
        item: The data.
        root: The pack's folder.
    """
    own = own_path(item, root)
    if own is not None:
        try:
            if _own_problem(item, own, content_of(own)) is None:
                return True
        except DataError:
            return False
        if item.is_own:
            return False
    path = cached_path(item, root)
    return path.is_file() and _mismatch(item, path, root) is None


def size_here(item: DataFile, root: Path) -> int:
    """Return the size of data that is here, in bytes."""
    own = own_path(item, root)
    return content_of(own).bytes if own is not None else cached_path(item, root).stat().st_size


def cached_path(item: DataFile, root: Path) -> Path:
    """Return where a data file lies in the cache when it was fetched.

    Args:
        item: The data.
        root: The pack's folder: without a hash, two packs with the same relative path share none.
    """
    key = item.sha256
    if key is None:
        found = [source.model_dump_json() for source in item.sources]
        found += [str(root.resolve())] * any(isinstance(s, PathSource) for s in item.sources)
        sources = "\n".join(found)
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
    fetched = [item for item in pack.data if own_path(item, pack.root) is None]
    unhashed = {item.file: item for item in fetched if item.sha256 is None}
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
        cached_path(item, pack.root).unlink(missing_ok=True)
        _first_seen(item, pack.root).unlink(missing_ok=True)
    return tuple(chosen)


def _ensure_own(item: DataFile, pack: Pack, say: Callable[[str], None]) -> Path | None:
    """Return where data of the user's own lie, checked; ``None`` if there are none here.

    Raises:
        DataError: What lies there is not what the pack wants.
    """
    path = own_path(item, pack.root)
    if path is None:
        return None
    content = content_of(path, say)
    if problem := _own_problem(item, path, content):
        if not item.is_own:
            return None
        raise DataError(
            f"{item.file}: {path}: {problem}; if it is meant to be this: recipelab packs lock "
            f"{pack.name} --profile {pack.profile}"
        )
    if item.folder is not None and not path.is_dir():
        raise DataError(f"{item.file}: {path} is a file; say file = in place of folder =")
    if content.unreadable is not None:
        say(
            f"{item.file}: {content.unreadable} can be read by its owner alone, and a sandbox may "
            f"run as another user: chmod -R a+rX {path}"
        )
    _note_change(item, path, content, say)
    if path.is_dir() or content.bytes > COPIED_BYTES:
        return path
    return _copied(item, path, content, say)


def _own_problem(item: DataFile, path: Path, content: Content) -> str | None:
    """Return how data of the user's own differ from what the pack says of them."""
    if item.sha256 is not None:
        if content.sha256 == item.sha256:
            return None
        if item.content_sha256 and gzip_sha256(path) == item.content_sha256:
            return None
        what = f"{content.bytes:,} bytes, sha256 {content.sha256[:12]}..."
        return f"another file: {what} (expected {item.sha256[:12]}..., {item.bytes:,} bytes)"
    if not item.size_fits(content.bytes):
        return _wrong_size(item, content.bytes)
    return None


def _note_change(item: DataFile, path: Path, content: Content, say: Callable[[str], None]) -> None:
    """Say that data without a hash are others than at the last time, and write down the present."""
    if item.sha256 is not None:
        return
    noted = cache_root() / "hashes" / hashlib.sha256(os.fsencode(path)).hexdigest()
    before = noted.read_text("ascii").strip() if noted.is_file() else content.sha256
    if before != content.sha256:
        say(
            f"{item.file}: {path} is another than at the last time (sha256 {before[:12]}... became "
            f"{content.sha256[:12]}...), so results before do not compare; recipelab packs lock "
            "writes its hash into the pack"
        )
    make_private(noted.parent)
    noted.write_text(f"{content.sha256}\n", "ascii")


def _copied(item: DataFile, path: Path, content: Content, say: Callable[[str], None]) -> Path:
    """Return the copy of a file in the cache, which stays as it is while the file is edited."""
    target = cache_root() / "data" / content.sha256 / item.file
    if target.is_file() and file_sha256(target) == content.sha256:
        return target
    make_private(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".copy-") as scratch:
        copy = Path(scratch, "copy")
        try:
            shutil.copyfile(path, copy)
        except OSError as error:
            raise DataError(f"path: {error.strerror}: {error.filename}") from None
        if file_sha256(copy) != content.sha256:
            raise DataError(f"{item.file}: {path} changes while it is read")
        copy.chmod(0o444)
        os.replace(copy, target)
    how = "" if item.sha256 else ", as it is now"
    say(f"{item.file}: {size_text(content.bytes)} from {path}{how} ({item.license})")
    return target


def _ensure(item: DataFile, places: Places, fetch_command: str, say: Callable[[str], None]) -> Path:
    target = cached_path(item, places.pack_root)
    if target.is_file() and _mismatch(item, target, places.pack_root) is None:
        return target
    make_private(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
        fetched = _from_any_place(item, places, Path(scratch), fetch_command, say)
        fetched.chmod(0o444)
        if item.sha256 is None:
            seen = _first_seen(item, places.pack_root)
            seen.write_text(f"{file_sha256(fetched)}\n", "ascii")
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
        problem = _mismatch(item, copy, places.pack_root)
        if problem is None:
            size = size_text(copy.stat().st_size)
            how = "" if item.sha256 else ", by its size"
            say(f"{item.file}: {size} from {name}{how} ({item.license})")
            return copy
        reasons.append(f"{name}: {problem}")
        seen = _first_seen(item, places.pack_root)
        if item.size_fits(copy.stat().st_size) and seen.is_file():
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


def _first_seen(item: DataFile, root: Path) -> Path:
    """Return where the hash of a file is written down for which the pack has none."""
    return cached_path(item, root).with_name(f"{item.file}.sha256")


def _wrong_size(item: DataFile, size: int) -> str:
    return (
        f"{size:,} bytes, where {item.bytes:,} are expected, give or take {item.tolerance:.0%}: "
        "cut off, or another file"
    )


def _mismatch(item: DataFile, path: Path, root: Path) -> str | None:
    """Return how a file differs from the one that the pack names; ``None`` if it does not."""
    size = path.stat().st_size
    if item.sha256 is None and not item.size_fits(size):
        return _wrong_size(item, size)
    expected, which, seen = item.sha256, "another file", _first_seen(item, root)
    if expected is None and seen.is_file():
        expected, which = seen.read_text("ascii").strip(), "not the one fetched first"
    if expected is None:
        return None
    digest = file_sha256(path)
    if digest == expected or (item.content_sha256 and gzip_sha256(path) == item.content_sha256):
        return None
    wanted = f"{item.bytes:,} bytes" if item.sha256 else f"sha256 {expected[:12]}..."
    return f"{which}: {size:,} bytes, sha256 {digest[:12]}... (expected {wanted})"
