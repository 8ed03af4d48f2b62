"""The Docker daemon that the environment names, and the containers of this program in it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env
from requests import RequestException

from recipelab.core.errors import SandboxUnavailable
from recipelab.sandbox.docker.options import LABEL_PREFIX, OWNER_LABEL, SANDBOX_LABEL
from recipelab.sandbox.processes import OwnerState, owner_state

IMAGE_LABEL_PREFIX = f"{LABEL_PREFIX}image."
"""Labels of images, which Docker copies to their containers."""

_OWNED = {"label": OWNER_LABEL}
_DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_CONNECT_SECONDS = 3.0
_REMOVALS = 5
_REMOVAL_SECONDS = 0.2


_NO_SSH = (
    "DOCKER_HOST={url}: a daemon cannot be spoken to through ssh:// here; forward its socket, "
    "`ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST`, and set "
    "DOCKER_HOST=unix:///tmp/docker.sock; valid: unix://PATH, and tcp://HOST:PORT with "
    "DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH"
)


class _Client(APIClient):  # type: ignore[misc]
    """Believes the certificates that ``DOCKER_CERT_PATH`` names, and no others."""

    def merge_environment_settings(
        self, url: str, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """Keep ``REQUESTS_CA_BUNDLE`` from taking the place of the daemon's own authority."""
        own = self.verify if verify is None else verify
        return super().merge_environment_settings(url, proxies, stream, own, cert)


def connect(*, timeout: int) -> APIClient:
    """Connect to the daemon that ``DOCKER_HOST`` and related variables name.

    Args:
        timeout: Seconds that the daemon may take for an answer, now and later.

    Raises:
        SandboxUnavailable: No daemon answers; the message says why.
    """
    try:
        options = kwargs_from_env()
        url = str(options.get("base_url", _DEFAULT_SOCKET))
        if url.startswith("ssh://"):
            raise SandboxUnavailable(_NO_SSH.format(url=url))
        _check_socket(url)
        return _Client(version="auto", timeout=timeout, **options)
    except (DockerException, RequestException) as error:
        raise SandboxUnavailable(f"no Docker daemon answers: {error}") from error


@contextmanager
def daemon(*, timeout: int) -> Iterator[APIClient]:
    """Connect to the daemon for a few requests.

    Args:
        timeout: Seconds that the daemon may take for an answer.

    Raises:
        SandboxUnavailable: No daemon answers, or it failed.
    """
    api = connect(timeout=timeout)
    try:
        yield api
    except (DockerException, RequestException) as error:
        raise SandboxUnavailable(f"Docker cannot be used: {error}") from error
    finally:
        api.close()


def _check_socket(url: str) -> None:
    """Connect to the daemon's socket, if it has one, as the SDK's own message is long.

    Raises:
        SandboxUnavailable: Nothing listens there.
    """
    path = Path(url.removeprefix("http+").removeprefix("unix://"))
    if "unix://" not in url:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(str(path))
        except OSError as error:
            raise SandboxUnavailable(
                f"no Docker daemon answers at {path}: {error.strerror or error}"
            ) from error


@dataclass(frozen=True)
class OwnedContainer:
    """A container of this program.

    Attributes:
        id: Its full id.
        image: Name or id of its image.
        state: Docker's word for its state, as ``running``.
        created: When it was created, in seconds since 1970.
        owner: Identity of the process that asked for it.
        labels: What it is for: phase, campaign, trial, seed.
    """

    id: str
    image: str
    state: str
    created: int
    owner: str
    labels: Mapping[str, str]

    @property
    def owner_state(self) -> OwnerState:
        """Whether the owner is alive."""
        return owner_state(self.owner)

    @property
    def short_id(self) -> str:
        """The id, as short as Docker shows it."""
        return self.id[:12]


def list_containers(api: APIClient) -> tuple[OwnedContainer, ...]:
    """Return all containers of this program, the oldest first.

    Raises:
        docker.errors.DockerException: The daemon failed.
        requests.RequestException: The daemon does not answer.
    """
    containers = [_container(facts) for facts in api.containers(all=True, filters=_OWNED)]
    return tuple(sorted(containers, key=lambda container: (container.created, container.id)))


def _container(facts: dict[str, object]) -> OwnedContainer:
    labels = facts["Labels"]
    assert isinstance(labels, dict)
    return OwnedContainer(
        id=str(facts["Id"]),
        image=str(facts["Image"]),
        state=str(facts["State"]),
        created=int(str(facts["Created"])),
        owner=labels[OWNER_LABEL],
        labels={
            name.removeprefix(LABEL_PREFIX): value
            for name, value in sorted(labels.items())
            if name.startswith(LABEL_PREFIX)
            and name not in (OWNER_LABEL, SANDBOX_LABEL)
            and not name.startswith(IMAGE_LABEL_PREFIX)
        },
    )


def reap_containers(api: APIClient, *, dry_run: bool = False) -> tuple[OwnedContainer, ...]:
    """Remove containers of this program whose owners are certainly dead.

    Args:
        api: A connection to the daemon.
        dry_run: Whether to remove nothing.

    Returns:
        The containers that were removed, or would be.

    Raises:
        SandboxUnavailable: The daemon failed.
    """
    try:
        dead = [found for found in list_containers(api) if found.owner_state is OwnerState.DEAD]
        return tuple(found for found in dead if dry_run or remove(api, found.id))
    except (DockerException, RequestException) as error:
        raise SandboxUnavailable(f"cannot remove containers of dead processes: {error}") from error


def remove_containers_of(api: APIClient, sandbox: str) -> None:
    """Remove containers that a sandbox left because the daemon did not answer at the time.

    Args:
        api: A connection to the daemon.
        sandbox: Identity of a sandbox that has stopped.

    Raises:
        SandboxUnavailable: The daemon failed.
    """
    try:
        left = api.containers(all=True, filters={"label": f"{SANDBOX_LABEL}={sandbox}"})
        for container in left:
            remove(api, container["Id"])
    except (DockerException, RequestException) as error:
        raise SandboxUnavailable(f"cannot remove containers: {error}") from error


def remove(api: APIClient, container: str) -> bool:
    """Remove a container and its volumes; return ``False`` if another process removes it, too.

    Podman fails for a moment when a process in the container has just ended.

    Raises:
        docker.errors.APIError: The daemon failed again and again.
    """
    for attempt in range(1, _REMOVALS + 1):
        try:
            api.remove_container(container, force=True, v=True)
        except APIError as error:
            if error.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                return False
            if attempt == _REMOVALS:
                raise
            time.sleep(_REMOVAL_SECONDS)
        else:
            return True
    raise AssertionError("unreachable")
