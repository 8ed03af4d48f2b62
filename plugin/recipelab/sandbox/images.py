"""Builds the images of sandboxes, and tells whether they are up to date.

An image is built without a network: pip downloads the wheels on the host, and the base image is
one that the daemon has, one that it can pull, or one made from the Debian mirror of this machine.
The image carries labels that name what it was built from, so that a later change shows.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from docker import APIClient
from docker.errors import APIError, ImageNotFound

from recipelab.core import content
from recipelab.core.errors import RecipelabError, SandboxUnavailable
from recipelab.sandbox.docker.containers import IMAGE_LABEL_PREFIX, daemon
from recipelab.sandbox.kernels import copy_kernels, download_kernels
from recipelab.sandbox.spec import REQUIREMENTS_FILE, ImageSpec
from recipelab.sandbox.wheels import Progress, download_wheels, run_tool

SOURCE_LABEL = f"{IMAGE_LABEL_PREFIX}source"
BASE_LABEL = f"{IMAGE_LABEL_PREFIX}base"
BASE_ID_LABEL = f"{IMAGE_LABEL_PREFIX}base-id"
BASE_REPOSITORY = "recipelab/base"
_APT_FORMAT = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)"
_LEFT_OUT = ("./var/cache/apt/archives", "./var/lib/apt/lists")
_PIECE = 1 << 20
_SHOWN_LINES = 15
_API_SECONDS = 600


class Freshness(StrEnum):
    """Whether an image is there and up to date."""

    BUILT = "built"
    STALE = "stale"
    MISSING = "not built"


@dataclass(frozen=True)
class ImageState:
    """The image of a sandbox, as the daemon has it.

    Attributes:
        freshness: Whether the image is there and up to date.
        reason: Why it is stale; empty otherwise.
        id: Digest of the image; empty if it is missing.
        size: Its size in bytes.
    """

    freshness: Freshness
    reason: str = ""
    id: str = ""
    size: int = 0


def image_labels(api: APIClient, spec: ImageSpec, base: str) -> dict[str, str]:
    """Return the labels of an image that is about to be built.

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
    """Compare the image that the daemon has with the files that it is built from."""
    try:
        image = api.inspect_image(spec.image)
    except ImageNotFound:
        return ImageState(Freshness.MISSING)
    reason = _stale_reason(api, spec, image["Config"].get("Labels") or {})
    freshness = Freshness.STALE if reason else Freshness.BUILT
    return ImageState(freshness, reason, str(image["Id"]), int(image["Size"]))


def _stale_reason(api: APIClient, spec: ImageSpec, labels: Mapping[str, str]) -> str:
    if not labels.keys() >= {SOURCE_LABEL, BASE_LABEL, BASE_ID_LABEL}:
        return "it does not name what it was built from"
    if labels[SOURCE_LABEL] != _source_digest(spec):
        return f"{spec.dockerfile}, {spec.requirements.name} or its Python version has changed"
    base = labels[BASE_LABEL]
    try:
        base_id = str(api.inspect_image(base)["Id"])
    except ImageNotFound:
        return ""  # No newer base is known.
    return "" if base_id == labels[BASE_ID_LABEL] else f"its base {base} has changed"


def _source_digest(spec: ImageSpec) -> str:
    parts = (
        (spec.folder / spec.dockerfile).read_bytes(),
        spec.requirements.read_bytes(),
        spec.python.encode(),
        *(kernel.model_dump_json().encode() for kernel in spec.kernels),
    )
    # Digests of the parts, so that no text can move unnoticed from one part to the next.
    whole = b"".join(hashlib.sha256(part).digest() for part in parts)
    return f"sha256:{hashlib.sha256(whole).hexdigest()}"


def image_exists(spec: ImageSpec) -> bool:
    """Return whether the daemon has the image.

    Raises:
        SandboxUnavailable: No daemon answers.
    """
    with daemon(timeout=_API_SECONDS) as api:
        return _has(api, spec.image)


def build_image(
    spec: ImageSpec, base: str | None = None, *, progress: Progress = lambda line: None
) -> str:
    """Build an image. No network is needed if the wheels are in the cache and the base is there.

    Args:
        spec: The image.
        base: Image to build on. By default the one that the specification names if the daemon has
            it or can pull it, else one made from the Debian mirror of this machine.
        progress: Called with lines for people.

    Returns:
        Digest of the image.

    Raises:
        SandboxUnavailable: There is no daemon or no base image; the message lists the choices.
        RecipelabError: The wheels cannot be had, or the build failed.
    """
    with daemon(timeout=_API_SECONDS) as api:
        chosen = _base(api, spec, base, progress)
        wheels = download_wheels(spec, progress)
        kernels = download_kernels(spec.kernels, platform.machine(), progress)
        progress(f"image: building {spec.image} on {chosen}")
        with _build_context(spec, wheels, kernels) as context:
            _build(api, spec, context, chosen, progress)
        return str(api.inspect_image(spec.image)["Id"])


