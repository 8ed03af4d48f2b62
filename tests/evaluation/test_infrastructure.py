"""When the machinery fails, the trial is aborted and nobody is blamed."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from docker.transport.unixconn import UnixHTTPConnection

from recipelab.core.content import Home
from recipelab.core.trial import Edit, FailureKind, Outcome, Phase, Status
from recipelab.evaluation import failures
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.session import CampaignSession, Overrides
from recipelab.packs.data import ensure_data
from recipelab.packs.pack import Pack
from recipelab.plan import Plan
from recipelab.sandbox import DockerSandbox, LocalSandbox, PhaseRequest, PhaseResult
from recipelab.sandbox.processes import owner_identity
from recipelab.sandbox.slots import Slot, SlotPool

from ..sandbox.conftest import docker_daemon, docker_image
from ..sandbox.helpers import names_in, wait_until
from .daemon_proxy import DaemonProxy

__all__ = ["docker_daemon", "docker_image"]

GONE_IMAGE = "recipelab/test-gone"


def assert_nobodys_fault(outcome: Outcome, words: str) -> None:
    assert outcome.status is Status.ABORTED
    assert not outcome.status.counts
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.INFRASTRUCTURE
    assert words in outcome.failure.excerpt


def evaluator_of(
    pack: Pack, sandbox: DockerSandbox | LocalSandbox, *, retry_seconds: float = 0.05
) -> Evaluator:
    data = ensure_data(pack, say=lambda text: None)
    return Evaluator(pack, sandbox, data, retry_seconds=retry_seconds)


def containers_of_mine() -> list[str]:
    label = f"label=recipelab.owner={owner_identity()}"
    listed = subprocess.run(
        ["docker", "ps", "-aq", "--filter", label], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


def _connect(connection: UnixHTTPConnection) -> None:
    """Connect as the SDK does, which leaves a socket that finds nobody to the garbage collector.

    The collector's warning would come in the midst of another test.
    """
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(connection.timeout)
    try:
        connection.sock.connect(connection.unix_socket)
    except OSError:
        connection.sock.close()
        raise


@pytest.fixture
def proxy(docker_image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DaemonProxy]:
    """A way to the daemon that can be cut; it is the one that is used."""
    folder = tempfile.TemporaryDirectory()  # Pytest's own are too long for a socket.
    with folder, DaemonProxy(Path(folder.name, "docker.sock")) as made:
        monkeypatch.setenv("DOCKER_HOST", made.address)
        monkeypatch.setattr(UnixHTTPConnection, "connect", _connect)
        yield made


@pytest.mark.docker
async def test_a_daemon_that_goes_away_aborts_the_trial(
    toy: Pack, proxy: DaemonProxy, docker_image: str
) -> None:
    training = asyncio.Event()

    class Training(TrialObserver):
        def began(self, phase: Phase, seed: int | None) -> None:
            if phase is Phase.TRAIN:
                training.set()

    async with DockerSandbox(image=docker_image) as sandbox:
        evaluator = evaluator_of(toy, sandbox)
        trial = asyncio.create_task(evaluator.evaluate(toy.baseline(), None, observer=Training()))
        await asyncio.wait_for(training.wait(), 20)
        await asyncio.to_thread(proxy.cut)
        outcome = await asyncio.wait_for(trial, 20)
        assert_nobodys_fault(outcome, "the Docker daemon does not answer")
        # What could not be removed while the daemon was gone is removed at the end.
        proxy.mend()
    assert containers_of_mine() == []


@pytest.mark.slow
@pytest.mark.docker
async def test_a_daemon_that_comes_back_costs_nothing(
    toy: Pack, proxy: DaemonProxy, docker_image: str
) -> None:
    seen: list[Phase] = []

    class Seen(TrialObserver):
        def began(self, phase: Phase, seed: int | None) -> None:
            seen.append(phase)

    async with DockerSandbox(image=docker_image) as sandbox:
        evaluator = evaluator_of(toy, sandbox, retry_seconds=1.0)
        await asyncio.to_thread(proxy.cut)
        trial = asyncio.create_task(evaluator.evaluate(toy.baseline(), None, observer=Seen()))
        # The second preflight is the second attempt: the first met no daemon.
        await asyncio.to_thread(wait_until, lambda: seen.count(Phase.PREFLIGHT) >= 2)
        proxy.mend()
        outcome = await asyncio.wait_for(trial, 60)
    assert containers_of_mine() == []
    assert outcome.status is Status.BASELINE


@pytest.fixture
def vanishing_image(docker_image: str) -> Iterator[str]:
    """An image that a test may remove."""
    dockerfile = f"FROM {docker_image}\nLABEL gone={os.getpid()}\n"
    command = ["docker", "build", "-q", "-t", GONE_IMAGE, "-"]
    subprocess.run(command, input=dockerfile, text=True, check=True, capture_output=True)
    yield GONE_IMAGE
    subprocess.run(["docker", "rmi", "-f", GONE_IMAGE], check=False, capture_output=True)


@pytest.mark.docker
async def test_an_image_that_is_gone_aborts_the_trial(toy: Pack, vanishing_image: str) -> None:
    async with DockerSandbox(image=vanishing_image) as sandbox:
        remove = ["docker", "rmi", "-f", vanishing_image]
        await asyncio.to_thread(subprocess.run, remove, check=True, capture_output=True)
        outcome = await evaluator_of(toy, sandbox).evaluate(toy.baseline(), None)
    assert_nobodys_fault(outcome, "No such image")


@pytest.mark.docker
async def test_a_gpu_that_cannot_be_had_aborts_the_trial(toy: Pack, docker_image: str) -> None:
    data = ensure_data(toy, say=lambda text: None)
    async with DockerSandbox(image=docker_image) as sandbox:
        pool = SlotPool([Slot(gpus=("99",))])
        evaluator = Evaluator(toy, sandbox, data, pool=pool, retry_seconds=0.05)
        outcome = await evaluator.evaluate(toy.baseline(), None)
    assert_nobodys_fault(outcome, "device driver")


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder on a disk that holds next to nothing."""
    folder = tmp_path / "full"
    folder.mkdir()
    options = ["-o", "size=16k,mode=0777"]
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", *options, "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_aborts_the_trial(toy: Pack, full_disk: Path, tmp_path: Path) -> None:
    async with LocalSandbox(temporary_folder=tmp_path) as sandbox:
        evaluator = evaluator_of(toy, sandbox)
        (full_disk / "filler").write_bytes(bytes(8192))
        outcome = await evaluator.evaluate(toy.baseline(), None)
    assert_nobodys_fault(outcome, "No space left on device")
    assert names_in(full_disk) == ["filler"]


