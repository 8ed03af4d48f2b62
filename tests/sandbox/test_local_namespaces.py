"""What the local sandbox promises where the system lets it make namespaces."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from recipelab.sandbox import Ending, Input, LocalSandbox, PhaseResult
from recipelab.sandbox.local.launched import LauncherProcess, LauncherReport
from recipelab.sandbox.local.sandbox import namespaces_fault

from .helpers import names_in, phase, processes_with, wait_until

TRIES = """
def tried(what, *arguments):
    try: print(what.__name__, what(*arguments))
    except OSError as error: print('refused', what.__name__, arguments[0], error.strerror)
"""
"""Prints what came of a call. A call that is refused gives a line that begins with that word."""


@pytest.fixture(autouse=True)
def possible() -> None:
    """Skips where the system does not allow namespaces."""
    if fault := namespaces_fault(Path(tempfile.gettempdir())):
        pytest.skip(f"no namespaces: {fault}")


@pytest.fixture
async def boxed() -> AsyncIterator[LocalSandbox]:
    """The sandbox, started."""
    async with LocalSandbox(namespaces=True) as made:
        yield made


def refusals(result: PhaseResult) -> tuple[int, int]:
    """Number of refused tries and of all lines."""
    assert result.ok, result.log
    lines = result.log.splitlines()
    return sum(line.startswith("refused") for line in lines), len(lines)


async def test_files_of_the_host_are_not_there(
    boxed: LocalSandbox, output: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    hidden = [str(secret), "/etc/shadow", "/home", "/run", "/var/run/docker.sock", "/mnt", "/boot"]
    program = f"""{TRIES}
import os
for path in {hidden}: tried(os.stat, path)
tried(open, {str(secret)!r}, 'w')
tried(open, {str(Path.home() / "new")!r}, 'w')
"""
    assert refusals(await boxed.run(phase(output, program))) == (9, 9)
    assert secret.read_text() == "hunter2"


async def test_nothing_of_the_system_can_be_written(boxed: LocalSandbox, output: Path) -> None:
    program = f"""{TRIES}
import os, sys
for path in ('/', '/usr', '/etc', '/dev', '/proc', '/trial', sys.prefix + '/bin'):
    tried(open, path + '/recipelab-new', 'w')
tried(open, os.__file__, 'a')
tried(open, '/proc/sys/kernel/core_pattern', 'w')
tried(open, '/proc/self/oom_score_adj', 'w')
"""
    assert refusals(await boxed.run(phase(output, program))) == (10, 10)


async def test_no_network_but_a_loopback_of_its_own(boxed: LocalSandbox, output: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        program = f"""{TRIES}
import socket
print([name for _, name in socket.if_nameindex()])
tried(socket.create_connection, ('127.0.0.1', {listening.getsockname()[1]}), 2)
tried(socket.create_connection, ('192.0.2.1', 80), 2)
tried(socket.socket, getattr(socket, 'AF_VSOCK', 40))
with socket.create_server(('127.0.0.1', 0)) as own: socket.create_connection(own.getsockname())
"""
        result = await boxed.run(phase(output, program))
    assert result.log.startswith("['lo']\n")
    assert refusals(result) == (3, 4)


async def test_processes_of_the_host_are_not_there(
    boxed: LocalSandbox, output: Path, marker: str
) -> None:
    program = f"""{TRIES}
import os, signal
print(sorted(int(name) for name in os.listdir('/proc') if name.isdigit()))
print(open('/proc/1/cmdline').read().strip(chr(0)))
tried(os.kill, {os.getpid()}, 0)
for name in ('root', 'fd', 'environ', 'mem'): tried(open, '/proc/1/' + name)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
    try: os.kill(1, number)
    except PermissionError: pass
