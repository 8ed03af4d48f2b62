"""Data without a network: found by what it is, checked by size where no hash is known."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from recipelab.cli.app import app
from recipelab.core.errors import DataError
from recipelab.packs.data import cached_path, ensure_data, forget_first_seen, is_here, size_text
from recipelab.packs.data_folder import DataFolder, archive_of
from recipelab.packs.data_sections import DataFile, PathSource, expanded_path
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack

from .scripts import SHIPPED

CONTENT = b"ten thousand images\n" * 50
NOWHERE = {"kind": "path", "path": "nowhere/x.bin"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def item(content: bytes | None = CONTENT, *sources: dict[str, Any], **more: Any) -> DataFile:
    """A data file of that content; without content, one whose hash nobody knows."""
    digest = {"sha256": sha256(content)} if content is not None else {}
    table = {"file": "x.bin", "bytes": len(CONTENT), "license": "MIT", **digest, **more}
    return DataFile.model_validate({**table, "sources": sources or (NOWHERE,)})


@pytest.fixture
def with_data(toy: Pack) -> Callable[..., Pack]:
    """Gives the toy pack with data files of a test's own."""
    return lambda *items: toy.model_copy(update={"data": items})


def quiet(text: str) -> None:
    """Hears nothing."""


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# By hash.


def test_a_file_is_found_by_its_hash_whatever_its_name(
    with_data: Callable[..., Pack], tmp_path: Path
) -> None:
    write(tmp_path / "disk/x.bin", b"another file of that name")
    right = write(tmp_path / "disk/deep/er/renamed.bak", CONTENT)
    said: list[str] = []
    pack = with_data(item())
    found = ensure_data(pack, say=said.append, folder=tmp_path / "disk")
    assert found["x.bin"].read_bytes() == CONTENT
    assert said == [f"x.bin: 1.0 kB from {right} (MIT)"]


def test_what_was_compressed_anew_is_found_by_its_content(
    with_data: Callable[..., Pack], tmp_path: Path
) -> None:
    theirs, ours = (gzip.compress(CONTENT, level, mtime=0) for level in (9, 1))
    write(tmp_path / "disk/ours.gz", ours)
    wanted = item(theirs, bytes=len(theirs), content_sha256=sha256(CONTENT))
    found = ensure_data(with_data(wanted), say=quiet, folder=tmp_path / "disk")
    assert gzip.decompress(found["x.bin"].read_bytes()) == CONTENT


