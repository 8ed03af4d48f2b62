"""Files of a folder that nobody has put in order, found by what they are and not where they lie.

:class:`DataFolder` finds a data file by its hash, also inside archives that the pack's sources
name, or, where no hash is known, by its name and size.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
import re
import stat
import tarfile
import urllib.parse
import zlib
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from recipelab.packs.data_sections import (
    DataFile,
    DebianSource,
    PypiSource,
    SdistSource,
    Source,
    UrlSource,
)

BLOCK_BYTES = 1 << 20

MOST_COMPRESSED = 100
"""Bytes that a byte of an archive may stand for: text takes a tenth of its size, a bomb less than a
thousandth."""
LEAST_UNPACKED_BYTES = 64 << 20
"""So much of an archive is always read."""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def gzip_sha256(path: Path) -> str | None:
    """Return the hash of what a gzip file holds; ``None`` if it is not one, or is a bomb."""
    try:
        with gzip.open(path) as stream:
            bounded = Bounded(cast(IO[bytes], stream), most_unpacked(path))
            digest = hashlib.sha256()
            while block := bounded.read(BLOCK_BYTES):
                digest.update(block)
            return digest.hexdigest()
    except (OSError, EOFError, zlib.error, tarfile.TarError):
        return None


def most_unpacked(archive: Path) -> int:
    """Return how many bytes an archive may unpack to."""
    return max(LEAST_UNPACKED_BYTES, MOST_COMPRESSED * archive.stat().st_size)


class Bounded:
    """A stream of unpacked bytes, of which no more than some are read.

    Args:
        stream: The stream.
        limit: The bytes that may be read.
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._limit = self._left = limit

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            tarfile.ReadError: More are asked for than may be read: a header may lie about a size.
        """
        if not 0 <= size <= self._left:
            raise tarfile.ReadError(f"it unpacks to more than {self._limit:,} bytes")
        data = self._stream.read(size)
        self._left -= len(data)
        return data


@dataclass(frozen=True)
class Found:
    """A file of a :class:`DataFolder` that may be the one that is looked for, or may hold it.

    Attributes:
        path: The file.
        member: Path inside it, if it is an archive.
        problem: Why it cannot be taken, if that is known.
    """

    path: Path
    member: str | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        """Its name for people."""
        return str(self.path) if self.member is None else f"{self.path}, {self.member}"


class DataFolder:
    """The files below a folder, found by what they are and not by where they lie.

    Links to files and folders are followed; what cannot be read is passed over.

    Args:
        top: The folder.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self._files = list(_files_below(top))
        self._digests: dict[Path, str] = {}

    def candidates(self, item: DataFile) -> Iterator[Found]:
        """Yield the files that may be a data file or hold it, the likeliest first.

        A file of the right name comes first, and of several the one that lies as the pack's sources
        have it, as ``sp8192/train.bin`` before ``sp1024/train.bin``. If the hash is known, any file
        that has it will do, and so will archives. If none is known only the name can tell.
        """
        named = [path for path, _ in self._files if path.name == item.file]
        ranks = {path: _shared_ending(path, item.sources) for path in named}
        best = [path for path in named if ranks[path] == max(ranks.values())]
        if item.sha256 is None and self._differ(best):
            places = ", ".join(map(str, best))
            text = f"{len(best)} different files {item.file}, and no hash to tell: {places}"
            yield Found(self.top, problem=text)
            return
        yield from (Found(path) for path in sorted(named, key=ranks.__getitem__, reverse=True))
        found = bool(named)
        for other in itertools.chain(self._with_hash(item, ranks), self._archives(item)):
            found = True
            yield other
        if not found:
            how = "the name" if item.sha256 is None else "the name or the hash"
            yield Found(self.top, problem=f"no file there has {how} of {item.file}")

    def _with_hash(self, item: DataFile, known: Container[Path]) -> Iterator[Found]:
        if item.sha256 is not None:
            for path, size in self._files:
                if path not in known and item.size_fits(size) and self._is(item, path):
                    yield Found(path)

    def _archives(self, item: DataFile) -> Iterator[Found]:
        for source in item.sources:
            archive = archive_of(source)
            for path, _ in self._files:
                if archive is not None and archive.fits(path.name):
                    yield Found(path, archive.member)

    def _differ(self, paths: Sequence[Path]) -> bool:
        return len(paths) > 1 and len({self._digest(path) for path in paths}) > 1

    def _is(self, item: DataFile, path: Path) -> bool:
        """Return whether a file has the hash of a data file, or its content the content's."""
        if self._digest(path) == item.sha256:
            return True
        return item.content_sha256 is not None and gzip_sha256(path) == item.content_sha256

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            try:
                self._digests[path] = file_sha256(path)
            except OSError:
                self._digests[path] = ""
        return self._digests[path]


def _files_below(top: Path) -> Iterator[tuple[Path, int]]:
    """Yield all regular files below a folder with their sizes, sorted, each folder once."""
    seen: set[tuple[int, int]] = set()
    for folder, below, names in os.walk(top, followlinks=True):
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in seen:
            below.clear()  # A link has led here again.
            continue
        seen.add((place.st_dev, place.st_ino))
        below.sort()
        for name in sorted(names):
            path = Path(folder, name)
            try:
                status = path.stat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield path, status.st_size


def _shared_ending(path: Path, sources: tuple[Source, ...]) -> int:
    """Return how many of its last parts a path has in common with a source that names a path."""
    most = 0
    for source in sources:
        text = source.url if isinstance(source, UrlSource) else source.path
        theirs = PurePosixPath(text).parts
        count = 0
        while count < len(theirs) and path.parts[-count - 1 :] == theirs[-count - 1 :]:
            count += 1
        most = max(most, count)
    return most


@dataclass(frozen=True)
class Archive:
    """The archive that a source takes its file from.

    Attributes:
        pattern: A regular expression for its name.
        member: The file's path in it.
    """

    pattern: str
    member: str

    def fits(self, name: str) -> bool:
        """Return whether a file of that name is the archive."""
        return re.fullmatch(self.pattern, name, re.IGNORECASE) is not None


def archive_of(source: Source) -> Archive | None:
    """Return the archive that a source takes its file from; ``None`` if it is not in one."""
    match source:
        case UrlSource(member=str(member)):
            name = PurePosixPath(urllib.parse.urlsplit(source.url).path).name
            return Archive(re.escape(urllib.parse.unquote(name)), member)
        case DebianSource():
            return Archive(rf"{re.escape(source.package)}_[^_]+_[^_]+\.deb", source.path)
        case PypiSource():
            spelled = _any_spelling(source.package, source.version)
            return Archive(rf"{spelled}-.+\.whl", source.path)
        case SdistSource():
            spelled = _any_spelling(source.package, source.version)
            return Archive(rf"{spelled}\.tar\.gz", source.path)
        case _:
            return None


def _any_spelling(package: str, version: str) -> str:
    """Return a pattern of a distribution's name and version, in which ``-_.`` are the same."""
    return rf"{'[-_.]+'.join(re.split('[-_.]+', package))}-{re.escape(version)}"
