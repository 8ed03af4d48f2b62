"""Gets the data files of a pack, once per user, checked by hash.

The first of a file's sources that has the right file is taken; the hash in the pack decides. Files
lie below ``~/.cache/recipelab/data`` (``$XDG_CACHE_HOME`` is respected), read-only, named by their
hash.
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

CONNECT_SECONDS = 20
COMMAND_SECONDS = 300
BLOCK_BYTES = 1 << 20


def ensure_data(
    pack: Pack, *, say: Callable[[str], None], clone: Path | None = None
) -> dict[str, Path]:
    """Make sure that every data file of a pack is in the cache.

    Args:
        pack: The pack.
        say: Called with one line for each file that is fetched.
        clone: The user's clone of upstream, where data may lie that upstream's own tools fetched.

    Returns:
        Name of each data file to its path in the cache.

    Raises:
        DataError: No source has the right file; the message lists each source and why it failed.
    """
    paths = {item.file: _ensure(item, pack.root, clone, say) for item in pack.data}
    for item in pack.data:
        for source in item.sources:
            if isinstance(source, UrlSource):
                # Files that share an archive share its download, which only now nobody needs.
                _partial_path(source.url).unlink(missing_ok=True)
    return paths


def is_cached(item: DataFile) -> bool:
    """Return whether the right file is in the cache."""
    path = _cached_path(item)
    return path.is_file() and _mismatch(item, path) is None


def _ensure(item: DataFile, root: Path, clone: Path | None, say: Callable[[str], None]) -> Path:
    target = _cached_path(item)
    if is_cached(item):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as scratch:
        fetched = _from_any_source(item, root, clone, Path(scratch), say)
        fetched.chmod(0o444)
        if item.sha256 is None:
            _first_seen(item).write_text(f"{_sha256(fetched)}\n", "ascii")
        # A rename is atomic: two campaigns that fetch at once both end with the whole file.
        os.replace(fetched, target)
    return target


def _from_any_source(
    item: DataFile, root: Path, clone: Path | None, scratch: Path, say: Callable[[str], None]
) -> Path:
    """Return a checked copy of the file, from the first source that has it."""
    reasons: list[str] = []
    for number, source in enumerate(item.sources):
        folder = scratch / str(number)
        folder.mkdir()
        try:
            fetched = Fetcher(folder, root, clone, limit_bytes=4 * item.bytes).fetch(source)
        except FetchError as error:
            reasons.append(str(error))
            continue
        copy = folder / ".checked"
        shutil.copyfile(fetched, copy)
        problem = _mismatch(item, copy)
        if problem is None:
            say(f"{item.file}: {item.bytes / 1e6:.1f} MB from {source.kind} ({item.license})")
            return copy
        if isinstance(source, UrlSource):
            # What was downloaded is another file, so the next attempt starts anew.
            _partial_path(source.url).unlink(missing_ok=True)
        reasons.append(f"{source.kind}: {problem}")
    known = f" (sha256 {item.sha256[:12]}...)" if item.sha256 else ""
    raise DataError("\n  ".join([f"cannot get {item.file}{known}:", *reasons]))


def _cached_path(item: DataFile) -> Path:
    key = item.sha256
    if key is None:
        sources = "\n".join(source.model_dump_json() for source in item.sources)
        key = f"first-seen-{hashlib.sha256(sources.encode()).hexdigest()}"
    return cache_root() / "data" / key / item.file


def _first_seen(item: DataFile) -> Path:
    """Return where the hash of a file is written down for which the pack has none."""
    return _cached_path(item).with_name(f"{item.file}.sha256")


def _mismatch(item: DataFile, path: Path) -> str | None:
    """Return how a file differs from the one that the pack names; ``None`` if it does not."""
    expected = item.sha256
    if expected is None and _first_seen(item).is_file():
        expected = _first_seen(item).read_text("ascii").strip()
    if expected is None:
        return None
    digest = _sha256(path)
    if digest == expected or (item.content_sha256 and _gzip_sha256(path) == item.content_sha256):
        return None
    size = path.stat().st_size
    return f"another file: {size:,} bytes, sha256 {digest[:12]}... (expected {item.bytes:,} bytes)"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _gzip_sha256(path: Path) -> str | None:
    """Return the hash of what a gzip file holds; ``None`` if it is not one."""
    try:
        with gzip.open(path) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error):
        return None


class FetchError(Exception):
    """A source did not give the file; the message names the source and the reason."""


class Fetcher:
    """Brings a data file from one of its sources into a folder, unchecked.

    Args:
        folder: Existing empty folder to work in.
        pack_root: Where relative paths start.
        clone: The user's clone of upstream, if there is one.
        limit_bytes: A download longer than this is broken off.
    """

    def __init__(
        self, folder: Path, pack_root: Path, clone: Path | None, *, limit_bytes: int
    ) -> None:
        self.folder = folder
        self.unpacked = folder / "unpacked"
        self.pack_root = pack_root
        self.clone = clone
        self.limit_bytes = limit_bytes

    def fetch(self, source: Source) -> Path:
        """Return the path of the file, which lies in the folder or where the source has it.

        Raises:
            FetchError: The source cannot be reached, or does not hold the file.
        """
        match source:
            case DebianSource():
                return self._from_debian(source)
            case PypiSource():
                return self._from_pypi(source)
            case SdistSource():
                return self._from_sdist(source)
            case UrlSource():
                return self._from_url(source)
            case PathSource():
                path = self.pack_root / Path(source.path).expanduser()
                if not path.is_file():
                    raise FetchError(f"path {source.path}: no such file")
                return path
            case CloneSource():
                return self._from_clone(source)

    def _from_clone(self, source: CloneSource) -> Path:
        if self.clone is None:
            raise FetchError(f"clone {source.path}: give the clone with --source")
        path = self.clone / source.path
        if not path.is_file():
            raise FetchError(f"clone {path}: no such file; upstream's own tool fetches it there")
        return path

    def _from_url(self, source: UrlSource) -> Path:
        # An archive holds more than the file, and says how much.
        limit = 2 * source.bytes if source.bytes is not None else self.limit_bytes
        path = _download(source.url, limit)
        if source.member is None:
            return path
        try:
            with tarfile.open(path) as archive:
                archive.extract(source.member, self.unpacked, filter="data")
        except (KeyError, tarfile.TarError, EOFError, OSError) as error:
            raise FetchError(f"{source.url}: it holds no {source.member}: {error}") from None
        return self._unpacked_file(source.member, source.url)

    def _from_debian(self, source: DebianSource) -> Path:
        place = f"Debian package {source.package}"
        installed = Path("/") / source.path
        if installed.is_file():
            return installed
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise FetchError(f"{place}: apt-get and dpkg-deb are not on this machine")
        command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", source.package]
        try:
            self._run(command, place)
        except FetchError:
            if os.geteuid() != 0:
                raise
            # A bare machine has no package lists yet; only root may fetch them.
            self._run(["apt-get", "-qq", "update"], place)
            self._run(command, place)
        archives = list(self.folder.glob("*.deb"))
        if not archives:
            raise FetchError(f"{place}: the download left no package")
        self._run(["dpkg-deb", "-x", str(archives[0]), str(self.unpacked)], place)
        return self._unpacked_file(source.path, place)

    def _from_pypi(self, source: PypiSource) -> Path:
        package = f"{source.package}=={source.version}"
        place = f"Python package {package}"
        # Building an archive of sources would run its code; a wheel is only unpacked.
        self._pip("--only-binary", ":all:", package, place=place)
        for archive in self.folder.glob("*.whl"):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(self.unpacked)
        return self._unpacked_file(source.path, place)

    def _from_sdist(self, source: SdistSource) -> Path:
        package = f"{source.package}=={source.version}"
        place = f"sources of Python package {package}"
        requirements = f"{package} --hash=sha256:{source.sha256}\n"
        (self.folder / "requirements.txt").write_text(requirements, "utf-8")
        words = ("--require-hashes", "--no-binary", source.package, "-r", "requirements.txt")
        self._pip(*words, place=place)
        for archive in self.folder.glob("*.tar.gz"):
            with tarfile.open(archive) as opened:
                opened.extractall(self.unpacked, filter="data")
        return self._unpacked_file(source.path, place)

    def _unpacked_file(self, path: str, place: str) -> Path:
        found = (self.unpacked / path).resolve()
        if not found.is_relative_to(self.unpacked.resolve()) or not found.is_file():
            raise FetchError(f"{place}: it holds no file {path}")
        return found

    def _pip(self, *words: str, place: str) -> None:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", "."]
        self._run([*pip, *words], place)

    def _run(self, command: list[str], place: str) -> None:
        try:
            done = subprocess.run(
                command, cwd=self.folder, capture_output=True, text=True, timeout=COMMAND_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise FetchError(f"{place}: no answer within {COMMAND_SECONDS} s") from None
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise FetchError(f"{place}: {lines[-1] if lines else f'{command[0]} failed'}")


def _partial_path(url: str) -> Path:
    """Return where the beginning of a download is kept."""
    return cache_root() / "partial" / hashlib.sha256(url.encode()).hexdigest()


def _download(url: str, limit_bytes: int) -> Path:
    """Download a file, from where the last attempt ended if the server can do so.

    Args:
        url: Its address.
        limit_bytes: A file longer than this is broken off, and not kept.

    Returns:
        Its path in the cache of partial downloads, from where :func:`ensure_data` removes it.

    Raises:
        FetchError: The address does not answer, or answers with too much or too little. What came
            so far is kept for the next attempt.
    """
    path = _partial_path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    size = path.stat().st_size if path.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    try:
        with urllib.request.urlopen(request, timeout=CONNECT_SECONDS) as reply:
            # A server that cannot go on sends all of it again.
            start = size if reply.status == http.HTTPStatus.PARTIAL_CONTENT else 0
            _append(reply, path, start, url, limit_bytes)
    except urllib.error.HTTPError as error:
        # Asked for what is behind the end, the server refuses: the file was whole already.
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise FetchError(f"{url}: {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(f"{url}: {getattr(error, 'reason', error)}") from None
    return path


def _append(
    reply: http.client.HTTPResponse, path: Path, start: int, url: str, limit_bytes: int
) -> None:
    """Write a reply to a file, from an offset on."""
    size = start
    with path.open("ab" if start else "wb") as stream:
        while block := reply.read(BLOCK_BYTES):
            size += len(block)
            if size > limit_bytes:
                break
            stream.write(block)
    if size > limit_bytes:
        path.unlink()
        raise FetchError(f"{url}: longer than {limit_bytes:,} bytes")
    expected = reply.headers.get("Content-Length")
    if expected is not None and size - start < int(expected):
        raise FetchError(
            f"{url}: broken off after {size:,} bytes; the next attempt goes on from there"
        )
