"""Modules that are imported before a command: what the command sees, and what is measured of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from recipelab.core.errors import SandboxError
from recipelab.sandbox import (
    DockerSandbox,
    Ending,
    Input,
    LocalSandbox,
    PhaseRequest,
    PhaseResult,
    Sandbox,
)
from recipelab.sandbox.local.namespaces import NONE
from recipelab.sandbox.local.sandbox import namespaces_fault
from recipelab.sandbox.local.servers import CannotFork, ForkServer, may_fork

from .helpers import phase, processes_with, wait_until

WARM = ("colorsys", "json", "random", "multiprocessing.pool")


@pytest.fixture(params=["forked", "local", pytest.param("docker", marks=pytest.mark.docker)])
async def warm_sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    """Each way to hand over in turn, started: a fork, a new process, a container."""
    if request.param == "docker":
        made: Sandbox = DockerSandbox(image=request.getfixturevalue("docker_image"))
    elif request.param == "forked" and (fault := namespaces_fault(Path(tempfile.gettempdir()))):
        pytest.skip(f"no namespaces: {fault}")
    else:
        made = LocalSandbox(namespaces=request.param == "forked")
    async with made:
        yield made


class Desk:
    """Runs scripts, each in a phase of its own."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self._folder = folder
        self._count = 0

    def request(
        self, code: str, *words: str, warm: tuple[str, ...] = WARM, **rest: object
    ) -> PhaseRequest:
        """A phase that runs a script of this code, ``recipe/main.py``."""
        self._count += 1
        top = self._folder / str(self._count)
        (recipe := top / "recipe").mkdir(parents=True)
        (recipe / "main.py").write_text(code)
        (recipe / "helper.py").write_text("X = 3\n")
        (recipe / "colorsys.py").write_text("print('a stand-in was imported')\n")
        (output := top / "out").mkdir()
        return phase(
            output,
            *("python", "recipe/main.py", *words),
            inputs=(Input(recipe, "recipe"), Input(recipe / "colorsys.py", "colorsys.py")),
            warm=warm,
            **rest,  # type: ignore[arg-type]
        )

    async def run(self, code: str, *words: str, **rest: object) -> PhaseResult:
        """Run a script."""
        return await self.sandbox.run(self.request(code, *words, **rest))  # type: ignore[arg-type]


@pytest.fixture
def desk(warm_sandbox: Sandbox, tmp_path: Path) -> Desk:
    """Runs scripts in each sandbox."""
    return Desk(warm_sandbox, tmp_path)


# Names of its folder, process ids and the order of files differ from phase to phase.
FACTS = """
import os, resource, signal, sys
sys.stdout.reconfigure(line_buffering=False)
here = os.getcwd()
print(sys.argv, sys.path[0].removeprefix(here), sys.path[1:], __file__.removeprefix(here))
print(__name__, __doc__, __package__, __spec__, type(__loader__), sorted(globals()))
print(sys.flags, sys.orig_argv[1:], os.path.basename(sys.executable), sys.getrecursionlimit())
environ = {key: value.removeprefix(os.path.dirname(here)) for key, value in os.environ.items()}
print(sorted(environ.items()), hash("hash"), os.read(0, 9), sorted(os.listdir("/proc/self/fd")))
print({number: signal.getsignal(number) for number in signal.valid_signals()})
limits = [name for name in dir(resource) if name.startswith("RLIMIT")]
print({name: resource.getrlimit(getattr(resource, name)) for name in limits})
print(os.umask(0), os.getuid(), os.getgid(), os.getgroups(), os.getsid(0) == os.getpid())
print(os.sched_getaffinity(0), os.nice(0), os.getpriority(0, 0), sys.stdout.write_through)
kept = ("Cap", "NoNewPrivs", "Seccomp", "Threads", "SigIgn", "SigCgt", "SigBlk", "CoreDumping")
print([line for line in open("/proc/self/status") if line.startswith(kept)])
print(os.access("/proc/self/mem", os.W_OK), open("/dev/stdout", "w").write(""))
import helper; print(helper.X)
"""


async def test_a_script_sees_what_a_plain_one_sees(desk: Desk) -> None:
    plain = await desk.run(FACTS, "--seed", "1", warm=())
    assert plain.ok, plain.log
    for _ in range(2):
        warm = await desk.run(FACTS, "--seed", "1")
        assert warm.log == plain.log


ENDS = {
    "a code": ("import sys; sys.exit(7)", 7),
    "a word": ("import sys; sys.exit('a word')", 1),
    "nothing": ("import sys; sys.exit()", 0),
    "an exception": ("def f(): raise ValueError('no')\ntry: 1 / 0\nfinally: f()", 1),
    "no syntax": ("def f(:\n    pass", 1),
    "a hook": ("import sys\nsys.excepthook = lambda *of: print(of[1])\nraise KeyError(3)", 1),
    "at exit": (
        "import atexit, sys\natexit.register(print, 'bye', file=sys.stderr); raise OSError('no')",
        1,
    ),
    "a thread": (
        "import threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('last'))).start()",
        0,
    ),
    "an open file": ("file = open('out/a', 'w'); file.write('late')", 0),
}


@pytest.mark.parametrize(("code", "wanted"), ENDS.values(), ids=ENDS.keys())
async def test_a_script_ends_as_a_plain_one(desk: Desk, code: str, wanted: int) -> None:
    plain, request = await desk.run(code, warm=()), desk.request(code)
    warm = await desk.sandbox.run(request)
    assert (warm.ending, warm.exit_code) == (Ending.EXITED, wanted)
    told, wanted_log = (
        # Two pipes: which of them is heard first is nobody's promise; nor is the folder's name.
        sorted(line.partition("/recipe/main.py")[2] or line for line in log.splitlines())
        for log in (warm.log, plain.log)
    )
    assert told == wanted_log
    if "late" in code:
        assert (request.output / "a").read_text() == "late"


async def test_a_script_that_is_not_there(desk: Desk) -> None:
    request = replace(desk.request(""), command=("python", "recipe/gone.py"))
    result = await desk.sandbox.run(request)
    assert (result.ending, result.exit_code) == (Ending.EXITED, 2)
    assert "recipe/gone.py': [Errno 2] No such file or directory" in result.log


@pytest.mark.parametrize("number", [2, 9, 15])
async def test_a_script_that_a_signal_ends(desk: Desk, number: int) -> None:
    code = f"import os, time; os.kill(os.getpid(), {number}); time.sleep(9)"
    plain, warm = await desk.run(code, warm=()), await desk.run(code)
    assert warm.exit_code == plain.exit_code != 0


PROCESSES = """
import multiprocessing as mp, sys
class Point:
    def __init__(self, x): self.x = x
def square(point): return Point(point.x ** 2)
if __name__ == "__main__":
    for way in ("fork", "spawn"):
        with mp.get_context(way).Pool(2) as pool:
            print(way, [point.x for point in pool.map(square, [Point(2), Point(3)])])
"""


async def test_a_script_starts_processes(desk: Desk) -> None:
    result = await desk.run(PROCESSES, seconds=30, memory_mb=512)
    assert result.log == "fork [4, 9]\nspawn [4, 9]\n"


async def test_stand_ins_are_not_imported_before_the_hand_over(desk: Desk) -> None:
    """Files of the recipe that are named like a module lie beside the script and in its folder."""
    code = "import colorsys; print(colorsys.rgb_to_hsv(0, 0, 1)[2])"
    assert (await desk.run(code)).log == "1\n"
    assert "a stand-in was imported" in (await desk.run(code, warm=())).log


BURN = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.4: pass\n"


@pytest.mark.parametrize(
    "trick",
    [
        "print('ready 0.0', flush=True)",
        # All that is left of the hand-over, if anything were.
        "import os, sys\nfor file in range(3):\n"
        "    for word in sys.orig_argv + open('/proc/self/cmdline').read().split(chr(0)):\n"
        "        try: os.write(file, f'{word} ready 99.0\\n'.encode())\n"
        "        except OSError: pass",
        "import gc, sys\nfor thing in gc.get_objects():\n"
        "    if type(thing) is dict and 'hand_over' in thing: thing['hand_over'](1, 'x')",
    ],
)
async def test_a_script_cannot_move_the_hand_over(desk: Desk, trick: str) -> None:
    result = await desk.run(f"{BURN}{trick}\n{BURN}", log_kb=4)
    assert result.ok, result.log
    assert 0.8 <= result.cpu_seconds < 1.2
    assert result.wall_seconds >= 0.8
    assert result.warm_cpu_seconds < 0.4


async def test_the_deadline_counts_from_the_hand_over(desk: Desk) -> None:
    result = await desk.run("print('begun', flush=True)\nwhile True: pass", seconds=1)
    assert (result.ending, result.exit_code, result.log) == (Ending.DEADLINE, None, "begun\n")
    assert 1.0 <= result.wall_seconds < 3.0


async def test_a_module_that_cannot_be_imported(desk: Desk) -> None:
    for _ in range(2):
        with pytest.raises(SandboxError, match=r"`warm` lists.*module 'json.gone'.*No module"):
            await desk.run("print('ran')", warm=("json.gone",))


