"""Brings one file from one source: Debian package, Python distribution, address or path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from recipelab.download import DownloadError, download
from recipelab.pack_parts import (
    CloneSource,
    DebianSource,
    PathSource,
    PypiSource,
    SdistSource,
    Source,
    UrlSource,
)

TIMEOUT_SECONDS = 300


class FetchError(Exception):
    """One source did not give the file.

    Attributes:
        place: The source, in words.
        reason: Why it failed.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


def fetch(
    source: Source, folder: Path, *, pack_root: Path, clone: Path | None, limit_bytes: int
) -> Path:
    """Brings a file from a source into a folder.

    Args:
        source: Where to look.
        folder: Existing empty folder to work in.
        pack_root: Where relative paths start.
        clone: The user's clone of upstream, if there is one.
        limit_bytes: A download longer than this is broken off.

    Returns:
        Path of the file, unchecked.

    Raises:
        FetchError: The source cannot be reached, or does not hold the file.
    """
    match source:
        case DebianSource():
            return _from_debian(source, folder)
        case PypiSource():
            return _from_pypi(source, folder)
        case SdistSource():
            return _from_sdist(source, folder)
        case UrlSource():
            return _from_url(source, folder, limit_bytes)
        case PathSource():
            return _from_path(source, pack_root)
        case CloneSource():
            return _from_clone(source, clone)


def _from_path(source: PathSource, pack_root: Path) -> Path:
    path = pack_root / Path(source.path).expanduser()
    if not path.is_file():
        raise FetchError(f"path {source.path}", "no such file")
    return path


def _from_url(source: UrlSource, folder: Path, limit_bytes: int) -> Path:
    # An archive holds more than the file, and says how much.
    limit = 2 * source.bytes if source.bytes is not None else limit_bytes
    try:
        path = download(source.url, limit_bytes=limit)
    except DownloadError as error:
        raise FetchError(source.url, str(error)) from None
    return path if source.member is None else _member(path, source.member, folder, source.url)


def _member(archive: Path, member: str, folder: Path, place: str) -> Path:
    try:
        with tarfile.open(archive) as opened:
            opened.extract(member, folder / "unpacked", filter="data")
    except (KeyError, tarfile.TarError, EOFError, OSError) as error:
        raise FetchError(place, f"it holds no {member}: {error}") from None
    return _inside(folder / "unpacked", member, place)


def _from_clone(source: CloneSource, clone: Path | None) -> Path:
    if clone is None:
        raise FetchError(f"clone {source.path}", "give the clone with --source")
    path = clone / source.path
    if not path.is_file():
        raise FetchError(f"clone {path}", "no such file; upstream's own tool fetches it there")
    return path


def _from_debian(source: DebianSource, folder: Path) -> Path:
    place = f"Debian package {source.package}"
    installed = Path("/") / source.path
    if installed.is_file():
        return installed
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise FetchError(place, "apt-get and dpkg-deb are not on this machine")
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", source.package]
    try:
        _run(command, folder, place)
    except FetchError:
        if os.geteuid() != 0:
            raise
        # A bare machine has no package lists yet; only root may fetch them.
        _run(["apt-get", "-qq", "update"], folder, place)
        _run(command, folder, place)
    archives = list(folder.glob("*.deb"))
    if not archives:
        raise FetchError(place, "the download left no package")
    unpacked = folder / "unpacked"
    _run(["dpkg-deb", "-x", str(archives[0]), str(unpacked)], folder, place)
    return _inside(unpacked, source.path, place)


def _from_pypi(source: PypiSource, folder: Path) -> Path:
    place = f"Python package {source.package}=={source.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    # Building an archive of sources would run its code; only wheels and plain unpacking are safe.
    wheel_only = ["--only-binary", ":all:"]
    _run([*pip, *wheel_only, "-d", ".", f"{source.package}=={source.version}"], folder, place)
    unpacked = folder / "unpacked"
    for archive in folder.iterdir():
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(unpacked)
        elif archive.name.endswith((".tar.gz", ".tar.bz2")):
            with tarfile.open(archive) as opened:
                opened.extractall(unpacked, filter="data")
    return _inside(unpacked, source.path, place)


def _from_sdist(source: SdistSource, folder: Path) -> Path:
    place = f"sources of Python package {source.package}=={source.version}"
    wanted = f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n"
    (folder / "wanted.txt").write_text(wanted, "utf-8")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    _run([*pip, "--no-binary", source.package, "-d", ".", "-r", "wanted.txt"], folder, place)
    unpacked = folder / "unpacked"
    for archive in folder.glob("*.tar.gz"):
        with tarfile.open(archive) as opened:
            opened.extractall(unpacked, filter="data")
    return _inside(unpacked, source.path, place)


def _inside(folder: Path, path: str, place: str) -> Path:
    found = (folder / path).resolve()
    if not found.is_relative_to(folder.resolve()) or not found.is_file():
        raise FetchError(place, f"it holds no file {path}")
    return found


def _run(command: list[str], folder: Path, place: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise FetchError(place, f"no answer within {TIMEOUT_SECONDS} s") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise FetchError(place, lines[-1] if lines else f"{command[0]} failed")
