"""How a worker of a node begins: what its image is, and how that gets there."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from recipelab.core.errors import REQUIREMENT, RecipelabError, SandboxError, SandboxUnavailable
from recipelab.places.base import PlaceRequest
from recipelab.places.parcel import NodeSetup, SpecFiles
from recipelab.sandbox.base import Sandbox
from recipelab.sandbox.choose import AUTO, DOCKER, LOCAL, SANDBOX_KINDS, docker_daemon_error
from recipelab.sandbox.files import new_folder, remove_tree
from recipelab.sandbox.requirements import read_requirements
from recipelab.sandbox.spec import REQUIREMENTS_FILE, ImageSpec, parse_image_spec

_API_SECONDS = 600
_PIECE = 1 << 20
_ARCHIVE = "image.tar"
_FORMAT = 1
STORE, STORE_GB = "store", "store_gb"

STORE_OPTIONS = {
    STORE: "folder of each node's store of data and recipes; by default in its temporary folder",
    STORE_GB: "size that the store of a node may have, in GiB; 50 by default",
}
"""Options that every place with nodes takes; see :func:`node_setup`."""


async def node_setup(request: PlaceRequest) -> NodeSetup:
    """Return how the workers of a place are to begin.

    What ``auto`` stands for is settled here. The image is built on this machine, if that has Docker
    and it is missing; from here it is sent.

    Args:
        request: What is asked of the place; of its options those of :data:`STORE_OPTIONS` count.

    Raises:
        SandboxUnavailable: ``auto`` stands for nothing here.
        RecipelabError: An option has no valid value, or the image cannot be built.
    """
    given = request.options.get(STORE_GB, "50")
    try:
        gigabytes = float(given)
    except ValueError:
        gigabytes = 0.0
    if not 0.0 < gigabytes < 1e9:
        raise RecipelabError(f"{STORE_GB}: {given!r} is no size; valid: GiB, as 50")
    kind = await asyncio.to_thread(_settled, request)
    spec = spec_files(request.spec)
    return NodeSetup(
        spec=spec, sandbox=kind, store=request.options.get(STORE, ""), store_gb=gigabytes
    )


def _settled(request: PlaceRequest) -> str:
    """Return the kind of sandbox, and see to it that this machine has its image if it can."""
    kind = request.sandbox
    fault = docker_daemon_error() if kind in (AUTO, DOCKER) else None
    if kind == AUTO and fault is not None:
        if not request.allow_local_fallback:
            raise SandboxUnavailable(
                f"{fault}; start Docker here, or name the sandbox of the nodes: --sandbox docker, "
                "or --sandbox local, which does not isolate"
            )
        return LOCAL
    kind = DOCKER if kind == AUTO else kind
    if kind == DOCKER and fault is None:
        SANDBOX_KINDS.get(DOCKER).from_spec(request.spec, build=request.build, progress=request.say)
    return kind


def spec_files(spec: ImageSpec) -> SpecFiles:
    """Return a specification with the files that it names."""
    base = spec.below or spec
    table = base.model_dump(mode="json")
    seccomp = base.container.seccomp
    files = {REQUIREMENTS_FILE: base.requirements.read_text("utf-8")}
    if seccomp is not None:
        table["container"]["seccomp"] = seccomp.name
        files[seccomp.name] = seccomp.read_text("utf-8")
    else:
        del table["container"]["seccomp"]
    if base.container.shm_mb is None:
        del table["container"]["shm_mb"]
    if spec.below is None:
        return SpecFiles(table=json.dumps(table), files=files)
    return SpecFiles(
        table=json.dumps(table),
        files=files,
        packages=spec.image.rpartition("-")[2],
        requirements=spec.requirements.read_text("utf-8"),
    )


def read_spec(sent: SpecFiles, folder: Path) -> ImageSpec:
    """Write the files of a specification down, and read it.

    Args:
        sent: What came from the driver.
        folder: An empty folder, which has to stay.

    Raises:
        RecipelabError: It is not valid here.
    """
    for name, text in sent.files.items():
        (folder / Path(name).name).write_text(text, "utf-8")
    spec = parse_image_spec(folder / "sandbox.toml", {"format": _FORMAT, **json.loads(sent.table)})
    if not sent.packages:
        return spec
    above = folder / "packages"
    above.mkdir()
    (above / REQUIREMENTS_FILE).write_text(sent.requirements, "utf-8")
    return spec.with_packages(above, sent.packages)


def open_sandbox(kind: str, spec: ImageSpec) -> Sandbox:
    """Return the sandbox of a node, which is not started yet; nothing is built there.

    Raises:
        RecipelabError: It cannot be had; the message says why.
    """
    return SANDBOX_KINDS.get(kind).from_spec(spec, build=False, progress=lambda text: None)


def lacks_image(kind: str, spec: ImageSpec) -> bool:
    """Return whether only the image is missing here, which may be sent."""
    if kind != DOCKER or docker_daemon_error() is not None:
        return False
    from recipelab.sandbox.images import image_exists

    return not image_exists(spec)


def packages_here(kind: str, spec: ImageSpec) -> dict[str, str]:
    """Return the versions of an image's packages that this Python has, where there is no image."""
    if kind != LOCAL:
        return {}
    found: dict[str, str] = {}
    for one in filter(None, (spec.below, spec)):
        for text in read_requirements(one.requirements):
            match = REQUIREMENT.fullmatch(text)
            assert match is not None
            try:
                found[match["name"]] = version(match["name"])
            except PackageNotFoundError:
                found[match["name"]] = "none"
    return found


class ImageArchive:
    """The image of this machine as one file, made when a node first asks for it.

    Args:
        spec: The image.
    """

    def __init__(self, spec: ImageSpec) -> None:
        self._spec = spec
        self._folder: Path | None = None
        self._digest = ""

    def open(self) -> tuple[str, Path]:
        """Return digest and path of the archive.

        Raises:
            SandboxUnavailable: This machine does not have the image.
        """
        if self._folder is None:
            from docker.errors import ImageNotFound

            from recipelab.sandbox.docker.containers import daemon

            folder = new_folder(Path(tempfile.gettempdir()), what="image")
            total = hashlib.sha256()
            try:
                with daemon(timeout=_API_SECONDS) as api, (folder / _ARCHIVE).open("wb") as file:
                    # By its name, so that the node knows it by that.
                    for piece in api.get_image(self._spec.image, chunk_size=_PIECE):
                        total.update(piece)
                        file.write(piece)
            except (SandboxUnavailable, ImageNotFound, OSError) as error:
                remove_tree(folder)
                raise SandboxUnavailable(
                    f"this machine cannot send the image {self._spec.image}: {error}"
                ) from error
            self._folder, self._digest = folder, total.hexdigest()
        return self._digest, self._folder / _ARCHIVE

    def close(self) -> None:
        """Remove the file."""
        if self._folder is not None:
            remove_tree(self._folder)
            self._folder = None


def load_image(pieces: Callable[[], Iterator[bytes]]) -> None:
    """Have the daemon of this machine load an archive.

    Raises:
        SandboxError: It cannot.
    """
    from recipelab.sandbox.docker.containers import daemon

    try:
        with daemon(timeout=_API_SECONDS) as api:
            for said in api.load_image(pieces()) or ():
                if "error" in said:
                    raise SandboxError(f"the image cannot be loaded: {said['error']}")
    except SandboxUnavailable as error:
        raise SandboxError(str(error)) from error
