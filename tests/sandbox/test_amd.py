"""GPUs of AMD: found by its tool, leased, and asked of Docker as device files with their groups."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.core.errors import RecipelabError, SandboxError
from recipelab.sandbox import DockerSandbox, gpus
from recipelab.sandbox.gpus import Gpu, gpu_fault, list_gpus
from recipelab.sandbox.local.namespaces import gpu_variables
from recipelab.sandbox.slots import machine_slots

from .helpers import phase
from .test_docker_profile import options

FIRST, SECOND, BUSY = "AMD-0000:63:00.0", "AMD-0000:c1:00.0", "AMD-0000:e3:00.0"
NODES = {FIRST: "renderD129", SECOND: "renderD128", BUSY: "renderD130"}


def card(bus: str, used: int) -> dict[str, str]:
    """What the tool says of one card."""
    return {
        "PCI Bus": bus.removeprefix("AMD-").upper(),
        "Card series": "Instinct MI210",
        "VRAM Total Memory (B)": str(65520 << 20),
        "VRAM Total Used Memory (B)": str(used << 20),
    }


CARDS: dict[str, Any] = {
    "card10": card(BUSY, 40000),
    "card0": card(FIRST, 10),
    "card1": card(SECOND, 11),
    "system": {"Driver version": "6.7.0"},
}


@pytest.fixture
def three_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts AMD's tool in front, which prints a file, and a kernel's files below a folder."""
    (tmp_path / "bin").mkdir()
    tool, answer = tmp_path / "bin/rocm-smi", tmp_path / "cards.json"
    answer.write_text(f"WARNING: something is old\n{json.dumps(CARDS)}\n")
    tool.write_text(f"#!/bin/sh\ncat {answer}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    for name in ("CUDA_VISIBLE_DEVICES", *gpus.AMD_VISIBLE):
        monkeypatch.delenv(name, raising=False)
    for bus, node in NODES.items():
        folder = tmp_path / "bus" / bus.removeprefix("AMD-")
        (folder / "drm" / node).mkdir(parents=True)
        (folder / "drm" / "card0").mkdir()
        (folder / "unique_id").write_text(f"{node[-3:]}abc\n")
    (tmp_path / "dri").mkdir()
    for node in (*NODES.values(), "../kfd"):
        (tmp_path / "dri" / node).touch()
    monkeypatch.setattr(gpus, "_BUS", tmp_path / "bus")
    monkeypatch.setattr(gpus, "_RENDER", tmp_path / "dri")
    monkeypatch.setattr(gpus, "COMPUTE", tmp_path / "kfd")
    return answer


def test_they_are_listed_by_number(three_gpus: Path) -> None:
    first, *others = list_gpus()
    assert first == Gpu("0", FIRST, "Instinct MI210", 65520, 10)
    assert [gpu.uuid for gpu in others] == [SECOND, BUSY]


def test_free_ones_become_slots(three_gpus: Path) -> None:
    assert [slot.gpus for slot in machine_slots(cpus=8, gpus=1)] == [(FIRST,), (SECOND,)]
    [pair] = machine_slots(cpus=8, gpus=2)
    assert pair.gpus == (FIRST, SECOND)
    assert pair.leases == (f"gpu-{FIRST}", f"gpu-{SECOND}")


@pytest.mark.parametrize(
    ("variable", "value", "found"),
    [
        ("HIP_VISIBLE_DEVICES", "1", [SECOND]),
        ("ROCR_VISIBLE_DEVICES", "GPU-128abc,0", [SECOND, FIRST]),
        ("ROCR_VISIBLE_DEVICES", "0,7,1", [FIRST]),
        ("CUDA_VISIBLE_DEVICES", "", [FIRST, SECOND]),  # Of NVIDIA's.
    ],
)
def test_only_the_visible_ones_become_slots(
    three_gpus: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, found: list[str]
) -> None:
    monkeypatch.setenv(variable, value)
    assert [slot.gpus[0] for slot in machine_slots(cpus=8, gpus=1)] == found


def test_none_visible_is_told_with_the_variable(
    three_gpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "9")
    with pytest.raises(RecipelabError, match="that HIP_VISIBLE_DEVICES=9 leaves, nor does rocm"):
        machine_slots(cpus=8, gpus=1)


def test_one_that_fell_off_the_bus_is_told(three_gpus: Path) -> None:
    assert gpu_fault(SECOND) is None
    del (left := dict(CARDS))["card1"]
    three_gpus.write_text(json.dumps(left))
    assert gpu_fault(SECOND) == f"GPU {SECOND} does not answer rocm-smi"
    assert gpu_fault(FIRST) is None


@given(st.text() | st.recursive(st.none() | st.text(), lambda one: st.dictionaries(st.text(), one)))
def test_whatever_the_tool_prints_is_read_or_left(printed: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        text = printed if isinstance(printed, str) else json.dumps({"card0": printed})
        patch.setattr(gpus, "_printed", lambda *command: text)
        assert gpus._amd_gpus() == ()


def test_a_container_gets_the_device_files_and_their_groups(
    three_gpus: Path, output: Path, tmp_path: Path
) -> None:
    asked = options(phase(output, "pass", gpus=(FIRST, SECOND)))
    paths = [tmp_path / "kfd", tmp_path / "dri/renderD129", tmp_path / "dri/renderD128"]
    assert asked["host_config"]["Devices"] == [
        {"PathOnHost": str(path), "PathInContainer": str(path), "CgroupPermissions": "rw"}
        for path in paths
    ]
    assert asked["host_config"]["GroupAdd"] == [str(paths[0].stat().st_gid)]
    assert "DeviceRequests" not in asked["host_config"]
    environment = asked["environment"]
    assert environment["ROCR_VISIBLE_DEVICES"] == environment["HIP_VISIBLE_DEVICES"] == "0,1"
    # A driver of NVIDIA's on the same machine stays out.
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_a_local_command_sees_those_with_the_ids(three_gpus: Path, output: Path) -> None:
    assert gpu_variables(phase(output, "pass", gpus=(SECOND, FIRST))) == {
        "CUDA_VISIBLE_DEVICES": "",
        "ROCR_VISIBLE_DEVICES": "GPU-128abc,GPU-129abc",
        "HIP_VISIBLE_DEVICES": "0,1",
    }


def test_what_cannot_be_given_is_refused(three_gpus: Path, output: Path, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="two makers: GPU-aaaa, AMD-0000:63"):
        options(phase(output, "pass", gpus=("GPU-aaaa", FIRST)))
    with pytest.raises(SandboxError, match=r"AMD-0000:99:00\.0 has no device in"):
        options(phase(output, "pass", gpus=("AMD-0000:99:00.0",)))
    (tmp_path / "kfd").unlink()
    with pytest.raises(SandboxError, match="kfd cannot be used: No such file"):
        options(phase(output, "pass", gpus=(FIRST,)))
    (tmp_path / "bus" / FIRST.removeprefix("AMD-") / "unique_id").unlink()
    with pytest.raises(SandboxError, match="no unique_id to tell it from others"):
        gpu_variables(phase(output, "pass", gpus=(FIRST,)))


@pytest.fixture
def device_folder() -> Iterator[Path]:
    """A folder below /dev; elsewhere a container opens no device."""
    if os.geteuid():
        pytest.skip("only root makes devices")
    folder = Path(f"/dev/recipelab-{os.getpid()}")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.docker
async def test_a_command_may_open_them(
    docker_sandbox: DockerSandbox,
    output: Path,
    tmp_path: Path,
    device_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A harmless device stands for both, in a group that only the request can give.
    for group, name in enumerate(("kfd", "renderD128"), 44321):
        os.mknod(device_folder / name, 0o20660, os.makedev(1, 5))
        os.chown(device_folder / name, 0, group)
        (device_folder / name).chmod(0o660)
    (tmp_path / "bus/0000:63:00.0/drm/renderD128").mkdir(parents=True)
    monkeypatch.setattr(gpus, "_BUS", tmp_path / "bus")
    monkeypatch.setattr(gpus, "_RENDER", device_folder)
    monkeypatch.setattr(gpus, "COMPUTE", device_folder / "kfd")
    code = (
        f"import os; folder = {str(device_folder)!r}\n"
        "read = [open(f'{folder}/{name}', 'rb').read(1) for name in ('kfd', 'renderD128')]\n"
        "print(read, sorted(os.getgroups()))"
    )
    result = await docker_sandbox.run(phase(output, code, gpus=(FIRST,)))
    assert result.log == "[b'\\x00', b'\\x00'] [44321, 44322, 65534]\n"
    refused = await docker_sandbox.run(phase(output, code))
    assert "No such file" in refused.log
