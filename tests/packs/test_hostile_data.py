"""Data from where nobody is trusted: archives that lie, and servers that do not end."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from recipelab.packs import sources
from recipelab.packs.data_folder import Found, gzip_sha256
from recipelab.packs.data_sections import UrlSource
from recipelab.packs.sources import Fetcher, FetchError, Places
from tests.models.server import hostile

MEMBER = "data/x.bin"
LIMIT = 1_000


@pytest.fixture
def fetcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetcher:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "scratch").mkdir()
    return Fetcher(tmp_path / "scratch", Places(tmp_path), limit_bytes=LIMIT)


def tar(*members: tarfile.TarInfo, content: bytes = b"x", packed: bool = True) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for member in members:
            if member.isreg():
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                archive.addfile(member)
    return gzip.compress(raw.getvalue()) if packed else raw.getvalue()


def member(name: str = MEMBER, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zipped(content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", compression) as archive:
        archive.writestr(MEMBER, content)
    return raw.getvalue()


def patched(data: bytes, at: bytes, offset: int, value: bytes) -> bytes:
    """Changes a field behind each of the places where some bytes are."""
    start = 0
    while (place := data.find(at, start)) >= 0:
        data = data[: place + offset] + value + data[place + offset + len(value) :]
        start = place + 1
    return data


SOUND = b"s" * LIMIT
LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
ENCRYPTED = patched(patched(zipped(SOUND), LOCAL, 6, b"\x01"), CENTRAL, 8, b"\x01")
UNKNOWN = patched(patched(zipped(SOUND), LOCAL, 8, b"\x61"), CENTRAL, 10, b"\x61")
BOMB = bytes(80_000_000)
LONG_NAME = member("././@LongLink", tarfile.GNUTYPE_LONGNAME)
LONG_NAME.size = 1 << 36


@pytest.mark.parametrize(
    "archive",
    [
        tar(member(), content=SOUND),
        tar(member(f"./{MEMBER}"), content=SOUND, packed=False),
        lzma.compress(tar(member("other"), member(), content=SOUND, packed=False)),
        zipped(SOUND),
    ],
    ids=["tar.gz", "tar", "tar.xz", "zip"],
)
def test_the_file_is_taken_out_of_any_archive(fetcher: Fetcher, archive: bytes) -> None:
    path = fetcher.scratch / "archive"
    path.write_bytes(archive)
    assert fetcher.take(Found(path, MEMBER)).read_bytes() == SOUND


HOSTILE = {
    "a link out": tar(member(kind=tarfile.SYMTYPE, link="/etc/passwd")),
    "a hard link out": tar(member(kind=tarfile.LNKTYPE, link="../../../etc/passwd")),
    "a device": tar(member(kind=tarfile.CHRTYPE)),
    "a pipe": tar(member(kind=tarfile.FIFOTYPE)),
    "a folder": tar(member(kind=tarfile.DIRTYPE)),
    "a link, then a file through it": tar(
        member("data", kind=tarfile.SYMTYPE, link="/tmp"), member("data/y"), content=b"y"
    ),
    "too long": tar(member(), content=b"x" * (LIMIT + 1)),
    "a bomb before it": tar(member("bomb"), member(), content=BOMB),
    "a bomb in a name": gzip.compress(LONG_NAME.tobuf(tarfile.GNU_FORMAT) + BOMB),
    "a zip bomb": zipped(BOMB),
    "an encrypted zip": ENCRYPTED,
    "a zip of an unknown kind": UNKNOWN,
    "a zip that lies": patched(zipped(BOMB), CENTRAL, 24, struct.pack("<I", 9)),
    "no archive": b"x" * 100,
    "cut off": tar(member(), content=SOUND)[:-30],
    "cut off in the head": lzma.compress(tar(member()))[:20],
    "empty": b"",
}


@pytest.mark.parametrize("archive", HOSTILE.values(), ids=HOSTILE)
def test_nothing_else_comes_out_of_an_archive(fetcher: Fetcher, archive: bytes) -> None:
    path = fetcher.scratch / "archive"
    path.write_bytes(archive)
    with pytest.raises(FetchError, match=f"it holds no {MEMBER}"):
        fetcher.take(Found(path, MEMBER))
    left = [file for file in fetcher.scratch.rglob("*") if file.is_file() and file != path]
    assert sum(file.lstat().st_size for file in left) <= LIMIT


def test_a_bomb_has_no_hash(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(BOMB))
    assert gzip_sha256(tmp_path / "x.gz") is None
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"x" * 1_000_000))
    assert gzip_sha256(tmp_path / "x.gz") is not None


def head(handler: BaseHTTPRequestHandler, **headers: str) -> None:
    handler.send_response(200)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def endless(handler: BaseHTTPRequestHandler) -> None:
    head(handler)
    while True:
        handler.wfile.write(b"x" * 65_536)


def too_little(handler: BaseHTTPRequestHandler) -> None:
    head(handler, Content_Length="900")
    handler.wfile.write(b"x")


def no_length(handler: BaseHTTPRequestHandler) -> None:
    head(handler, Content_Length="many")
    handler.wfile.write(b"x")


def sent_on(place: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", place)
        handler.end_headers()

    return answer


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (endless, "longer than 1,000 bytes"),
        (too_little, "broken off after 1 bytes"),
        (sent_on("file:///etc/passwd"), "file:///etc/passwd"),
        (sent_on("ftp://127.0.0.1/x"), "which is not followed"),
        (sent_on("/again"), "infinite loop"),
        (sent_on("http://[/"), "Invalid IPv6 URL"),
    ],
)
def test_a_server_that_means_no_good_gives_nothing(
    fetcher: Fetcher, answer: Callable[[BaseHTTPRequestHandler], None], told: str
) -> None:
    with hostile(answer) as (url, _), pytest.raises(FetchError, match=told):
        fetcher.fetch(UrlSource(kind="url", url=f"{url}/x"))


def test_a_length_that_is_no_number_is_not_heard(fetcher: Fetcher) -> None:
    with hostile(no_length) as (url, _):
        path = fetcher.fetch(UrlSource(kind="url", url=f"{url}/x"))
    assert path.read_bytes() == b"x"


def test_a_server_that_drips_is_given_up(fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PATIENT_SECONDS", 0)
    monkeypatch.setattr(sources, "LEAST_SPEED", 1e12)
    with hostile(endless) as (url, _), pytest.raises(FetchError, match="too slow"):
        fetcher.limit_bytes = 1 << 40
        fetcher.fetch(UrlSource(kind="url", url=f"{url}/x"))


@pytest.mark.skipif(not os.path.exists("/usr/bin/dpkg-deb"), reason="no dpkg-deb")
def test_a_package_leaves_no_device_and_no_program_of_root(fetcher: Fetcher) -> None:
    import subprocess

    tree = fetcher.scratch / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: x\n"
    )
    (tree / "data").mkdir()
    (tree / "data/x.bin").write_bytes(SOUND)
    (tree / "data/root").write_bytes(b"x")
    (tree / "data/root").chmod(0o4755)
    package = fetcher.scratch / "x.deb"
    subprocess.run(["dpkg-deb", "--build", tree, package], check=True, capture_output=True)
    taken = fetcher.take(Found(package, MEMBER))
    assert taken.read_bytes() == SOUND
    assert [path for path in taken.parent.rglob("*") if path.name == "root"] == []