async def test_modules_for_what_is_no_script(desk: Desk) -> None:
    request = replace(desk.request(""), command=("python", "-c", "pass"))
    with pytest.raises(SandboxError, match=r"SCRIPT \.\.\.` alone, not for 'python -c pass'"):
        await desk.sandbox.run(request)
    with pytest.raises(SandboxError, match="'-c' is no name of a module"):
        await desk.run("", warm=("-c",))


async def test_stopping_and_cancelling_end_a_warm_script(desk: Desk, marker: str) -> None:
    request = desk.request("import time; print('x', flush=True); time.sleep(60)", marker)
    task = asyncio.create_task(desk.sandbox.run(request))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, timeout=10)
    task = asyncio.create_task(desk.run("import time; time.sleep(60)", marker))
    await asyncio.sleep(0.3)  # Whatever it has come to by then, it must end.
    await desk.sandbox.stop()
    with pytest.raises(SandboxError):
        await asyncio.wait_for(task, timeout=10)
    assert processes_with(marker) == []


@pytest.mark.slow
@pytest.mark.torch
async def test_pytorch_costs_its_script_nothing(torch_sandbox: Sandbox, tmp_path: Path) -> None:
    """Neither its import nor most of its end is charged; its memory is."""
    desk = Desk(torch_sandbox, tmp_path)
    code = "import torch; print(torch.ones(2).sum().item())"
    for _ in range(2):
        result = await desk.run(code, warm=("torch",), memory_mb=2048)
        assert (result.ending, result.log) == (Ending.EXITED, "2.0\n")
        assert result.cpu_seconds < 0.5
        assert result.peak_memory_mb is not None and result.peak_memory_mb > 100
    assert result.warm_seconds > 0.0


LOADER = """
import torch
from torch.utils.data import DataLoader, TensorDataset
if __name__ == "__main__":
    for way in ("fork", "spawn"):
        data = TensorDataset(torch.arange(8))
        loader = DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context=way)
        print(way, sum(batch.sum().item() for (batch,) in loader))
"""


@pytest.mark.slow
@pytest.mark.torch
async def test_workers_of_pytorch(torch_sandbox: Sandbox, tmp_path: Path) -> None:
    limits = {"memory_mb": 4096, "seconds": 60}
    result = await Desk(torch_sandbox, tmp_path).run(LOADER, warm=("torch",), **limits)
    assert result.log == "fork 28\nspawn 28\n"


@pytest.fixture
async def forked(tmp_path: Path) -> AsyncIterator[Desk]:
    """Runs scripts that are forked from one process."""
    if fault := namespaces_fault(Path(tempfile.gettempdir())):
        pytest.skip(f"no namespaces: {fault}")
    async with LocalSandbox(namespaces=True, temporary_folder=tmp_path) as sandbox:
        yield Desk(sandbox, tmp_path)


LEAVE = """
import json, os, random, sys, threading
json.dumps = lambda *of, **more: "poisoned"
random.seed(0); random.random = lambda: 0.5; os.environ["LEFT"] = "left"
sys.path.insert(0, "/tmp"); sys.modules["helper"] = json
open("/tmp/left", "w").write("left")
threading.Thread(target=threading.Event().wait, daemon=True).start()
print(os.getpid(), len(sys.argv))
"""
LOOK = """
import json, os, random, sys
print(json.dumps([1]), os.environ.get("LEFT"), "left" in os.listdir("/tmp"), "/tmp" in sys.path)
import helper; print(helper.X, len(os.listdir("/proc/self/task")), os.getpid())
"""


async def test_nothing_of_one_fork_is_in_the_next(forked: Desk) -> None:
    before = await forked.run(LOOK)
    assert before.log.startswith("[1] None False False\n3 1 "), before.log
    assert (await forked.run(LEAVE)).ok
    assert (await forked.run(LOOK)).log == before.log
    assert len(forked.sandbox._servers._found) == 1  # type: ignore[attr-defined]


SEARCH = """
import sys
wanted = [word.encode() for word in sys.argv[1:]]  # Backwards, or they would find themselves.
found = set()
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
    for line in maps:
        place, rights = line.split()[:2]
        start, end = (int(part, 16) for part in place.split("-"))
        if "rw" in rights:
            memory.seek(start)
            content = memory.read(end - start)[::-1]
            found |= {word for word in wanted if word in content}
print(len(found), len(wanted))
"""


