"""What every sandbox promises."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from recipelab.core.errors import SandboxError
from recipelab.sandbox import Ending, Input, LocalSandbox, Sandbox
from recipelab.sandbox.processes import owner_identity

from .helpers import names_in, phase, processes_with, wait_until

# Other daemons than the machine's start a container more slowly, and are asked on busy machines.
GRACE = 10.0 if os.environ.get("RECIPELAB_TEST_DAEMON") else 2.0


@pytest.mark.parametrize("code", [0, 1, 7, 124, 137])
async def test_exit_code_is_kept(sandbox: Sandbox, output: Path, code: int) -> None:
    result = await sandbox.run(phase(output, f"raise SystemExit({code})"))
    assert (result.ending, result.exit_code) == (Ending.EXITED, code)
    assert result.ok == (code == 0)


async def test_a_command_that_is_not_there(sandbox: Sandbox, output: Path) -> None:
    result = await sandbox.run(phase(output, "no-such-program", "x"))
    assert (result.ending, result.exit_code) == (Ending.EXITED, 127)
    assert "no-such-program" in result.log


async def test_both_streams_are_in_the_log(sandbox: Sandbox, output: Path) -> None:
    result = await sandbox.run(phase(output, "import sys; print('one'); sys.exit('two')"))
    # Two pipes: which of them is heard first is nobody's promise.
    assert sorted(result.log.splitlines()) == ["one", "two"]


async def test_output_that_is_not_utf8(sandbox: Sandbox, output: Path) -> None:
    result = await sandbox.run(phase(output, r"import os; os.write(1, b'a\xff\xfeb')"))
    assert result.log == "a\ufffd\ufffdb"


async def test_flood_keeps_head_and_tail(sandbox: Sandbox, output: Path) -> None:
    code = "print('HEAD'); [print('x' * 99) for _ in range(500_000)]; print('TAIL')"
    result = await sandbox.run(
        phase(output, code, log_kb=8, environment={"PYTHONUNBUFFERED": ""}, seconds=60)
    )
    assert result.ok
    assert result.log.startswith("HEAD\n") and result.log.endswith("TAIL\n")
    assert "bytes cut here" in result.log
    assert len(result.log) < 8 * 1024 + 100


async def test_outputs_come_back(sandbox: Sandbox, output: Path) -> None:
    code = "import os; os.makedirs('out/a/b'); open('out/a/b/c', 'w').write('x' * 70_000)"
    result = await sandbox.run(phase(output, code))
    assert result.ok, result.log
    assert (output / "a/b/c").read_text() == "x" * 70_000
    assert result.refused == ()


async def test_outputs_of_a_failed_command_come_back(sandbox: Sandbox, output: Path) -> None:
    result = await sandbox.run(phase(output, "open('out/a', 'w').write('x'); raise SystemExit(3)"))
    assert result.exit_code == 3
    assert (output / "a").read_text() == "x"


async def test_the_error_file_is_read_and_is_no_output(sandbox: Sandbox, tmp_path: Path) -> None:
    told = {}
    for number, write in enumerate(
        (
            "open(path, 'w').write('first cause ' + 'x' * 100_000)",
            "os.symlink('/etc/passwd', path)",
            "os.makedirs(path + '/inner'); open(path + '/inner/a', 'w').close()",
        )
    ):
        (output := tmp_path / str(number)).mkdir()
        code = f"import os; path = os.environ['TORCHELASTIC_ERROR_FILE']; {write}"
        result = await sandbox.run(phase(output, code))
        assert result.ok, result.log
        told[number] = (result.error_file[:12], len(result.error_file), names_in(output))
    folder = [".torchelastic-error.json"]
    assert told == {0: ("first cause ", 65_536, []), 1: ("", 0, []), 2: ("", 0, folder)}


async def test_links_and_pipes_are_refused(sandbox: Sandbox, output: Path) -> None:
    code = (
        "import os; open('out/a', 'w').close(); os.link('out/a', 'out/b')\n"
        "os.symlink('/etc/passwd', 'out/link'); os.mkfifo('out/pipe')\n"
        "os.symlink('/etc', 'out/folder')"
    )
    result = await sandbox.run(phase(output, code))
    assert result.ok, result.log
    assert len(names_in(output)) == 1
    reasons = sorted(line.split(" ", 1)[1] for line in result.refused)
    assert reasons == ["(hard link)", "(named pipe)", "(symbolic link)", "(symbolic link)"]


async def test_too_many_files(sandbox: Sandbox, output: Path) -> None:
    code = "[open(f'out/{number}', 'w').close() for number in range(9)]"
    result = await sandbox.run(phase(output, code, output_files=8))
    assert (result.ending, result.ok) == (Ending.OUTPUT, False)
    assert names_in(output) == []


async def test_too_large_outputs(sandbox: Sandbox, output: Path) -> None:
    code = "[open(f'out/{n}', 'wb').truncate(900_000) for n in range(3)]"
    result = await sandbox.run(phase(output, code, output_mb=1))
    assert result.ending is Ending.OUTPUT
    assert names_in(output) == []


async def test_inputs_are_there_and_read_only(
    sandbox: Sandbox, output: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "recipe"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.txt").write_text("from the folder")
    single = tmp_path / "single"
    single.write_text("single")
    single.chmod(0o600)  # Only for its owner, and the command may be another user.
    code = (
        "print(open('recipe/inner/a.txt').read(), open('data/deep/b').read())\n"
        "for name in ('recipe/inner/a.txt', 'data/deep/b', 'recipe/new', 'new'):\n"
        "    try: open(name, 'w').write('changed')\n"
        "    except OSError: print('refused', name)"
    )
    inputs = (Input(folder, "recipe"), Input(single, "data/deep/b"))
    result = await sandbox.run(phase(output, code, inputs=inputs))
    assert result.ok, result.log
    assert result.log.startswith("from the folder single\n")
    if sandbox.isolated or os.getuid() != 0:  # Modes of files do not bind root.
        assert result.log.count("refused") == 4
    assert (folder / "inner" / "a.txt").read_text() == "from the folder"
    assert single.read_text() == "single"
    assert not (folder / "new").exists()


@pytest.mark.parametrize("target", ["../a", "/a", "out", "out/a", ".", "a/../../b", "taken/a"])
async def test_bad_targets_are_refused(
    sandbox: Sandbox, output: Path, tmp_path: Path, target: str
) -> None:
    (tmp_path / "a").touch()
    inputs = (Input(tmp_path / "a", "taken"), Input(tmp_path / "a", target))
    with pytest.raises(SandboxError, match="input target"):
        await sandbox.run(phase(output, "pass", inputs=inputs))


async def test_nothing_of_the_host_environment(
    sandbox: Sandbox, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hunter2")
    code = "import os; print(dict(os.environ)); print(os.environ['OMP_NUM_THREADS'])"
    result = await sandbox.run(phase(output, code, environment={"MINE": "given"}, cpus=1))
    assert "hunter2" not in result.log and "OPENAI" not in result.log
    assert "'MINE': 'given'" in result.log and "'PYTHONHASHSEED': '0'" in result.log
    assert result.log.endswith("\n1\n")


async def test_its_host_name_resolves_to_loopback(sandbox: Sandbox, output: Path) -> None:
    code = (
        "import socket; name = socket.gethostname()\n"
        "print(name, *(socket.gethostbyname(one) for one in (name, socket.getfqdn())))"
    )
    assert (await sandbox.run(phase(output, code))).log == "sandbox 127.0.0.1 127.0.0.1\n"


async def test_threads_are_divided_by_processes(sandbox: Sandbox, tmp_path: Path) -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    code = f"import os; print(*(os.environ[name] for name in {names}))"
    found = {}
    for cpus, processes in ((8, 1), (8, 2), (7.5, 2), (2, 8)):
        (folder := tmp_path / f"{cpus}-{processes}").mkdir()
        result = await sandbox.run(phase(folder, code, cpus=cpus, processes=processes))
        found[cpus, processes] = result.log
    threads = {(8, 1): 8, (8, 2): 4, (7.5, 2): 3, (2, 8): 1}
    assert found == {key: f"{count} {count} {count}\n" for key, count in threads.items()}


HOLD_ON = {
    "loops": "while True: pass",
    "ignores SIGTERM": "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)",
    "has a child": "import os, time; os.fork(); time.sleep(60)",
    "escapes": (
        "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork(): os._exit(0)\n"
        "time.sleep(60)"
    ),
}


@pytest.mark.parametrize("code", HOLD_ON.values(), ids=HOLD_ON.keys())
async def test_deadline_kills_everything(
    sandbox: Sandbox, output: Path, marker: str, code: str
) -> None:
    begun = time.monotonic()
    code = f"print('begun', flush=True)\n{code} # {marker}"
    result = await sandbox.run(phase(output, code, seconds=1))
    assert (result.ending, result.exit_code) == (Ending.DEADLINE, None)
    assert result.log == "begun\n"
    assert 1.0 <= result.wall_seconds <= time.monotonic() - begun < 1.0 + GRACE
    assert processes_with(marker) == []


async def test_what_a_command_leaves_running_is_killed(
    sandbox: Sandbox, output: Path, marker: str
) -> None:
    code = f"import os, time # {marker}\nif os.fork() == 0: os.setsid(); time.sleep(60)"
    begun = time.monotonic()
    result = await sandbox.run(phase(output, code, seconds=30))
    assert result.ok
    assert time.monotonic() - begun < 10
    assert processes_with(marker) == []


async def test_cancelling_kills_first(sandbox: Sandbox, output: Path, marker: str) -> None:
    code = f"import os, time; os.fork(); print('begun'); time.sleep(60) # {marker}"
    said: list[bytes] = []
    request = replace(phase(output, code, seconds=60), tell=said.append)
    task = asyncio.create_task(sandbox.run(request))
    await asyncio.to_thread(wait_until, lambda: b"".join(said).count(b"begun") == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, timeout=5)
    assert processes_with(marker) == []


async def test_cancelling_before_it_runs(sandbox: Sandbox, output: Path, marker: str) -> None:
    task = asyncio.create_task(sandbox.run(phase(output, f"pass # {marker}")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert processes_with(marker) == []


async def test_stopping_ends_what_runs(sandbox: Sandbox, output: Path, marker: str) -> None:
    code = f"import time; print('begun'); time.sleep(60) # {marker}"
    said: list[bytes] = []
    request = replace(phase(output, code, seconds=60), tell=said.append)
    task = asyncio.create_task(sandbox.run(request))
    await asyncio.to_thread(wait_until, lambda: said)
    await asyncio.gather(sandbox.stop(), sandbox.stop())
    assert processes_with(marker) == []
    with pytest.raises(SandboxError):
        await task
    with pytest.raises(SandboxError, match="not started"):
        await sandbox.run(phase(output, "pass"))


@pytest.mark.host_kernel
async def test_cpu_seconds_count_children(sandbox: Sandbox, output: Path) -> None:
    burn = "t = time.process_time()\nwhile time.process_time() - t < 0.4: pass\n"
    code = f"import os, time\nchild = os.fork()\n{burn}child and os.wait()"
    result = await sandbox.run(phase(output, code))
    assert result.ok, result.log
    assert 0.8 <= result.cpu_seconds < 1.3
    assert result.wall_seconds > 0.4


async def test_cpu_seconds_at_the_deadline(sandbox: Sandbox, output: Path) -> None:
    result = await sandbox.run(phase(output, "while True: pass", seconds=2))
    # Other tests run at the same time, and take their share.
    assert 0.3 <= result.cpu_seconds < 2.5


async def test_peak_memory(sandbox: Sandbox, output: Path) -> None:
    result = await sandbox.run(phase(output, "b'x' * (100 << 20)"))
    assert result.ok, result.log
    assert result.peak_memory_mb is not None and 100 < result.peak_memory_mb < 200


async def test_memory_is_limited(sandbox: Sandbox, output: Path) -> None:
    result = await sandbox.run(phase(output, "b'x' * (1 << 30)"))
    assert not result.ok
    assert result.ending is Ending.MEMORY or "MemoryError" in result.log


async def test_many_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(8)]
    for folder in folders:
        folder.mkdir()
    code = "import time; time.sleep(0.5); open('out/a', 'w').close()"
    results = await asyncio.gather(*(sandbox.run(phase(folder, code)) for folder in folders))
    assert all(result.ok for result in results)
    assert all((folder / "a").exists() for folder in folders)


async def test_result_names_its_environment(sandbox: Sandbox, output: Path) -> None:
    result = await sandbox.run(phase(output, "pass"))
    assert result.environment.startswith(f"{sandbox.name} ")


def test_only_the_local_sandbox_has_a_notice() -> None:
    assert not LocalSandbox.isolated
    assert "--sandbox docker" in LocalSandbox().notice()


def test_a_dead_owners_folders_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from recipelab.sandbox.processes import owner_identity; print(owner_identity())",
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    dead = tmp_path / f"recipelab-phase-{ended.communicate()[0].strip()}-abc"
    mine = tmp_path / f"recipelab-phase-{owner_identity()}-abc"
    other = tmp_path / "recipelab-phase-notes"
    for folder in (dead / "trial" / "inner", mine, other):
        folder.mkdir(parents=True)
    (dead / "trial").chmod(0o555)
    asyncio.run(LocalSandbox(temporary_folder=tmp_path).start())
    assert (dead.exists(), mine.exists(), other.exists()) == (False, True, True)


KILLED_OWNER = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from recipelab.sandbox import LocalSandbox, PhaseLimits, PhaseRequest

async def main():
    output, marker = Path(sys.argv[1]), sys.argv[2]
    code = "import os, time; os.fork() or os.setsid(); time.sleep(100) # inner-" + marker
    async with LocalSandbox() as sandbox:
        request = PhaseRequest("test", ("python", "-c", code), (), output, PhaseLimits(seconds=100))
        await sandbox.run(request)

asyncio.run(main())
"""


