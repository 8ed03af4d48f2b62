"""Removes containers whose owners are dead; :mod:`staging` does the same for folders."""

from __future__ import annotations

from http import HTTPStatus

from docker import APIClient
from docker.errors import APIError, DockerException
from requests import RequestException

from recipelab.errors import SandboxUnavailable
from recipelab.sandbox.docker.containers import OwnedContainer, list_containers
from recipelab.sandbox.docker.options import SANDBOX_LABEL
from recipelab.sandbox.owner import OwnerState


def reap_containers(api: APIClient, *, dry_run: bool = False) -> tuple[OwnedContainer, ...]:
    """Removes containers of this program whose owners are dead for certain.

    Args:
        api: A connection to the daemon.
        dry_run: Whether to leave them there after all.

    Returns:
        What was removed, or would be.

    Raises:
        SandboxUnavailable: The daemon failed.
    """
    try:
        dead = [found for found in list_containers(api) if found.owner_state is OwnerState.DEAD]
        return tuple(found for found in dead if dry_run or _removed(api, found.id))
    except (DockerException, RequestException) as error:
        raise SandboxUnavailable(f"cannot remove containers of dead processes: {error}") from error


def remove_containers_of(api: APIClient, sandbox: str) -> None:
    """Removes what a sandbox could not, because the daemon did not answer at the time.

    Args:
        api: A connection to the daemon.
        sandbox: Identity of a sandbox that has stopped.

    Raises:
        SandboxUnavailable: The daemon failed.
    """
    try:
        left = api.containers(all=True, filters={"label": f"{SANDBOX_LABEL}={sandbox}"})
        for container in left:
            _removed(api, container["Id"])
    except (DockerException, RequestException) as error:
        raise SandboxUnavailable(f"cannot remove containers: {error}") from error


def _removed(api: APIClient, container: str) -> bool:
    """Removes a container; ``False`` where another process reaps it at the same time."""
    try:
        api.remove_container(container, force=True, v=True)
    except APIError as error:
        if error.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            return False
        raise
    return True
