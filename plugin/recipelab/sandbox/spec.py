"""What the container of a sandbox has beyond the limits of a phase, from ``sandbox.toml``."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipelab.core import content
from recipelab.core.errors import RecipelabError

NOBODY = 65534
"""User and group id of a command where a profile names no other."""


@dataclass(frozen=True)
class ContainerProfile:
    """Properties of a container; the table ``[container]`` of a ``sandbox.toml``.

    Attributes:
        user: User and group id of the command; never root's.
        gpu: Whether recipes need a GPU: each phase then gets the GPUs of its slot.
        shm_mb: Size of ``/dev/shm`` in MiB; ``None`` for as much as the memory limit.
        seccomp: A seccomp profile in Docker's JSON; ``None`` for Docker's own.
        environment: Names of variables of the host that are passed on, if they are set there.
    """

    user: int = NOBODY
    gpu: bool = False
    shm_mb: int | None = None
    seccomp: Path | None = None
    environment: tuple[str, ...] = ()


RESERVED_USER = 65533
"""User id of the container's trusted process; a command under it could speak in its place."""

_SHM_MB = range(1, 1 << 20)
_SECCOMP_FILE = r"[A-Za-z0-9][A-Za-z0-9._-]*\.json"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


def _is_user(value: object) -> bool:
    return type(value) is int and 0 < value <= NOBODY and value != RESERVED_USER


def _is_shm(value: object) -> bool:
    return type(value) is int and value in _SHM_MB


def _is_seccomp(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(_SECCOMP_FILE, value) is not None


def _is_environment(value: object) -> bool:
    if not isinstance(value, list) or len(set(map(str, value))) != len(value):
        return False
    return all(isinstance(name, str) and re.fullmatch(_VARIABLE, name) for name in value)


_KEYS: dict[str, tuple[Callable[[object], bool], str]] = {
    "user": (
        _is_user,
        f"a user id from 1 to {NOBODY}, but not {RESERVED_USER}, which recipelab takes itself",
    ),
    "gpu": (lambda value: isinstance(value, bool), "true or false"),
    "shm_mb": (_is_shm, f"MiB of /dev/shm, from 1 to {_SHM_MB[-1]}"),
    "seccomp": (_is_seccomp, "name of a JSON file beside it, as seccomp.json"),
    "environment": (_is_environment, 'a list of different variable names, as ["HF_TOKEN"]'),
}


def container_profile(file: Path, table: object) -> ContainerProfile:
    """Checks a table ``[container]`` and makes a profile of it.

    Args:
        file: The ``sandbox.toml``, for messages and for what lies beside it.
        table: What stands under ``container``.

    Raises:
        RecipelabError: Something is not valid; the message names file, key and valid values.
    """
    valid = ", ".join(_KEYS)
    if not isinstance(table, dict):
        raise RecipelabError(f"{file}: container: {table!r} is not a table; valid keys: {valid}")
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in _KEYS:
            raise RecipelabError(f"{file}: container.{key}: unknown key; valid: {valid}")
        is_valid, words = _KEYS[key]
        if not is_valid(value):
            raise RecipelabError(f"{file}: container.{key}: {value!r} is not valid; valid: {words}")
        values[key] = value
    if "seccomp" in values:
        values["seccomp"] = _seccomp_file(file, values["seccomp"])
    if "environment" in values:
        values["environment"] = tuple(values["environment"])
    return ContainerProfile(**values)


def _seccomp_file(file: Path, name: str) -> Path:
    path = file.parent / name
    try:
        profile = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise RecipelabError(
            f"{file}: container.seccomp: there must be a file {name} beside it"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise RecipelabError(f"{file}: container.seccomp: {name} is not JSON: {error}") from error
    # Without a default action Docker's runtime takes the profile and filters nothing.
    if not isinstance(profile, dict) or "defaultAction" not in profile:
        raise RecipelabError(
            f"{file}: container.seccomp: {name} is not a seccomp profile; valid: an object with "
            "defaultAction, in Docker's format"
        )
    return path


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
