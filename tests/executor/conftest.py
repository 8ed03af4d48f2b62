"""Executors to test, in each sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from recipelab import SandboxCodeExecutor

from ..sandbox.conftest import docker_daemon, docker_image, marker, no_daemon

__all__ = ["docker_daemon", "docker_image", "marker", "no_daemon"]

Make = Callable[..., SandboxCodeExecutor]


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Makes executors in each sandbox in turn, and stops them in the end."""
    given: dict[str, Any] = {"kind": request.param}
    if request.param == "docker":
        given["image"] = request.getfixturevalue("docker_image")
    made: list[SandboxCodeExecutor] = []

    def one(**settings: Any) -> SandboxCodeExecutor:
        made.append(SandboxCodeExecutor(**given, **settings))
        return made[-1]

    yield one
    for executor in made:
        await executor.stop()
