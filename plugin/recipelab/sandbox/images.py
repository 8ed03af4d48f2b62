"""Whether the image of a sandbox is there, and still what its files say.

An image carries labels that tell what it was built from, so that this can be told later.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from docker import APIClient
from docker.errors import APIError, ImageNotFound

from recipelab.core.errors import RecipelabError, SandboxUnavailable
from recipelab.sandbox.docker.containers import IMAGE_LABEL_PREFIX, daemon
from recipelab.sandbox.spec import (
    REQUIREMENTS_FILE,
    ImageSpec,
    image_spec_names,
    load_image_spec,
    read_image_spec,
)

SOURCE_LABEL = f"{IMAGE_LABEL_PREFIX}source"
BASE_LABEL = f"{IMAGE_LABEL_PREFIX}base"
BASE_ID_LABEL = f"{IMAGE_LABEL_PREFIX}base-id"


class Freshness(StrEnum):
    """State of an image."""

    BUILT = "built"
    STALE = "stale"
    MISSING = "not built"


@dataclass(frozen=True)
class ImageState:
    """What the daemon has of a sandbox.

    Attributes:
        freshness: Whether the image is there and up to date.
        reason: Why it is stale; empty otherwise.
        id: Digest of the image; empty if it is not there.
        size: Its size in bytes.
    """

    freshness: Freshness
    reason: str = ""
    id: str = ""
    size: int = 0


def image_labels(api: APIClient, spec: ImageSpec, base: str) -> dict[str, str]:
    """The labels of an image that is about to be built.

    Args:
        api: A connection to the daemon.
        spec: The image.
        base: Name of the base image, which the daemon has.
    """
    return {
        SOURCE_LABEL: _source_digest(spec),
        BASE_LABEL: base,
        BASE_ID_LABEL: str(api.inspect_image(base)["Id"]),
    }


def image_state(api: APIClient, spec: ImageSpec) -> ImageState:
    """Compares the image that the daemon has with the files that it is built from."""
    try:
        found = api.inspect_image(spec.image)
    except ImageNotFound:
        return ImageState(Freshness.MISSING)
    reason = _stale(api, spec, found["Config"].get("Labels") or {})
    freshness = Freshness.STALE if reason else Freshness.BUILT
    return ImageState(freshness, reason, str(found["Id"]), int(found["Size"]))


def _stale(api: APIClient, spec: ImageSpec, labels: Mapping[str, str]) -> str:
    if not labels.keys() >= {SOURCE_LABEL, BASE_LABEL, BASE_ID_LABEL}:
        return "it does not say what it was built from"
    if labels[SOURCE_LABEL] != _source_digest(spec):
        return f"{spec.dockerfile}, {spec.requirements.name} or its Python version has changed"
    base = labels[BASE_LABEL]
    try:
        base_id = str(api.inspect_image(base)["Id"])
    except ImageNotFound:
        return ""  # Nothing is known that is newer.
    return "" if base_id == labels[BASE_ID_LABEL] else f"its base {base} has changed"


def _source_digest(spec: ImageSpec) -> str:
    parts = (
        (spec.folder / spec.dockerfile).read_bytes(),
        spec.requirements.read_bytes(),
        spec.python.encode(),
    )
    # Digests of the parts, so that no text can move from one part to the next unnoticed.
    whole = b"".join(hashlib.sha256(part).digest() for part in parts)
    return f"sha256:{hashlib.sha256(whole).hexdigest()}"


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


BASE_REPOSITORY = "recipelab/base"
_FORMAT = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)"
_LEFT_OUT = ("./var/cache/apt/archives", "./var/lib/apt/lists")
_PIECE = 1 << 20
_BASE_LINES = 10


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
        lines = "\n".join(ended.stdout.splitlines()[-_BASE_LINES:])
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


__all__ = [
    "ImageSpec",
    "build_image",
    "image_exists",
    "image_spec_names",
    "load_image_spec",
    "read_image_spec",
]

_API_SECONDS = 600

Progress = Callable[[str], None]


def _say_nothing(line: str) -> None:
    """Takes a line of progress and drops it."""


def image_exists(spec: ImageSpec) -> bool:
    """Whether the daemon has the image.

    Raises:
        SandboxUnavailable: No daemon answers.
    """
    with daemon(timeout=_API_SECONDS) as api:
        return _has(api, spec.image)


def build_image(
    spec: ImageSpec, base: str | None = None, *, progress: Progress = _say_nothing
) -> str:
    """Builds an image; without a network where wheels and base are there already.

    Args:
        spec: The image.
        base: Image to build on. By default the one that the specification names if the daemon has
            it or can pull it, else one made from this machine's Debian mirror.
        progress: Gets lines for people.

    Returns:
        Digest of the image.

    Raises:
        SandboxUnavailable: There is no daemon or no base image; the message lists the choices.
        RecipelabError: The wheels cannot be had, or the build failed.
    """
    with daemon(timeout=_API_SECONDS) as api:
        chosen = _base(api, spec, base, progress)
        wheels = download_wheels(spec, progress)
        progress(f"image: building {spec.image} on {chosen}")
        with _build_context(spec, wheels) as context:
            _build(api, spec, context, chosen, progress)
        return str(api.inspect_image(spec.image)["Id"])


def _has(api: APIClient, image: str) -> bool:
    try:
        api.inspect_image(image)
    except ImageNotFound:
        return False
    return True


def _base(api: APIClient, spec: ImageSpec, base: str | None, progress: Progress) -> str:
    """The image to build on, which the daemon then has."""
    wanted = base or spec.base
    if _has(api, wanted):
        return wanted
    release = debian_release()
    made = f"{BASE_REPOSITORY}:{release[0]}" if release else None
    if base is None and made and _has(api, made):
        return made
    progress(f"base image: pulling {wanted}")
    try:
        _pull(api, wanted)
    except APIError as error:
        fault = base_image_fault()
        if base is None and fault is None:
            return make_base_image(api, progress)
        raise SandboxUnavailable(
            f"no base image: {wanted} cannot be pulled ({error.explanation}). Choices: load an "
            f"image with Python {spec.python} and pip and name it with `--base IMAGE`; or, on "
            f"Debian as root, let recipelab make one" + (f": {fault}" if fault else "")
        ) from error
    return wanted


def _pull(api: APIClient, image: str) -> None:
    repository, _, tag = image.rpartition(":")
    if not repository or "/" in tag:  # The colon was a port's, or there was none.
        repository, tag = image, "latest"
    api.pull(repository, tag=tag)


@contextmanager
def _build_context(spec: ImageSpec, wheels: Path) -> Iterator[Path]:
    """A folder with the Dockerfile, the requirements and the wheels."""
    # Beside the wheels, so that links are enough.
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache_folder()) as folder:
        context = Path(folder)
        shutil.copy(spec.folder / spec.dockerfile, context / "Dockerfile")
        shutil.copy(spec.requirements, context / REQUIREMENTS_FILE)
        (context / "wheels").mkdir()
        for wheel in wheels.iterdir():
            os.link(wheel, context / "wheels" / wheel.name)
        yield context


def _build(api: APIClient, spec: ImageSpec, context: Path, base: str, progress: Progress) -> None:
    events = api.build(
        path=str(context),
        tag=spec.image,
        buildargs={"BASE": base},
        labels=image_labels(api, spec, base),
        network_mode="none",
        rm=True,
        forcerm=True,
        decode=True,
    )
    lines: list[str] = []
    for event in events:
        for line in event.get("stream", "").splitlines():
            if line.strip():
                lines = [*lines[-_SHOWN_LINES:], line]
                progress(line)
        if "error" in event:
            shown = "\n".join([*lines, event["error"]])
            raise RecipelabError(f"building {spec.image} failed:\n{shown}")