def archives(top: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """An archive of each kind that a pack may name, with the source that names it."""
    inside = write(top / "made/data/batch_1", CONTENT)
    tar = top / "disk/a/batches-python.tar.gz"
    tar.parent.mkdir(parents=True)
    with tarfile.open(tar, "w:gz") as packed:
        packed.add(inside, "data/batch_1")
    url = {"kind": "url", "url": "http://127.0.0.1:9/files/batches-python.tar.gz?download=1"}
    wheel = top / "disk/Some_Data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as zipped:
        zipped.write(inside, "data/batch_1")
    sdist = top / "disk/old/some-data-1.0.tar.gz"
    sdist.parent.mkdir()
    tar_bytes = tar.read_bytes()
    sdist.write_bytes(tar_bytes)
    inner, package = "data/batch_1", {"package": "some.data", "version": "1.0"}
    return {
        "url": (tar, {**url, "bytes": tar.stat().st_size, "member": inner}),
        "pypi": (wheel, {"kind": "pypi", "path": inner, **package}),
        "sdist": (sdist, {"kind": "sdist", "path": inner, "sha256": sha256(tar_bytes), **package}),
    }


@pytest.mark.parametrize("kind", ["url", "pypi", "sdist"])
def test_a_file_is_taken_out_of_an_archive_that_a_source_names(
    with_data: Callable[..., Pack], tmp_path: Path, kind: str
) -> None:
    archive, source = archives(tmp_path)[kind]
    said: list[str] = []
    found = ensure_data(with_data(item(CONTENT, source)), say=said.append, folder=tmp_path / "disk")
    assert found["x.bin"].read_bytes() == CONTENT
    assert said == [f"x.bin: 1.0 kB from {archive}, data/batch_1 (MIT)"]


def test_an_archive_without_the_file_is_told(
    with_data: Callable[..., Pack], tmp_path: Path
) -> None:
    archive, source = archives(tmp_path)["url"]
    archive.write_bytes(archive.read_bytes()[:40])
    with pytest.raises(DataError, match=r"batches-python\.tar\.gz: it holds no data/batch_1: "):
        ensure_data(with_data(item(CONTENT, source)), say=quiet, folder=tmp_path / "disk")


def test_links_are_followed_and_may_lead_in_a_circle(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/deep/x.bin", CONTENT)
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "up").symlink_to(disk)
    (disk / "data").symlink_to(tmp_path / "elsewhere")
    (disk / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(disk / "pipe")
    (found,) = DataFolder(disk).candidates(item())
    assert found.path == disk / "data/deep/x.bin"


@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(
        st.sampled_from(["x.bin", "a", "b/x.bin", "b/c", "b/d/a", "e/e"]), max_size=6, unique=True
    ),
    contents=st.lists(st.binary(min_size=9, max_size=11), min_size=6, max_size=6),
    wanted=st.integers(0, 6),
)
def test_of_any_folder_the_files_with_the_hash_are_candidates(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], contents: list[bytes], wanted: int
) -> None:
    top = tmp_path_factory.mktemp("any")
    pairs = list(zip(names, contents, strict=False))
    files = {write(top / name, content): content for name, content in pairs}
    asked = [*contents, b"not there!"][wanted]
    found = list(DataFolder(top).candidates(item(asked, bytes=len(asked))))
    paths = {one.path for one in found if one.problem is None}
    right = {path for path, content in files.items() if content == asked}
    assert right <= paths, "all that have the hash"
    assert all(path.name == "x.bin" for path in paths - right), "besides, those of the name"
    assert bool(paths) != any(one.problem for one in found)


@given(
    words=st.lists(st.from_regex(r"[A-Za-z0-9]{1,5}", fullmatch=True), min_size=1, max_size=3),
    marks=st.lists(st.sampled_from("-_."), min_size=4, max_size=4),
)
def test_a_distribution_is_known_by_any_spelling_of_its_name(
    words: list[str], marks: list[str]
) -> None:
    asked, given = (
        words[0] + "".join(map(str.__add__, by, words[1:])) for by in (marks, marks[2:])
    )
    source = {"kind": "pypi", "package": asked, "version": "1.0", "path": "x"}
    archive = archive_of(item(CONTENT, source).sources[0])
    assert archive is not None
    assert archive.fits(f"{given.upper()}-1.0-py3-none-any.whl")
    assert not archive.fits(f"{given}-1.00-py3-none-any.whl")
    assert not archive.fits(f"more_{given}-1.0-py3-none-any.whl")


# Without a hash.


def test_without_a_hash_name_and_size_decide_and_the_real_size_is_told(
    with_data: Callable[..., Pack], tmp_path: Path
) -> None:
    write(tmp_path / "disk/x.bin", CONTENT[: int(0.9 * len(CONTENT))])
    said: list[str] = []
    pack = with_data(item(None))
    ensure_data(pack, say=said.append, folder=tmp_path / "disk")
    assert said[0].startswith("x.bin: 0.9 kB from ")
    assert said[0].endswith("/x.bin, by its size (MIT)")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.79, 1.21, 3.0])
def test_a_file_that_was_cut_off_is_not_pinned(
    with_data: Callable[..., Pack], tmp_path: Path, share: float
) -> None:
    size = int(share * len(CONTENT))
    source = write(tmp_path / "x.bin", b"x" * size)
    cut = item(None, {"kind": "path", "path": str(source)})
    pack = with_data(cut)
    with pytest.raises(DataError) as caught:
        ensure_data(pack, say=quiet)
    assert f"{size:,} bytes, where 1,000 are expected, give or take 20%" in str(caught.value)
    assert not is_here(cut, pack.root)
    source.write_bytes(CONTENT)
    assert ensure_data(pack, say=quiet)["x.bin"].read_bytes() == CONTENT


