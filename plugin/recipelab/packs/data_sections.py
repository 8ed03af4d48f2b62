"""The tables of a ``pack.toml`` that say where data comes from: files, and their sources.

The sources of a file are tried in order; :mod:`recipelab.packs.sources` fetches from them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from recipelab.core.recipe import stays_inside
from recipelab.packs.judging_sections import SHA256, Section


class DebianSource(Section):
    """A file inside a Debian package.

    Attributes:
        kind: ``debian``.
        package: Name of the package.
        path: Path of the file in it.
    """

    kind: Literal["debian"]
    package: str = Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")
    path: str


class PypiSource(Section):
    """A file inside a distribution on the Python package index.

    Attributes:
        kind: ``pypi``.
        package: Name of the distribution.
        version: Its version.
        path: Path of the file in its wheel.
    """

    kind: Literal["pypi"]
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str
    path: str


class SdistSource(Section):
    """A file inside a Python source distribution.

    pip runs the distribution's own setup to read its metadata, so it is checked by its hash before.

    Attributes:
        kind: ``sdist``.
        package: Name of the distribution.
        version: Its version.
        sha256: Hash of the archive.
        path: Path of the file in the archive.
    """

    kind: Literal["sdist"]
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str
    sha256: str = Field(pattern=SHA256)
    path: str


class UrlSource(Section):
    """A file at an address, or inside a tar archive there.

    Attributes:
        kind: ``url``.
        url: The address, which begins with ``http://`` or ``https://``.
        member: Path of the file in the archive, if the address is that of one.
        bytes: Size of the archive in bytes, if it is one.
    """

    kind: Literal["url"]
    url: str = Field(pattern=r"^https?://")
    member: str | None = None
    bytes: int | None = Field(default=None, ge=0)


_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>[^{}$]*))?\}")


def expanded_path(text: str) -> Path:
    """Return the path that a text means here: with variables and a home folder in their places.

    Args:
        text: A path that may hold ``${NAME}`` or ``${NAME:-DEFAULT}``; as in a shell, the default
            stands for a variable that is not set or empty. A path that begins with the value of a
            variable starts at the working directory if it is relative, as the programs that read
            the variable take it.

    Raises:
        ValueError: A variable without a default is not set, or one is written in another way.
    """

    def value(match: re.Match[str]) -> str:
        given = os.environ.get(match["name"], "")
        if given:
            return given if match.start() else str(Path(given).expanduser().absolute())
        if match["default"] is None:
            raise ValueError(f"${match['name']} is not set")
        return match["default"]

    return Path(_VARIABLE.sub(value, check_variables(text))).expanduser()


def check_variables(text: str) -> str:
    """Return a text in which variables of the environment are written as they have to be.

    Raises:
        ValueError: One is not.
    """
    if "$" in _VARIABLE.sub("", text):
        raise ValueError("variables are written ${NAME} or ${NAME:-DEFAULT}")
    return text


class PathSource(Section):
    """A file on this machine; a relative path starts at the pack's folder.

    Attributes:
        kind: ``path``.
        path: The path. It may hold ``${NAME}`` or ``${NAME:-DEFAULT}`` for a variable of the
            environment.
    """

    kind: Literal["path"]
    path: str

    _variables = field_validator("path")(check_variables)


class CloneSource(Section):
    """A file in the user's clone of upstream, where upstream's own tools have put it.

    Attributes:
        kind: ``clone``.
        path: Path of the file in the clone.
    """

    kind: Literal["clone"]
    path: str


Source = Annotated[
    DebianSource | PypiSource | SdistSource | UrlSource | PathSource | CloneSource,
    Field(discriminator="kind"),
]

SOURCE_KINDS: dict[str, type[Section]] = {
    "debian": DebianSource,
    "pypi": PypiSource,
    "sdist": SdistSource,
    "url": UrlSource,
    "path": PathSource,
    "clone": CloneSource,
}


class DataFile(Section):
    """A data file or folder of the pack; whichever source answers, the hash decides.

    A gzip file may be compressed anew by a packager: ``content_sha256``, the hash of what is
    inside, then says that it is the same data.

    Where nobody publishes a hash, ``sha256`` is left out: the size has to be near ``bytes``, the
    hash of what was fetched first is written down, and from then on it has to be that.

    Data whose sources are paths of this machine are the user's own: what lies there counts, and
    ``bytes`` may be left out. Only such data may be folders.

    Attributes:
        file: Its name, by which phases ask for it.
        folder: The name, where it is a folder.
        at: Where a phase finds it that names it in a list; ``data/NAME`` unless given.
        sha256: Its hash; of a folder, that of its manifest.
        content_sha256: Hash of what a gzip file holds.
        bytes: Its size, in bytes.
        tolerance: How far the size of a file without a hash may be from ``bytes``, as a share.
        license: Under which license it is.
        sources: Where it may be.
    """

    file: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    folder: str | None = None
    at: str | None = None
    sha256: str | None = Field(default=None, pattern=SHA256)
    content_sha256: str | None = Field(default=None, pattern=SHA256)
    bytes: int = Field(default=0, ge=0)
    tolerance: float = Field(default=0.2, ge=0, lt=1)
    license: str = "not stated"
    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _has_one_name(cls, table: Any) -> Any:
        if not isinstance(table, dict) or "folder" not in table:
            return table
        if table.get("file", table["folder"]) != table["folder"]:
            raise ValueError("file and folder are names of the same thing: give one of them")
        return {**table, "file": table["folder"]}

    @field_validator("at")
    @classmethod
    def _check_at(cls, place: str | None) -> str | None:
        if place is not None and not stays_inside(place):
            raise ValueError("it must be a path below the phase root, as data/x or recipe/data")
        return place

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if not self.is_own and self.folder is not None:
            raise ValueError("folder: only data with sources of the kind path may be folders")
        if not self.is_own and "bytes" not in self.model_fields_set:
            raise ValueError("bytes: Field required, as it is fetched")
        return self

    @property
    def is_own(self) -> bool:
        """Whether it lies on this machine and is nowhere to be fetched from."""
        return all(isinstance(source, PathSource) for source in self.sources)

    @property
    def place(self) -> str:
        """Where a phase finds it, unless the phase says otherwise."""
        return self.at or f"data/{self.file}"

    def size_fits(self, size: int) -> bool:
        """Return whether a file of that many bytes may be the one that is meant."""
        if "bytes" not in self.model_fields_set:
            return True
        return abs(size - self.bytes) <= self.tolerance * self.bytes


MAX_SERIES = 10_000
"""Files of a series."""


class SeriesNumbers(Section):
    """The numbers of a series of data files.

    A ``[[data]]`` table with ``numbers`` and a ``file`` that holds ``{n}`` stands for many files,
    one for each number. See :func:`recipelab.packs.load.read_pack`.

    Attributes:
        first: The first number.
        last: The last number.
        digits: Digits of each number, with leading zeros.
    """

    first: int = Field(ge=0)
    last: int = Field(ge=0)
    digits: int = Field(ge=1, le=20)

    @model_validator(mode="after")
    def _are_few(self) -> Self:
        if self.last - self.first >= MAX_SERIES:
            raise ValueError(f"at most {MAX_SERIES:,} files")
        return self

    def texts(self) -> list[str]:
        """Return the numbers in order, each with leading zeros."""
        return [f"{number:0{self.digits}d}" for number in range(self.first, self.last + 1)]
