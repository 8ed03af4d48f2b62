"""Connects to the Docker daemon that the environment names."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from docker import APIClient
from docker.errors import DockerException
from docker.utils import kwargs_from_env
from requests import RequestException

from recipelab.errors import SandboxUnavailable

_DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_REACH_SECONDS = 3.0


def connect(*, timeout: int) -> APIClient:
    """Connects to the daemon; ``DOCKER_HOST`` and its kin say which.

    Args:
        timeout: Seconds that the daemon may take for an answer, now and later.

    Raises:
        SandboxUnavailable: No daemon answers; the message says why.
    """
    try:
        options = kwargs_from_env()
        _reach(options.get("base_url", _DEFAULT_SOCKET))
        return APIClient(version="auto", timeout=timeout, **options)
    except (DockerException, RequestException) as error:
        raise SandboxUnavailable(f"no Docker daemon answers: {error}") from error


@contextmanager
def daemon(*, timeout: int) -> Iterator[APIClient]:
    """A connection to the daemon for a few questions.

    Args:
        timeout: Seconds that the daemon may take for an answer.

    Raises:
        SandboxUnavailable: There is no daemon, or it failed.
    """
    api = connect(timeout=timeout)
    try:
        yield api
    except (DockerException, RequestException) as error:
        raise SandboxUnavailable(f"Docker cannot be used: {error}") from error
    finally:
        api.close()


def _reach(url: str) -> None:
    """Tries the daemon's socket, where it has one: the SDK's own words for a failure are long.

    Raises:
        SandboxUnavailable: Nobody listens there.
    """
    path = Path(url.removeprefix("http+").removeprefix("unix://"))
    if "unix://" not in url:
        return
    with socket.socket(socket.AF_UNIX) as tried:
        tried.settimeout(_REACH_SECONDS)
        try:
            tried.connect(str(path))
        except OSError as error:
            raise SandboxUnavailable(
                f"no Docker daemon answers at {path}: {error.strerror or error}"
            ) from error