print({marker!r})
"""
    result = await boxed.run(phase(output, program))
    assert result.log.startswith("[1, 2]\n\n")
    assert refusals(result) == (5, 8)


async def test_what_was_built_cannot_be_undone(
    boxed: LocalSandbox, output: Path, tmp_path: Path
) -> None:
    (tmp_path / "input").write_text("x")
    program = f"""{TRIES}
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0: raise OSError(ctypes.get_errno(), 'no')
tried(call, 'mount', b'none', b'/', None, ctypes.c_ulong(32), b'')
tried(call, 'mount', b'none', b'/trial/input', None, ctypes.c_ulong(32 | 4096), b'')
tried(call, 'mount', b'tmpfs', b'/tmp', b'tmpfs', ctypes.c_ulong(0), b'')
tried(call, 'umount2', b'/trial/input', 2)
tried(call, 'unshare', 0x10000000)
tried(call, 'unshare', 0x20000)
tried(call, 'ptrace', 16, 1, 0, 0)
tried(call, 'sethostname', b'x', 1)
tried(os.chroot, '/tmp')
tried(os.setuid, 0)
tried(os.mknod, '/tmp/disk', 0o60600, os.makedev(254, 0))
"""
    inputs = (Input(tmp_path / "input", "input"),)
    assert refusals(await boxed.run(phase(output, program, inputs=inputs))) == (11, 11)


async def test_inputs_are_read_only_for_root_too(
    boxed: LocalSandbox, output: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(65 << 20)
    large.chmod(0o666)
    program = f"""{TRIES}
import os
print(os.path.getsize('data/large'), os.path.islink('data/large'))
tried(open, 'data/large', 'r+')
tried(os.truncate, 'data/large', 0)
tried(os.chmod, 'data/large', 0)
tried(os.unlink, 'data/large')
tried(os.rename, 'data', 'out/data')
tried(os.utime, 'data/large')
"""
    result = await boxed.run(phase(output, program, inputs=(Input(large, "data/large"),)))
    assert result.log.startswith(f"{65 << 20} False\n")
    assert refusals(result) == (6, 7)
    assert large.stat().st_size == 65 << 20


async def test_processes_are_counted(boxed: LocalSandbox, output: Path) -> None:
    program = """
import os, time
for number in range(100):
    try: child = os.fork()
    except BlockingIOError: break
    if child == 0: time.sleep(60)
print(number)
"""
    result = await boxed.run(phase(output, program, pids=16))
    assert (result.log, result.ok) == ("15\n", True)


async def test_a_fork_bomb_is_contained_and_ends(
    boxed: LocalSandbox, output: Path, marker: str
) -> None:
    program = f"""
import os # {marker}
while True:
    try: os.fork()
    except BlockingIOError: pass
"""
    result = await boxed.run(phase(output, program, pids=32, seconds=1))
    assert result.ending is Ending.DEADLINE
    assert result.wall_seconds < 3
    assert processes_with(marker) == []


async def test_scratch_space_is_limited_in_all_its_folders_together(
    boxed: LocalSandbox, output: Path
) -> None:
    program = f"""{TRIES}
def fill(path, size):
    with open(path, 'wb', buffering=0) as file:
        for _ in range(size): file.write(bytes(1 << 20))
tried(fill, '/tmp/a', 5)
tried(fill, '/var/tmp/a', 2)
tried(fill, '/dev/shm/a', 2)
tried(fill, '/tmp/b', 1)
"""
    result = await boxed.run(phase(output, program, scratch_mb=8))
    assert result.log.splitlines() == [
        "fill None",
        "fill None",
        "refused fill /dev/shm/a No space left on device",
        "refused fill /tmp/b No space left on device",
    ]


async def test_outputs_are_limited_while_they_are_written(
    boxed: LocalSandbox, output: Path
) -> None:
    program = f"""{TRIES}
def fill(path):
    for number in range(3): open(f'{{path}}/{{number}}', 'wb').write(bytes(1 << 20))
