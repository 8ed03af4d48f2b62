"""Brings a data file from one of the sources of the pack, unchecked.

A source is a package, an address, a path or a clone; files in a folder of the user's are for
:mod:`~recipelab.packs.data_folder` to find.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import http.client
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from recipelab.core.content import cache_root, make_private
from recipelab.packs.data_folder import BLOCK_BYTES, Bounded, DataFolder, Found, most_unpacked
from recipelab.packs.data_sections import (
    CloneSource,
    DebianSource,
    PathSource,
    PypiSource,
    SdistSource,
    Source,
    UrlSource,
    expanded_path,
)

CONNECT_SECONDS = 20
COMMAND_SECONDS = 300

LEAST_SPEED = 1_000
"""Bytes a second that a download has to bring after a minute; a slower one has no end."""
PATIENT_SECONDS = 60
_NOT_IN_ARCHIVE = (
    *(KeyError, EOFError, OSError, ValueError, RuntimeError, OverflowError, RecursionError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


class FetchError(Exception):
    """A source did not give the file; the message names the source and the reason."""


@dataclass(frozen=True)
class Places:
    """Where files are looked for on this machine, and hosts that have not answered.

    Attributes:
        pack_root: Where relative paths of a pack start.
        clone: The user's clone of upstream, if there is one.
        folder: The folder of data that the user names, if there is one.
        silent_hosts: Hosts that could not be reached, which are not asked again.
    """

    pack_root: Path
    clone: Path | None = None
    folder: DataFolder | None = None
    silent_hosts: set[str] = field(default_factory=set[str])


class Fetcher:
    """Brings a data file from one place into a folder, unchecked.

    Args:
        scratch: Existing folder to work in.
        places: Where to look on this machine.
        limit_bytes: A download longer than this is broken off.
    """

    def __init__(self, scratch: Path, places: Places, *, limit_bytes: int) -> None:
        self.scratch = scratch
        self.places = places
        self.limit_bytes = limit_bytes
        self._folder = scratch

    def take(self, found: Found) -> Path:
        """Return the path of a file of the user's folder, which is unpacked if need be.

        Raises:
            FetchError: It cannot be taken, or the archive does not hold it.
        """
        if found.problem is not None:
            raise FetchError(f"{found.path}: {found.problem}")
        if found.member is None:
            return found.path
        self._begin()
        return self._unpacked(found.path, found.member, str(found.path))

    def fetch(self, source: Source) -> Path:
        """Return the path of the file, which lies in the scratch folder or where the source has it.

        Raises:
            FetchError: The source cannot be reached, or does not hold the file.
        """
        self._begin()
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
                return self._from_path(source)
            case CloneSource():
                return self._from_clone(source)

    def _begin(self) -> None:
        """Take an empty folder, so that nothing of an earlier place is in the way."""
        self._folder = Path(tempfile.mkdtemp(dir=self.scratch))

    def _from_path(self, source: PathSource) -> Path:
        try:
            path = self.places.pack_root / expanded_path(source.path)
        except ValueError as error:
            raise FetchError(f"path {source.path}: {error}") from None
        if not path.is_file():
            raise FetchError(f"path {path}: no such file")
        return path

    def _from_clone(self, source: CloneSource) -> Path:
        if self.places.clone is None:
            raise FetchError(f"clone {source.path}: give the clone with --source")
        path = self.places.clone / source.path
        if not path.is_file():
            raise FetchError(f"clone {path}: no such file; upstream's own tool fetches it there")
        return path

    def _from_url(self, source: UrlSource) -> Path:
        # An archive holds more than the file, and says how much.
        limit = 2 * source.bytes if source.bytes is not None else self.limit_bytes
        path = _download(source.url, limit, self.places.silent_hosts)
        if source.member is None:
            return path
        return self._unpacked(path, source.member, source.url)

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
        return self._from_downloaded("*.deb", source.path, place)

    def _from_pypi(self, source: PypiSource) -> Path:
        package = f"{source.package}=={source.version}"
        place = f"Python package {package}"
        # Building an archive of sources would run its code; a wheel is only unpacked.
        self._pip("--only-binary", ":all:", package, place=place)
        return self._from_downloaded("*.whl", source.path, place)

    def _from_sdist(self, source: SdistSource) -> Path:
        package = f"{source.package}=={source.version}"
        place = f"sources of Python package {package}"
        requirements = f"{package} --hash=sha256:{source.sha256}\n"
        (self._folder / "requirements.txt").write_text(requirements, "utf-8")
        words = ("--require-hashes", "--no-binary", source.package, "-r", "requirements.txt")
        self._pip(*words, place=place)
        return self._from_downloaded("*.tar.gz", source.path, place)

    def _from_downloaded(self, pattern: str, member: str, place: str) -> Path:
        archives = sorted(self._folder.glob(pattern))
        if not archives:
            raise FetchError(f"{place}: the download left no {pattern}")
        return self._unpacked(archives[0], member, place)

    def _unpacked(self, archive: Path, member: str, place: str) -> Path:
        """Return the path of one file of an archive, unpacked into the scratch folder."""
        into = self._folder / "unpacked"
        limit = min(self.limit_bytes, most_unpacked(archive))
        try:
            if archive.suffix == ".deb":
                # The package's own tool would unpack devices and programs that run as root.
                tar = self._folder / "package.tar"
                with tar.open("wb") as stream:
                    self._run(["dpkg-deb", "--fsys-tarfile", str(archive)], place, stream)
                archive = tar
            with into.open("xb") as target:
                if zipfile.is_zipfile(archive):
                    _take_from_zip(archive, member, target, limit)
                else:
                    _take_from_tar(archive, member, target, limit)
        except _NOT_IN_ARCHIVE as error:
            raise FetchError(f"{place}: it holds no {member}: {error}") from None
        return into

    def _pip(self, *words: str, place: str) -> None:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", "."]
        self._run([*pip, *words], place)

    def _run(self, command: list[str], place: str, stdout: IO[bytes] | None = None) -> None:
        try:
            done = subprocess.run(
                command,
                cwd=self._folder,
                stdout=stdout or subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=COMMAND_SECONDS,
            )
        except FileNotFoundError:
            raise FetchError(f"{place}: {command[0]} is not on this machine") from None
        except subprocess.TimeoutExpired:
            raise FetchError(f"{place}: no answer within {COMMAND_SECONDS} s") from None
        if done.returncode != 0:
            lines = (
                (done.stderr or done.stdout or b"").decode(errors="replace").strip().splitlines()
            )
            raise FetchError(f"{place}: {lines[-1] if lines else f'{command[0]} failed'}")


def _take_from_zip(archive: Path, member: str, target: IO[bytes], limit: int) -> None:
    with zipfile.ZipFile(archive) as zipped:
        info = zipped.getinfo(member)
        if info.file_size > limit:
            raise tarfile.ReadError(f"it has {info.file_size:,} bytes; at most {limit:,} are read")
        # No more than the size that it says is read of it.
        with zipped.open(info) as stream:
            shutil.copyfileobj(stream, target)


def _take_from_tar(archive: Path, member: str, target: IO[bytes], limit: int) -> None:
    with _unpacking(archive) as stream:
        bounded = Bounded(stream, most_unpacked(archive))
        with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r|") as tar:
            for item in tar:
                if item.name.removeprefix("./") != member:
                    continue
                # A link could lead anywhere, and a device has no end.
                if not item.isreg():
                    raise tarfile.ReadError("it is no regular file there")
                if item.size > limit:
                    text = f"it has {item.size:,} bytes; at most {limit:,} are read"
                    raise tarfile.ReadError(text)
                content = tar.extractfile(item)
                assert content is not None
                shutil.copyfileobj(content, target)
                return
    raise KeyError(member)


def _unpacking(archive: Path) -> IO[bytes]:
    """Open an archive for reading what it holds, however it is compressed."""
    with archive.open("rb") as stream:
        head = stream.read(6)
    for magic, opened in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open)):
        if head.startswith(magic):
            return cast(IO[bytes], opened(archive))
    return archive.open("rb")


def partial_path(url: str) -> Path:
    """Return where the beginning of a download is kept."""
    return cache_root() / "partial" / hashlib.sha256(url.encode()).hexdigest()


def _download(url: str, limit_bytes: int, silent_hosts: set[str]) -> Path:
    """Download a file, from where the last attempt ended if the server can do so.

    Args:
        url: Its address.
        limit_bytes: A file longer than this is broken off, and not kept.
        silent_hosts: Hosts that are not asked, as they could not be reached; more may be added.

    Returns:
        Its path in the cache of partial downloads, which
        :func:`~.data.ensure_data` clears.

    Raises:
        FetchError: The address does not answer, or answers with too much or too little. What came
            so far is kept for the next attempt.
    """
    host = urllib.parse.urlsplit(url).netloc
    if host in silent_hosts:
        raise FetchError(f"{url}: {host} could not be reached before")
    path = partial_path(url)
    make_private(path.parent)
    size = path.stat().st_size if path.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={size}-"} if size else {})
    try:
        with _OPENER.open(request, timeout=CONNECT_SECONDS) as reply:
            # A server that cannot go on sends all of it again.
            start = size if reply.status == http.HTTPStatus.PARTIAL_CONTENT else 0
            _append(reply, path, start, url, limit_bytes)
    except urllib.error.HTTPError as error:
        # Asked for what is behind the end, the server refuses: the file was whole already.
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise FetchError(f"{url}: {error.reason}") from None
    except urllib.error.URLError as error:
        silent_hosts.add(host)
        raise FetchError(f"{url}: {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(f"{url}: {error}") from None
    return path


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect from web server to web server alone, and from an encrypted one to such."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request of the new address.

        Raises:
            HTTPError: It is of another kind, or would be read by everybody on the way.
        """
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type, scheme) == ("https", "http"):
            text = f"it sends on to {newurl!r}, which is not followed"
            raise urllib.error.HTTPError(req.full_url, code, text, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)


def _append(
    reply: http.client.HTTPResponse, path: Path, start: int, url: str, limit_bytes: int
) -> None:
    """Write a reply to a file, from an offset on."""
    size, began = start, time.monotonic()
    with path.open("ab" if start else "wb") as stream:
        while block := reply.read1(BLOCK_BYTES):
            size += len(block)
            if size > limit_bytes:
                break
            stream.write(block)
            took = time.monotonic() - began
            if took > PATIENT_SECONDS and size - start < LEAST_SPEED * took:
                raise FetchError(f"{url}: too slow, {size - start:,} bytes in {took:.0f} s")
    if size > limit_bytes:
        path.unlink()
        raise FetchError(f"{url}: longer than {limit_bytes:,} bytes")
    expected = reply.headers.get("Content-Length") or ""
    if expected.isdecimal() and size - start < int(expected):
        raise FetchError(
            f"{url}: broken off after {size:,} bytes; the next attempt goes on from there"
        )
