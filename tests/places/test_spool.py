"""A stream over a shared folder: whole, in order, whatever lies there and however late it comes."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipelab.core.errors import SandboxError
from recipelab.places.spool import (
    ENDED,
    SESSIONS,
    Hello,
    TornFile,
    begin_session,
    driver_end,
    open_spool,
    read_hello,
    read_spooled,
    worker_end,
    write_spooled,
)

HELLO = Hello(job="12", restarts=1, node="n1")


@contextmanager
def session() -> Iterator[Path]:
    """A session's folder; a context, as hypothesis runs a test many times with one fixture."""
    with TemporaryDirectory() as folder:
        spool = Path(folder)
        for name in (SESSIONS, ENDED):
            (spool / name).mkdir()
        yield begin_session(spool, HELLO)


def place(row: Path, number: int, content: bytes) -> None:
    (row / f"{number:016d}").write_bytes(content)


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(1, 500))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_what_is_written_is_read(pieces: list[bytes], step: int) -> None:
    with session() as folder:
        near, far = driver_end(folder), worker_end(folder)
        for piece in pieces:
            near[1].write(piece)
            far[1].write(piece[::-1])
        back = b"".join(piece[::-1] for piece in pieces)
        assert await near[0].readexactly(len(back)) == back
        # What waits is sent before the end.
        near[1].close()
        read = bytearray()
        while part := await far[0].read(step):
            read += part
        assert bytes(read) == b"".join(pieces)
        far[1].close()
        assert await near[0].read() == b""
        await asyncio.gather(near[1].wait_closed(), far[1].wait_closed())
        # What was read is gone: all that is left says that this was the end.
        assert sum(path.is_file() for path in folder.rglob("*")) <= 3


async def test_much_more_than_may_wait_goes_through_a_slow_reader() -> None:
    content = random.Random(1).randbytes(48 << 20)
    with session() as folder:
        near, far = driver_end(folder), worker_end(folder)
        at = 0

        async def send() -> None:
            nonlocal at
            for at in range(0, len(content), 1 << 20):
                near[1].write(content[at : at + (1 << 20)])
                await near[1].drain()
            near[1].close()

        sending = asyncio.create_task(send())
        await asyncio.sleep(0.5)
        # Nobody reads: the writer waits, so that the disk holds a bounded part of it.
        lying = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert lying <= 9 * (4 << 20)
        assert await far[0].read() == content
        await sending
        far[1].close()


@given(st.permutations(range(6)), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_files_that_come_late_or_in_parts_are_read_whole_and_in_order(
    order: list[int], luck: random.Random
) -> None:
    with session() as folder, TemporaryDirectory() as elsewhere:
        pieces = [luck.randbytes(luck.randrange(1, 200)) for _ in order]
        for number, piece in enumerate(pieces):
            write_spooled(Path(elsewhere), number, piece, last=number == len(pieces) - 1)
        reader, writer = driver_end(folder)
        reading = asyncio.create_task(reader.read())
        row = folder / "to-driver"
        for number in order:
            whole = (Path(elsewhere) / f"{number:016d}").read_bytes()
            for cut in sorted(luck.randrange(len(whole)) for _ in range(2)):
                place(row, number, whole[:cut])
                await asyncio.sleep(0.002)
            place(row, number, whole)
        assert await asyncio.wait_for(reading, 10) == b"".join(pieces)
        writer.close()


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        place(Path(folder), 0, content)
        with pytest.raises(TornFile):
            read_spooled(Path(folder) / f"{0:016d}", 0)


@given(st.binary(max_size=100), st.data())
@settings(max_examples=100, deadline=None)
def test_a_file_with_one_other_byte_or_another_number_is_refused(
    content: bytes, data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        write_spooled(Path(folder), 3, content, last=False)
        path = Path(folder) / f"{3:016d}"
        assert read_spooled(path, 3) == (content, False)
        with pytest.raises(TornFile):
            read_spooled(path, 4)
        whole = bytearray(path.read_bytes())
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(whole)
        with pytest.raises(TornFile):
            read_spooled(path, 3)


async def test_links_pipes_folders_and_other_names_do_not_keep_a_reader(tmp_path: Path) -> None:
    incoming, outgoing = tmp_path / "in", tmp_path / "out"
    for folder in (incoming, outgoing):
        folder.mkdir()
    write_spooled(outgoing, 0, b"of another", last=False)
    (incoming / "another").write_bytes(b"nobody asked")
    for make in (
        lambda path: path.symlink_to(outgoing / f"{0:016d}"),
        os.mkfifo,
        os.mkdir,
    ):
        path = incoming / f"{0:016d}"
        make(path)
        reader, _ = open_spool(incoming, outgoing, patience=0.05)
        with pytest.raises(ConnectionError, match="cannot be read"):
            await asyncio.wait_for(reader.read(), 10)
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


async def test_an_end_whose_folder_is_taken_away_ends() -> None:
    with session() as folder:
        reader, writer = worker_end(folder)
        folder.rename(folder.with_name("gone"))
        with pytest.raises(FileNotFoundError):
            await asyncio.wait_for(reader.read(), 10)
        assert writer.is_closing()
        folder.with_name("gone").rename(folder)


async def test_a_call_and_its_answer_take_less_than_a_tenth_of_a_second_after_a_pause() -> None:
    """Ends that have been quiet look every tenth of a second; while something goes on, faster."""
    with session() as folder:
        near, far = driver_end(folder), worker_end(folder)

        async def ask() -> float:
            begin = time.monotonic()
            near[1].write(b"?")
            await far[0].readexactly(1)
            far[1].write(b"!")
            await near[0].readexactly(1)
            return time.monotonic() - begin

        await asyncio.sleep(0.6)
        await ask()
        # The median of several: a busy machine may keep any one of them.
        assert sorted([await ask() for _ in range(9)])[4] < 0.1
        near[1].close()
        far[1].close()


async def test_what_is_written_in_one_go_is_one_file(tmp_path: Path) -> None:
    incoming, outgoing = tmp_path / "in", tmp_path / "out"
    for folder in (incoming, outgoing):
        folder.mkdir()
    _, writer = open_spool(incoming, outgoing)
    await asyncio.sleep(0.3)  # By now it looks every tenth of a second.
    writer.write(b"head")
    writer.write(b"body")
    writer.close()
    await writer.wait_closed()
    assert read_spooled(outgoing / f"{0:016d}", 0) == (b"headbody", False)
    assert read_spooled(outgoing / f"{1:016d}", 1) == (b"", True)


def test_a_worker_says_who_it_is_and_what_else_lies_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / SESSIONS).mkdir()
    made = begin_session(tmp_path, HELLO)
    assert read_hello(made) == HELLO
    assert [path.name for path in (tmp_path / SESSIONS).iterdir()] == [made.name]
    with pytest.raises(SandboxError, match="is no session"):
        read_hello(tmp_path)
    for hostile in (b"", b"[" * 9000, b'{"job":"../../x","node":"n"}', b'{"job":"1","node":"a/b"}'):
        (made / "hello.json").write_bytes(hostile)
        with pytest.raises(SandboxError):
            read_hello(made)
    (made / "hello.json").unlink()
    os.mkfifo(made / "hello.json")
    with pytest.raises(SandboxError):
        read_hello(made)
