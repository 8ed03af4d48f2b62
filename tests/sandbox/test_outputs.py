"""Hostile outputs: nothing leaves the receiving folder, and bounds hold."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.core.errors import SandboxError
from recipelab.sandbox.docker.fetching import unreadable_in
from recipelab.sandbox.outputs import (
    MAX_DEPTH,
    MAX_REFUSED,
    OutputCollector,
    OutputLimitReached,
    PieceReader,
    collect_folder,
    collect_tar,
    name_fault,
    printable_name,
)

MAX_BYTES, MAX_FILES = 4096, 8
CANARY = "canary"

PLAIN_NAMES = ("a", "a/b", "./a", ".", "", "a//b", "a/./b", "x" * 300, "/".join("d" * 30))
BAD_NAMES = ("..", "../a", "a/../../b", "/etc/x", "/", "..\\a", "a\nb", "a\x00b", "\udcff")
names = st.builds(
    "{}{}".format,
    st.sampled_from(["out/", "out/", "out/", "", "bait/", "../"]),
    st.one_of(st.sampled_from((*PLAIN_NAMES, *BAD_NAMES, f"../{CANARY}")), st.text(max_size=20)),
)
kinds = st.sampled_from(
    (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)
) | st.sampled_from(
    (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, b"S", b"Z")
)
forms: st.SearchStrategy[Literal[0, 1, 2]] = st.sampled_from(
    (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
)
members = st.lists(
    st.tuples(names, kinds, st.binary(max_size=1500), st.sampled_from([0, 0, 0, 1, 1 << 40])),
    max_size=16,
)


def archive_of(
    entries: list[tuple[str, bytes, bytes, int]], form: Literal[0, 1, 2] = tarfile.GNU_FORMAT
) -> bytes:
    """A tar archive with the entries as they are; the last number is added to the true size."""
    buffer = io.BytesIO()
    for name, kind, content, lie in entries:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        info.size = len(content) + lie
        try:
            buffer.write(info.tobuf(form, "utf-8", "surrogateescape"))
        except (ValueError, UnicodeError):
            continue  # No archive can hold that name.
        buffer.write(content + bytes(-len(content) % 512))
    return buffer.getvalue() + bytes(1024)


def collected(data: bytes, output: Path, *, step: int = 700) -> OutputCollector:
    """Collects from an archive that arrives in pieces, as far as it goes."""
    collector = OutputCollector(output, max_bytes=MAX_BYTES, max_files=MAX_FILES)
    pieces = (data[begin : begin + step] for begin in range(0, len(data), step))
    with contextlib.suppress(OutputLimitReached, SandboxError):
        collect_tar(PieceReader(pieces, limit=1 << 20), collector)
    return collector


def assert_harmless(top: Path) -> None:
    """Nothing was made or changed beside ``out``; in it there are few small regular files."""
    assert sorted(path.name for path in top.iterdir()) == [CANARY, "out"]
    assert (top / CANARY).read_text() == "untouched"
    found = [path for path in (top / "out").rglob("*") if not path.is_dir()]
    assert all(path.is_file() and not path.is_symlink() for path in found)
    assert len(found) <= MAX_FILES
    assert sum(path.stat().st_size for path in found) <= MAX_BYTES


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A folder with an empty ``out`` and a file that must not change."""
    prepare(tmp_path)
    return tmp_path


def prepare(folder: Path) -> None:
    """Makes ``out`` and the canary."""
    (folder / "out").mkdir()
    (folder / CANARY).write_text("untouched")


