"""Builds the images that recipes run in."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from docker import APIClient
from docker.errors import APIError, ImageNotFound

from recipelab.errors import RecipelabError, SandboxUnavailable
from recipelab.sandbox.docker.client import daemon
from recipelab.sandbox.images.base_image import (
    BASE_REPOSITORY,
    base_image_fault,
    debian_release,
    make_base_image,
)
from recipelab.sandbox.images.spec import (
    REQUIREMENTS_FILE,
    ImageSpec,
    image_spec_names,
    load_image_spec,
    read_image_spec,
)
from recipelab.sandbox.images.state import image_labels
from recipelab.sandbox.images.wheels import cache_folder, download_wheels

__all__ = [
    "ImageSpec",
    "build_image",
    "image_exists",
    "image_spec_names",
    "load_image_spec",
    "read_image_spec",
]

_API_SECONDS = 600
_SHOWN_LINES = 15

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
