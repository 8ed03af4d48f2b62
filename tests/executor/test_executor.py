"""What the executor promises, in every sandbox."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock

from recipelab import SandboxCodeExecutor
from recipelab.core.errors import RecipelabError, SandboxUnavailable

from ..sandbox.helpers import processes_with, wait_until
from .conftest import Make
from .helpers import execute, python, shell


async def test_blocks_in_each_language(make: Make) -> None:
    blocks = [CodeBlock(f"echo {name}", name) for name in ("sh", "bash", "shell")]
    result = await execute(make(), python("print('py')"), *blocks)
    assert (result.exit_code, result.output) == (0, "py\nsh\nbash\nshell\n")


async def test_it_stops_at_the_first_failure(make: Make) -> None:
    result = await execute(make(), shell("echo a"), shell("echo b; exit 3"), shell("echo c"))
    assert (result.exit_code, result.output, result.timed_out) == (3, "a\nb\n", False)


async def test_an_unknown_language_is_a_result(make: Make) -> None:
    result = await execute(make(), shell("echo a"), CodeBlock("puts 1", "ruby"), shell("echo c"))
    assert result.exit_code == 1
    assert result.output.startswith("a\n[sandbox] unknown language 'ruby'; valid: bash, py")


async def test_no_block_is_an_error(make: Make) -> None:
    with pytest.raises(ValueError, match="no code block"):
        await execute(make())


async def test_files_are_there_for_the_next_block_and_the_next_call(make: Make) -> None:
    executor = make()
    await execute(executor, python("open('data.csv', 'w').write('1,2')"))
    result = await execute(
        executor,
        shell("cat data.csv; mkdir -p deep/empty; echo >> data.csv"),
        shell("echo x > deep/empty/x; rm data.csv"),
        shell("ls; ls deep/empty"),
    )
    assert result.exit_code == 0, result.output
    assert result.output.startswith("1,2")
    assert "data.csv" not in result.output.removeprefix("1,2")
    assert result.output.endswith("x\n")
    assert (executor.work_dir / "deep/empty/x").read_text() == "x\n"


async def test_files_of_a_failed_block_are_kept(make: Make) -> None:
    executor = make()
    await execute(executor, python("open('a', 'w').write('x'); raise SystemExit(2)"))
    assert (await execute(executor, shell("cat a"))).output == "x"


async def test_a_named_file_can_be_imported_and_run(make: Make) -> None:
    executor = make()
    named = python("# filename: lib/tool.py\nX = 5; print(__file__)")
    result = await execute(executor, named, python("from lib.tool import X; print(X)"))
    lines = result.output.splitlines()
    assert [line.rpartition("/")[2] for line in lines] == ["tool.py", "tool.py", "5"]
    assert result.code_file == str(executor.work_dir / "lib/tool.py")
    assert (await execute(executor, shell("python lib/tool.py"))).output.endswith("tool.py\n")


async def test_a_script_runs_by_its_interpreter(make: Make) -> None:
    run = shell("bash ./hello.sh")
    result = await execute(make(), CodeBlock("# filename: hello.sh\necho hello", "bash"), run)
    assert (result.exit_code, result.output) == (0, "hello\nhello\n")


async def test_a_name_that_looks_like_an_option(make: Make) -> None:
    result = await execute(make(), python("# filename: -c\nprint('ran')"))
    assert (result.exit_code, result.output) == (0, "ran\n")


async def test_code_without_a_name_is_kept_or_not(make: Make) -> None:
    kept, passing = make(), make(delete_tmp_files=True)
    for executor in (kept, passing):
        result = await execute(executor, shell("echo x > file"))
        names = sorted(path.name for path in executor.work_dir.iterdir())
        if executor is kept:
            code_file = kept.work_dir / names[1]
            assert result.code_file == str(code_file)
            assert code_file.read_text() == "echo x > file"
        else:
            assert names == ["file"] and result.code_file is not None


async def test_a_work_folder_of_your_own_stays(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "coding"
    folder.mkdir()
    (folder / "given").write_text("from the host")
    (folder / "given").chmod(0o600)
    executor = make(work_dir=folder)
    async with executor:
        result = await execute(executor, shell("cat given; mv given moved"))
    assert result.output == "from the host"
    assert (folder / "moved").read_text() == "from the host"
    assert not (folder / "given").exists()


async def test_a_temporary_work_folder_is_gone_after_stop(make: Make) -> None:
    executor = make()
    await executor.start()
    await executor.start()
    folder = executor.work_dir
    assert folder.is_dir()
    await executor.stop()
    await executor.stop()
    assert not folder.parent.exists()
    with pytest.raises(RecipelabError, match="was stopped"):
        await execute(executor, shell("true"))
    async with executor:
        assert (await execute(executor, shell("echo again"))).output == "again\n"


async def test_restart_kills_what_runs_and_keeps_files(make: Make, marker: str) -> None:
    executor = make()
    await execute(executor, shell("echo x > kept"))
    run = execute(executor, shell(f"# filename: {marker}.sh\nsleep 60"))
    task = asyncio.create_task(run)
    await asyncio.to_thread(wait_until, lambda: processes_with(marker))
    await executor.restart()
    assert processes_with(marker) == []
    assert "cancelled" in (await task).output
    assert (await execute(executor, shell("cat kept"))).output == "x\n"


async def test_a_timeout_says_so_and_keeps_the_earlier_files(make: Make) -> None:
    executor = make(timeout=1)
    await execute(executor, shell("echo old > a"))
    begun = time.monotonic()
    result = await execute(executor, shell("echo new > a; echo begun; sleep 60"), shell("echo no"))
    assert time.monotonic() - begun < 5
    assert (result.exit_code, result.timed_out) == (124, True)
    assert result.output == (
        "begun\n[sandbox] Timeout: stopped after 1 seconds. "
        "The files are as they were before this block.\n"
    )
    assert (await execute(executor, shell("cat a"))).output == "old\n"


async def test_cancelling_by_token_is_a_result(make: Make, marker: str) -> None:
    executor, token = make(), CancellationToken()
    code = f"# filename: {marker}.py\nopen('lost', 'w'); import time; time.sleep(60)"
    task = asyncio.create_task(execute(executor, shell("echo a"), python(code), token=token))
    await asyncio.to_thread(wait_until, lambda: processes_with(marker))
    begun = time.monotonic()
    token.cancel()
    result = await task
    assert time.monotonic() - begun < 3
    assert processes_with(marker) == []
    assert result.exit_code == 1
    assert result.output.startswith("a\n[sandbox] Code execution was cancelled.")
    assert not (executor.work_dir / "lost").exists()


async def test_a_token_that_is_cancelled_already(make: Make) -> None:
    token = CancellationToken()
    token.cancel()
    result = await execute(make(), shell("echo a"), token=token)
    assert (result.exit_code, "cancelled" in result.output) == (1, True)


async def test_cancelling_the_task_kills_and_goes_on(make: Make, marker: str) -> None:
    executor = make()
    code = f"# filename: {marker}.py\nimport time; time.sleep(60)"
    task = asyncio.create_task(execute(executor, python(code)))
    await asyncio.to_thread(wait_until, lambda: processes_with(marker))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, timeout=5)
    assert processes_with(marker) == []
    assert (await execute(executor, shell("echo fine"))).output == "fine\n"


async def test_calls_at_the_same_time_run_one_after_the_other(make: Make) -> None:
    executor = make()
    code = (
        "n = int(open('n').read()); import time; time.sleep(.2); open('n', 'w').write(str(n + 1))"
    )
    await execute(executor, python("open('n', 'w').write('0')"))
    await asyncio.gather(*(execute(executor, python(code)) for _ in range(4)))
    assert (executor.work_dir / "n").read_text() == "4"


async def test_the_event_loop_is_not_held(make: Make) -> None:
    executor = make()
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - begun)

    ticking = asyncio.create_task(tick())
    code = "open('big', 'wb').write(b'x' * (60 << 20)); import time; time.sleep(1)"
    await execute(executor, python(code), shell("echo x >> big"))
    ticking.cancel()
    assert len(gaps) > 50 and max(gaps) < 0.5


async def test_too_many_files_are_told_and_none_is_kept(make: Make) -> None:
    executor = make(output_files=8)
    await execute(executor, shell("echo x > a"))
    result = await execute(executor, shell("for i in 1 2 3 4 5 6 7 8; do echo > $i; done"))
    assert result.exit_code == 1
    assert "beyond the limits of 256 MiB and 8 files" in result.output
    assert "as they were before" in result.output
    assert (await execute(executor, shell("cat a"))).output == "x\n"


async def test_a_work_folder_beyond_the_limits(make: Make, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * (3 << 20))
    result = await execute(make(work_dir=tmp_path, output_mb=2), shell("echo a"))
    assert (result.exit_code, result.output) == (
        1,
        "[sandbox] The work folder has 3 MiB; the limit is 2.\n",
    )
    for number in range(4):
        (tmp_path / str(number)).touch()
    result = await execute(make(work_dir=tmp_path, output_files=5), shell("echo a"))
    assert "5 files; the limit is 5" in result.output


async def test_links_are_told_and_nothing_else_is_lost(make: Make) -> None:
    executor = make()
    await execute(executor, shell("echo x > a"))
    result = await execute(executor, shell("echo y > b; ln -s /etc link; rm a"))
    assert result.exit_code == 0
    assert result.output == (
        "[sandbox] Not kept: link (symbolic link). No file was removed because of that.\n"
    )
    assert {"a", "b"} < {path.name for path in executor.work_dir.iterdir()}


async def test_a_file_in_the_place_of_a_folder(make: Make) -> None:
    executor = make()
    await execute(executor, shell("mkdir d; echo x > d/x"))
    result = await execute(executor, python("# filename: d\nprint(1)"))
    assert result.exit_code == 1
    assert "could not be put in place: out/d: Is a directory" in result.output
    assert (await execute(executor, shell("cat d/x"))).output == "x\n"


async def test_the_environment_is_given(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hunter2")
    executor = make(environment={"MINE": "given", "PYTHONPATH": "/somewhere"})
    result = await execute(executor, shell("env; python -c 'import sys; print(sys.path)'"))
    assert "MINE=given" in result.output and "hunter2" not in result.output
    assert "'/somewhere'" in result.output


async def test_a_broken_pipe_ends_a_program_as_usual(make: Make) -> None:
    result = await execute(make(), shell("yes | head -1"))
    assert (result.exit_code, result.output) == (0, "y\n")


async def test_a_signal_is_told_as_a_shell_does(make: Make) -> None:
    result = await execute(make(), python("import os; os.kill(os.getpid(), 15)"))
    assert result.exit_code == 143


async def test_the_same_configuration_runs_again(make: Make) -> None:
    first = make(timeout=20, environment={"A": "1"})
    second = SandboxCodeExecutor.load_component(first.dump_component())
    async with first, second:
        results = [await execute(each, shell("echo $A")) for each in (first, second)]
        assert [result.output for result in results] == ["1\n", "1\n"]
        assert first.work_dir != second.work_dir


async def test_without_a_daemon(no_daemon: None) -> None:
    for kind, words in (("docker", 'kind="local"'), ("auto", "allow_local=True")):
        with pytest.raises(SandboxUnavailable, match=words):
            await SandboxCodeExecutor(kind=kind).start()
    with pytest.warns(UserWarning, match="does not isolate"):
        async with SandboxCodeExecutor(kind="auto", allow_local=True) as executor:
            assert (await execute(executor, shell("echo a"))).output == "a\n"


@pytest.mark.docker
async def test_a_sandbox_by_its_name(docker_daemon: None) -> None:
    with pytest.raises(RecipelabError, match="valid: "):
        await SandboxCodeExecutor(sandbox="no-such").start()


@pytest.mark.docker
async def test_an_image_that_is_not_there(docker_daemon: None) -> None:
    executor = SandboxCodeExecutor(image="recipelab/no-such")
    with pytest.raises(SandboxUnavailable, match="no image recipelab/no-such"):
        await executor.start()
    await executor.stop()


@pytest.mark.docker
async def test_memory_is_told(docker_image: str) -> None:
    async with SandboxCodeExecutor(image=docker_image, memory_mb=64) as executor:
        result = await execute(executor, python("b'x' * (1 << 30)"))
    assert result.exit_code == 137
    assert "more than 64 MiB of memory" in result.output
