"""Makes a base image from a Debian mirror, where no image registry can be reached."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from docker import APIClient

from recipelab.errors import RecipelabError

BASE_REPOSITORY = "recipelab/base"
_FORMAT = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)"
_LEFT_OUT = ("./var/cache/apt/archives", "./var/lib/apt/lists")
_PIECE = 1 << 20
_SHOWN_LINES = 10


def debian_release() -> tuple[str, str] | None:
    """Release name and mirror of the Debian that runs here, from apt's own configuration.

    Returns:
        The two, as ``bookworm`` and an address, or ``None`` where this is not Debian.
    """
    if shutil.which("apt-get") is None:
        return None
    command = ["apt-get", "indextargets", "--format", _FORMAT, "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        origin, label, component, release, mirror = line.split("|", 4)
        if (origin, label, component) == ("Debian", "Debian", "main") and "-" not in release:
            return release, mirror
    return None


def base_image_fault() -> str | None:
    """Why no base image can be made here, or ``None`` if it can."""
    if os.getuid() != 0:
        return "making one needs root"
    if shutil.which("debootstrap") is None:
        return "making one needs debootstrap (apt-get install debootstrap)"
    return None if debian_release() else "making one needs Debian, with its mirror known to apt"


def make_base_image(api: APIClient, progress: Callable[[str], None]) -> str:
    """Makes a minimal Debian with Python and pip, and imports it as an image.

    It takes about a minute and 300 MB. It must run as root.

    Args:
        api: A connection to the daemon.
        progress: Gets lines for people.

    Returns:
        Name of the image, as ``recipelab/base:bookworm``.

    Raises:
        RecipelabError: It cannot be made; the last lines of the failed program are in the message.
    """
    release = debian_release()
    if release is None:
        raise RecipelabError("apt's configuration names no Debian mirror")
    suite, mirror = release
    # Not the temporary folder: that may forbid device files or programs.
    top = Path(tempfile.mkdtemp(prefix="recipelab-base-", dir="/var/tmp"))
    try:
        progress(f"base image: installing Debian {suite} in {top} (about a minute)")
        _debootstrap(suite, top / "root", mirror)
        progress("base image: importing")
        _import(api, top / "root", suite)
    finally:
        # Should debootstrap have left a mount there, what is mounted must not be removed.
        subprocess.run(["rm", "-rf", "--one-file-system", str(top)], check=False)
    return f"{BASE_REPOSITORY}:{suite}"


def _debootstrap(suite: str, root: Path, mirror: str) -> None:
    include = "--include=python3,python3-pip"
    command = ["debootstrap", "--variant=minbase", include, suite, str(root), mirror]
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, errors="replace"
    )
    if ended.returncode:
        lines = "\n".join(ended.stdout.splitlines()[-_SHOWN_LINES:])
        raise RecipelabError(f"debootstrap failed with code {ended.returncode}:\n{lines}")


def _import(api: APIClient, root: Path, suite: str) -> None:
    command = ["tar", "-C", str(root), "--numeric-owner"]
    command += [word for path in _LEFT_OUT for word in ("--exclude", f"{path}/*")]
    with subprocess.Popen([*command, "-c", "."], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        answer = api.import_image_from_stream(
            _pieces(tar.stdout), repository=BASE_REPOSITORY, tag=suite
        )
    if tar.returncode or '"error"' in answer:
        raise RecipelabError(f"the base image cannot be imported: {answer.strip()}")


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece
