"""What every place promises of a phase, wherever that runs."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from recipelab.core.errors import SandboxError
from recipelab.sandbox import Ending, Input, PhaseRequest, PhaseResult
from recipelab.sandbox.base import Watch
from tests.sandbox.helpers import names_in, phase, processes_with, wait_until

from .conftest import OPENERS, Opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

WITH_NODES = [name for name in OPENERS if name != "local"]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (folder := tmp_path / "output").mkdir()
    return folder


@pytest.fixture
def marker(tmp_path: Path) -> str:
    """A word that no other process has in its command line."""
    return f"marker-{tmp_path.name}-{os.getpid()}"


async def run(opened: Opened, request: PhaseRequest) -> PhaseResult:
    """Run a phase on a slot of a place, as the evaluation does."""
    place = opened.place
    async with place.pool.lease() as slot:
        limits = replace(request.limits, cpu_set=slot.cores)
        return await place.sandbox.run(
            replace(request, node=slot.node, slot=slot.name, limits=limits)
        )


async def test_inputs_are_there_and_outputs_come_back(
    opened: Opened, output: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe"
    (recipe / "empty").mkdir(parents=True)
    (recipe / "tool").write_text("#!/bin/sh\necho tool says $1\n")
    (recipe / "tool").chmod(0o755)
    (recipe / "link").symlink_to("tool")
    (recipe / "data.bin").touch()
    data = tmp_path / "data.bin"
    data.write_bytes(bytes(range(256)) * 40_000)  # More than two pieces.
    code = (
        "import os, subprocess; os.makedirs('out/a/b')\n"
        "subprocess.run(['recipe/tool', 'hello'])\n"
        "print(os.readlink('recipe/link'), os.listdir('recipe/empty'), os.environ['WORD'])\n"
        "data = open('recipe/data.bin', 'rb').read()\n"
        "open('out/a/b/back', 'wb').write(data); open('out/empty', 'w')\n"
        "open('out/twin', 'wb').write(data)"
    )
    inputs = (Input(recipe, "recipe"), Input(data, "recipe/data.bin"))
    request = phase(output, code, inputs=inputs, environment={"WORD": "word"})
    result = await run(opened, request)
    assert result.ok, result.log
    assert result.log == "tool says hello\ntool [] word\n"
    assert (output / "a/b/back").read_bytes() == (output / "twin").read_bytes()
    assert (output / "twin").read_bytes() == data.read_bytes()
    assert (output / "empty").read_bytes() == b""
    assert result.environment.startswith("local python")


async def test_a_recipe_changes_no_input(opened: Opened, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("before")
    code = "try: open('folder/a', 'w').write('after')\nexcept OSError as error: print('refused')"
    for number, writable in enumerate((False, True, False)):
        (output := tmp_path / str(number)).mkdir()
        inputs = (Input(folder, "folder", writable=writable),)
        result = await run(opened, phase(output, code, inputs=inputs))
        assert result.log == ("" if writable else "refused\n")
        result = await run(opened, phase(output, "print(open('folder/a').read())", inputs=inputs))
        assert (result.log, result.tampered) == ("before\n", ())


async def test_hostile_outputs_are_refused(opened: Opened, output: Path) -> None:
    code = (
        "import os; open('out/a', 'w').close(); os.link('out/a', 'out/b')\n"
        "os.symlink('/etc/passwd', 'out/link'); os.mkfifo('out/pipe')\n"
        "open('out/bad\\nname', 'w').close(); os.symlink('/etc', 'out/folder')"
    )
    result = await run(opened, phase(output, code))
    assert result.ok, result.log
    assert len(names_in(output)) == 1
    reasons = sorted(line.split(" (")[1] for line in result.refused)
    links = ["symbolic link)"] * 2
    assert reasons == ["hard link)", "its name holds control characters)", "named pipe)", *links]


@pytest.mark.parametrize(
    "code",
    [
        "[open(f'out/{number}', 'w').close() for number in range(9)]",
        "[open(f'out/{n}', 'wb').truncate(900_000) for n in range(3)]",
    ],
)
async def test_too_much_is_left(opened: Opened, output: Path, code: str) -> None:
    result = await run(opened, phase(output, code, output_files=8, output_mb=1))
    assert (result.ending, names_in(output)) == (Ending.OUTPUT, [])


async def test_the_deadline_is_kept_where_it_runs(
    opened: Opened, output: Path, marker: str
) -> None:
    code = f"import time; print('begun'); time.sleep(600) # {marker}"
    result = await run(opened, phase(output, code, seconds=1.0))
    assert (result.ending, result.exit_code, result.log) == (Ending.DEADLINE, None, "begun\n")
    assert 1.0 <= result.wall_seconds < 10.0
    wait_until(lambda: not processes_with(marker))


async def test_the_log_comes_while_it_runs_and_a_cancelled_phase_is_dead(
    opened: Opened, output: Path, marker: str
) -> None:
    heard, loop = asyncio.Event(), asyncio.get_running_loop()
    told = bytearray()

    def tell(piece: bytes) -> None:
        told.extend(piece)
        if b"\n" in told:
            loop.call_soon_threadsafe(heard.set)

    code = f"import time; print('begun', flush=True); time.sleep(600) # {marker}"
    request = replace(phase(output, code, seconds=60), tell=tell)
    task = asyncio.ensure_future(run(opened, request))
    await asyncio.wait_for(heard.wait(), 30)
    assert (bytes(told), task.done()) == (b"begun\n", False)
    assert processes_with(marker)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not processes_with(marker)
    assert names_in(output) == []


async def test_a_curve_stops_a_training(opened: Opened, output: Path) -> None:
    told = bytearray()

    def watch(piece: bytes) -> bool:
        told.extend(piece)
        return b"hopeless" in told

    code = (
        "import time\n"
        "with open('out/curve', 'w') as curve:\n"
        "    for line in ('fine', 'hopeless'):\n"
        "        print(line, file=curve, flush=True); time.sleep(0.5)\n"
        "    time.sleep(600)"
    )
    request = replace(phase(output, code, seconds=60), watch=Watch("curve", watch))
    result = await run(opened, request)
    assert (result.ending, result.exit_code) == (Ending.STOPPED, None)
    assert bytes(told) == b"fine\nhopeless\n"
    assert names_in(output) == []


async def test_a_watched_file_that_nobody_stops_is_no_output(opened: Opened, output: Path) -> None:
    code = "open('out/curve', 'w').write('fine'); open('out/a', 'w').write('a')"
    request = replace(phase(output, code), watch=Watch("curve", lambda piece: False))
    result = await run(opened, request)
    assert (result.ok, result.watched, names_in(output)) == (True, b"fine", ["a"])


async def test_tripwires(opened: Opened, output: Path) -> None:
    code = "open('evaluator/score.py', 'w').close(); open('out/a', 'w').close()"
    result = await run(opened, phase(output, code, tripwires=("evaluator", "answers")))
    assert (result.tampered, names_in(output)) == (("evaluator/score.py",), ["a"])


async def test_times_are_the_commands_alone(opened: Opened, output: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(os.urandom(24 << 20))
    code = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.3: pass"
    began = asyncio.get_running_loop().time()
    result = await run(opened, phase(output, code, inputs=(Input(data, "data"),)))
    whole = asyncio.get_running_loop().time() - began
    assert result.ok, result.log
    assert 0.3 <= result.cpu_seconds < result.wall_seconds + 0.5
    assert result.wall_seconds < whole
    assert result.peak_memory_mb is None or 1 < result.peak_memory_mb < 256


async def test_two_phases_on_one_slot_at_the_same_time(opened: Opened, tmp_path: Path) -> None:
    async with opened.place.pool.lease() as slot:
        requests = []
        for number in range(2):
            (output := tmp_path / str(number)).mkdir()
            request = phase(output, f"open('out/a', 'w').write('{number}')")
            requests.append(replace(request, node=slot.node, slot=slot.name))
        results = await asyncio.gather(*map(opened.place.sandbox.run, requests))
    assert [result.ok for result in results] == [True, True]
    assert [(tmp_path / f"{number}/a").read_text() for number in range(2)] == ["0", "1"]


async def test_a_request_without_a_slot_runs_somewhere(opened: Opened, output: Path) -> None:
    result = await opened.place.sandbox.run(phase(output, "print('here')"))
    assert result.log == "here\n"


async def test_folders_of_data_are_read_where_they_lie(
    opened: Opened, output: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a").write_text("x")
    inputs = (Input(folder, "data", as_is=True),)
    result = await run(opened, phase(output, "print(open('data/a').read())", inputs=inputs))
    assert result.log == "x\n"


async def test_a_request_that_cannot_be_honored(opened: Opened, output: Path) -> None:
    with pytest.raises(SandboxError, match="no input at"):
        await run(opened, phase(output, "pass", inputs=(Input(output / "no", "no"),)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", WITH_NODES)
async def test_a_worker_that_is_killed_costs_one_phase(
    kind: str, tmp_path: Path, output: Path, marker: str
) -> None:
    loop = asyncio.get_running_loop()
    async with OPENERS[kind](tmp_path) as opened:
        place = opened.place
        assert opened.kill is not None
        begun = asyncio.Event()
        code = f"import time; print('begun', flush=True); time.sleep(600) # {marker}"
        request = replace(
            phase(output, code, seconds=120),
            tell=lambda piece: loop.call_soon_threadsafe(begun.set) and None,
        )
        width = place.pool.width
        async with place.pool.lease() as slot:
            request = replace(request, node=slot.node, slot=slot.name)
            task = asyncio.ensure_future(place.sandbox.run(request))
            await asyncio.wait_for(begun.wait(), 30)
            await opened.kill(slot)
            with pytest.raises(SandboxError, match=slot.node):
                await asyncio.wait_for(task, 90)
        wait_until(lambda: not processes_with(marker))
        assert names_in(output) == []
        # All slots are there again, and each of them works.
        async with asyncio.timeout(60):
            await asyncio.to_thread(wait_until, lambda: place.pool.width == width, seconds=60)
            for number, one in enumerate(place.pool.slots):
                (folder := tmp_path / f"again-{number}").mkdir()
                request = phase(folder, "print('again')")
                request = replace(request, node=one.node, slot=one.name)
                assert (await place.sandbox.run(request)).log == "again\n"