def test_nothing_local_runs_on_after_the_owner_is_killed(
    tmp_path: Path, output: Path, marker: str
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED_OWNER, str(output), marker],
        env={"PYTHONPATH": ":".join(sys.path), "TMPDIR": str(tmp_path)},
    )
    # The launcher, the command and its child have it in their command lines.
    wait_until(lambda: len(processes_with(f"inner-{marker}")) == 3)
    child.kill()
    child.wait()
    wait_until(lambda: not processes_with(f"inner-{marker}"))


async def test_output_is_told_while_the_command_runs(sandbox: Sandbox, output: Path) -> None:
    told, heard = bytearray(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell(piece: bytes) -> None:
        told.extend(piece)
        if b"two\n" in told:  # Python writes the text and the end of the line apart
            loop.call_soon_threadsafe(heard.set)

    code = "import time; print('one'); time.sleep(0.3); print('two'); time.sleep(300)"
    request = replace(phase(output, code, seconds=300), tell=tell)
    run = asyncio.ensure_future(sandbox.run(request))
    await asyncio.wait({run, asyncio.ensure_future(heard.wait())}, return_when="FIRST_COMPLETED")
    assert not run.done(), run.result()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert bytes(told) == b"one\ntwo\n"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder with a program in a folder of it, a script, and a place for data."""
    folder = tmp_path / "recipe"
    (folder / "src").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "src" / "inner.py").write_text("WORD = 'found'\n")
    (folder / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (folder / "run.sh").chmod(0o755)
    return folder


async def test_a_command_begins_in_its_folder(sandbox: Sandbox, output: Path, code: Path) -> None:
    program = "import inner; print(inner.WORD); open('../../out/a', 'w').write('kept')"
    request = phase(output, program, inputs=(Input(code, "recipe"),), directory="recipe/src")
    result = await sandbox.run(request)
    assert result.ok and result.log == "found\n", result.log
    assert (output / "a").read_text() == "kept"


async def test_a_folder_that_is_not_there_is_named(
    sandbox: Sandbox, output: Path, code: Path
) -> None:
    with pytest.raises(SandboxError, match="no folder 'recipe/lib' to begin in; it sees: recipe"):
        await sandbox.run(
            phase(output, "pass", inputs=(Input(code, "recipe"),), directory="recipe/lib")
        )


async def test_a_private_copy_can_be_written_to_and_is_dropped(
    sandbox: Sandbox, output: Path, tmp_path: Path, code: Path
) -> None:
    """Large and small data lie in it, which stay as they are."""
    small, large = tmp_path / "small", tmp_path / "many"
    small.write_text("small")
    large.mkdir()
    (large / "one.bin").write_bytes(bytes(1000))
    (code / "small.txt").touch()
    program = (
        "import os, subprocess\n"
        "open('new', 'w').write('x'); open('src/inner.py', 'a').write('# more')\n"
        "print(subprocess.run('./run.sh').returncode, flush=True)\n"
        "print(open('small.txt').read(), os.listdir('data'))\n"
        "for name in ('small.txt', 'data/one.bin', 'data/new'):\n"
        "    try: open(name, 'w').write('changed')\n"
        "    except OSError: print('refused', name)\n"
    )
    inputs = (
        Input(large, "recipe/data", as_is=True),
        Input(small, "recipe/small.txt"),
        Input(code, "recipe", writable=True),
    )
    result = await sandbox.run(phase(output, program, inputs=inputs, directory="recipe"))
    assert result.ok, result.log
    refused = [f"refused {name}" for name in ("small.txt", "data/one.bin", "data/new")]
    assert sorted(result.log.splitlines()) == sorted(["ran", "0", "small ['one.bin']", *refused])
    assert names_in(code) == ["data", "run.sh", "small.txt", "src"] and names_in(output) == []
    assert (code / "src/inner.py").read_text() == "WORD = 'found'\n"


async def test_a_private_copy_is_bounded(sandbox: Sandbox, output: Path, code: Path) -> None:
    program = "open('recipe/big', 'wb').write(bytes(3_000_000))"
    request = phase(output, program, inputs=(Input(code, "recipe", writable=True),), scratch_mb=2)
    result = await sandbox.run(request)
    assert "No space left" in result.log


async def test_data_lie_in_the_folder_of_another_input(
    sandbox: Sandbox, output: Path, tmp_path: Path, code: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(2_000_000))
    (code / "data" / "large.bin").touch()
    program = "import os; print(os.path.getsize('recipe/data/large.bin'), os.listdir('recipe'))"
    inputs = (Input(large, "recipe/data/large.bin"), Input(code, "recipe"))
    result = await sandbox.run(phase(output, program, inputs=inputs))
    assert result.ok and result.log.startswith("2000000 "), result.log
