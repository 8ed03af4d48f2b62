"""What the Docker sandbox keeps code from."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recipelab.core.errors import SandboxUnavailable
from recipelab.sandbox import DockerSandbox, Ending, Sandbox
from recipelab.sandbox.docker.containers import connect
from recipelab.sandbox.docker.monitor import usage_from_counters
from recipelab.sandbox.docker.options import OWNER_LABEL
from recipelab.sandbox.processes import owner_identity

from .helpers import names_in, phase, processes_with, wait_until

pytestmark = pytest.mark.docker


async def logged(sandbox: Sandbox, output: Path, code: str) -> str:
    """What a program prints in the sandbox."""
    result = await sandbox.run(phase(output, code))
    assert result.ok, result.log
    return result.log


async def test_no_network(docker_sandbox: Sandbox, output: Path) -> None:
    log = await logged(docker_sandbox, output, "import os; print(os.listdir('/sys/class/net'))")
    assert log == "['lo']\n"


async def test_the_root_is_read_only(docker_sandbox: Sandbox, output: Path) -> None:
    code = (
        "for path in ('/x', '/etc/x', '/trial/x', '/usr/x', '/var/tmp/x'):\n"
        "    try: open(path, 'w'); print('wrote', path)\n"
        "    except OSError: pass\n"
        "open('/tmp/x', 'w'); open('/trial/out/x', 'w')"
    )
    assert await logged(docker_sandbox, output, code) == ""
    assert names_in(output) == ["x"]


async def test_no_privileges(docker_sandbox: Sandbox, output: Path) -> None:
    code = "print(open('/proc/self/status').read())"
    log = await logged(docker_sandbox, output, code)
    status = dict(line.split(":\t", 1) for line in log.splitlines() if ":\t" in line)
    for kind in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
        assert int(status.get(kind, "0"), 16) == 0, kind  # gVisor knows no CapAmb.
    assert status.get("NoNewPrivs", "1") == "1"  # gVisor tells that by a call alone.
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Gid"].split() == ["65534"] * 4


async def test_the_monitor_cannot_be_touched(docker_sandbox: Sandbox, output: Path) -> None:
    code = (
        "import os\n"
        "pids = [int(name) for name in os.listdir('/proc') if name.isdigit()]\n"
        "ours = [pid for pid in pids if os.stat(f'/proc/{pid}').st_uid == 65533]\n"
        "for pid in ours:\n"
        "    try: os.kill(pid, 9); print('killed', pid)\n"
        "    except PermissionError: print('refused')\n"
        "    try: open(f'/proc/{pid}/fd/1', 'w'); print('spoke for it')\n"
        "    except PermissionError: print('refused')"
    )
    assert await logged(docker_sandbox, output, code) == "refused\n" * 4  # Init and monitor


async def test_fork_bomb_is_stopped(docker_sandbox: Sandbox, output: Path) -> None:
    code = (
        "import os, time\nborn = 0\n"
        "try:\n"
        "    while born < 500:\n"
        "        if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "        born += 1\n"
        "except BlockingIOError: pass\n"
        "print(born)"
    )
    result = await docker_sandbox.run(phase(output, code, pids=20))
    assert result.ok, result.log
    assert 10 <= int(result.log) <= 20


@pytest.mark.parametrize(
    "code",
    [
        "b'x' * (1 << 30)",
        "import os\nif os.fork() == 0: b'x' * (1 << 30)\nelse: raise SystemExit(os.wait()[1])",
        "open('/tmp/a', 'wb').write(b'x' * (100 << 20)); b'x' * (100 << 20)",
    ],
    ids=["at once", "in a child", "with files in memory"],
)
async def test_memory_bomb(docker_sandbox: Sandbox, output: Path, code: str) -> None:
    result = await docker_sandbox.run(phase(output, code, memory_mb=128))
    assert (result.ending, result.exit_code) == (Ending.MEMORY, None)
    assert result.peak_memory_mb == pytest.approx(128, abs=4)
    assert names_in(output) == []


@pytest.mark.parametrize("megabytes", [58, 60, 61, 62, 70])
async def test_files_in_memory_leave_no_room(
    docker_sandbox: Sandbox, output: Path, megabytes: int
) -> None:
    code = f"dd if=/dev/zero of=out/a bs=64k count={megabytes * 16} 2>/dev/null; exit 0"
    result = await docker_sandbox.run(phase(output, "sh", "-c", code, memory_mb=64))
    if result.ending is Ending.MEMORY:
        assert names_in(output) == []
    else:
        assert result.ok and names_in(output) == ["a"]


async def test_deadline_before_the_command_has_begun(docker_sandbox: Sandbox, output: Path) -> None:
    result = await docker_sandbox.run(phase(output, "import time; time.sleep(60)", seconds=0.001))
    assert (result.ending, result.exit_code) == (Ending.DEADLINE, None)


async def test_full_output_folder_is_the_commands_trouble(
    docker_sandbox: Sandbox, output: Path
) -> None:
    code = "open('out/a', 'wb').write(b'x' * (2 << 20))"
    result = await docker_sandbox.run(phase(output, code, output_mb=1))
    assert (result.ending, result.exit_code) == (Ending.EXITED, 1)
    assert "No space left on device" in result.log


async def test_a_survivor_is_killed_before_outputs_are_fetched(
    docker_sandbox: Sandbox, output: Path, marker: str
) -> None:
    # It kills the shell above it, which would have killed it, and fights whatever comes next.
    code = (
        f"import os, time # {marker}\n"
        "if os.fork() == 0:\n"
        "    os.setsid(); [os.close(number) for number in range(3)]\n"
        "    while True: open('out/a', 'a').write('x'); time.sleep(0.001)\n"
        "time.sleep(0.3); os.kill(os.getppid(), 9); time.sleep(60)"
    )
    begun = time.monotonic()
    result = await docker_sandbox.run(phase(output, code, seconds=10))
    assert not result.ok
    assert time.monotonic() - begun < 20
    assert processes_with(marker) == []


def containers_of(owner: str) -> list[Any]:
    """Containers with an owner's label."""
    api = connect(timeout=60)
    try:
        found: list[Any] = api.containers(all=True, filters={"label": f"{OWNER_LABEL}={owner}"})
        return found
    finally:
        api.close()


