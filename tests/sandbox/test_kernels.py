"""Kernels of a hub: what an image brings along, from a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recipelab.core.errors import RecipelabError
from recipelab.sandbox.kernels import copy_kernels, download_kernels, unavailable_kernels
from recipelab.sandbox.spec import KernelSpec, load_image_spec

from .test_container_table import spec_with

COMMIT = "c" * 40
VARIANT = "torch29-cxx11-cu128-x86_64-linux"
KERNEL = KernelSpec(repository="a/attention", variant="torch29-cxx11-cu128-{machine}-linux")
PLACE = f"models--a--attention/snapshots/{COMMIT}/build/{VARIANT}"


class Hub:
    """A hub that serves files of one repository, and a listing of them."""

    def __init__(self) -> None:
        self.files = {
            f"build/{VARIANT}/__init__.py": b"def attend(): return 7\n",
            f"build/{VARIANT}/_c.so": b"compiled",
            "build/torch29-cxx11-cu126-x86_64-linux/_c.so": b"for another CUDA",
            "README.md": b"",
        }
        self.said: dict[str, bytes] = dict(self.files)
        self.asked: list[str] = []

    def listing(self) -> bytes:
        siblings = [
            {
                "rfilename": name,
                "size": len(content),
                "lfs": {"sha256": hashlib.sha256(content).hexdigest()} if "so" in name else None,
            }
            for name, content in self.said.items()
        ]
        return json.dumps({"sha": COMMIT, "siblings": siblings}).encode()

    def reply(self, path: str) -> bytes | None:
        self.asked.append(path)
        if path == "/api/models/a/attention/revision/main?blobs=true":
            return self.listing()
        return self.files.get(path.removeprefix(f"/a/attention/resolve/{COMMIT}/"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that answers, and that the user's environment names."""
    opened = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = opened.reply(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield opened
        server.shutdown()


def test_a_kernel_lies_as_its_library_looks_for_it(hub: Hub, tmp_path: Path) -> None:
    said: list[str] = []
    top = download_kernels([KERNEL], "x86_64", said.append)
    assert said == ["kernel a/attention: cccccccccccc"]
    copy_kernels([KERNEL], top, tmp_path / "kernels")
    found = (path for path in (tmp_path / "kernels").rglob("*") if path.is_file())
    files = {path.relative_to(tmp_path / "kernels").as_posix(): path.read_text() for path in found}
    assert files == {
        "models--a--attention/refs/main": COMMIT,
        f"{PLACE}/__init__.py": "def attend(): return 7\n",
        f"{PLACE}/_c.so": "compiled",
    }


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (f"build/{VARIANT}/_c.so", b"complied", "another file than the listing says"),
        (f"build/{VARIANT}/__init__.py", b"def", "3 bytes, the listing says 23"),
    ],
)
def test_a_file_that_is_another_is_not_taken(
    name: str, content: bytes, words: str, hub: Hub, tmp_path: Path
) -> None:
    hub.files[name] = content
    said: list[str] = []
    top = download_kernels([KERNEL], "x86_64", said.append)
    assert words in said[0] and "the image will be without it" in said[0]
    copy_kernels([KERNEL], top, tmp_path / "kernels")
    assert list((tmp_path / "kernels").iterdir()) == []


@pytest.mark.parametrize("name", [f"build/{VARIANT}/../../../x", "/etc/x"])
def test_a_file_that_would_lie_elsewhere_is_refused(name: str, hub: Hub) -> None:
    hub.said[name] = b""
    said: list[str] = []
    download_kernels([KERNEL], "x86_64", said.append)
    assert "a file is named" in said[0] and len(hub.asked) == 1


def test_a_dry_run_asks_for_listings_alone(hub: Hub) -> None:
    other = KERNEL.model_copy(update={"repository": "a/none"})
    missing = unavailable_kernels([KERNEL, other], "x86_64")
    assert list(missing) == ["a/none"] and "Not Found" in missing["a/none"]
    assert all("/api/models/" in path for path in hub.asked) and len(hub.asked) == 2


def test_a_variant_that_is_not_there_is_named(hub: Hub) -> None:
    said: list[str] = []
    download_kernels([KERNEL], "aarch64", said.append)
    assert "it has no build/torch29-cxx11-cu128-aarch64-linux/" in said[0]


def test_without_a_hub_the_image_is_built_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said: list[str] = []
    download_kernels([KERNEL], "x86_64", said.append)
    assert "Connection refused" in said[0] and "the image will be without it" in said[0]


def test_the_shipped_sandbox_brings_what_nanochat_asks_for() -> None:
    """By the name in upstream's flash_attention.py, for the torch of the same image."""
    spec = load_image_spec("cuda-compile")
    (kernel,) = spec.kernels
    assert kernel.repository == "varunneal/flash-attention-3"
    assert kernel.variant.startswith("torch29-") and "torch==2.9.1" in spec.requirements.read_text()
    assert "COPY kernels /opt/recipelab/kernels" in (spec.folder / spec.dockerfile).read_text()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('repository = "attention"\nvariant = "v"', "owner/name on the hub"),
        ('repository = "a/b"', "variant: Field required; valid: a folder below build/"),
        ('repository = "a/b"\nvariant = "../v"', "valid: a folder below build/"),
        (
            'repository = "a/b"\nvariant = "v"\nversion = 1',
            "version: no such key; valid: repository, revision, variant",
        ),
    ],
)
def test_faults_of_a_kernel_are_named(table: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RecipelabError) as raised:
        spec_with(tmp_path, f"[[kernels]]\n{table}\n")
    assert "kernels.0" in str(raised.value) and words in str(raised.value)