async def test_a_full_disk_is_no_fault_of_the_recipe_that_meets_it(
    toy: Pack, sandbox: LocalSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = Edit("recipe/train.py", None, "raise OSError(28, 'No space left on device')\n")
    recipe = toy.baseline().apply([edit], toy.recipe.editable)
    evaluator = evaluator_of(toy, sandbox, retry_seconds=0.01)
    # By its own limits it is the recipe's.
    outcome = await evaluator.evaluate(recipe, None)
    assert (outcome.status, outcome.failure and outcome.failure.kind) == (
        Status.OVERSIZE,
        FailureKind.SIZE,
    )
    assert outcome.failure is not None and "limits.output_mb" in outcome.failure.excerpt
    monkeypatch.setattr(failures, "_FULL_BYTES", 1 << 60)
    assert_nobodys_fault(await evaluator.evaluate(recipe, None), "No space left on device")


@pytest.fixture
def dead_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose GPU has fallen off the bus, so that its tool finds none."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nexit 15\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")


async def test_a_gpu_that_fell_off_the_bus_is_taken_out_of_use(
    toy: Pack, sandbox: LocalSandbox, dead_gpu: None, tmp_path: Path
) -> None:
    data = ensure_data(toy, say=lambda text: None)
    pool = SlotPool([Slot("gpu-0", gpus=("0",)), Slot("gpu-1", gpus=("1",))], folder=tmp_path)
    evaluator = Evaluator(toy, sandbox, data, pool=pool, retry_seconds=0.01)
    lost = Edit("recipe/train.py", None, "raise SystemExit('CUDA error: lost')\n")
    recipe = toy.baseline().apply([lost], toy.recipe.editable)
    outcome = await evaluator.evaluate(recipe, None)
    assert_nobodys_fault(outcome, "does not answer nvidia-smi")
    assert pool.slots == ()


@pytest.mark.parametrize(("times", "status"), [(1, Status.BASELINE), (2, Status.ABORTED)])
async def test_what_a_log_says_of_the_machine_is_tried_once_more(
    toy: Pack, sandbox: LocalSandbox, times: int, status: Status
) -> None:
    begun: list[Phase] = []

    class Failing(LocalSandbox):
        """Stands in for a machine whose GPU has a memory error in the first trainings."""

        async def run(self, request: PhaseRequest) -> PhaseResult:
            begun.append(Phase(request.phase))
            if request.phase == Phase.TRAIN and begun.count(Phase.PREFLIGHT) <= times:
                ecc = "RuntimeError: CUDA error: uncorrectable ECC error encountered"
                command = ("python", "-c", f"import sys; sys.exit({ecc!r})")
                request = replace(request, command=command, warm=())
            return await super().run(request)

    async with Failing() as failing:
        outcome = await evaluator_of(toy, failing, retry_seconds=0.01).evaluate(
            toy.baseline(), None
        )
    assert begun.count(Phase.PREFLIGHT) == 2
    assert outcome.status is status
    if status is Status.ABORTED:
        assert_nobodys_fault(outcome, "uncorrectable ECC error")


class WatchedSandbox(LocalSandbox):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[PhaseRequest] = []

    async def run(self, request: PhaseRequest) -> PhaseResult:
        self.asked.append(request)
        return await super().run(request)


async def test_what_a_pack_imports_is_for_the_recipes_phases_alone(toy: Pack) -> None:
    warm = toy.model_copy(update={"warm": ("json",)})
    async with WatchedSandbox() as sandbox:
        outcome = await evaluator_of(warm, sandbox).measure(warm.baseline(), (1,))
    assert outcome.status is Status.BASELINE, outcome.reason
    asked = {request.phase: request.warm for request in sandbox.asked}
    assert asked == {"preflight": ("json",), "train": ("json",), "predict": ("json",), "score": ()}


async def test_a_module_that_cannot_be_imported_is_nobodys_fault(toy: Pack) -> None:
    gone = toy.model_copy(update={"warm": ("json", "no_such_module")})
    async with LocalSandbox() as sandbox:
        outcome = await evaluator_of(gone, sandbox).measure(gone.baseline(), (1,))
    assert_nobodys_fault(outcome, "`warm` lists (json, no_such_module)")
    assert_nobodys_fault(outcome, "No module named 'no_such_module'")


async def test_a_campaign_says_what_a_sandbox_that_it_was_given_does_not_isolate(
    project: Path,
) -> None:
    said: list[str] = []
    session = CampaignSession(
        Plan(pack="toy"),
        Home.find(),
        overrides=Overrides(sandbox=LocalSandbox(namespaces=False)),
        say=said.append,
    )
    async with session.measuring():
        pass
    assert [line for line in said if "does not isolate: code runs as you" in line]
