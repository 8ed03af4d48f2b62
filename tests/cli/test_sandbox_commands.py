"""``recipelab sandbox``: build, check, list and reap."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recipelab.cli.app import app
from recipelab.sandbox import DockerSandbox, LocalSandbox
from recipelab.sandbox.check.check import PromiseFinding, PromiseVerdict, check_sandbox
from recipelab.sandbox.processes import owner_identity
from recipelab.sandbox.spec import ContainerProfile

from ..sandbox.conftest import docker_daemon, docker_image
from ..sandbox.helpers import CPU_SANDBOX
from .conftest import Cli

pytestmark = pytest.mark.slow

__all__ = ["docker_daemon", "docker_image"]

CORE = sorted(os.sched_getaffinity(0))[0] if hasattr(os, "sched_getaffinity") else 0
PROMISED_BY_LOCAL = {
    "process session",
    "outputs taken",
    "environment of the host",
    "deadline",
    "left running",
}


def dead_owner() -> str:
    """The identity of a process that has ended."""
    code = "from recipelab.sandbox.processes import owner_identity; print(owner_identity())"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return ended.stdout.strip()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "gpu9"), "unknown sandbox 'gpu9'; valid: cpu, cpu-rehearsal, cuda"),
        (
            ("check", "--sandbox", "podman"),
            "kind 'podman'; valid: auto, docker, local",
        ),
        (("check", "--gpu", "all of them"), "--gpu: 'all of them' is not valid; valid: a number"),
        (
            ("check", "--runtime", "../x"),
            "runtime '../x' is not valid; valid: the name of a runtime",
        ),
        (("check", "--sandbox", "docker"), "start Docker, or ask for `--sandbox local`"),
        (("build", "gpu9"), "unknown sandbox 'gpu9'; valid: cpu, cpu-rehearsal, cuda"),
        (("build", "cpu"), "no Docker daemon answers"),
    ],
)
def test_bad_input(cli: Cli, words: tuple[str, ...], message: str) -> None:
    result = cli("sandbox", *words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_dry_run_tells_what_an_image_lacks(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")  # A newer pip may be there already.
    folder = project / "sandboxes" / "odd"
    shutil.copytree(CPU_SANDBOX, folder)
    file = folder / "sandbox.toml"
    file.write_text(file.read_text().replace('"cpu"', '"odd"'))
    far = "--find-links http://127.0.0.1:9/\nrecipelab_far\n"
    (folder / "requirements.txt").write_text(f"--no-index\n{far}")
    unproved = cli("sandbox", "build", "odd", "--dry-run")
    assert unproved.exit_code == 0, unproved.output
    assert "unproved  recipelab_far: http://127.0.0.1:9/ does not answer" in unproved.stdout
    assert "odd: 0 packages can be had, 0 requirements missing, 1 unproved" in unproved.stdout
    (folder / "requirements.txt").write_text("--no-index\nrecipelab_gone\n")
    missing = cli("sandbox", "build", "odd", "--dry-run", "--json")
    assert missing.exit_code == 1, missing.output
    told = json.loads(missing.stdout)
    assert (told["ok"], told["unproved"]) == (False, [])
    assert [one["requirement"] for one in told["missing"]] == ["recipelab_gone"]


def test_list_without_a_daemon(cli: Cli, project: Path) -> None:
    (project / "sandboxes" / "mine").mkdir(parents=True)
    (project / "sandboxes" / "mine" / "sandbox.toml").write_text("format = 9")
    facts = json.loads(cli("sandbox", "list", "--json").stdout)
    states = {row["sandbox"]: row["state"] for row in facts["sandboxes"]}
    shipped = ("cpu", "cpu-rehearsal", "cuda", "cuda-compile", "cuda-golf")
    assert states == {**dict.fromkeys(shipped, "unknown"), "mine": "not valid"}
    assert "no Docker daemon answers" in facts["docker"]
    shown = cli("sandbox", "list")
    assert shown.exit_code == 0
    assert "format: 9 is not a known format" in shown.stdout and "no Docker daemon" in shown.stdout


def test_reap_without_a_daemon(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    dead, live, foreign = dead_owner(), owner_identity(), "0123456789-1-1"
    orphans = [place / f"recipelab-{what}-{dead}-x1" for what in ("phase", "trial", "check")]
    others = [place / f"recipelab-trial-{owner}-x2" for owner in (live, foreign)]
    others += [place / "recipelab-trial-abcdefgh", place / f"mine-{dead}-x"]
    for folder in (*orphans, *others):
        (folder / "inner").mkdir(parents=True)
        (folder / "inner").chmod(0o555)
    link = place / f"recipelab-link-{dead}-x3"
    link.symlink_to(others[-1])
    names = sorted(map(str, orphans))

    tried = json.loads(cli("sandbox", "reap", "--dry-run", "--json").stdout)
    assert (tried["folders"], tried["containers"]) == (names, [])
    assert "no Docker daemon answers" in tried["docker"]
    assert all(folder.exists() for folder in orphans)
    shown = cli("sandbox", "reap")
    assert shown.exit_code == 0
    assert shown.stdout.count("removed folder") == 3
    assert not any(folder.exists() for folder in orphans)
    assert all(folder.exists() for folder in others) and link.is_symlink()
    assert "no containers or folders of dead processes" in cli("sandbox", "reap").stdout


def test_local_promises_little_and_says_so(cli: Cli) -> None:
    result = cli("sandbox", "check", "--sandbox", "local", "--json")
    facts = json.loads(result.stdout)
    assert (result.exit_code, facts["ok"], facts["sandbox"]) == (0, True, "local"), facts
    promised = {row["what"] for row in facts["findings"] if row["verdict"] == "ok"}
    assert promised >= PROMISED_BY_LOCAL
    assert "`--sandbox docker`" in result.stderr


async def test_without_isolation_nothing_of_the_users_is_tried() -> None:
    async with LocalSandbox(namespaces=False) as sandbox:
        findings = await check_sandbox(sandbox, ContainerProfile(), core=CORE)
    assert failed(findings) == set()
    kept = {finding.what for finding in findings if finding.verdict is PromiseVerdict.OK}
    assert kept == PROMISED_BY_LOCAL
    measured = {finding.what: finding.measured for finding in findings}
    assert "not tried" in measured["writable places"]
    assert measured["metadata address of clouds"] == measured["names looked up"] == "not tried"


class LeavesTooMuch(LocalSandbox):
    """A sandbox that hands out the environment of the host."""

    async def run(self, request: Any) -> Any:
        from dataclasses import replace

        return await super().run(replace(request, environment=dict(os.environ)))


async def test_a_local_promise_that_does_not_hold() -> None:
    async with LeavesTooMuch() as sandbox:
        findings = await check_sandbox(sandbox, ContainerProfile(), core=CORE)
    assert failed(findings) == {"environment of the host"}


def failed(findings: tuple[PromiseFinding, ...]) -> set[str]:
    """What does not hold."""
    return {finding.what for finding in findings if finding.verdict is PromiseVerdict.FAILED}


@pytest.fixture
def docker_cli(docker_image: str, project: Path) -> Cli:
    """The command line with the real daemon, and a sandbox ``light`` of a light image."""
    from recipelab.core.content import shipped_root

    folder = shutil.copytree(shipped_root() / "sandboxes" / "cpu", project / "sandboxes" / "light")
    (folder / "requirements.txt").write_text("# none\n")
    file = folder / "sandbox.toml"
    text = file.read_text().replace('"cpu"', '"light"')
    file.write_text(text.replace('"recipelab/cpu"', f'"{docker_image}"'))
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def state_of_light(docker_cli: Cli) -> dict[str, Any]:
    """What ``list`` says of the sandbox ``light``."""
    rows = json.loads(docker_cli("sandbox", "list", "--json").stdout)["sandboxes"]
    found: dict[str, Any] = next(row for row in rows if row["sandbox"] == "light")
    return found


@pytest.mark.docker
def test_build_then_list_then_stale(docker_cli: Cli, project: Path) -> None:
    built = docker_cli("sandbox", "build", "light", "--json")
    assert built.exit_code == 0, built.stderr
    facts = json.loads(built.stdout)
    row = state_of_light(docker_cli)
    assert (row["state"], row["id"], row["reason"]) == ("built", facts["id"], "")
    assert row["bytes"] > 1_000_000
    folder = project / "sandboxes" / "light"
    (folder / "requirements.txt").write_text("# another\n")
    row = state_of_light(docker_cli)
    assert row["state"] == "stale" and "requirements.txt" in row["reason"]
    file = folder / "sandbox.toml"
    file.write_text(file.read_text().replace('"recipelab/test"', '"recipelab/never-built"'))
    assert state_of_light(docker_cli)["state"] == "not built"
    assert "not built" in docker_cli("sandbox", "list").stdout
    asked = docker_cli("sandbox", "check", "light", "--sandbox", "docker")
    assert asked.exit_code == 2 and "recipelab sandbox build light" in asked.stderr


@pytest.mark.docker
def test_docker_keeps_all_its_promises(docker_cli: Cli) -> None:
    result = docker_cli("sandbox", "check", "light", "--sandbox", "docker", "--json")
    facts = json.loads(result.stdout)
    assert [row for row in facts["findings"] if row["verdict"] != "ok"] == []
    assert (result.exit_code, facts["ok"]) == (0, True)


# Not the host's processes: what a phase does at its end, to kill all of its user, would reach them.
WEAK: dict[str, tuple[dict[str, Any], set[str]]] = {
    "network": (
        {"NetworkMode": "bridge"},
        {"network interfaces", "this host over the network"},
    ),
    "network of the host": (
        {"NetworkMode": "host"},
        {"abstract sockets of this host", "namespaces"},
    ),
    "privileges": (
        {
            "CapDrop": [],
            "SecurityOpt": ["seccomp=unconfined"],
            "ReadonlyRootfs": False,
            "Binds": ["/var/run/docker.sock:/var/run/docker.sock"],
        },
        {
            "capabilities",
            "new privileges",
            "system calls",
            "root file system",
            "writable places",
            "sockets of container daemons",
        },
    ),
    "limits": (
        {
            "Memory": 2 << 30,
            "MemorySwap": 4 << 30,
            "PidsLimit": 500,
            "NanoCpus": 2 * 10**9,
            "CpusetCpus": "",
            "Tmpfs": {"/tmp": "mode=1777", "/trial/out": "mode=1777"},
        },
        {
            "memory setting",
            "memory, when met",
            "processes, when met",
            "CPU setting",  # On a busy machine no command can meet this limit.
            "cores",
            "out/, when full",
            "temporary folder, when full",
        },
    ),
    "privileged": (
        {"Privileged": True, "CapDrop": []},
        {"capabilities", "system calls", "devices", "kernel files that can be read"},
    ),
}


class WeakSandbox(DockerSandbox):
    """A Docker sandbox whose containers have what they should not have."""

    weakness: dict[str, Any]

    def _options(self, *arguments: Any) -> dict[str, Any]:
        options = super()._options(*arguments)
        options["host_config"] |= self.weakness
        return options


@pytest.mark.docker
@pytest.mark.parametrize(("weakness", "expected"), WEAK.values(), ids=WEAK.keys())
async def test_a_weakness_is_found(
    docker_image: str, weakness: dict[str, Any], expected: set[str]
) -> None:
    sandbox = WeakSandbox(image=docker_image)
    sandbox.weakness = weakness
    async with sandbox:
        findings = await check_sandbox(sandbox, ContainerProfile(), core=CORE)
    assert failed(findings) >= expected


@pytest.mark.docker
def test_a_weakness_ends_the_command_with_1(
    docker_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weak(*arguments: object, **options: object) -> WeakSandbox:
        sandbox = WeakSandbox(image="recipelab/test")
        sandbox.weakness = {"NetworkMode": "bridge"}
        return sandbox

    monkeypatch.setattr("recipelab.sandbox.choose.open_sandbox", weak)
    result = docker_cli("sandbox", "check", "light")
    assert result.exit_code == 1
    assert "FAILED         network interfaces: lo, eth0 (promised: only lo)" in result.stdout


@pytest.mark.docker
async def test_a_gpu_that_is_not_there(docker_image: str) -> None:
    async with DockerSandbox(image=docker_image) as sandbox:
        findings = await check_sandbox(sandbox, ContainerProfile(), core=CORE, gpus=("99",))
    assert failed(findings) == {"GPUs, asked for"}


@pytest.fixture
def containers(
    docker_image: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], dict[str, bool]]]:
    """Idle containers of a live, a dead and a foreign owner; tells which of them are there.

    Only this process knows their label: other tests start sandboxes, which reap what is dead.
    """
    from docker import APIClient

    label = f"recipelab-test-{os.getpid()}"
    monkeypatch.setattr("recipelab.sandbox.docker.containers.OWNER_LABEL", label)
    monkeypatch.setattr("recipelab.sandbox.docker.containers._OWNED", {"label": label})
    api = APIClient(version="auto")
    owners = {"live": owner_identity(), "dead": dead_owner(), "elsewhere": "0123456789-1-1"}
    made = {}
    for key, owner in owners.items():
        labels = {label: owner, "recipelab.phase": "train", "recipelab.trial": "7"}
        made[key] = api.create_container(docker_image, ["sh"], labels=labels)["Id"]

    def there() -> dict[str, bool]:
        found = {row["Id"] for row in api.containers(all=True)}
        return {key: identity in found for key, identity in made.items()}

    yield there
    for key, exists in there().items():
        if exists:
            api.remove_container(made[key], force=True)
    api.close()


@pytest.mark.docker
def test_reap_spares_the_living(
    docker_cli: Cli,
    containers: Callable[[], dict[str, bool]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows = json.loads(docker_cli("sandbox", "list", "--json").stdout)["containers"]
    ours = [row for row in rows if row["labels"] == {"phase": "train", "trial": "7"}]
    assert sorted(row["owner_state"] for row in ours) == ["alive", "dead", "foreign"]
    assert "phase train, trial 7" in docker_cli("sandbox", "list").stdout

    tried = docker_cli("sandbox", "reap", "--dry-run")
    assert "would remove container" in tried.stdout and all(containers().values())
    done = docker_cli("sandbox", "reap")
    assert done.exit_code == 0
    assert "(phase train, trial 7)" in done.stdout
    assert containers() == {"live": True, "dead": False, "elsewhere": True}
