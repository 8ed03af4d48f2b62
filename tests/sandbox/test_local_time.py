"""The CPU time that the local sandbox charges: all of it, whoever counts it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from recipelab.sandbox import Input, LocalSandbox, PhaseResult
from recipelab.sandbox.local.groups import ControlGroups, known_places
from recipelab.sandbox.local.sandbox import namespaces_fault
from recipelab.sandbox.processes import owner_identity

from .helpers import phase

BURN = """
import os, signal, subprocess, sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
"""
"""Work that lasts until the kernel has given it so much CPU time, however busy the machine is."""

UNWAITED = f"""{BURN}
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        burn(0.4)
        open('out/done', 'w')
    os._exit(0)
while not os.path.exists('out/done'): time.sleep(0.01)
"""

MANY = f"""{BURN}
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(150):
    if os.fork() == 0:
        burn(0.006)
        os._exit(0)
    try: os.wait()
    except ChildProcessError: pass
"""

WAITED = f"""{BURN}
for _ in range(4):
    subprocess.run([sys.executable, '-I', '-S', '-c', 'for _ in range(600000): pass'], check=True)
if os.fork() == 0:
    burn(0.1)
    os._exit(0)
os.wait()
print(sum(os.times()[:4]))
"""

WAYS = ["cpuacct.usage", "cpu.stat", "sampled"]


@pytest.fixture(params=[True, False], ids=["namespaces", "host"])
def namespaces(request: pytest.FixtureRequest) -> bool:
    """Each way to isolate in turn."""
    if request.param and (fault := namespaces_fault(Path(tempfile.gettempdir()))):
        pytest.skip(f"no namespaces: {fault}")
    return bool(request.param)


@pytest.fixture(params=WAYS)
async def counting(
    request: pytest.FixtureRequest, namespaces: bool
) -> AsyncIterator[tuple[LocalSandbox, str]]:
    """The sandbox with each way to count in turn."""
    places = {place.usage: place for place in known_places() if place.works()}
    if request.param != "sampled" and request.param not in places:
        pytest.skip(f"no control group with {request.param} can be made here")
    async with LocalSandbox(namespaces=namespaces) as made:
        made.groups = places.get(request.param)
        yield made, request.param


async def ran(
    sandbox: LocalSandbox, tmp_path: Path, output: Path, program: str, warm: tuple[str, ...] = ()
) -> PhaseResult:
    (tmp_path / "program.py").write_text(program)
    inputs = (Input(tmp_path / "program.py", "program.py"),)
    request = phase(output, "python", "program.py", inputs=inputs, warm=warm, seconds=60)
    result = await sandbox.run(request)
    assert result.ok, result.log
    return result


@pytest.mark.parametrize("warm", [(), ("json",)], ids=["cold", "warm"])
async def test_children_that_nobody_waits_for_are_charged(
    counting: tuple[LocalSandbox, str], tmp_path: Path, output: Path, warm: tuple[str, ...]
) -> None:
    result = await ran(counting[0], tmp_path, output, UNWAITED, warm)
    assert result.cpu_seconds > 0.3


async def test_very_many_children_that_live_for_a_moment_are_charged(
    counting: tuple[LocalSandbox, str], tmp_path: Path, output: Path
) -> None:
    result = await ran(counting[0], tmp_path, output, MANY)
    assert result.cpu_seconds > (0.3 if counting[1] == "sampled" else 0.8)


@pytest.mark.parametrize("warm", [(), ("json",)], ids=["cold", "warm"])
async def test_an_honest_recipe_is_charged_what_it_used(
    counting: tuple[LocalSandbox, str], tmp_path: Path, output: Path, warm: tuple[str, ...]
) -> None:
    result = await ran(counting[0], tmp_path, output, WAITED, warm)
    # What Python itself takes to end comes after it has told.
    assert result.cpu_seconds == pytest.approx(float(result.log), abs=0.12)


async def test_sleep_is_not_charged(
    counting: tuple[LocalSandbox, str], tmp_path: Path, output: Path
) -> None:
    result = await ran(counting[0], tmp_path, output, "import time; time.sleep(0.5)")
    assert result.wall_seconds > 0.5 and result.cpu_seconds < 0.2


async def test_no_group_is_left_and_those_of_dead_processes_are_removed(
    tmp_path: Path, output: Path
) -> None:
    place = ControlGroups.find()
    if place is None:
        pytest.skip("no control groups can be made here")
    with place.new() as group:
        name = group.folder.name.split("-")
        name[2] = str(2**22 + 1)  # No process has such a number.
        dead = place.folder / "-".join(name)
        dead.mkdir()
        async with LocalSandbox() as sandbox:
            await ran(sandbox, tmp_path, output, "pass")
            mine = f"recipelab-{owner_identity()}-*"
            assert list(place.folder.glob(mine)) == [group.folder] and not dead.exists()
    assert not group.folder.exists()
