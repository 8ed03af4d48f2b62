"""Two phases at the same time, one that sends and one that listens: nothing may be heard."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipelab.sandbox import DockerSandbox, Input, LocalSandbox, PhaseRequest, Sandbox
from recipelab.sandbox.docker.options import DaemonFacts
from recipelab.sandbox.spec import ContainerProfile

from .helpers import phase, wait_until

USER = 65534

NOTHING = {"mincore", "fadvise"} if os.environ.get("RECIPELAB_TEST_DAEMON") == "gvisor" else set()
"""What a phase may call and hears nothing by: gVisor answers for all pages alike."""

COMMON = """
import ctypes, fcntl, mmap, os, struct, subprocess, sys, time
GET, SET = 36, 37  # Locks of an open file; fcntl has no names for them.
data, libc = open('data/train', 'rb'), ctypes.CDLL(None, use_errno=True)
def bytes_from(start, kind): return struct.pack('hhqqi4x', kind, 0, start, 1, 0)
"""

SENDER = f"""{COMMON}
nameless, held = os.eventfd(0), open('data/train', 'rb')
for act in (
    lambda: fcntl.flock(data, fcntl.LOCK_EX),
    lambda: fcntl.lockf(data, fcntl.LOCK_SH, 1, 1000),
    lambda: fcntl.fcntl(data, SET, bytes_from(2000, fcntl.F_RDLCK)),
    lambda: fcntl.lockf(nameless, fcntl.LOCK_EX, 1, 3000),
    lambda: data.read(),
):
    try: act()
    except OSError: pass
print('it has begun', flush=True)
if os.fork(): time.sleep(60)  # A process that closes a file loses its locks on it.
while True:
    open('data/train', 'rb').close()
    time.sleep(0.01)
"""
"""Holds locks, reads, says so, and opens the file again and again."""

LISTENER = f"""{COMMON}
def locked(file, get, start):
    found = fcntl.fcntl(file, get, bytes_from(start, fcntl.F_WRLCK))
    return struct.unpack('hhqqi4x', found)[0] != fcntl.F_UNLCK
def second(file, start):
    try: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, start)
    except BlockingIOError: return True
def refused(call, *arguments):
    try: call(*arguments)
    except BlockingIOError: return True
def opened():
    watcher = libc.inotify_init1(0)
    if watcher < 0 or libc.inotify_add_watch(watcher, b'data/train', 0x20) < 0: return False
    os.set_blocking(watcher, False)
    for _ in range(100):
        time.sleep(0.02)
        try: return bool(os.read(watcher, 4096))
        except BlockingIOError: pass
def pages(call):
    view = mmap.mmap(data.fileno(), 0, mmap.MAP_PRIVATE)
    return libc.mincore(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(view))),
        ctypes.c_size_t(1), ctypes.create_string_buffer(1)) == 0
CHANNELS = dict(
    atime=lambda: os.stat('data/train').st_atime != 1000,
    flock=lambda: refused(fcntl.flock, open('data/train', 'rb'), fcntl.LOCK_EX | fcntl.LOCK_NB),
    ranges=lambda: locked(data, fcntl.F_GETLK, 1000),
    ranges_of_open_files=lambda: locked(data, GET, 2000),
    ranges_of_nameless_files=lambda: second(os.eventfd(0), 3000),
    lease=lambda: refused(fcntl.fcntl, data, 1024, fcntl.F_WRLCK),
    inotify=opened,
    mincore=lambda: pages(libc.mincore),
    preadv2=lambda: os.preadv(data.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT) == 1,
    fadvise=lambda: os.posix_fadvise(data.fileno(), 0, 0, os.POSIX_FADV_DONTNEED) is None,
)
for name, listen in CHANNELS.items():
    try: heard = listen()
    except OSError as error: heard = False
    if heard: print(name)
"""
"""Prints the name of each channel that it heard something through."""

BY_INODE = {"ranges", "ranges_of_open_files", "flock", "lease", "inotify"}
"""Channels that inodes of one's own close."""

ANYWHERE = {"ranges_of_nameless_files", "mincore", "preadv2", "fadvise"}
"""Channels that a filter of system calls closes, and nothing else."""


