"""Brings compiled kernels of a hub into images, whose phases have no network to fetch them by.

Libraries such as Hugging Face's ``kernels`` download a kernel when it is first used. In a sandbox
they cannot, and recipes then fall back to something slower without a word. So ``sandbox build``
downloads on the host what ``[[kernels]]`` in ``sandbox.toml`` names, by the hub's own addresses,
and lays it out as that library keeps it: a folder that ``KERNELS_CACHE`` may point to.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from recipelab.core import content
from recipelab.core.errors import RecipelabError
from recipelab.sandbox.spec import KernelSpec

HUB = "https://huggingface.co"
HUB_VARIABLE = "HF_ENDPOINT"
"""Names the address of a mirror, as for the hub's own library."""
MAIN = "main"
"""What a recipe gets that asks for no revision."""
SECONDS = 60
_LARGEST = 2 << 30
_PIECE = 1 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}")

Progress = Callable[[str], None]


class KernelUnavailable(RecipelabError):
    """A kernel cannot be had; the message names it, its address and the reason."""


def download_kernels(kernels: Sequence[KernelSpec], machine: str, progress: Progress) -> Path:
    """Return a folder with the kernels, in the layout of the hub's cache.

    One that cannot be had is left out and told of: recipes have something in its place.

    Args:
        kernels: What to bring.
        machine: Processor, as ``x86_64``.
        progress: Called with lines for people.
    """
    top = content.cache_root() / "kernels"
    content.make_private(top)
    for kernel in kernels:
        try:
            progress(f"kernel {kernel.repository}: {_ensure(kernel, machine, top)[:12]}")
        except KernelUnavailable as error:
            progress(f"{error}; the image will be without it, and recipes take what PyTorch has")
    return top


def copy_kernels(kernels: Sequence[KernelSpec], source: Path, target: Path) -> None:
    """Copy those of some kernels that were downloaded, and nothing else of the cache."""
    target.mkdir()
    for kernel in kernels:
        folder = _folder(kernel)
        if (source / folder / "refs" / MAIN).is_file():
            shutil.copytree(source / folder, target / folder)


def unavailable_kernels(kernels: Sequence[KernelSpec], machine: str) -> dict[str, str]:
    """Return why kernels cannot be had, by their names; only listings are asked for."""
    found = {}
    for kernel in kernels:
        try:
            _listed(kernel, machine)
        except KernelUnavailable as error:
            found[kernel.repository] = str(error).removeprefix(f"kernel {kernel.repository}: ")
    return found


def _listed(kernel: KernelSpec, machine: str) -> tuple[str, dict[str, Mapping[str, Any]]]:
    """Return the commit of a kernel and the files that fit the image, as the hub lists them.

    Raises:
        KernelUnavailable: The hub cannot be reached, or has no such kernel.
    """
    wanted = f"build/{kernel.variant.replace('{machine}', machine)}/"
    revision = quote(kernel.revision, safe="")
    place = f"{_hub()}/api/models/{kernel.repository}/revision/{revision}"
    try:
        table = json.loads(_read(f"{place}?blobs=true"))
        commit, files = str(table["sha"]), _files(table, wanted)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise KernelUnavailable(f"kernel {kernel.repository}: {place}: {error}") from None
    if not _COMMIT.fullmatch(commit) or not files:
        raise KernelUnavailable(f"kernel {kernel.repository}: {place}: it has no {wanted}")
    return commit, files


def _ensure(kernel: KernelSpec, machine: str, top: Path) -> str:
    """Make sure that a kernel is in the cache, and return its commit.

    Raises:
        KernelUnavailable: The hub cannot be reached, or has no such kernel.
    """
    commit, files = _listed(kernel, machine)
    with tempfile.TemporaryDirectory(prefix="partial-", dir=top) as partial:
        snapshot = Path(partial) / "snapshots" / commit
        for name, entry in files.items():
            address = f"{_hub()}/{kernel.repository}/resolve/{commit}/{quote(name)}"
            try:
                _fetch(address, snapshot / name, entry)
            except (OSError, http.client.HTTPException) as error:
                raise KernelUnavailable(f"kernel {kernel.repository}: {error}") from None
        (Path(partial) / "refs").mkdir()
        (Path(partial) / "refs" / MAIN).write_text(commit, "ascii")
        final = top / _folder(kernel)
        shutil.rmtree(final, ignore_errors=True)
        shutil.copytree(partial, final)
    return commit


def _hub() -> str:
    return os.environ.get(HUB_VARIABLE, HUB).rstrip("/")


def _folder(kernel: KernelSpec) -> str:
    return f"models--{kernel.repository.replace('/', '--')}"


def _files(table: Mapping[str, Any], below: str) -> dict[str, Mapping[str, Any]]:
    """Return the files of a listing that lie below a folder, by name."""
    found = {str(entry["rfilename"]): entry for entry in table["siblings"]}
    odd = [name for name in found if ".." in PurePosixPath(name).parts or name.startswith("/")]
    if odd:
        raise ValueError(f"a file is named {odd[0]!r}")
    return {name: entry for name, entry in found.items() if name.startswith(below)}


def _read(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=SECONDS) as reply:
        return bytes(reply.read(_PIECE))


def _fetch(address: str, target: Path, entry: Mapping[str, Any]) -> None:
    """Download a file, and hold it to the size and, for a large one, the hash of the listing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with urllib.request.urlopen(address, timeout=SECONDS) as reply, target.open("wb") as stream:
        while (piece := reply.read(_PIECE)) and size <= _LARGEST:
            size += len(piece)
            digest.update(piece)
            stream.write(piece)
    expected = (entry.get("lfs") or {}).get("sha256")
    if expected is not None and digest.hexdigest() != expected:
        raise OSError(f"{address}: another file than the listing says: sha256 {digest.hexdigest()}")
    if entry.get("size") not in (None, size):
        raise OSError(f"{address}: {size:,} bytes, the listing says {entry['size']:,}")