async def test_labels_and_no_container_left(
    docker_sandbox: Sandbox, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from docker import APIClient

    seen: dict[str, str] = {}
    create = APIClient.create_container

    def spy(self: Any, *args: Any, **options: Any) -> Any:
        seen.update(options["labels"])
        return create(self, *args, **options)

    monkeypatch.setattr(APIClient, "create_container", spy)
    await docker_sandbox.run(phase(output, "pass"))
    assert seen.pop("recipelab.sandbox")
    assert seen == {
        "recipelab.owner": owner_identity(),
        "recipelab.phase": "test",
        "recipelab.trial": "7",
    }
    assert containers_of(owner_identity()) == []


@pytest.fixture
def idle_containers(docker_image: str) -> Iterator[dict[str, str]]:
    """Two containers that nobody runs: one of a live owner and one of a dead one."""
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from recipelab.sandbox.processes import owner_identity; print(owner_identity())",
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    dead_owner = child.communicate()[0].strip()
    owners = {"live": owner_identity(), "dead": dead_owner, "elsewhere": "0123456789-1-1"}
    api = connect(timeout=60)
    made = {
        key: api.create_container(docker_image, ["sh"], labels={OWNER_LABEL: owner})["Id"]
        for key, owner in owners.items()
    }
    yield owners
    for container in api.containers(all=True, filters={"label": OWNER_LABEL}):
        if container["Id"] in made.values():
            api.remove_container(container["Id"], force=True)
    api.close()


async def test_orphans_of_dead_owners_are_removed(
    docker_image: str, idle_containers: dict[str, str]
) -> None:
    for owner in idle_containers.values():
        assert len(containers_of(owner)) == 1
    async with DockerSandbox(image=docker_image) as sandbox:
        await sandbox.start()  # Starting twice does no harm.
        left = {key: len(containers_of(owner)) for key, owner in idle_containers.items()}
    assert left == {"live": 1, "dead": 0, "elsewhere": 1}


async def test_missing_image(docker_daemon: None) -> None:
    with pytest.raises(SandboxUnavailable, match="recipelab sandbox build mine"):
        await DockerSandbox(
            image="recipelab/no-such-image", build_hint="recipelab sandbox build mine"
        ).start()


async def test_no_daemon(no_daemon: None) -> None:
    with pytest.raises(SandboxUnavailable, match="start Docker"):
        await DockerSandbox(image="recipelab/test").start()


KILLED_OWNER = """
import asyncio, sys
from pathlib import Path
from recipelab.sandbox import DockerSandbox, PhaseLimits, PhaseRequest

async def main():
    output, marker = Path(sys.argv[1]), sys.argv[2]
    async with DockerSandbox(image="recipelab/test") as sandbox:
        command = ("python", "-c", "import time; time.sleep(100) # in-container-" + marker)
        await sandbox.run(PhaseRequest("test", command, (), output, PhaseLimits(seconds=100)))

asyncio.run(main())
"""


def test_nothing_runs_on_after_the_owner_is_killed(
    docker_image: str, output: Path, marker: str
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED_OWNER, str(output), marker],
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    wait_until(lambda: processes_with(f"in-container-{marker}"))
    child.kill()
    child.wait()
    # Its end of the monitor's input is closed, so the container ends by itself.
    wait_until(lambda: not processes_with(f"in-container-{marker}"))
    asyncio.run(DockerSandbox(image=docker_image).start())


def test_counters_of_both_cgroup_versions() -> None:
    first = usage_from_counters(
        "cpuacct.usage 1500000000\npids.current 3\nmemory.max_usage_in_bytes 2097152\n"
        "memory.oom_control oom_kill_disable 0\nmemory.oom_control oom_kill 1\n"
    )
    second = usage_from_counters(
        "cpu.stat usage_usec 1500000\ncpu.stat user_usec 9\npids.current 3\nmemory.peak 2097152\n"
        "memory.events max 9\nmemory.events oom_kill 1\nmemory.events oom_group_kill 0\n"
    )
    assert first == second
    assert (first.cpu_seconds, first.processes) == (1.5, 3)
    assert (first.peak_memory_mb, first.memory_kills) == (2.0, 1)