class OneInode(DockerSandbox):
    """The sandbox as it would be without its defenses: all phases mount the same files."""

    def _options(self, request: PhaseRequest, inputs: Any) -> dict[str, Any]:
        for entry in request.inputs:
            place = inputs.folder / entry.target
            place.parent.mkdir(exist_ok=True)
            place.touch()
        bound = [(entry.source, entry.target) for entry in request.inputs]
        return super()._options(request, replace(inputs, layers=(), bound=bound))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file that was not read for long, of the user who runs commands (who alone may lease it)."""
    file = tmp_path / "train"
    file.write_bytes(bytes(2 << 20))  # Large enough to be linked.
    if os.getuid() == 0:
        os.chown(file, USER, USER)
    os.utime(file, (1000, 2000))
    return file


@contextlib.contextmanager
def asked(data: Path, tmp_path: Path, name: str, program: str) -> Iterator[PhaseRequest]:
    """The request of one of the two phases."""
    script, output = tmp_path / f"{name}.py", tmp_path / name
    script.write_text(program)
    output.mkdir()
    train = Input(data, "data", as_is=True) if data.is_dir() else Input(data, "data/train")
    inputs = (train, Input(script, "recipe/program.py"))
    yield phase(output, "python", "recipe/program.py", str(tmp_path), inputs=inputs, seconds=90)


async def heard(sandbox: Sandbox, data: Path, tmp_path: Path) -> set[str]:
    """The channels through which one phase hears another in the same sandbox."""
    with (
        asked(data, tmp_path, "sender", SENDER) as sends,
        asked(data, tmp_path, "listener", LISTENER) as listens,
    ):
        said: list[bytes] = []
        sender = asyncio.create_task(sandbox.run(replace(sends, tell=said.append)))
        try:
            await asyncio.to_thread(wait_until, lambda: said, seconds=60)
            result = await sandbox.run(listens)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
    assert result.ok, result.log
    return set(result.log.split())


@pytest.mark.docker
async def test_a_container_hears_nothing_of_another(
    docker_sandbox: Sandbox, data: Path, tmp_path: Path
) -> None:
    assert await heard(docker_sandbox, data, tmp_path) <= NOTHING


@pytest.mark.docker
async def test_nor_through_a_folder_that_is_mounted_where_it_lies(
    docker_sandbox: Sandbox, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    os.rename(data, folder / "train")
    assert await heard(docker_sandbox, folder, tmp_path) <= NOTHING


@pytest.mark.docker
async def test_nor_where_the_daemon_mounts_no_overlay(
    docker_image: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = DaemonFacts(cores=1, overlay_fault="no")
    monkeypatch.setattr("recipelab.sandbox.docker.sandbox.find_out", lambda *of: found)
    monkeypatch.setattr("recipelab.sandbox.docker.sandbox._facts", {})
    async with DockerSandbox(image=docker_image) as sandbox:
        # The time of a copy is that of the copying.
        assert await heard(sandbox, data, tmp_path) <= {"atime"}


@pytest.mark.host_kernel
@pytest.mark.docker
async def test_each_channel_would_be_heard(docker_image: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    profile = ContainerProfile(seccomp=tmp_path / "all.json")
    async with OneInode(image=docker_image, profile=profile) as sandbox:
        found = await heard(sandbox, data, tmp_path)
    # Only the owner of a file may lease it. Access times are not set through read-only mounts.
    assert found == (BY_INODE | ANYWHERE) - ({"lease"} if os.getuid() else set())


@pytest.mark.host_kernel
@pytest.mark.docker
async def test_inodes_of_its_own_are_not_the_filters_doing(
    docker_image: str, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "all.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    profile = ContainerProfile(seccomp=tmp_path / "all.json")
    async with DockerSandbox(image=docker_image, profile=profile) as sandbox:
        found = await heard(sandbox, data, tmp_path)
    assert not found & BY_INODE and "mincore" in found


async def test_what_the_local_sandbox_does_not_close_is_what_it_says(
    data: Path, tmp_path: Path
) -> None:
    async with LocalSandbox() as sandbox:
        if "in namespaces" not in (await sandbox.run(phase_of_nothing(tmp_path))).environment:
            pytest.skip("no namespaces here")
        found = await heard(sandbox, data, tmp_path)
    assert found <= {"flock"}


def phase_of_nothing(tmp_path: Path) -> PhaseRequest:
    (tmp_path / "nothing").mkdir()
    return phase(tmp_path / "nothing", "pass")
