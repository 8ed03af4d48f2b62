"""Faults of AutoGen 0.7.5's own Docker executor, each measured there; none of them is here."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from recipelab import SandboxCodeExecutor
from recipelab.sandbox.docker.containers import connect
from recipelab.sandbox.docker.options import OWNER_LABEL

from ..sandbox.helpers import processes_with, wait_until
from .helpers import execute, python, shell

pytestmark = pytest.mark.docker


@pytest.fixture
async def executor(docker_image: str) -> AsyncIterator[SandboxCodeExecutor]:
    async with SandboxCodeExecutor(image=docker_image, timeout=20) as made:
        yield made


@pytest.fixture
async def hasty(docker_image: str) -> AsyncIterator[SandboxCodeExecutor]:
    async with SandboxCodeExecutor(image=docker_image, timeout=1) as made:
        yield made


async def test_code_that_ignores_sigterm_ends_at_the_timeout(
    hasty: SandboxCodeExecutor, marker: str
) -> None:
    ignore = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(15)"
    begun = time.monotonic()
    result = await execute(hasty, python(f"# filename: {marker}.py\n{ignore}"))
    assert result.timed_out and time.monotonic() - begun < 5
    assert processes_with(marker) == []


@pytest.mark.parametrize("ending", ["time.sleep(15)", "pass"])
async def test_a_child_of_another_session_does_not_live_on(
    hasty: SandboxCodeExecutor, marker: str, ending: str
) -> None:
    code = f"import os, time\nif os.fork() == 0: os.setsid(); time.sleep(60)\n{ending}"
    result = await execute(hasty, python(f"# filename: {marker}.py\n{code}"))
    assert result.timed_out == (ending != "pass")
    assert processes_with(marker) == []


async def test_code_that_exits_with_124_has_not_timed_out(executor: SandboxCodeExecutor) -> None:
    result = await execute(executor, shell("echo done; exit 124"))
    assert (result.exit_code, result.output, result.timed_out) == (124, "done\n", False)


async def test_output_that_is_not_utf8(executor: SandboxCodeExecutor) -> None:
    result = await execute(executor, python(r"import os; os.write(1, b'a\xff\xfeb')"))
    assert (result.exit_code, result.output) == (0, "a\ufffd\ufffdb")


async def test_50_mb_of_output_keep_head_and_tail(executor: SandboxCodeExecutor) -> None:
    flood = "print('HEAD', flush=True)\nfor _ in range(50): os.write(1, b'x' * (1 << 20))"
    result = await execute(executor, python(f"import os\n{flood}\nprint('\\nTAIL')"))
    assert result.exit_code == 0
    assert result.output.startswith("HEAD\n") and result.output.endswith("\nTAIL\n")
    assert "bytes cut here" in result.output and len(result.output) < 66 * 1024


async def test_stopping_takes_no_ten_seconds(docker_image: str, marker: str) -> None:
    executor = SandboxCodeExecutor(image=docker_image)
    code = f"# filename: {marker}.sh\ntrap '' TERM; sleep 60"
    task = asyncio.create_task(execute(executor, shell(code)))
    await asyncio.to_thread(wait_until, lambda: processes_with(marker))
    begun = time.monotonic()
    await executor.stop()
    assert time.monotonic() - begun < 3
    assert processes_with(marker) == []
    assert (await task).exit_code == 1


async def test_cancelling_needs_no_programs_in_the_image(
    executor: SandboxCodeExecutor, marker: str
) -> None:
    # Of images without pkill the stock executor cannot kill what runs.
    assert (await execute(executor, shell("command -v pkill"))).exit_code != 0
    code = f"# filename: {marker}.sh\nsleep 60"
    task = asyncio.create_task(execute(executor, shell(code)))
    await asyncio.to_thread(wait_until, lambda: processes_with(marker))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert processes_with(marker) == []


@pytest.mark.slow
async def test_a_second_executor_of_the_same_configuration(
    executor: SandboxCodeExecutor, tmp_path: Path
) -> None:
    (tmp_path / "executor.json").write_text(executor.dump_component().model_dump_json())
    task = asyncio.create_task(execute(executor, python("import time; time.sleep(4); print('a')")))
    second = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOADED, str(tmp_path / "executor.json"), stdout=subprocess.PIPE
    )
    assert (await second.communicate())[0] == b"b\n"
    assert not task.done()
    assert (await task).output == "a\n"


async def test_no_link_leads_the_host_to_write_elsewhere(docker_image: str, tmp_path: Path) -> None:
    victim, code = tmp_path / "victim", "print('the code of the next block')"
    async with SandboxCodeExecutor(image=docker_image, work_dir=tmp_path / "work") as executor:
        name = Path(str((await execute(executor, python(code))).code_file)).name
        for target in (f"ln -sf {victim} {name}", f"ln -s {tmp_path} up; echo x > up/victim"):
            await execute(executor, shell(target))
            result = await execute(executor, python(code))
            assert result.output == "the code of the next block\n"
        result = await execute(executor, python("# filename: up/victim\nprint(1)"))
        assert result.output == "1\n"
    assert not victim.exists()


@pytest.mark.parametrize("name", ["../victim.py", "/tmp/victim.py", "a/../../victim.py"])
async def test_no_name_of_a_file_leaves_the_work_folder(
    executor: SandboxCodeExecutor, name: str
) -> None:
    result = await execute(executor, python(f"# filename: {name}\nprint('ran')"))
    assert result.exit_code == 1
    assert "not in the workspace" in result.output and "ran" not in result.output
    assert not (executor.work_dir.parent / "victim.py").exists()


async def test_no_network_no_rights_and_a_limit_on_processes(
    executor: SandboxCodeExecutor,
) -> None:
    code = "ls /sys/class/net; grep -E 'Uid|CapEff|NoNewPrivs' /proc/self/status; touch /x"
    result = await execute(executor, shell(code))
    assert "lo\nUid:\t65534" in result.output and "eth0" not in result.output
    assert "CapEff:\t0000000000000000\nNoNewPrivs:\t1" in result.output
    assert "Read-only file system" in result.output


LOADED = """
import asyncio, json, sys
from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock, CodeExecutor

