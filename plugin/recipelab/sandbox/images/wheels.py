"""Downloads the wheels that an image needs, once, on the host."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from recipelab.errors import RecipelabError
from recipelab.sandbox.images.spec import ImageSpec

# pip takes each tag literally, and the packages of CUDA are spread over many of them. Debian 12,
# which the usual base images are made of, has glibc 2.36.
_GLIBC_TAGS = (*(f"manylinux_2_{minor}" for minor in range(36, 16, -1)), "manylinux2014")
_SHOWN_LINES = 15


def cache_folder() -> Path:
    """Folder of this user for what can be downloaded again; made if it is not there."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "recipelab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def download_wheels(spec: ImageSpec, progress: Callable[[str], None]) -> Path:
    """The folder with the wheels of an image, downloaded if they are not in the cache.

    pip runs on the host, so that the user's own configuration (mirrors, certificates, find-links)
    is what counts; a build in a container would know nothing of it.

    Args:
        spec: The image.
        progress: Gets lines for people.

    Raises:
        RecipelabError: pip failed; its last lines are in the message.
    """
    machine = platform.machine()
    key = f"{spec.requirements.read_text()}|{spec.python}|{machine}"
    final = cache_folder() / "wheels" / hashlib.sha256(key.encode()).hexdigest()[:16]
    if final.is_dir():
        progress(f"wheels: in the cache, {final}")
        return final
    final.parent.mkdir(exist_ok=True)
    progress(f"wheels: downloading to {final}")
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=final.parent))
    try:
        _pip_download(spec, machine, partial)
        try:
            partial.rename(final)
        except OSError:
            if not final.is_dir():  # Otherwise somebody else was faster; theirs is as good.
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return final


def _pip_download(spec: ImageSpec, machine: str, folder: Path) -> None:
    tags = [word for tag in _GLIBC_TAGS for word in ("--platform", f"{tag}_{machine}")]
    command = [sys.executable, "-m", "pip", "download", "--only-binary=:all:", "--no-input"]
    command += ["--python-version", spec.python, "--implementation", "cp", *tags]
    command += ["--dest", str(folder), "-r", str(spec.requirements)]
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, errors="replace"
    )
    if ended.returncode:
        lines = "\n".join(ended.stdout.splitlines()[-_SHOWN_LINES:])
        raise RecipelabError(
            f"pip could not download what {spec.requirements} asks for "
            f"(is pip installed, and does its configuration reach an index?):\n{lines}"
        )
