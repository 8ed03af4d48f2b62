"""Packages that a pack needs beyond those of its sandbox: ``[sandbox] requirements``.

In Docker they are an image of their own on top of the sandbox's, named by a hash of what is in it.
The local sandbox runs the Python that runs now, so they have to be installed there.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from recipelab.core.content import SANDBOXES, cache_root, make_private, shipped_root
from recipelab.core.errors import REQUIREMENT, RecipelabError, SandboxUnavailable

if TYPE_CHECKING:
    # It needs pydantic, and phases run without it.
    from recipelab.sandbox.spec import ImageSpec

HASH_CHARACTERS = 12


def image_spec_of(sandbox: str, requirements: Sequence[str]) -> ImageSpec:
    """Return the image that a pack needs.

    Args:
        sandbox: Name of the pack's sandbox.
        requirements: Packages that have to be there besides.

    Raises:
        RecipelabError: No sandbox has that name, or the specification cannot be written down.
    """
    from recipelab.sandbox.spec import REQUIREMENTS_FILE, load_image_spec

    below = load_image_spec(sandbox)
    if not requirements:
        return below
    lines = "".join(f"{text}\n" for text in sorted(requirements))
    whole = "\0".join((below.image, below.python, lines))
    digest = hashlib.sha256(whole.encode()).hexdigest()[:HASH_CHARACTERS]
    folder = cache_root() / "sandboxes" / digest
    try:
        make_private(folder)
        (folder / REQUIREMENTS_FILE).write_text(lines, "utf-8")
        shutil.copyfile(shipped_root() / SANDBOXES / "cpu" / "Dockerfile", folder / "Dockerfile")
    except OSError as error:
        raise RecipelabError(f"{error.filename}: cannot be written: {error.strerror}") from None
    return below.with_packages(folder, digest)


def missing_here(requirements: Sequence[str]) -> tuple[str, ...]:
    """Return the requirements that the Python that runs now does not meet, with what it has."""
    return tuple(told for text in requirements if (told := _lack(text)) is not None)


def _lack(text: str) -> str | None:
    match = REQUIREMENT.fullmatch(text)
    assert match is not None
    try:
        found = version(match["name"])
    except PackageNotFoundError:
        return text
    bounds = match["bounds"].strip().rstrip(",")
    if not bounds:
        return None
    # Only whoever asks for versions waits for it.
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        fits = SpecifierSet(bounds).contains(found, prereleases=True)
    except InvalidSpecifier:
        return None
    return None if fits else f"{text} (it has {found})"


def check_here(requirements: Sequence[str], python: str) -> None:
    """Check that the local sandbox's Python has what a pack requires.

    Args:
        requirements: The requirements.
        python: Path of that Python.

    Raises:
        SandboxUnavailable: It lacks some; the message says which, and the command that mends it.
    """
    missing = missing_here(requirements)
    if not missing:
        return
    wanted = [text.partition(" (")[0] for text in missing]
    install = f"{shlex.quote(python)} -m pip install {' '.join(map(shlex.quote, wanted))}"
    raise SandboxUnavailable(
        f"the local sandbox runs {python}, which lacks {', '.join(missing)} of the pack's "
        f"[sandbox] requirements; install: {install}"
    )


def read_requirements(file: Path) -> tuple[str, ...]:
    """Return the lines of a list of requirements that name packages."""
    lines = (line.partition("#")[0].strip() for line in file.read_text("utf-8").splitlines())
    return tuple(line for line in lines if line and REQUIREMENT.fullmatch(line))