async def main():
    executor = CodeExecutor.load_component(json.load(open(sys.argv[1])))
    async with executor:
        block = CodeBlock("print('b')", "python")
        result = await executor.execute_code_blocks([block], CancellationToken())
        print(result.output, end="")

asyncio.run(main())
"""

FORGETFUL = """
import asyncio, os, sys
from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock
from recipelab import SandboxCodeExecutor

async def main():
    executor = SandboxCodeExecutor(image=sys.argv[1])
    await executor.start()
    print(os.getpid(), executor.work_dir, flush=True)
    block = CodeBlock(sys.argv[2], "python")
    running = asyncio.create_task(executor.execute_code_blocks([block], CancellationToken()))
    if sys.argv[3] == "await":
        await running
    elif sys.argv[3] == "raise":
        await asyncio.sleep(2)
        raise KeyError("an error of the app")

asyncio.run(main())
"""


def containers_of(pid: int) -> list[Any]:
    """Containers of a process, running or not."""
    api = connect(timeout=10)
    try:
        found = api.containers(all=True, filters={"label": OWNER_LABEL})
        return [each for each in found if f"-{pid}-" in each["Labels"][OWNER_LABEL]]
    finally:
        api.close()


@pytest.mark.parametrize("how", ["await", "raise", "return"])
def test_an_app_that_forgets_to_stop_leaves_nothing(
    docker_image: str, marker: str, how: str
) -> None:
    sleep = "import time; time.sleep(60)" if how != "await" else "print(1)"
    code = f"# filename: {marker}.py\n{sleep}"
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL, docker_image, code, how],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode != 0, "KeyError" in done.stderr) == (how == "raise",) * 2
    pid, folder = done.stdout.split()
    assert containers_of(int(pid)) == []
    assert not Path(folder).parent.exists()
    assert processes_with(marker) == []


async def test_an_app_that_is_killed_leaves_nothing_for_long(
    docker_image: str, marker: str
) -> None:
    code = f"# filename: {marker}.py\nimport time; time.sleep(60)"
    words = [sys.executable, "-c", FORGETFUL, docker_image, code, "await"]
    app = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
    assert app.stdout is not None
    pid, folder = (await app.stdout.readline()).decode().split()
    # The app, and in the container the shell, our script and the code.
    await asyncio.to_thread(wait_until, lambda: len(processes_with(marker)) == 4)
    app.send_signal(signal.SIGKILL)
    await app.wait()
    # The container ends with the connection; what is left of it goes at the next start.
    await asyncio.to_thread(wait_until, lambda: not processes_with(marker))
    async with SandboxCodeExecutor(image=docker_image):
        assert await asyncio.to_thread(containers_of, int(pid)) == []
        assert not Path(folder).parent.exists()