def _has(api: APIClient, image: str) -> bool:
    try:
        api.inspect_image(image)
    except ImageNotFound:
        return False
    return True


def _base(api: APIClient, spec: ImageSpec, base: str | None, progress: Progress) -> str:
    """Return the image to build on, and make sure that the daemon has it."""
    wanted = base or spec.base
    if _has(api, wanted):
        return wanted
    release = debian_release()
    own = f"{BASE_REPOSITORY}:{release[0]}" if release else None
    if base is None and own and _has(api, own):
        return own
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
    if not repository or "/" in tag:  # The colon belongs to a port, or there is none.
        repository, tag = image, "latest"
    api.pull(repository, tag=tag)


@contextmanager
def _build_context(spec: ImageSpec, wheels: Path, kernels: Path) -> Iterator[Path]:
    """Give a folder with the Dockerfile, the requirements, the wheels and the kernels."""
    # In the cache, as the wheels are, so that hard links will do.
    with tempfile.TemporaryDirectory(prefix="build-", dir=content.cache_root()) as folder:
        context = Path(folder)
        shutil.copy(spec.folder / spec.dockerfile, context / "Dockerfile")
        shutil.copy(spec.requirements, context / REQUIREMENTS_FILE)
        (context / "wheels").mkdir()
        for wheel in wheels.iterdir():
            os.link(wheel, context / "wheels" / wheel.name)
        copy_kernels(spec.kernels, kernels, context / "kernels")
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
            log = "\n".join([*lines, event["error"]])
            raise RecipelabError(f"building {spec.image} failed:\n{log}")


def debian_release() -> tuple[str, str] | None:
    """Return release name and mirror of the Debian that runs here, from apt's configuration.

    Returns:
        Both, as ``bookworm`` and a URL, or ``None`` if this is not Debian.
    """
    if shutil.which("apt-get") is None:
        return None
    command = ["apt-get", "indextargets", "--format", _APT_FORMAT, "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        origin, label, component, release, mirror = line.split("|", 4)
        if (origin, label, component) == ("Debian", "Debian", "main") and "-" not in release:
            return release, mirror
    return None


def base_image_fault() -> str | None:
    """Return why no base image can be made on this machine, or ``None`` if one can."""
    if os.getuid() != 0:
        return "making one needs root"
    if shutil.which("debootstrap") is None:
        return "making one needs debootstrap (apt-get install debootstrap)"
    return None if debian_release() else "making one needs Debian, with its mirror known to apt"


def make_base_image(api: APIClient, progress: Progress) -> str:
    """Make a minimal Debian with Python and pip, and import it as an image.

    It takes about a minute and 300 MB. It must run as root.

    Args:
        api: A connection to the daemon.
        progress: Called with lines for people.

    Returns:
        Name of the image, as ``recipelab/base:bookworm``.

    Raises:
        RecipelabError: It cannot be made; the message has the last lines of the failed program.
    """
    release = debian_release()
    if release is None:
        raise RecipelabError("apt's configuration names no Debian mirror")
    suite, mirror = release
    # Not the temporary folder: it may be mounted without device files or programs.
    top = Path(tempfile.mkdtemp(prefix="recipelab-base-", dir="/var/tmp"))
    try:
        progress(f"base image: installing Debian {suite} in {top} (about a minute)")
        include = "--include=python3,python3-pip"
        command = ["debootstrap", "--variant=minbase", include, suite, str(top / "root"), mirror]
        run_tool(command, "debootstrap failed")
        progress("base image: importing")
        _import_image(api, top / "root", suite)
    finally:
        # If debootstrap has left a mount there, the mounted files must not be removed.
        subprocess.run(["rm", "-rf", "--one-file-system", str(top)], check=False)
    return f"{BASE_REPOSITORY}:{suite}"


def _import_image(api: APIClient, root: Path, suite: str) -> None:
    command = ["tar", "-C", str(root), "--numeric-owner"]
    command += [word for path in _LEFT_OUT for word in ("--exclude", f"{path}/*")]
    with subprocess.Popen([*command, "-c", "."], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        answer = api.import_image_from_stream(
            iter(partial(tar.stdout.read, _PIECE), b""), repository=BASE_REPOSITORY, tag=suite
        )
    if tar.returncode or '"error"' in answer:
        raise RecipelabError(f"the base image cannot be imported: {answer.strip()}")