tried(fill, 'out')
"""
    result = await boxed.run(phase(output, program, output_mb=2))
    assert result.log == "refused fill out No space left on device\n"
    assert result.ok and sorted(names_in(output)) == ["0", "1", "2"]


async def test_nothing_is_left_in_the_temporary_folder(output: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    program = "import os; os.makedirs('out/a/b'); os.chmod('out/a', 0); print(os.getuid())"
    async with LocalSandbox(temporary_folder=temporary, namespaces=True) as sandbox:
        result = await sandbox.run(phase(output, program))
    assert result.ok and result.log.strip() != "0"
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("heard", ["nothing", "an end of the command"])
async def test_all_ends_with_the_launcher(
    boxed: LocalSandbox, output: Path, marker: str, heard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machinery is to blame, even if the death of the command was reported before its own."""
    if heard != "nothing":
        own = LauncherReport(0.1, 1.0, signal.SIGKILL)
        held = os.open(output, os.O_RDONLY | os.O_DIRECTORY)
        monkeypatch.setattr(LauncherProcess, "report", lambda launched: (own, held))
    program = f"import os, time; os.fork() or os.setsid(); time.sleep(60) # {marker}"
    task = asyncio.create_task(boxed.run(phase(output, program, seconds=60)))
    await asyncio.to_thread(wait_until, lambda: len(processes_with(marker)) == 3)
    launcher = min(processes_with(marker))
    os.kill(launcher, signal.SIGKILL)
    with pytest.raises(Exception, match="the launcher died"):
        await task
    wait_until(lambda: not processes_with(marker))


@pytest.mark.parametrize(("killed", "isolated"), [(1, True), (3, False)])
async def test_a_probe_that_is_killed_costs_no_isolation(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: int, isolated: bool
) -> None:
    left = [killed]
    wait = LauncherProcess.wait

    def killing(launched: LauncherProcess) -> LauncherReport:
        if left[0]:
            left[0] -= 1
            launched.kill()
        return wait(launched)

    monkeypatch.setattr(LauncherProcess, "wait", killing)
    async with LocalSandbox(temporary_folder=tmp_path) as sandbox:
        result = await sandbox.run(phase(output, "print(1)"))
    assert ("in namespaces" in result.environment) is isolated


async def test_where_there_can_be_none_it_says_so(boxed: LocalSandbox, output: Path) -> None:
    """No namespaces can be made inside of namespaces, so inside is where there can be none."""
    program = """
import asyncio
from recipelab.core.errors import SandboxUnavailable
from recipelab.sandbox import PhaseLimits, LocalSandbox, PhaseRequest
async def main():
    try: await LocalSandbox(namespaces=True).start()
    except SandboxUnavailable as error: print(error)
    print(LocalSandbox().notice())
    async with LocalSandbox() as sandbox:
        import os; os.mkdir('/tmp/out')
        from pathlib import Path
        command = ('python', '-c', 'print(1)')
        request = PhaseRequest('test', command, (), Path('/tmp/out'), PhaseLimits(seconds=9))
        print((await sandbox.run(request)).environment)
asyncio.run(main())
"""
    package = Path(sys.modules["recipelab"].__path__[0])
    inputs = (Input(package, "recipelab"),)
    result = await boxed.run(phase(output, program, inputs=inputs))
    refused, notice, warned, ran = result.log.splitlines()
    assert refused.startswith("no namespaces for the local sandbox: ")
    assert "No space left" in refused and "No space left" in notice
    assert notice.startswith("the local sandbox does not isolate here (")
    assert "`--sandbox docker`" in notice
    assert warned == notice, "the start did not log a warning"
    assert ran.endswith("without namespaces")


STARTED_BY_A_PATH = """
import asyncio, os, sys
from pathlib import Path
from recipelab.sandbox import Input, PhaseLimits, LocalSandbox, PhaseRequest
program = "import subprocess, sys; print(subprocess.call([sys.executable, '-c', 'pass']))"
async def main():
    async with LocalSandbox(namespaces=True) as sandbox:
        for warm in ((), ('json',)):
            Path(f'out{len(warm)}').mkdir()
            command = ('python', 'script.py') if warm else ('python', '-c', program)
            Path('script.py').write_text(program)
            inputs = (Input(Path('script.py').absolute(), 'script.py'),)
            request = PhaseRequest('test', command, inputs, Path(f'out{len(warm)}').absolute(),
                PhaseLimits(seconds=20), warm=warm)
            result = await sandbox.run(request)
            print(result.environment.endswith('in namespaces'), result.log, end='')
print(any(part == '..' for part in sys.executable.split('/')))
asyncio.run(main())
"""