def test_a_pack_says_how_far_a_size_may_be_off(
    with_data: Callable[..., Pack], tmp_path: Path
) -> None:
    source = write(tmp_path / "x.bin", b"x" * 1490)
    wide = item(None, {"kind": "path", "path": str(source)}, tolerance=0.5)
    ensure_data(pack := with_data(wide), say=quiet)
    assert is_here(wide, pack.root)
    narrow = item(None, {"kind": "path", "path": str(source)})
    assert not is_here(narrow, pack.root)


def test_of_files_with_one_name_the_one_that_lies_as_upstream_has_it_is_taken(
    with_data: Callable[..., Pack], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    write(disk / "a/sp1024/x.bin", b"1" * len(CONTENT))
    right = write(disk / "b/sp8192/x.bin", CONTENT)
    wanted = item(None, {"kind": "clone", "path": "data/sp8192/x.bin"})
    said: list[str] = []
    ensure_data(with_data(wanted), say=said.append, folder=disk)
    assert f"from {right}, by its size " in said[0]


def test_two_different_files_of_one_name_are_not_guessed_between(
    with_data: Callable[..., Pack], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    one, two = write(disk / "a/x.bin", CONTENT), write(disk / "b/x.bin", b"1" * len(CONTENT))
    with pytest.raises(DataError) as caught:
        ensure_data(with_data(item(None)), say=quiet, folder=disk)
    assert f"2 different files x.bin, and no hash to tell: {one}, {two}" in str(caught.value)
    two.write_bytes(CONTENT)
    ensure_data(with_data(item(None)), say=quiet, folder=disk)


# The hash that was seen first.


@pytest.fixture
def pinned(with_data: Callable[..., Pack], tmp_path: Path) -> tuple[Pack, Path]:
    """A pack whose one file without a hash was fetched, and the file that it came from."""
    source = write(tmp_path / "x.bin", CONTENT)
    pack = with_data(item(None, {"kind": "clone", "path": "x.bin"}), item(file="y.bin"))
    with pytest.raises(DataError, match=r"cannot get y\.bin"):
        ensure_data(pack, say=quiet, clone=tmp_path)
    return pack, source


def test_a_file_that_differs_from_the_first_says_how_to_forget_that(
    pinned: tuple[Pack, Path],
) -> None:
    pack, source = pinned
    source.write_bytes(CONTENT[::-1])
    cached_path(pack.data[0], pack.root).unlink()
    with pytest.raises(DataError) as caught:
        ensure_data(pack, say=quiet, clone=source.parent)
    assert "not the one fetched first: 1,000 bytes" in str(caught.value)
    assert "recipelab packs fetch toy --profile mini --forget x.bin" in str(caught.value)


def test_what_was_seen_first_can_be_forgotten(pinned: tuple[Pack, Path]) -> None:
    pack, source = pinned
    source.write_bytes(CONTENT[::-1])
    assert forget_first_seen(pack, ["x.*"]) == ("x.bin",)
    one = pack.model_copy(update={"data": pack.data[:1]})
    found = ensure_data(one, say=quiet, clone=source.parent)
    assert found["x.bin"].read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("y.bin", "the pack has the hash of y.bin: there is nothing to forget"),
        ("z*", "toy has no data file 'z*' without a hash; valid: x.bin, or a pattern"),
    ],
)
def test_only_what_was_seen_first_can_be_forgotten(
    pinned: tuple[Pack, Path], pattern: str, words: str
) -> None:
    pack, _ = pinned
    with pytest.raises(DataError) as caught:
        forget_first_seen(pack, ["x.bin", pattern])
    assert words in str(caught.value)
    assert is_here(pack.data[0], pack.root), "nothing is forgotten by half"


# What is missing is told at once.


