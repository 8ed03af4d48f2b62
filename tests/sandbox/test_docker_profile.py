"""What a container is asked for, and what a command finds in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recipelab.core.errors import SandboxError
from recipelab.sandbox import DockerSandbox, Ending, PhaseRequest
from recipelab.sandbox.docker.inputs import InputTree
from recipelab.sandbox.docker.options import DaemonFacts, container_options
from recipelab.sandbox.docker.seccomp import default_profile
from recipelab.sandbox.spec import ContainerProfile

from .helpers import names_in, phase


def host_config(request: PhaseRequest, profile: ContainerProfile | None = None) -> dict[str, Any]:
    """The host configuration that the daemon would be asked for."""
    config: dict[str, Any] = options(request, profile)["host_config"]
    return config


def options(
    request: PhaseRequest,
    profile: ContainerProfile | None = None,
    facts: DaemonFacts | None = None,
) -> dict[str, Any]:
    """All that the daemon would be asked for."""
    return container_options(
        request,
        image="sha256:abc",
        profile=profile or ContainerProfile(),
        inputs=InputTree(Path("/host/tree"), (Path("/host/layer"),)),
        owner="me-1-2",
        sandbox="s",
        facts=facts or DaemonFacts(cores=4),
    )


def test_everything_is_closed(output: Path) -> None:
    config = host_config(phase(output, "pass", memory_mb=256, pids=10, cpus=9))
    assert config["NetworkMode"] == "none"
    assert config["ReadonlyRootfs"] is True
    assert config["CapDrop"] == ["ALL"]
    assert config["SecurityOpt"] == ["no-new-privileges", f"seccomp={default_profile()}"]
    assert config["Memory"] == config["MemorySwap"] == config["ShmSize"] == 256 << 20
    assert config["NanoCpus"] == 4_000_000_000
    assert config["PidsLimit"] == 13
    assert config["Ulimits"] == [{"Name": "core", "Soft": 1, "Hard": 1}]
    [mount] = config["Mounts"]
    assert mount["Target"] == "/trial"
    assert mount["VolumeOptions"]["DriverConfig"]["Options"]["o"].startswith("ro,noatime,")
    assert not {"Privileged", "Devices", "DeviceRequests", "CapAdd", "Binds"} & set(config)


def test_gpus_are_asked_for_by_id(output: Path) -> None:
    asked = options(phase(output, "pass", gpus=("0", "GPU-aaaa")))
    assert asked["host_config"]["DeviceRequests"] == [
        {"Driver": "nvidia", "DeviceIDs": ["0", "GPU-aaaa"], "Capabilities": [["gpu"]]}
    ]
    assert "NVIDIA_VISIBLE_DEVICES" not in asked["environment"]


def test_without_a_gpu_none_is_asked_for_and_none_is_injected(output: Path) -> None:
    asked = options(phase(output, "pass"))
    assert "DeviceRequests" not in asked["host_config"]
    # Where NVIDIA's runtime is Docker's default, it goes by this variable alone.
    assert asked["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_cores_scratch_and_shared_memory(output: Path) -> None:
    request = phase(output, "pass", cpu_set=(1, 3), scratch_mb=7, output_mb=9)
    config = host_config(request, ContainerProfile(shm_mb=5))
    assert config["CpusetCpus"] == "1,3"
    assert config["ShmSize"] == 5 << 20
    assert "size=7m" in config["Tmpfs"]["/tmp"]
    assert "size=9m" in config["Tmpfs"]["/trial/out"]


def test_a_seccomp_profile_is_sent_whole(output: Path, tmp_path: Path) -> None:
    file = tmp_path / "seccomp.json"
    file.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    config = host_config(phase(output, "pass"), ContainerProfile(seccomp=file))
    assert config["SecurityOpt"][1] == 'seccomp={"defaultAction": "SCMP_ACT_ALLOW"}'


def test_only_named_variables_of_the_host_pass(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSED", "yes")
    monkeypatch.setenv("SECRET", "hunter2")
    profile = ContainerProfile(environment=("PASSED", "UNSET"))
    environment = options(phase(output, "pass"), profile)["environment"]
    assert environment["PASSED"] == "yes"
    assert not {"SECRET", "UNSET"} & set(environment)


@pytest.mark.docker
async def test_a_gpu_that_docker_cannot_give_is_not_the_commands_fault(
    docker_sandbox: DockerSandbox, output: Path
) -> None:
    with pytest.raises(SandboxError, match="device driver"):
        await docker_sandbox.run(phase(output, "pass", gpus=("99",)))


@pytest.mark.docker
async def test_the_image_is_recorded_by_its_whole_digest(
    docker_sandbox: DockerSandbox, output: Path
) -> None:
    result = await docker_sandbox.run(phase(output, "pass"))
    kind, image, digest = result.environment.split()
    assert (kind, image) == ("docker", "recipelab/test")
    assert len(digest) == len("sha256:") + 64


@pytest.mark.docker
async def test_compilers_have_a_cache_whoever_the_user_is(docker_image: str, output: Path) -> None:
    code = (
        "import getpass, os; names = ('TORCHINDUCTOR_CACHE_DIR', 'TRITON_CACHE_DIR')\n"
        "for name in names: os.makedirs(os.environ[name])\n"
        "print(getpass.getuser())"
    )
    async with DockerSandbox(image=docker_image, profile=ContainerProfile(user=4321)) as sandbox:
        result = await sandbox.run(phase(output, code))
    assert result.log == "sandbox\n"


@pytest.mark.docker
async def test_a_user_of_ones_own(docker_image: str, output: Path) -> None:
    profile = ContainerProfile(user=1234, shm_mb=3)
    code = (
        "import os, json; s = os.statvfs('/dev/shm')\n"
        "print(json.dumps([os.getuid(), os.getgid(), s.f_blocks * s.f_frsize >> 20]))\n"
        "open('out/a', 'w').write('mine')"
    )
    async with DockerSandbox(image=docker_image, profile=profile) as sandbox:
        result = await sandbox.run(phase(output, code))
    assert json.loads(result.log) == [1234, 1234, 3]
    assert names_in(output) == ["a"]


@pytest.mark.docker
@pytest.mark.host_kernel
async def test_a_seccomp_profile_is_enforced(docker_image: str, tmp_path: Path) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    file, output = tmp_path / "seccomp.json", tmp_path / "output"
    output.mkdir()
    file.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    profile = ContainerProfile(seccomp=file)
    async with DockerSandbox(image=docker_image, profile=profile) as sandbox:
        result = await sandbox.run(phase(output, "import os; os.mkdir('/tmp/a')"))
    assert "PermissionError" in result.log


@pytest.mark.docker
async def test_what_is_left_in_a_tripwire_is_told_and_goes_nowhere(
    docker_sandbox: DockerSandbox, output: Path
) -> None:
    code = (
        "import os\nprint(os.listdir('bait'), os.listdir('other'))\n"
        "open('bait/a', 'w').write('x'); os.symlink('/etc/passwd', 'bait/l'); os.mkdir('bait/d')\n"
        "open('out/good', 'w').write('good')"
    )
    result = await docker_sandbox.run(phase(output, code, tripwires=("bait", "other")))
    assert result.ok
    assert result.log == "[] []\n"
    assert result.tampered == ("bait/a", "bait/d", "bait/l")
    assert names_in(output) == ["good"]


@pytest.mark.docker
async def test_a_tripwire_holds_little(docker_sandbox: DockerSandbox, output: Path) -> None:
    code = "open('bait/a', 'w').write('x' * 10_000_000)"
    result = await docker_sandbox.run(phase(output, code, tripwires=("bait",)))
    assert "No space left" in result.log
    assert result.tampered == ("bait/a",)


@pytest.mark.docker
async def test_scratch_space_ends_before_memory_does(
    docker_sandbox: DockerSandbox, output: Path
) -> None:
    code = "open('/tmp/a', 'w').write('x' * 20_000_000)"
    result = await docker_sandbox.run(phase(output, code, scratch_mb=8))
    assert result.ending is Ending.EXITED
    assert "No space left" in result.log


@pytest.mark.docker
@pytest.mark.host_kernel
async def test_refused_processes_are_counted(docker_sandbox: DockerSandbox, output: Path) -> None:
    code = (
        "import os, time\nrefused = 0\nfor _ in range(20):\n"
        " try:\n  if os.fork() == 0: time.sleep(60)\n"
        " except BlockingIOError: refused += 1\nprint(refused)"
    )
    result = await docker_sandbox.run(phase(output, code, pids=8))
    assert result.ok
    assert result.refused_processes == int(result.log) > 0


@pytest.mark.docker
async def test_an_output_that_cannot_be_read_is_the_commands_doing(
    docker_sandbox: DockerSandbox, output: Path
) -> None:
    code = "import os; open('out/a', 'w').write('a'); open('out/b', 'w'); os.chmod('out/b', 0)"
    result = await docker_sandbox.run(phase(output, code))
    assert result.ok
    assert result.refused == ("out/ (something in it cannot be read)",)
    assert names_in(output) == ["a"]
