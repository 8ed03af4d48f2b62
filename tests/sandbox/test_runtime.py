"""Runtimes of the daemon: gVisor, Kata, and what a daemon gives up without saying so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from recipelab.core.errors import RecipelabError, SandboxError, SandboxUnavailable
from recipelab.sandbox import DockerSandbox
from recipelab.sandbox.docker import daemon
from recipelab.sandbox.docker.containers import connect
from recipelab.sandbox.docker.monitor import usage_from_daemon
from recipelab.sandbox.docker.options import DaemonFacts
from recipelab.sandbox.gpus import Gpu
from recipelab.sandbox.processes import owner_identity
from recipelab.sandbox.spec import ContainerProfile

from .helpers import phase
from .test_container_table import spec_with
from .test_docker_profile import options

KNOWN = {"Runtimes": {"runc": {}, "runsc": {}}, "NCPU": 4}
SAID = {"seccomp": "2", "memory.max": str(64 << 20), "cpu.max": "100000 100000", "pids.max": "64"}


class Daemon:
    """Says what it is told to say."""

    def __init__(self, facts: Mapping[str, Any], name: str = "Engine") -> None:
        self._facts = facts
        self._name = name

    def info(self) -> Mapping[str, Any]:
        return self._facts

    def version(self) -> Mapping[str, Any]:
        return {"Components": [{"Name": self._name}]}


def found(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    said: Mapping[str, str],
    facts: Mapping[str, Any] | None = None,
    profile: ContainerProfile | None = None,
) -> DaemonFacts:
    """What is made of a container's words."""
    words = {"tree": "", **said}
    monkeypatch.setattr(daemon._Probe, "looked", lambda probe, mounts: words)
    asked: Any = Daemon({**KNOWN, **(facts or {})})
    sender: Any = None
    return daemon.find_out(asked, "image", profile or ContainerProfile(), [tmp_path], {}, sender)


def test_a_runtime_is_asked_for_by_name(output: Path) -> None:
    for name in ("runsc", "kata-runtime", "io.containerd.kata.v2"):
        config = options(phase(output, "pass"), ContainerProfile(runtime=name))["host_config"]
        assert config["Runtime"] == name
    assert "Runtime" not in options(phase(output, "pass"))["host_config"]


def test_a_runtime_stands_in_the_file(tmp_path: Path) -> None:
    assert spec_with(tmp_path, '[container]\nruntime = "runsc"\n').container.runtime == "runsc"
    for bad in ('"../runsc"', '""', "7"):
        with pytest.raises(RecipelabError, match=r"runtime.*valid: the name of a runtime that the"):
            spec_with(tmp_path, f"[container]\nruntime = {bad}\n")


def test_an_unknown_runtime_is_refused_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SandboxUnavailable, match=r"no runtime 'kata'.*valid: runc, runsc\. Others"):
        found(monkeypatch, tmp_path, SAID, profile=ContainerProfile(runtime="kata"))


@pytest.mark.docker
@pytest.mark.parametrize("name", ["kata-runtime", "io.containerd.kata.v2"])
async def test_kata_is_refused_where_the_daemon_has_none(docker_image: str, name: str) -> None:
    api = connect(timeout=60)
    mine = {"label": f"recipelab.owner={owner_identity()}"}
    before = len(api.containers(all=True, filters=mine))
    with pytest.raises(SandboxUnavailable, match=name.replace(".", r"\.")):
        await DockerSandbox(image=docker_image, profile=ContainerProfile(runtime=name)).start()
    assert len(api.containers(all=True, filters=mine)) <= before
    api.close()


@pytest.mark.docker
async def test_a_runtime_is_part_of_what_was_measured_in(docker_image: str, output: Path) -> None:
    profile = ContainerProfile(runtime="runc")
    async with DockerSandbox(image=docker_image, profile=profile) as sandbox:
        assert (await sandbox.run(phase(output, "print(1)"))).log == "1\n"
        assert sandbox.image_identity.endswith(" runc")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"seccomp": "0"}, "the daemon does not filter system calls$"),
        ({"memory.max": "max"}, "does not limit memory of a container"),
        ({"pids.max": "max"}, "does not limit processes of a container"),
        ({"cpu.max": "max 100000"}, "does not limit CPU time of a container"),
    ],
)
def test_a_promise_that_is_given_up_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, str], words: str
) -> None:
    assert found(monkeypatch, tmp_path, SAID) == DaemonFacts(cores=4)
    with pytest.raises(SandboxUnavailable, match=words):
        found(monkeypatch, tmp_path, {**SAID, **said})