def test_all_that_is_missing_is_told_in_one_go_and_the_rest_is_kept(
    with_data: Callable[..., Pack], tmp_path: Path
) -> None:
    """A disk is carried to an air-gapped machine once, not once for each missing file."""
    here = {"kind": "path", "path": str(write(tmp_path / "last.bin", CONTENT))}
    gone = {"kind": "url", "url": "http://127.0.0.1:9/x"}
    missing = [item(CONTENT, gone, file=f"shard_{n}.bin") for n in range(9)]
    pack = with_data(*missing, item(CONTENT, here, file="last.bin"))
    with pytest.raises(DataError) as caught:
        ensure_data(pack, say=quiet)
    told = str(caught.value)
    assert "cannot get shard_0.bin" in told and "Connection refused" in told
    assert "shard_1.bin" in told and "127.0.0.1:9 could not be reached before" in told
    assert "and 6 more: shard_3.bin, shard_4.bin, shard_5.bin, shard_6.bin" in told
    assert "recipelab packs fetch toy --profile mini --data FOLDER" in told
    assert is_here(pack.data[-1], pack.root)


def test_a_source_that_may_not_be_read_is_no_traceback(
    with_data: Callable[..., Pack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "x.bin", CONTENT)

    def refused(*paths: object) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr("recipelab.packs.data.shutil.copyfile", refused)
    with pytest.raises(DataError, match=f"path: Permission denied: {source}"):
        ensure_data(with_data(item(CONTENT, {"kind": "path", "path": str(source)})), say=quiet)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0.0 kB"), (17_300, "17.3 kB"), (200_001_024, "200.0 MB"), (17_262_000_000, "17.26 GB")],
)
def test_sizes_are_told_in_their_own_unit(size: int, text: str) -> None:
    assert size_text(size) == text


# Variables in paths.