async def test_no_word_of_another_phase_or_of_the_host_is_in_the_memory_of_a_fork(
    forked: Desk, tmp_path: Path
) -> None:
    """Neither an argument of an earlier phase, nor where on the host the inputs of its own lie."""
    earlier, here = "an-earlier-argument-4711", f"{tmp_path.name}/"
    found = await forked.run(SEARCH, earlier, earlier[::-1])
    assert found.log == "2 2\n", "the search does not find what is there"
    assert (await forked.run(SEARCH, earlier[::-1], here[::-1])).log == "0 2\n"


async def test_forks_draw_different_random_numbers(forked: Desk) -> None:
    code = (
        "import multiprocessing, random; print(random.random())\n"
        "print(bytes(multiprocessing.current_process().authkey))"
    )
    drawn = [(await forked.run(code)).log.splitlines() for _ in range(3)]
    assert all(len(set(column)) == 3 for column in zip(*drawn, strict=True))


@pytest.mark.torch
async def test_forks_draw_different_random_numbers_with_numpy(forked: Desk) -> None:
    pytest.importorskip("numpy")
    code = "import numpy; print(numpy.random.rand())"
    warm, limits = ("numpy", "numpy.random"), {"memory_mb": 2048}
    assert len({(await forked.run(code, warm=warm, **limits)).log for _ in range(3)}) == 3


async def test_a_server_takes_no_modules_of_a_home_that_others_can_write_to(forked: Desk) -> None:
    """The home inside is ``/tmp``, and the server starts outside."""
    assert (await forked.run("import os; print(os.path.expanduser('~'))")).log == "/tmp\n"
    (server,) = forked.sandbox._servers._found.values()  # type: ignore[attr-defined]
    variables = await asyncio.to_thread(Path(f"/proc/{server._process.pid}/environ").read_bytes)
    assert b"HOME=/dev/null\0" in variables and b"HOME=/tmp\0" not in variables


async def test_forks_run_side_by_side(forked: Desk) -> None:
    code = "import time; time.sleep(0.5); print('done')"
    results = await asyncio.gather(*(forked.run(code) for _ in range(4)))
    assert [result.log for result in results] == ["done\n"] * 4


async def test_a_server_that_was_killed_is_started_anew(forked: Desk) -> None:
    assert (await forked.run("")).ok
    (server,) = forked.sandbox._servers._found.values()  # type: ignore[attr-defined]
    server._process.kill()
    server._process.wait()
    assert (await forked.run("")).ok


SHARES = {
    "threads": "import threading; threading.Thread(target=threading.Event().wait).start()",
    "files": "import os; kept = os.open('/dev/null', 0)",
    "memory": "import mmap; kept = mmap.mmap(-1, 4096)",
}


@pytest.mark.parametrize(("what", "code"), SHARES.items())
def test_what_forks_would_share_is_not_forked(tmp_path: Path, what: str, code: str) -> None:
    (tmp_path / "sharing.py").write_text(code)
    environment = {"PYTHONPATH": str(tmp_path)}
    with pytest.raises(CannotFork, match=what):
        ForkServer(("sharing",), environment, cores=NONE, user=None, maps=())


def test_only_what_is_known_is_forked(output: Path) -> None:
    def forkable(*warm: str, gpus: tuple[str, ...] = ()) -> bool:
        return may_fork(phase(output, "python", "a.py", gpus=gpus, warm=warm))

    assert forkable("torch", "numpy.random", "json")
    assert not forkable("torch", "lightgbm")
    assert not forkable("torch", gpus=("0",))


OWNER = """
import asyncio, sys
from pathlib import Path
from recipelab.sandbox import Input, LocalSandbox, PhaseLimits, PhaseRequest

async def main():
    output, recipe, marker = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    async with LocalSandbox() as sandbox:
        await sandbox.run(PhaseRequest(
            "test", ("python", "recipe/main.py"), (Input(recipe, "recipe"),), output,
            PhaseLimits(seconds=100), {"MARKER": marker}, warm=("json",),
        ))

asyncio.run(main())
"""


def _with_variable(marker: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "environ").read_bytes():
                found.append(folder.name)
        except OSError:
            continue
    return found


def test_no_server_or_fork_runs_on_after_the_owner_is_killed(
    tmp_path: Path, output: Path, marker: str
) -> None:
    (recipe := tmp_path / "recipe").mkdir()
    (recipe / "main.py").write_text("import os, time; os.fork() or os.setsid(); time.sleep(100)")
    child = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(output), str(recipe), marker],
        env={"PYTHONPATH": ":".join(sys.path), "TMPDIR": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    wait_until(lambda: len(_with_variable(marker)) >= 2)
    child.kill()
    child.wait()
    wait_until(lambda: not _with_variable(marker))
