"""Sandboxes to test."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from recipelab.sandbox import LocalSandbox, Sandbox
from recipelab.sandbox.choose import docker_daemon_error

from . import daemons
from .helpers import CPU_SANDBOX


@pytest.fixture(scope="session")
def docker_daemon() -> None:
    """Skips where no daemon answers, or fails where one is required."""
    if fault := docker_daemon_error():
        if os.environ.get("RECIPELAB_REQUIRE_DOCKER") == "1":
            pytest.fail(f"Docker is required: {fault}")
        pytest.skip(f"no Docker: {fault}")


@pytest.fixture(scope="session")
def docker_image(docker_daemon: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A light image, built from the shipped Dockerfile without any package.

    ``RECIPELAB_TEST_DAEMON`` names another daemon than the machine's for all that use it; with
    ``here`` it is the one that ``DOCKER_HOST`` leads to, which has the image.
    """
    other = os.environ.get("RECIPELAB_TEST_DAEMON")
    if other == "here":
        yield "recipelab/test"
        return
    from recipelab.sandbox.images import build_image
    from recipelab.sandbox.spec import read_image_spec

    folder = tmp_path_factory.mktemp("image")
    shutil.copy(CPU_SANDBOX / "Dockerfile", folder)
    (folder / "requirements.txt").write_text("# none\n")
    spec = (CPU_SANDBOX / "sandbox.toml").read_text()
    (folder / "sandbox.toml").write_text(spec.replace("recipelab/cpu", "recipelab/test"))
    build_image(read_image_spec(folder / "sandbox.toml"))
    if other is None:
        yield "recipelab/test"
        return
    with daemons.DAEMONS[other]() as environment, pytest.MonkeyPatch.context() as patch:
        daemons.hand_over("recipelab/test", environment)
        daemons.lead_to(patch, environment)
        yield "recipelab/test"


@pytest.fixture(scope="session")
def cpu_image(docker_daemon: None) -> str:
    """The image of the sandbox cpu, which has PyTorch; it is built beforehand."""
    from recipelab.sandbox.images import image_exists
    from recipelab.sandbox.spec import load_image_spec

    spec = load_image_spec("cpu")
    if not image_exists(spec):
        missing = f"no image {spec.image}; `recipelab sandbox build cpu` builds it"
        if os.environ.get("RECIPELAB_REQUIRE_DOCKER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return spec.image


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
async def torch_sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    """Each sandbox in turn, started, with PyTorch inside."""
    if request.param == "local":
        pytest.importorskip("torch")
        made: Sandbox = LocalSandbox()
    else:
        made = _docker_sandbox(request.getfixturevalue("cpu_image"))
    async with made:
        yield made


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    """Each sandbox in turn, started."""
    if request.param == "local":
        made: Sandbox = LocalSandbox()
    else:
        made = _docker_sandbox(request.getfixturevalue("docker_image"))
    async with made:
        yield made


@pytest.fixture
async def docker_sandbox(docker_image: str) -> AsyncIterator[Sandbox]:
    """The Docker sandbox, started."""
    async with _docker_sandbox(docker_image) as made:
        yield made


def _docker_sandbox(image: str) -> Sandbox:
    from recipelab.sandbox import DockerSandbox

    return DockerSandbox(image=image)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An empty folder for outputs."""
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


@pytest.fixture
def marker() -> str:
    """A word that is in no other command line."""
    return f"marker-{os.getpid()}-{time.monotonic_ns()}"


@pytest.fixture
def no_daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Makes Docker look for a daemon where none is."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