def test_a_path_follows_a_variable_or_its_default(
    with_data: Callable[..., Pack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "default/x.bin", CONTENT)
    write(tmp_path / "moved/x.bin", CONTENT[::-1])
    path = f"${{LAB_BASE:-{tmp_path}/default}}/x.bin"
    wanted = item(None, {"kind": "path", "path": path})
    monkeypatch.delenv("LAB_BASE", raising=False)
    pack = with_data(wanted)
    said: list[str] = []
    assert ensure_data(pack, say=said.append)["x.bin"].read_bytes() == CONTENT
    assert said == [f"x.bin: 1.0 kB from {tmp_path}/default/x.bin, as it is now (MIT)"]
    monkeypatch.setenv("LAB_BASE", str(tmp_path / "moved"))
    assert ensure_data(pack, say=quiet)["x.bin"].read_bytes() == CONTENT[::-1]


def test_a_relative_variable_starts_where_the_user_is(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_BASE", "here")
    assert expanded_path("${LAB_BASE}/x") == project / "here/x"
    assert expanded_path("fixed/${LAB_BASE}/x") == Path("fixed/here/x")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert expanded_path("${UNSET_BASE:-~/.cache/lab}/x") == Path("/home/somebody/.cache/lab/x")


def test_a_variable_without_default_that_is_not_set_is_a_reason(
    with_data: Callable[..., Pack], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAB_BASE", raising=False)
    pack = with_data(item(CONTENT, {"kind": "path", "path": "${LAB_BASE}/x"}))
    with pytest.raises(DataError, match=r"path \$\{LAB_BASE\}/x: \$LAB_BASE is not set"):
        ensure_data(pack, say=quiet)


@pytest.mark.parametrize("path", ["$HOME/x", "${HOME/x", "${1}", "${A:=x}", "${A-x}", "a$", "${}"])
def test_variables_in_another_notation_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"variables are written \$\{NAME\} or"):
        PathSource(kind="path", path=path)


_TEXTS = st.text("abc/._- ~", max_size=6)


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(st.tuples(_TEXTS, st.sampled_from("ABC"), _TEXTS), min_size=1, max_size=3),
    values=st.dictionaries(st.sampled_from("ABC"), st.text("xyz/.", max_size=4)),
)
@example(parts=[("", "A", "~/b"), ("/", "B", "")], values={"A": ""})
def test_variables_mean_what_they_mean_to_a_shell(
    parts: list[tuple[str, str, str]], values: dict[str, str]
) -> None:
    text = "/" + "".join(f"{before}${{{name}:-{default}}}" for before, name, default in parts)
    command = ["sh", "-c", f'printf %s "{text}"']
    shell = subprocess.run(command, env=values, capture_output=True, text=True, check=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in "ABC":
            patch.setenv(name, values.get(name, ""))
        assert expanded_path(text) == Path(shell.stdout)


# Where upstream's own tools have put the data of the shipped packs.


def with_small_data(name: str) -> Pack:
    """A shipped full profile for which any file of a kilobyte is the right one."""
    pack = load_pack(str(SHIPPED / name), "full")
    small = {"sha256": None, "bytes": len(CONTENT)}
    return pack.model_copy(update={"data": tuple(i.model_copy(update=small) for i in pack.data)})


@pytest.mark.parametrize(
    ("name", "base", "paths"),
    [
        (
            "airbench96",
            "clone",
            [f"cifar10/cifar-10-batches-py/data_batch_{n}" for n in range(1, 6)]
            + ["cifar10/cifar-10-batches-py/test_batch"],
        ),
        (
            "parameter_golf",
            "clone",
            [f"data/datasets/fineweb10B_sp8192/fineweb_train_{n:06d}.bin" for n in range(80)]
            + ["data/datasets/fineweb10B_sp8192/fineweb_val_000000.bin"]
            + ["data/tokenizers/fineweb_8192_bpe.model"],
        ),
        (
            "nanochat_d12",
            "nanochat",
            [f"base_data_climbmix/shard_{n:05d}.parquet" for n in (*range(170), 6542)]
            + ["tokenizer/tokenizer.pkl", "tokenizer/token_bytes.pt", "eval_bundle.zip"],
        ),
    ],
)
def test_what_upstreams_own_tools_have_fetched_is_taken(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str, base: str, paths: list[str]
) -> None:
    for path in paths:
        write(project / base / path, path.encode().ljust(len(CONTENT)))
    monkeypatch.setenv("NANOCHAT_BASE_DIR", "nanochat")
    found = ensure_data(with_small_data(name), say=quiet, clone=project / "clone")
    assert {file: path.read_text().rstrip() for file, path in found.items()} == {
        PurePosixPath(path).name: path for path in paths
    }


# The command.


def called(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["packs", *map(str, words)])
    return result.exit_code, result.output


TABLE = """
[[profiles.air.data]]
file = "x.bin"
bytes = 1000
license = "MIT"
sources = [{ kind = "clone", path = "x.bin" }]

[profiles.air]
seeds = [1, 2]
certify.score.data = {}
phases.train.data = { "data/x" = "x.bin" }
phases.predict.data = {}
phases.score.data = {}
phases.preflight.data = {}
"""


def test_the_command_finds_forgets_and_refuses(toy: Pack, tmp_path: Path) -> None:
    file = toy.root / "pack.toml"
    file.write_text(file.read_text() + TABLE)
    disk = tmp_path / "disk"
    short = write(disk / "sub/x.bin", CONTENT[:300])
    fetch = ("fetch", "toy", "--profile", "air", "--data")
    code, told = called(*fetch, tmp_path / "none")
    assert code == 2 and "--data: no folder" in told
    code, told = called(*fetch, disk)
    assert code == 2 and "300 bytes, where 1,000 are expected" in told
    short.write_bytes(CONTENT)
    code, told = called(*fetch, disk)
    assert code == 0 and f"x.bin: 1.0 kB from {short}, by its size (MIT)" in told
    short.write_bytes(b"y" * 900)
    code, told = called(*fetch, disk)
    assert code == 0 and "x.bin: 1.0 kB, MIT, is here" in told
    code, told = called(*fetch, disk, "--forget", "x.bin")
    assert code == 0 and "x.bin: forgotten" in told and f"x.bin: 0.9 kB from {short}" in told
    code, told = called("fetch", "toy", "--profile", "air", "--forget", "z")
    assert code == 2 and "valid: x.bin" in told
