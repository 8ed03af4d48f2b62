"""Data files: fetched once, from whichever source answers, and never the wrong one."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from recipelab.core.errors import DataError
from recipelab.packs.data import ensure_data
from recipelab.packs.data_sections import DataFile
from recipelab.packs.pack import Pack

CONTENT = b"nine little numbers\n" * 40


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on this machine, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}", folder
        serving.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def pack_with(pack: Pack, **item: object) -> Pack:
    base = {"file": "x.gz", "sha256": sha256(CONTENT), "bytes": len(CONTENT), "license": "MIT"}
    return pack.model_copy(update={"data": (DataFile.model_validate(base | item),)})


def quiet(text: str) -> None:
    """Hears nothing."""


def test_a_url_is_fetched_once(toy: Pack, server: tuple[str, Path]) -> None:
    address, folder = server
    (folder / "x").write_bytes(CONTENT)
    pack = pack_with(toy, sources=[{"kind": "url", "url": f"{address}/x"}])
    said: list[str] = []
    path = ensure_data(pack, say=said.append)["x.gz"]
    assert path.read_bytes() == CONTENT
    (folder / "x").unlink()
    assert ensure_data(pack, say=said.append)["x.gz"] == path
    assert len(said) == 1


def test_the_next_source_is_tried(toy: Pack, server: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = server
    (folder / "wrong").write_bytes(b"something else")
    (tmp_path / "right").write_bytes(CONTENT)
    sources = [
        {"kind": "url", "url": f"{address}/gone"},
        {"kind": "url", "url": f"{address}/wrong"},
        {"kind": "path", "path": str(tmp_path / "right")},
    ]
    assert ensure_data(pack_with(toy, sources=sources), say=quiet)["x.gz"].read_bytes() == CONTENT


def test_no_source_lists_why_each_failed(toy: Pack, server: tuple[str, Path]) -> None:
    address, folder = server
    (folder / "wrong").write_bytes(b"something else")
    (folder / "long").write_bytes(b"x" * 10 * len(CONTENT))
    sources = [
        {"kind": "url", "url": f"{address}/{name}"} for name in ("gone", "wrong", "long")
    ] + [{"kind": "path", "path": "nowhere.bin"}]
    with pytest.raises(DataError) as caught:
        ensure_data(pack_with(toy, sources=sources), say=quiet)
    for words in ("gone: File not found", "another file: 14 bytes", "longer than", "nowhere.bin"):
        assert words in str(caught.value)


def test_data_compressed_anew_is_the_same_data(toy: Pack, tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(CONTENT, compresslevel=1))
    sources = [{"kind": "path", "path": str(tmp_path / "x.gz")}]
    other = sha256(gzip.compress(CONTENT, compresslevel=9))
    pack = pack_with(toy, sha256=other, content_sha256=sha256(CONTENT), sources=sources)
    path = ensure_data(pack, say=quiet)["x.gz"]
    assert gzip.decompress(path.read_bytes()) == CONTENT
    with pytest.raises(DataError):
        ensure_data(pack_with(toy, sha256=other, sources=sources), say=quiet)


def test_a_damaged_cache_is_mended(toy: Pack, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    pack = pack_with(toy, sources=[{"kind": "path", "path": str(tmp_path / "x")}])
    path = ensure_data(pack, say=quiet)["x.gz"]
    path.chmod(0o644)
    path.write_bytes(CONTENT[:-1] + b"!")
    assert ensure_data(pack, say=quiet)["x.gz"].read_bytes() == CONTENT
