"""The table ``[container]``, Dockerfiles of other sandboxes, and the shipped sandbox cuda."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.core.errors import RecipelabError
from recipelab.sandbox import DockerSandbox
from recipelab.sandbox.base import PhaseLimits, PhaseRequest
from recipelab.sandbox.spec import (
    _DEEP_CALLS,
    RESERVED_USER,
    ContainerProfile,
    ImageSpec,
    load_image_spec,
    parse_image_spec,
    read_image_spec,
)

from .helpers import CPU_SANDBOX

FILE = Path("mine/sandbox.toml")
SHIPPED = tomllib.loads((CPU_SANDBOX / "sandbox.toml").read_text())


def spec_with(folder: Path, table: str) -> ImageSpec:
    """The shipped specification with more text at its end."""
    copy = shutil.copytree(CPU_SANDBOX, folder / "cpu", dirs_exist_ok=True)
    file = copy / "sandbox.toml"
    file.write_text(f"{file.read_text()}\n{table}")
    return read_image_spec(file)


def test_without_a_table_everything_is_as_usual() -> None:
    assert load_image_spec("cpu").container == ContainerProfile()


def test_every_key(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "strict.json").write_text('{"defaultAction": "SCMP_ACT_ERRNO"}')
    table = (
        '[container]\nuser = 1000\ngpu = true\nshm_mb = 64\nseccomp = "strict.json"\n'
        'environment = ["HF_TOKEN", "_x"]\n'
    )
    assert spec_with(tmp_path, table).container == ContainerProfile(
        user=1000,
        gpu=True,
        shm_mb=64,
        seccomp=tmp_path / "cpu" / "strict.json",
        environment=("HF_TOKEN", "_x"),
    )


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("container = 3", ("container: ", "3", "valid: a table with the keys user, gpu, shm_mb")),
        ("[container]\nusr = 5", ("container.usr: no such key; valid: environment, gpu, runtime",)),
        (
            "[container]\nprivileged = true",
            ("container.privileged: no such key; valid: environment",),
        ),
        ('[container]\nmounts = ["/:/host"]', ("container.mounts: no such key",)),
        ('[container]\ndevices = ["/dev/mem"]', ("container.devices: no such key",)),
        ('[container]\nnetwork = "host"', ("container.network: no such key",)),
        ('[container]\ncap_add = ["ALL"]', ("container.cap_add: no such key",)),
        ('[container]\nsecurity_opt = ["seccomp=unconfined"]', ("security_opt: no such key",)),
        (
            '[container]\nseccomp = "unconfined"',
            ("(it is 'unconfined')", "the name of a JSON file"),
        ),
        ("[container]\nuser = 0", ("container.user: ", "(it is 0)", "valid: a user id from 1")),
        ("[container]\nuser = 65533", ("(it is 65533)", "valid: a user id from 1 to 65534")),
        ("[container]\nuser = true", ("container.user: ", "(it is True)", "valid: a user id")),
        ("[container]\ngpu = 1", ("container.gpu: ", "(it is 1)", "valid: true or false")),
        ("[container]\nshm_mb = 0", ("container.shm_mb: ", "(it is 0)", "valid: MiB of /dev/shm")),
        ('[container]\nseccomp = "../a.json"', ("(it is '../a.json')", "the name of a JSON file")),
        ('[container]\nseccomp = "a.json"', ("container.seccomp: there must be a file a.json",)),
        ('[container]\nenvironment = "HOME"', ("(it is 'HOME')", "valid: a list of different")),
        (
            '[container]\nenvironment = ["A", "A"]',
            ("container.environment: a variable is listed twice; valid: a list of different",),
        ),
        (
            '[container]\nenvironment = ["A=b"]',
            ("container.environment.0: ", "(it is 'A=b')", "valid: a list of different"),
        ),
    ],
)
def test_faults_are_named(tmp_path: Path, table: str, words: tuple[str, ...]) -> None:
    # A key of the top level must come before the first table.
    with pytest.raises(RecipelabError) as raised:
        spec_with(tmp_path, table)
    for text in (*words, "sandbox.toml"):
        assert text in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "strict.json is not JSON"),
        ("[]", "strict.json is not a seccomp profile: an object with defaultAction"),
        ("{}", "strict.json is not a seccomp profile"),
    ],
)
def test_a_seccomp_file_that_filters_nothing(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "strict.json").write_text(text)
    with pytest.raises(RecipelabError, match=words):
        spec_with(tmp_path, '[container]\nseccomp = "strict.json"')


DEEP = {"names": ["mount", "read"], "action": "SCMP_ACT_ALLOW"}
AS_DOCKER = {**DEEP, "includes": {"caps": ["CAP_SYS_ADMIN"]}}
REFUSING = {"names": sorted(_DEEP_CALLS), "action": "SCMP_ACT_ERRNO"}


@pytest.mark.parametrize(
    ("profile", "let"),
    [
        ({"defaultAction": "SCMP_ACT_ALLOW"}, "add_key, bpf, delete_module"),
        ({"defaultAction": "SCMP_ACT_LOG", "syscalls": []}, "add_key, bpf"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [DEEP]}, "mount"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{**DEEP, "includes": []}]}, "mount"),
        (
            {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{**DEEP, "includes": {"caps": []}}]},
            "mo",
        ),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{**REFUSING, "args": [1]}]}, "add_key"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [REFUSING]}, None),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [AS_DOCKER]}, None),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [1, {}, {"names": [[1]]}]}, None),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": 7}, None),
    ],
)
def test_a_profile_that_lets_all_through_is_refused(
    profile: dict[str, Any], let: str | None, tmp_path: Path
) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "own.json").write_text(json.dumps(profile))
    table = '[container]\nseccomp = "own.json"'
    if let is None:
        assert spec_with(tmp_path, table).container.seccomp == tmp_path / "cpu" / "own.json"
    else:
        with pytest.raises(RecipelabError, match=rf"lets every command call {let}.*Docker's own"):
            spec_with(tmp_path, table)


def test_variables_that_recipes_can_read_are_said_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "secret")
    profile = ContainerProfile(environment=("MY_TOKEN", "NOT_THERE"))
    told = DockerSandbox(image="x", profile=profile).notice()
    assert told is not None
    assert "can read MY_TOKEN of" in told
    assert "secret" not in told
    assert DockerSandbox(image="x").notice() is None


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.lists(st.text(max_size=3) | st.integers(), max_size=3)
)
KEYS = st.sampled_from(["user", "gpu", "shm_mb", "environment"]) | st.text(max_size=4)


@given(st.dictionaries(KEYS, VALUES) | VALUES)
def test_any_table_is_a_sound_profile_or_a_clear_error(table: Any) -> None:
    try:
        profile = parse_image_spec(FILE, {**SHIPPED, "container": table}).container
    except RecipelabError as error:
        assert str(error).startswith(f"{FILE}: container") and "valid" in str(error)
    else:
        assert 0 < profile.user <= 65534 and profile.user != RESERVED_USER
        assert isinstance(profile.gpu, bool)
        assert profile.shm_mb is None or profile.shm_mb > 0
        assert all(name.isascii() and "=" not in name for name in profile.environment)


def test_a_dockerfile_of_another_sandbox(tmp_path: Path) -> None:
    shutil.copytree(CPU_SANDBOX, tmp_path / "cpu")
    mine = shutil.copytree(CPU_SANDBOX, tmp_path / "mine")
    (mine / "Dockerfile").unlink()
    file = mine / "sandbox.toml"
    file.write_text(file.read_text().replace('"Dockerfile"', '"../cpu/Dockerfile"'))
    spec = read_image_spec(file)
    assert (spec.folder / spec.dockerfile).read_text() == (CPU_SANDBOX / "Dockerfile").read_text()
    shutil.rmtree(tmp_path / "cpu")
    with pytest.raises(RecipelabError, match=r"there must be a file \.\./cpu/Dockerfile"):
        read_image_spec(file)


@pytest.mark.parametrize("path", ["../../cpu/Dockerfile", "../cpu/../x", "/etc/passwd", "a/b"])
def test_a_dockerfile_elsewhere(tmp_path: Path, path: str) -> None:
    copy = shutil.copytree(CPU_SANDBOX, tmp_path / "cpu")
    file = copy / "sandbox.toml"
    file.write_text(file.read_text().replace('"Dockerfile"', json.dumps(path)))
    with pytest.raises(RecipelabError, match=r"dockerfile: .* \(it is .*valid: the name of a file"):
        read_image_spec(file)


def test_the_reserved_user_is_the_monitors() -> None:
    docker_options = pytest.importorskip("recipelab.sandbox.docker.options")
    assert f"{RESERVED_USER}:{RESERVED_USER}" == docker_options.MONITOR_USER


def test_cuda_asks_for_its_gpu_and_nothing_else(tmp_path: Path) -> None:
    from recipelab.sandbox.docker.inputs import InputTree
    from recipelab.sandbox.docker.options import DaemonFacts, container_options

    spec = load_image_spec("cuda")
    assert spec.container == ContainerProfile(gpu=True, shm_mb=1024)
    assert "!=2.13.0+cpu" in spec.requirements.read_text()
    limits = PhaseLimits(seconds=1, memory_mb=4096, gpus=("1",))
    options = container_options(
        PhaseRequest("train", ("python", "x"), (), tmp_path, limits),
        image=spec.image,
        profile=spec.container,
        inputs=InputTree(Path("/host/tree")),
        owner="o",
        sandbox="s",
        facts=DaemonFacts(cores=2),
    )
    host = options["host_config"]
    assert host["DeviceRequests"] == [
        {"Driver": "nvidia", "DeviceIDs": ["1"], "Capabilities": [["gpu"]]}
    ]
    assert host["ShmSize"] == 1024 << 20
    assert (host["NetworkMode"], host["CapDrop"]) == ("none", ["ALL"])