def test_it_isolates_when_python_was_started_by_a_path_that_goes_up(tmp_path: Path) -> None:
    ended = subprocess.run(
        [os.path.relpath(sys.executable, tmp_path), "-c", STARTED_BY_A_PATH],
        env={"PYTHONPATH": str(Path(sys.modules["recipelab"].__path__[0]).parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.stdout == "True\nTrue 0\nTrue 0\n", ended.stderr


async def test_the_notice_tells_what_is_not_enforced() -> None:
    notice = LocalSandbox().notice()
    assert "memory is limited for each process" in notice and "`--sandbox docker`" in notice
    assert "\n" not in notice
    assert "does not isolate:" in LocalSandbox(namespaces=False).notice()


AS_SOMEBODY_ELSE = """
import asyncio, os, sys
from pathlib import Path
from recipelab.sandbox import Input, PhaseLimits, LocalSandbox, PhaseRequest
program = '''
import os, signal
print(os.getuid(), open('data/input').read())
for path, mode in (('data/input', 'r+'), ('{folder}/temporary/new', 'w'), ('{folder}/input', 'r')):
    try: open(path, mode)
    except OSError: print('refused')
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL): os.kill(1, number)
open('/dev/stdout', 'w').write('still there')
open('out/a', 'w').write('output')
'''
async def main(folder):
    request = PhaseRequest('test', ('python', '-c', program.format(folder=folder)),
        (Input(folder / 'input', 'data/input'),), folder / 'output',
        PhaseLimits(seconds=20, pids=8))
    async with LocalSandbox(temporary_folder=folder / 'temporary', namespaces=True) as sandbox:
        result = await sandbox.run(request)
    print(os.getuid(), result.exit_code, result.log, (folder / 'output/a').read_text())
asyncio.run(main(Path(sys.argv[1])))
"""


def test_it_works_for_a_user_without_rights(tmp_path: Path) -> None:
    python = readable_python()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "input").write_text("from the input")
        (folder / "input").chmod(0o600)
        for inner in (folder / "temporary", folder / "output"):
            inner.mkdir()
        somebody: dict[str, object] = {}
        if os.getuid() == 0:
            somebody = {"user": 65534, "group": 65534, "extra_groups": []}
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, 65534, 65534)
        ended = subprocess.run(  # type: ignore[call-overload]
            [python, "-c", AS_SOMEBODY_ELSE, str(folder)],
            env={"PYTHONPATH": str(Path(sys.modules["recipelab"].__path__[0]).parent)},
            cwd="/",
            capture_output=True,
            text=True,
            **somebody,
        )
        assert list((folder / "temporary").iterdir()) == []
    user = 65534 if os.getuid() == 0 else os.getuid()
    assert ended.stdout == (
        f"{user} 0 {user} from the input\nrefused\nrefused\nrefused\nstill there output\n"
    ), ended.stderr


def readable_python() -> str:
    """A Python that other users can run: root's own often lies in root's home."""
    for python in (sys.executable, "/usr/bin/python3"):
        somebody = {"user": 65534, "group": 65534} if os.getuid() == 0 else {}
        try:
            check = "import sys; sys.exit(sys.version_info < (3, 11))"
            if subprocess.run([python, "-c", check], **somebody).returncode == 0:  # type: ignore[call-overload]
                return python
        except OSError:
            continue
    pytest.skip("no Python that another user can run")


@pytest.mark.slow
@pytest.mark.torch
async def test_pytorch_trains_inside(boxed: LocalSandbox, output: Path) -> None:
    pytest.importorskip("torch")
    program = textwrap.dedent("""
        import torch
        from torch.utils.data import DataLoader, TensorDataset
        torch.manual_seed(0)
        model = torch.nn.Linear(8, 1)
        data = TensorDataset(torch.randn(64, 8), torch.randn(64, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for inputs, targets in DataLoader(data, batch_size=16, num_workers=2):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
        torch.save(model.state_dict(), "out/model.pt")
        print(loss.isfinite().item())
    """)
    result = await boxed.run(phase(output, program, memory_mb=2048, seconds=120))
    assert (result.log, result.ok) == ("True\n", True)
    assert (output / "model.pt").stat().st_size > 100
