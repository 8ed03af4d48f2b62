"""Sandboxes to test, and ways to look at what they leave on the machine."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from recipelab.sandbox import Input, Limits, LocalSandbox, PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.choose import docker_daemon_error

CPU_SANDBOX = Path(__file__).parents[2] / "sandboxes" / "cpu"

Runner = Callable[..., Awaitable[PhaseResult]]


@pytest.fixture(scope="session")
def docker_daemon() -> None:
    """Skips where no daemon answers, or fails where one is required."""
    if fault := docker_daemon_error():
        if os.environ.get("RECIPELAB_REQUIRE_DOCKER") == "1":
            pytest.fail(f"Docker is required: {fault}")
        pytest.skip(f"no Docker: {fault}")


@pytest.fixture(scope="session")
def docker_image(docker_daemon: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A light image, built from the shipped Dockerfile without any package."""
    from recipelab.sandbox.images import build_image, read_image_spec

    folder = tmp_path_factory.mktemp("image")
    shutil.copy(CPU_SANDBOX / "Dockerfile", folder)
    (folder / "requirements.txt").write_text("# none\n")
    spec = (CPU_SANDBOX / "sandbox.toml").read_text()
    (folder / "sandbox.toml").write_text(spec.replace("recipelab/cpu", "recipelab/test"))
    build_image(read_image_spec(folder / "sandbox.toml"))
    return "recipelab/test"


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


def phase(
    output: Path,
    *command: str,
    inputs: tuple[Input, ...] = (),
    environment: dict[str, str] | None = None,
    **limits: float,
) -> PhaseRequest:
    """A request with a short deadline; a single word is a Python program."""
    return PhaseRequest(
        phase="test",
        command=command if len(command) > 1 else ("python", "-c", command[0]),
        inputs=inputs,
        output=output,
        limits=Limits(**({"seconds": 20.0, "memory_mb": 256} | limits)),  # type: ignore[arg-type]
        environment=environment or {},
        labels={"trial": "7"},
    )


def processes_with(marker: str) -> list[int]:
    """Processes on this machine with a marker in their command line, in containers too."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue  # It ended while we looked.
            if marker.encode() in words:
                found.append(int(folder.name))
    return found


def wait_until(true: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Waits for something to become true, and fails if it does not."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s"
        time.sleep(0.02)


@pytest.fixture
def marker() -> Iterator[str]:
    """A word that is in no other command line."""
    yield f"marker-{os.getpid()}-{time.monotonic_ns()}"
