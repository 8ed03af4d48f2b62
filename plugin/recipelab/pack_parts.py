"""Parts of a ``pack.toml`` on their own: where data comes from, what acceptance wants."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Part(BaseModel):
    """A part of a pack: frozen, and without keys that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AcceptanceSpec(Part):
    """What tells a gain from noise; see :mod:`recipelab.acceptance`.

    Attributes:
        policy: ``confirmed``, ``paired-two-sigma`` or ``keep-if-better``.
        false_keep_rate: Chance that a campaign keeps anything if nothing is ever better.
        confirm: On how many fresh seeds a promising trial is tested, one look after the other.
        calibration: Seed runs of the baseline, which tell the noise; all the pack's seeds at least.
        racing_error: Chance at which a trial counts as hopeless and its seed runs stop; 0 runs all.
    """

    policy: Literal["confirmed", "paired-two-sigma", "keep-if-better"] = "confirmed"
    false_keep_rate: float = Field(default=0.05, gt=0, lt=1)
    confirm: tuple[Annotated[int, Field(ge=2)], ...] = Field(default=(4, 8, 16), min_length=1)
    calibration: int = Field(default=4, ge=2)
    racing_error: float = Field(default=0.02, ge=0, le=0.5)

    @model_validator(mode="after")
    def _growing(self) -> Self:
        if list(self.confirm) != sorted(set(self.confirm)):
            raise ValueError("confirm: each look has more seeds than the one before")
        return self


class DebianSource(Part):
    """A file inside a Debian package."""

    kind: Literal["debian"]
    package: str = Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$")
    path: str


class PypiSource(Part):
    """A file inside a distribution on the Python package index."""

    kind: Literal["pypi"]
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str
    path: str


class SdistSource(Part):
    """A file inside a Python source distribution.

    pip runs the distribution's own setup to read its metadata, so it is checked by its hash before.
    """

    kind: Literal["sdist"]
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    path: str


class UrlSource(Part):
    """A file at an address, or inside a tar archive there."""

    kind: Literal["url"]
    url: str = Field(pattern=r"^https?://")
    member: str | None = None
    bytes: int | None = Field(default=None, ge=0, description="Of the archive, if it is one.")


class PathSource(Part):
    """A file on this machine; a relative path starts at the pack's folder."""

    kind: Literal["path"]
    path: str


class CloneSource(Part):
    """A file in the user's clone of upstream, where upstream's own tools have put it."""

    kind: Literal["clone"]
    path: str


Source = Annotated[
    DebianSource | PypiSource | SdistSource | UrlSource | PathSource | CloneSource,
    Field(discriminator="kind"),
]


class DataFile(Part):
    """A data file that the pack names; whichever source answers, the hash decides.

    A gzip file may be compressed anew by whoever packages it: ``content_sha256``, the hash of what
    is inside, then says that it is the same data.

    Where nobody publishes a hash, ``sha256`` is left out: the hash of what was fetched first is
    written down beside it, and from then on it has to be that.
    """

    file: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    content_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    license: str
    sources: tuple[Source, ...] = Field(min_length=1)