def test_groups_of_version_1_limit_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"memory.limit_in_bytes": str(64 << 20), "cpu.cfs_quota_us": "100000"}
    said = {"seccomp": "2", "pids.max": "64", **said}
    assert found(monkeypatch, tmp_path, said) == DaemonFacts(cores=4)
    with pytest.raises(SandboxUnavailable, match="limit CPU time"):
        found(monkeypatch, tmp_path, {**said, "cpu.cfs_quota_us": "-1"})


def test_gvisor_is_known_by_its_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"seccomp": "0", "sentry": ""}
    assert found(monkeypatch, tmp_path, said).sentry
    # It would take the profile, and apply it to the first process alone.
    profile = ContainerProfile(runtime="runsc", seccomp=tmp_path / "strict.json")
    with pytest.raises(SandboxUnavailable, match="runsc is gVisor, which applies no seccomp"):
        found(monkeypatch, tmp_path, said, profile=profile)


@pytest.mark.parametrize(
    "facts", [{"Rootless": True}, {"SecurityOptions": ["name=seccomp", "name=rootless"]}]
)
def test_without_roots_rights_it_needs_groups_of_version_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any]
) -> None:
    assert found(monkeypatch, tmp_path, SAID, {**facts, "CgroupVersion": "2"}).cores == 4
    with pytest.raises(SandboxUnavailable, match=r"without root's rights.*version 1"):
        found(monkeypatch, tmp_path, SAID, {**facts, "CgroupVersion": "1"})


def test_under_gvisor_the_kernel_inside_limits_processes(output: Path) -> None:
    request = phase(output, "pass", pids=20)
    config = options(request, facts=DaemonFacts(cores=4, sentry=True))["host_config"]
    # The shell above the command has the command's user; init and the monitor have not.
    assert {"Name": "nproc", "Soft": 21, "Hard": 21} in config["Ulimits"]
    assert config["PidsLimit"] > 4 * 20
    plain = options(request)["host_config"]
    assert [limit["Name"] for limit in plain["Ulimits"]] == ["core"]


def test_podman_is_asked_in_its_own_words(output: Path) -> None:
    request = phase(output, "pass", tripwires=("evaluator",))
    config = options(request, facts=DaemonFacts(cores=4, podman=True))["host_config"]
    name, file = config["SecurityOpt"][1].split("=")
    assert name == "seccomp" and "defaultAction" in Path(file).read_text()
    assert all("uid=" not in folder for folder in config["Tmpfs"].values())
    assert config["Tmpfs"]["/var/tmp"].startswith("ro,")
    assert config["Tmpfs"]["/run"].startswith("ro,")
    assert {limit["Name"] for limit in config["Ulimits"]} == {"core", "nofile", "nproc"}


def test_the_daemons_figures() -> None:
    stats = {
        "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
        "pids_stats": {"current": 42},
        "memory_stats": {"usage": 1, "max_usage": 2 << 20},
    }
    usage = usage_from_daemon(stats, "visible 3\n")
    assert (usage.cpu_seconds, usage.processes, usage.peak_memory_mb) == (1.5, 3, 2.0)
    assert usage.refused_processes is None
    del stats["memory_stats"]["max_usage"]  # As with control groups v2.
    assert usage_from_daemon(stats, "visible 3\n").peak_memory_mb is None
    with pytest.raises(SandboxError, match="no figure 'cpu_stats'"):
        usage_from_daemon({}, "visible 3\n")


def test_podman_has_no_gpus_of_nvidia(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman = DaemonFacts(cores=4, podman=True)
    with pytest.raises(SandboxError, match="Podman has no device driver for GPUs of NVIDIA"):
        options(phase(output, "pass", gpus=("GPU-aaaa",)), facts=podman)
    nvidia, amd = Gpu("0", "GPU-aaaa", "X", 1, 0), Gpu("0", "AMD-0000:c1:00.0", "Y", 1, 0)
    asked: Any = Daemon(KNOWN, "Podman Engine")
    monkeypatch.setattr(daemon._Probe, "looked", lambda probe, mounts: {"tree": "", **SAID})

    def start(gpu: Gpu) -> DaemonFacts:
        monkeypatch.setattr(daemon, "list_gpus", lambda: (gpu,))
        sender: Any = None
        profile = ContainerProfile(gpu=True)
        return daemon.find_out(asked, "image", profile, [tmp_path], {}, sender)

    assert start(amd).podman
    with pytest.raises(SandboxUnavailable, match="Podman has no device driver"):
        start(nvidia)


@pytest.mark.parametrize("url", ["ssh://user@node", "ssh://node:22"])
def test_ssh_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", url)
    with pytest.raises(SandboxUnavailable, match=f"DOCKER_HOST={url}.*ssh -nNT -L.*valid: unix"):
        connect(timeout=3)
