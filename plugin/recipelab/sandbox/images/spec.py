"""What an image is made of, read from a ``sandbox.toml``."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from recipelab import content
from recipelab.errors import RecipelabError
from recipelab.sandbox.docker.container_table import container_profile
from recipelab.sandbox.profile import ContainerProfile

SPEC_FILE = "sandbox.toml"
REQUIREMENTS_FILE = "requirements.txt"
CONTAINER_TABLE = "container"
_FORMAT = 1
_PATTERNS = {
    "name": (r"[a-z0-9][a-z0-9_-]*", "lower-case letters, digits, _ and -, as cpu"),
    "description": (r"[^\n]+", "one line of text"),
    "image": (r"[a-z0-9][a-z0-9._/-]*(:[A-Za-z0-9._-]+)?", "an image name, as recipelab/cpu"),
    "dockerfile": (
        r"(\.\./[a-z0-9][a-z0-9_-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*",
        "name of a file beside it, as Dockerfile, or of another sandbox's, as ../cpu/Dockerfile",
    ),
    "base": (r"[a-z0-9]\S*", "an image name, as python:3.11-slim-bookworm"),
    "python": (r"3\.[0-9]+", "a Python version, as 3.11"),
}


@dataclass(frozen=True)
class ImageSpec:
    """An image that can be built.

    Attributes:
        folder: Where its files lie: the Dockerfile and ``requirements.txt``.
        name: Its name among the sandboxes.
        description: One line for people.
        image: Name (and tag) of the image that is built.
        dockerfile: Path of the Dockerfile from the folder: its own, or another sandbox's.
        base: Name of the image to build on, where nobody names another.
        python: Python version of the base, which the wheels are for.
        container: What its containers have beyond the limits of a phase.
    """

    folder: Path
    name: str
    description: str
    image: str
    dockerfile: str
    base: str
    python: str
    container: ContainerProfile = field(default_factory=ContainerProfile)

    @property
    def requirements(self) -> Path:
        """The file with the packages to install."""
        return self.folder / REQUIREMENTS_FILE


def image_spec_names() -> tuple[str, ...]:
    """Names of the sandboxes that can be found from here."""
    return content.names(content.SANDBOXES, marker=SPEC_FILE)


def load_image_spec(name: str) -> ImageSpec:
    """Reads a sandbox's specification by its name.

    Raises:
        RecipelabError: There is none of that name, or it cannot be read.
    """
    return read_image_spec(content.find(content.SANDBOXES, name, marker=SPEC_FILE, what="sandbox"))


def read_image_spec(file: Path) -> ImageSpec:
    """Reads one ``sandbox.toml``.

    Raises:
        RecipelabError: It cannot be read; the message names file, key and valid values.
    """
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipelabError(f"{file}: {error}") from error
    form = table.pop("format", None)
    if form != _FORMAT:
        raise RecipelabError(f"{file}: format: {form!r} is not a known format; valid: {_FORMAT}")
    container = container_profile(file, table.pop(CONTAINER_TABLE, {}))
    if unknown := sorted(set(table) - set(_PATTERNS)):
        valid = ", ".join(("format", *_PATTERNS, CONTAINER_TABLE))
        raise RecipelabError(f"{file}: {unknown[0]}: unknown key; valid: {valid}")
    values = {key: _checked(file, key, table.get(key)) for key in _PATTERNS}
    for needed in (values["dockerfile"], REQUIREMENTS_FILE):
        if not (file.parent / needed).is_file():
            raise RecipelabError(f"{file}: there must be a file {needed} beside it")
    return ImageSpec(folder=file.parent, container=container, **values)


def _checked(file: Path, key: str, value: object) -> str:
    pattern, words = _PATTERNS[key]
    if value is None:
        raise RecipelabError(f"{file}: {key}: missing; valid: {words}")
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise RecipelabError(f"{file}: {key}: {value!r} is not valid; valid: {words}")
    return value
