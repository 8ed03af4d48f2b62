"""Gets the data files of a pack, once per user, checked by hash.

Whichever of a file's sources answers first is taken; the hash in the pack decides whether it is
the right file. Files live under ``~/.cache/recipelab/data`` (``$XDG_CACHE_HOME`` is respected),
read-only, named by their hash.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from recipelab.core.content import cache_root
from recipelab.core.errors import DataError
from recipelab.packs.pack import Pack
from recipelab.packs.sections import (
    CloneSource,
    DataFile,
    DebianSource,
    PathSource,
    PypiSource,
    SdistSource,
    Source,
    UrlSource,
)

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


CONNECT_SECONDS = 20
BLOCK = 1 << 20
PARTIAL = 206
BEYOND_THE_END = 416


class DownloadError(Exception):
    """The file could not be had; the message says why. What came so far is kept."""


def partial_path(url: str) -> Path:
    """Where the beginning of a download is kept."""
    return cache_root() / "partial" / hashlib.sha256(url.encode()).hexdigest()


def download(url: str, *, limit_bytes: int) -> Path:
    """Downloads a file, from where the last attempt ended if the server can do so.

    Args:
        url: Its address.
        limit_bytes: A file longer than this is broken off, and not kept.

    Returns:
        Where it lies; whoever has taken and checked it removes it.

    Raises:
        DownloadError: The address does not answer, or answers with too much.
    """
    path = partial_path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    have = path.stat().st_size if path.is_file() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=CONNECT_SECONDS
        ) as reply:
            # A server that cannot go on sends all of it again.
            _append(reply, path, have if reply.status == PARTIAL else 0, limit_bytes)
    except urllib.error.HTTPError as error:
        if error.code != BEYOND_THE_END:
            raise DownloadError(str(error.reason)) from None
        # It was whole already; its hash will tell.
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(str(getattr(error, "reason", error))) from None
    return path


def _append(reply: http.client.HTTPResponse, path: Path, start: int, limit_bytes: int) -> None:
    size = start
    with path.open("ab" if start else "wb") as stream:
        while block := reply.read(BLOCK):
            size += len(block)
            if size > limit_bytes:
                break
            stream.write(block)
    if size > limit_bytes:
        path.unlink()
        raise DownloadError(f"longer than {limit_bytes:,} bytes")
    expected = reply.headers.get("Content-Length")
    if expected is not None and size - start < int(expected):
        raise DownloadError(f"broken off after {size:,} bytes; the next attempt goes on from there")


TIMEOUT_SECONDS = 300


class FetchError(Exception):
    """One source did not give the file.

    Attributes:
        place: The source, in words.
        reason: Why it failed.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


def fetch(
    source: Source, folder: Path, *, pack_root: Path, clone: Path | None, limit_bytes: int
) -> Path:
    """Brings a file from a source into a folder.

    Args:
        source: Where to look.
        folder: Existing empty folder to work in.
        pack_root: Where relative paths start.
        clone: The user's clone of upstream, if there is one.
        limit_bytes: A download longer than this is broken off.

    Returns:
        Path of the file, unchecked.

    Raises:
        FetchError: The source cannot be reached, or does not hold the file.
    """
    match source:
        case DebianSource():
            return _from_debian(source, folder)
        case PypiSource():
            return _from_pypi(source, folder)
        case SdistSource():
            return _from_sdist(source, folder)
        case UrlSource():
            return _from_url(source, folder, limit_bytes)
        case PathSource():
            return _from_path(source, pack_root)
        case CloneSource():
            return _from_clone(source, clone)


def _from_path(source: PathSource, pack_root: Path) -> Path:
    path = pack_root / Path(source.path).expanduser()
    if not path.is_file():
        raise FetchError(f"path {source.path}", "no such file")
    return path


def _from_url(source: UrlSource, folder: Path, limit_bytes: int) -> Path:
    # An archive holds more than the file, and says how much.
    limit = 2 * source.bytes if source.bytes is not None else limit_bytes
    try:
        path = download(source.url, limit_bytes=limit)
    except DownloadError as error:
        raise FetchError(source.url, str(error)) from None
    return path if source.member is None else _member(path, source.member, folder, source.url)


def _member(archive: Path, member: str, folder: Path, place: str) -> Path:
    try:
        with tarfile.open(archive) as opened:
            opened.extract(member, folder / "unpacked", filter="data")
    except (KeyError, tarfile.TarError, EOFError, OSError) as error:
        raise FetchError(place, f"it holds no {member}: {error}") from None
    return _inside(folder / "unpacked", member, place)


def _from_clone(source: CloneSource, clone: Path | None) -> Path:
    if clone is None:
        raise FetchError(f"clone {source.path}", "give the clone with --source")
    path = clone / source.path
    if not path.is_file():
        raise FetchError(f"clone {path}", "no such file; upstream's own tool fetches it there")
    return path


def _from_debian(source: DebianSource, folder: Path) -> Path:
    place = f"Debian package {source.package}"
    installed = Path("/") / source.path
    if installed.is_file():
        return installed
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise FetchError(place, "apt-get and dpkg-deb are not on this machine")
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", source.package]
    try:
        _run(command, folder, place)
    except FetchError:
        if os.geteuid() != 0:
            raise
        # A bare machine has no package lists yet; only root may fetch them.
        _run(["apt-get", "-qq", "update"], folder, place)
        _run(command, folder, place)
    archives = list(folder.glob("*.deb"))
    if not archives:
        raise FetchError(place, "the download left no package")
    unpacked = folder / "unpacked"
    _run(["dpkg-deb", "-x", str(archives[0]), str(unpacked)], folder, place)
    return _inside(unpacked, source.path, place)


def _from_pypi(source: PypiSource, folder: Path) -> Path:
    place = f"Python package {source.package}=={source.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    # Building an archive of sources would run its code; only wheels and plain unpacking are safe.
    wheel_only = ["--only-binary", ":all:"]
    _run([*pip, *wheel_only, "-d", ".", f"{source.package}=={source.version}"], folder, place)
    unpacked = folder / "unpacked"
    for archive in folder.iterdir():
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(unpacked)
        elif archive.name.endswith((".tar.gz", ".tar.bz2")):
            with tarfile.open(archive) as opened:
                opened.extractall(unpacked, filter="data")
    return _inside(unpacked, source.path, place)


def _from_sdist(source: SdistSource, folder: Path) -> Path:
    place = f"sources of Python package {source.package}=={source.version}"
    wanted = f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n"
    (folder / "wanted.txt").write_text(wanted, "utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    _run([*pip, "--no-binary", source.package, "-d", ".", "-r", "wanted.txt"], folder, place)
    unpacked = folder / "unpacked"
    for archive in folder.glob("*.tar.gz"):
        with tarfile.open(archive) as opened:
            opened.extractall(unpacked, filter="data")
    return _inside(unpacked, source.path, place)


def _inside(folder: Path, path: str, place: str) -> Path:
    found = (folder / path).resolve()
    if not found.is_relative_to(folder.resolve()) or not found.is_file():
        raise FetchError(place, f"it holds no file {path}")
    return found


def _run(command: list[str], folder: Path, place: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise FetchError(place, f"no answer within {TIMEOUT_SECONDS} s") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise FetchError(place, lines[-1] if lines else f"{command[0]} failed")
