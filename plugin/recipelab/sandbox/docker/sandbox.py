"""Runs each command in a container of its own, without network and without privileges."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from docker import APIClient
from docker.errors import DockerException, ImageNotFound
from requests import RequestException

from recipelab.core.content import cache_root
from recipelab.core.errors import SandboxError, SandboxUnavailable
from recipelab.sandbox.base import PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.docker.containers import connect, reap_containers, remove_containers_of
from recipelab.sandbox.docker.daemon import find_out
from recipelab.sandbox.docker.inputs import COPIED_BYTES, InputLayers, InputTree
from recipelab.sandbox.docker.options import (
    OWNER_LABEL,
    SANDBOX_LABEL,
    DaemonFacts,
    container_options,
    user_of,
)
from recipelab.sandbox.docker.phase import DockerPhase
from recipelab.sandbox.docker.remote import Sender
from recipelab.sandbox.files import check_request, reap_folders
from recipelab.sandbox.images import build_image, image_exists
from recipelab.sandbox.processes import MIB, RunningPhases, in_thread, owner_identity
from recipelab.sandbox.spec import ContainerProfile, ImageSpec

T = TypeVar("T")
_API_SECONDS = 60
_log = logging.getLogger(__name__)


class DockerSandbox(Sandbox):
    """One container a phase: no network, a read-only root, no capabilities, bounded everything.

    Files under ``out/`` and ``/tmp`` count as memory of the container. A command that signal n
    ended has the exit code 128 + n, as in a shell: Docker does not report more.
    """

    name: ClassVar[str] = "docker"
    isolated: ClassVar[bool] = True

    def __init__(
        self,
        *,
        image: str,
        profile: ContainerProfile | None = None,
        build_hint: str = "recipelab sandbox build cpu",
        temporary_folder: Path | None = None,
    ) -> None:
        """Create a sandbox; :meth:`start` is the first to ask the daemon.

        Args:
            image: Name of the image.
            profile: Properties of its containers beyond the limits of a phase.
            build_hint: The command to recommend if the image is missing.
            temporary_folder: Where to gather the inputs of phases, unless they lie on the disk of
                the cache folder; the system's temporary folder by default.
        """
        self._image = image
        self._profile = profile or ContainerProfile()
        self._build_hint = build_hint
        self._temporary = temporary_folder or Path(tempfile.gettempdir())
        self._api: APIClient | None = None
        self._image_id = ""
        self._facts = DaemonFacts(cores=1)
        self._sender: Sender | None = None
        # Data usually lie on the disk of the cache.
        self._layers = InputLayers((self._temporary, cache_root() / "phases"))
        self._identity = uuid.uuid4().hex
        self._phases = RunningPhases()

    @classmethod
    def from_spec(cls, spec: ImageSpec, *, build: bool, progress: Callable[[str], None]) -> Self:
        """Return a sandbox with the image of a specification; see :class:`SandboxKind`."""
        for one in filter(None, (spec.below, spec)):
            if build and not image_exists(one):
                build_image(one, progress=progress)
        return cls(
            image=spec.image,
            profile=spec.container,
            build_hint=f"recipelab sandbox build {spec.name}",
        )

    def notice(self) -> str | None:
        """Return a line on the host's variables that recipes can read, if there are any."""
        passed = [name for name in self._profile.environment if name in os.environ]
        if not passed:
            return None
        return (
            f"recipes can read {', '.join(passed)} of this machine's environment, as sandbox.toml "
            "asks ([container] environment)"
        )

    @property
    def image_identity(self) -> str:
        """The image, its hash, and the runtime if one is named; empty before the start."""
        runtime = f" {self._profile.runtime}" if self._profile.runtime else ""
        return f"docker {self._image} {self._image_id}{runtime}" if self._image_id else ""

    @property
    def sentry(self) -> bool:
        """Whether commands run on gVisor's kernel; known once it was started."""
        return self._facts.sentry

    @property
    def started(self) -> bool:
        """Whether it is connected to the daemon."""
        return self._api is not None

    async def start(self) -> None:
        """Connect, look for the image and remove orphans; see :meth:`Sandbox.start`."""
        if self._api is None:
            self._api = await _to_thread(self._connect)
        await _to_thread(partial(reap_containers, self._api))
        for place in self._layers.places:
            await _to_thread(partial(reap_folders, place))

    async def stop(self) -> None:
        """Kill every phase that still runs and disconnect; see :meth:`Sandbox.stop`."""
        api, self._api = self._api, None
        await self._phases.stop_all()
        if api is None:
            return
        # If the daemon is gone, the next start removes what is left.
        with contextlib.suppress(SandboxUnavailable):
            await _to_thread(partial(remove_containers_of, api, self._identity))
        if self._sender is not None:
            with contextlib.suppress(DockerException, RequestException):
                await _to_thread(self._sender.close)
        self._layers.close()
        api.close()

    async def run(self, request: PhaseRequest) -> PhaseResult:
        """Run one command in a new container; see :meth:`Sandbox.run`."""
        if self._api is None or self._sender is None:
            raise SandboxError("the Docker sandbox is not started")
        check_request(request)
        phase = DockerPhase(
            self._api,
            request,
            options=partial(self._options, request),
            user=user_of(self._profile),
            layers=self._layers,
            facts=self._facts,
            sender=self._sender,
            environment=self.image_identity,
        )
        return await self._phases.run(phase, name=f"phase-{request.phase}")

    def _options(self, request: PhaseRequest, inputs: InputTree) -> dict[str, Any]:
        return container_options(
            request,
            image=self._image_id,
            profile=self._profile,
            inputs=inputs,
            owner=owner_identity(),
            sandbox=self._identity,
            facts=self._facts,
        )

    def _found(self, api: APIClient) -> DaemonFacts:
        """Return what the daemon can do; log what it cannot."""
        assert self._sender is not None
        told = api.info()
        # Podman has another ID for each who asks.
        names = (told.get("Name"), told.get("ServerVersion"), told.get("DockerRootDir"))
        daemon = (os.environ.get("DOCKER_HOST"), *names)
        key = (daemon, self._image_id, self._profile, self._layers.places)
        if key not in _facts:
            labels = {OWNER_LABEL: owner_identity(), SANDBOX_LABEL: self._identity}
            _facts[key] = find_out(
                api, self._image_id, self._profile, self._layers.places, labels, self._sender
            )
        found = _facts[key]
        if found.overlay_fault:
            _log.warning(
                "inputs are copied for each phase, and those of more than %d MiB are shared by "
                "phases, because Docker mounts no overlay here: %s",
                COPIED_BYTES // MIB,
                found.overlay_fault,
            )
        return found

    def _connect(self) -> APIClient:
        try:
            api = connect(timeout=_API_SECONDS)
        except SandboxUnavailable as error:
            raise SandboxUnavailable(
                f"{error}; start Docker, or use `--sandbox local`, which does not isolate"
            ) from error
        try:
            self._image_id = api.inspect_image(self._image)["Id"]
            labels = {OWNER_LABEL: owner_identity(), SANDBOX_LABEL: self._identity}
            self._sender = Sender(api, self._image_id, labels)
            self._facts = self._found(api)
        except ImageNotFound as error:
            api.close()
            raise SandboxUnavailable(
                f"Docker has no image {self._image}; build it with `{self._build_hint}`"
            ) from error
        except SandboxError as error:
            api.close()
            raise SandboxUnavailable(str(error)) from error
        except (DockerException, RequestException) as error:
            api.close()
            raise SandboxUnavailable(f"Docker cannot be used: {error}") from error
        return api


_facts: dict[tuple[object, ...], DaemonFacts] = {}
"""What daemons can do, by all that it hangs on: it does not change while this process lives."""


async def _to_thread(work: Callable[[], T]) -> T:
    return await asyncio.wrap_future(in_thread(work, name="docker"))