@given(members, forms)
@settings(max_examples=300, deadline=None)
def test_hostile_archives(
    entries: list[tuple[str, bytes, bytes, int]], form: Literal[0, 1, 2]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        collector = collected(archive_of(entries, form), Path(folder, "out"))
        assert_harmless(Path(folder))
        assert len(collector.refused) <= MAX_REFUSED + 1
        assert len(collector.tampered) <= MAX_REFUSED
        assert all(line.isprintable() for line in collector.refused + collector.tampered)


@given(members, st.lists(st.tuples(st.integers(0, 8000), st.integers(0, 255)), max_size=6))
@settings(max_examples=300, deadline=None)
def test_damaged_archives(
    entries: list[tuple[str, bytes, bytes, int]], damage: list[tuple[int, int]]
) -> None:
    data = bytearray(archive_of(entries))
    for position, value in damage:
        data[position % len(data)] = value
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        collected(bytes(data), Path(folder, "out"))
        assert_harmless(Path(folder))


@given(st.integers(1, 1 << 40), st.sampled_from([b"L", b"K", b"x", b"g"]))
@settings(max_examples=20, deadline=None)
def test_long_headers_are_bounded(size: int, kind: bytes) -> None:
    info = tarfile.TarInfo("a")
    info.type, info.size = kind, size
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        yield info.tobuf(tarfile.GNU_FORMAT)
        while True:
            read += 4096
            yield b"9" * 4096

    with tempfile.TemporaryDirectory() as folder:
        collector = OutputCollector(Path(folder), max_bytes=MAX_BYTES, max_files=MAX_FILES)
        with pytest.raises((OutputLimitReached, SandboxError)):
            collect_tar(PieceReader(endless(), limit=100_000), collector)
    assert read <= 110_000


def test_good_files_come_through_between_bad_ones(top: Path) -> None:
    entries = [
        ("out", tarfile.DIRTYPE, b"", 0),
        ("out/a", tarfile.REGTYPE, b"first", 0),
        ("out/l", tarfile.SYMTYPE, b"", 0),
        ("out/a", tarfile.REGTYPE, b"again", 0),
        ("out/a/b", tarfile.REGTYPE, b"below a file", 0),
        ("out/../up", tarfile.REGTYPE, b"up", 0),
        ("out/d/e", tarfile.REGTYPE, b"deep", 0),
        ("bait", tarfile.DIRTYPE, b"", 0),
        ("bait/b", tarfile.REGTYPE, b"left in a tripwire", 0),
        ("bait/a\n", tarfile.SYMTYPE, b"", 0),
    ]
    collector = collected(archive_of(entries), top / "out")
    assert_harmless(top)
    assert (top / "out/a").read_bytes() == b"first"
    assert (top / "out/d/e").read_bytes() == b"deep"
    assert collector.refused == (
        "out/l (symbolic link)",
        "out/a (there is already an output of that name)",
        "out/a/b (there is already an output of that name)",
        "out/../up (its path leaves the folder)",
    )
    assert collector.tampered == (r"bait/a\n", "bait/b")


def test_what_tar_cannot_read_in_a_tripwire_counts_as_left_there() -> None:
    errors = (
        "tar: out/a: Cannot open: Permission denied\n"
        "tar: bait: Cannot open: Permission denied\n"
        "tar: answers/a/b: Cannot stat: Permission denied\n"
        "tar: Exiting with failure status due to previous errors\n"
    )
    assert unreadable_in(("answers", "bait"), errors) == [
        "bait: Cannot open: Permission denied",
        "answers/a/b: Cannot stat: Permission denied",
    ]
    assert unreadable_in((), errors) == []


def test_a_path_that_no_host_could_store(top: Path) -> None:
    name = "out/" + "/".join(["d" * 250] * 5)
    collector = collected(archive_of([(name, tarfile.REGTYPE, b"x", 0)]), top / "out")
    assert [line.rsplit(" (", 1)[1] for line in collector.refused] == ["its path is too long)"]


def test_archive_that_ends_early(top: Path) -> None:
    data = archive_of([("out/a", tarfile.REGTYPE, b"x" * 1000, 0)])[:900]
    collector = OutputCollector(top / "out", max_bytes=MAX_BYTES, max_files=MAX_FILES)
    with pytest.raises(SandboxError):
        collect_tar(PieceReader([data], limit=1 << 20), collector)


def test_declared_size_is_believed_before_reading(top: Path) -> None:
    data = archive_of([("out/a", tarfile.REGTYPE, b"", 1 << 40)])
    collector = OutputCollector(top / "out", max_bytes=MAX_BYTES, max_files=MAX_FILES)
    with pytest.raises(OutputLimitReached):
        collect_tar(PieceReader([data], limit=1 << 20), collector)
    assert collector.refused == ("out/a (too large)",)


def test_bounds_are_exact(top: Path) -> None:
    fits = [(f"out/{number}", tarfile.REGTYPE, b"x" * 512, 0) for number in range(MAX_FILES)]
    assert collected(archive_of(fits), top / "out").refused == ()
    assert len(list((top / "out").iterdir())) == MAX_FILES


def test_folder_with_everything(top: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = tmp_path_factory.mktemp("source")
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "a").write_text("a")
    os.link(source / "deep" / "er" / "a", source / "deep" / "er" / "b")
    (source / "link").symlink_to(top / CANARY)
    (source / "folder").symlink_to(top)
    (source / "loop").symlink_to(source)
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(source)  # A socket's path may not be long.
        listener.bind("socket")
        os.chdir(here)
        collector = OutputCollector(top / "out", max_bytes=MAX_BYTES, max_files=MAX_FILES)
        collect_folder(source, collector)
    assert_harmless(top)
    assert len(list((top / "out/deep/er").iterdir())) == 1
    assert sorted(line.split(" ", 1)[1] for line in collector.refused) == [
        "(hard link)",
        "(named pipe)",
        "(socket)",
        "(symbolic link)",
        "(symbolic link)",
        "(symbolic link)",
    ]


@pytest.mark.parametrize("replaced", ["missing", "link", "file"])
def test_out_itself_replaced(top: Path, tmp_path: Path, replaced: str) -> None:
    source = tmp_path / CANARY if replaced == "file" else tmp_path / "source"
    if replaced == "link":
        source.symlink_to(tmp_path)
    collector = OutputCollector(top / "out", max_bytes=MAX_BYTES, max_files=MAX_FILES)
    collect_folder(source, collector)
    assert list((top / "out").iterdir()) == []
    assert collector.refused == ("out/ (out/ itself was removed or replaced)",)


def test_very_deep_folder(top: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    source = tmp_path_factory.mktemp("source")
    deep = source.joinpath(*["d"] * 40)
    deep.mkdir(parents=True)
    (deep / "a").touch()
    collector = OutputCollector(top / "out", max_bytes=MAX_BYTES, max_files=MAX_FILES)
    collect_folder(source, collector)
    assert list((top / "out").iterdir()) == []
    assert [line.split(" ", 1)[1] for line in collector.refused] == ["(it lies too deep)"]


@given(st.text(max_size=400))
def test_printable_names_are_one_short_line(name: str) -> None:
    assert printable_name(name).isprintable()
    assert len(printable_name(name)) <= 120


@given(names)
def test_a_name_without_fault_stays_below(name: str) -> None:
    if name_fault(name) is None:
        path = Path("/top") / name
        assert os.path.normpath(path).startswith("/top/")
        assert len(path.parts) <= MAX_DEPTH + 2
