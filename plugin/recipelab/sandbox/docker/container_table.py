"""Reads the table ``[container]`` of a ``sandbox.toml``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipelab.errors import RecipelabError
from recipelab.sandbox.profile import NOBODY, ContainerProfile

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
