"""Data that lie on this machine: what is there counts, folders too, and nothing is copied."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from recipelab.cli.app import app
from recipelab.core.errors import DataError, PackError
from recipelab.core.trial import Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.packs import own_data
from recipelab.packs.data import ensure_data, is_here
from recipelab.packs.data_sections import DataFile
from recipelab.packs.load import read_pack
from recipelab.packs.own_data import content_of, in_place, stand_of
from recipelab.packs.pack import Pack
from recipelab.sandbox.base import Sandbox

FOLDER = """
[[data]]
folder = "images"
at = "recipe/data"
sources = [{ kind = "path", path = "../../pictures" }]

[evaluator]
"""


def quiet(text: str) -> None:
    """Hears nothing."""


def own(path: Path | str, **more: object) -> DataFile:
    table = {"file": "x.csv", "sources": [{"kind": "path", "path": str(path)}]}
    return DataFile.model_validate(table | more)


def with_own(pack: Pack, path: Path | str, **more: object) -> Pack:
    return pack.model_copy(update={"data": (own(path, **more),)})


@pytest.fixture
def pictures(project: Path) -> Path:
    """A folder of pictures beside the folder of packs."""
    folder = project / "pictures"
    (folder / "cat").mkdir(parents=True)
    for number in range(3):
        (folder / "cat" / f"{number}.jpg").write_bytes(bytes([number]) * 300)
    (folder / "größe 1.txt").write_text("spaces and letters of any alphabet")
    return folder


@pytest.fixture
def with_pictures(toy: Pack, pictures: Path) -> Pack:
    """The toy pack, which trains on the pictures."""
    file = toy.root / "pack.toml"
    text = file.read_text().replace("[evaluator]\n", FOLDER, 1)
    train = '"--seed", "{seed}"]\n\n[phases.predict]'
    assert train in text
    file.write_text(text.replace(train, train.replace("\n\n", '\ndata = ["images"]\n\n')))
    return read_pack(file)


# Files.


@pytest.mark.parametrize("size", [100, 2_000_000])
def test_an_edited_file_is_used_and_noticed(toy: Pack, tmp_path: Path, size: int) -> None:
    """Also where no size tells: the source decides, and not what was there first."""
    source = tmp_path / "x.csv"
    source.write_bytes(b"1" * size)
    pack = with_own(toy, source)
    assert ensure_data(pack, say=quiet)["x.csv"].read_bytes() == b"1" * size
    said: list[str] = []
    assert ensure_data(pack, say=said.append) and said == []
    source.write_bytes(b"2" * size)
    assert ensure_data(pack, say=said.append)["x.csv"].read_bytes() == b"2" * size
    assert any("is another than at the last time" in line for line in said)


def test_an_edited_file_with_a_hash_is_an_error_that_says_what_to_do(
    toy: Pack, tmp_path: Path
) -> None:
    source = tmp_path / "x.csv"
    source.write_bytes(b"old")
    digest = hashlib.sha256(b"old").hexdigest()
    pack = with_own(toy, source, sha256=digest)
    ensure_data(pack, say=quiet)
    source.write_bytes(b"new")
    assert not is_here(pack.data[0], pack.root)
    new = hashlib.sha256(b"new").hexdigest()
    with pytest.raises(DataError, match=f"sha256 {new[:12]}.*recipelab packs lock toy"):
        ensure_data(pack, say=quiet)


def test_two_packs_with_one_relative_path_share_nothing(toy: Pack, tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        root = tmp_path / name
        (root / "data").mkdir(parents=True)
        (root / "data/x.csv").write_text(name)
        pack = with_own(toy, "data/x.csv").model_copy(update={"root": root})
        found.append(ensure_data(pack, say=quiet)["x.csv"].read_text())
    assert found == ["one", "two"]


def test_a_file_that_is_edited_disturbs_no_campaign(toy: Pack, tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text("before")
    used = ensure_data(with_own(toy, source), say=quiet)["x.csv"]
    source.write_text("after")
    assert used.read_text() == "before" and not in_place(used)


def test_a_large_file_is_used_where_it_lies(
    toy: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_data, "COPIED_BYTES", 1000)
    monkeypatch.setattr("recipelab.packs.data.COPIED_BYTES", 1000)
    source = tmp_path / "x.csv"
    source.write_bytes(bytes(1001))
    used = ensure_data(with_own(toy, source), say=quiet)["x.csv"]
    assert used == source and in_place(used)


# Folders.


async def test_a_folder_is_data(with_pictures: Pack, sandbox: Sandbox) -> None:
    """The recipe finds it in its own folder, and cannot change it."""
    program = (
        "import os\n"
        "found = sorted(os.listdir('recipe/data') + os.listdir('recipe/data/cat'))\n"
        "assert found == ['0.jpg', '1.jpg', '2.jpg', 'cat', 'größe 1.txt'], found\n"
        "try: open('recipe/data/new', 'w')\n"
        "except OSError: open('out/model.json', 'w').write('{\"x\": 3, \"y\": -5}')\n"
    )
    train = with_pictures.phases.train.model_copy(update={"command": ("python", "-c", program)})
    phases = with_pictures.phases.model_copy(update={"train": train})
    pack = with_pictures.model_copy(update={"phases": phases, "warm": ()})
    data = ensure_data(pack, say=quiet)
    outcome = await Evaluator(pack, sandbox, data).measure(pack.baseline(), (1,))
    assert outcome.status is Status.BASELINE, outcome.log_tail


async def test_a_folder_that_changes_stops_the_campaign_and_accuses_nobody(
    with_pictures: Pack, pictures: Path, sandbox: Sandbox
) -> None:
    pack, data = with_pictures, ensure_data(with_pictures, say=quiet)
    evaluator = Evaluator(pack, sandbox, data, retry_seconds=0.01)
    honest = await evaluator.measure(pack.baseline(), (1,))
    assert honest.status is Status.BASELINE
    (pictures / "cat" / "4.jpg").write_bytes(b"new")
    outcome = await evaluator.measure(pack.baseline(), (1,))
    assert outcome.status is Status.ABORTED
    assert "pictures have changed since the campaign began" in outcome.reason


def test_a_path_that_leads_to_a_folder_makes_it_one(toy: Pack, pictures: Path) -> None:
    used = ensure_data(with_own(toy, pictures, bytes=934), say=quiet)["x.csv"]
    assert used == pictures and in_place(used)


def test_only_what_was_touched_is_hashed_again(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content_of(pictures)
    assert (before.files, before.bytes) == (4, 934)
    opened: list[str] = []
    real = hashlib.file_digest

    def counted(stream: Any, kind: str) -> Any:
        opened.append(Path(stream.name).name)
        return real(stream, kind)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    assert content_of(pictures) == before and opened == []
    (pictures / "cat" / "1.jpg").write_bytes(b"9" * 300)
    after = content_of(pictures)
    assert opened == ["1.jpg"] and after.sha256 != before.sha256
    (pictures / "cat" / "1.jpg").write_bytes(bytes([1]) * 300)
    assert content_of(pictures).sha256 == before.sha256, "what is there counts, and no time of it"


def test_a_damaged_list_of_hashes_is_made_anew(pictures: Path, tmp_path: Path) -> None:
    before = content_of(pictures)
    lists = list((tmp_path / "cache/recipelab/hashes").glob("*.*"))
    assert sorted(path.suffix for path in lists) == [".stand", ".touched"]
    for path in lists:
        path.write_bytes(b"5 x\n" + b"\xff" * 90)
    assert content_of(pictures) == before


@pytest.mark.parametrize("kind", ["leads out", "pipe"])
def test_what_no_sandbox_could_show_is_named(pictures: Path, kind: str) -> None:
    odd = pictures / "cat" / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/etc/hostname")
    with pytest.raises(DataError, match=r"odd: (a link that leads out|it is neither a file)"):
        content_of(pictures)


def test_links_inside_a_folder_are_data(pictures: Path) -> None:
    (pictures / "first.jpg").symlink_to("cat/0.jpg")
    (pictures / "dog").symlink_to("cat")
    assert content_of(pictures).files == 5


def test_what_only_its_owner_can_read_is_said(toy: Pack, pictures: Path) -> None:
    (pictures / "cat" / "2.jpg").chmod(0o600)
    said: list[str] = []
    ensure_data(with_own(toy, pictures), say=said.append)
    assert any("cat/2.jpg can be read by its owner alone" in line for line in said)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
        .filter(lambda name: name not in (".", ".."))
        .filter(lambda name: len(name.encode()) < 200),
        st.binary(max_size=20),
        max_size=6,
    )
)
def test_a_manifest_tells_any_two_folders_apart(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        for name, content in files.items():
            Path(one, name).write_bytes(content)
            Path(two, name).write_bytes(content)
        same = content_of(Path(one))
        assert content_of(Path(two)).sha256 == same.sha256
        assert content_of(Path(one)) == same, "as it was written down"
        stand = stand_of(Path(two))
        Path(two, "another").write_bytes(b"another")
        if files.get("another") != b"another":
            assert content_of(Path(two)).sha256 != same.sha256 and stand_of(Path(two)) != stand


# What a table may say.


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('folder = "images"', 'folder = "images"\nfile = "x"', "names of the same thing"),
        ('at = "recipe/data"', 'at = "/etc"', "data.2.at: it must be a path below"),
        ('kind = "path", path', 'kind = "clone", path', "only data with sources of the kind path"),
        ('data = ["images"]', 'data = ["pictures"]', "names no data file 'pictures'"),
    ],
)
def test_tables_that_make_no_sense(with_pictures: Pack, old: str, new: str, words: str) -> None:
    file = with_pictures.root / "pack.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(PackError, match=words):
        read_pack(file)


def test_a_file_is_no_folder(toy: Pack, pictures: Path) -> None:
    table = {"folder": "x", "sources": [{"kind": "path", "path": str(pictures / "cat/0.jpg")}]}
    pack = toy.model_copy(update={"data": (DataFile.model_validate(table),)})
    with pytest.raises(DataError, match="is a file; say file = in place of folder ="):
        ensure_data(pack, say=quiet)


# packs lock.


def called(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["packs", *words])
    return result.exit_code, result.output


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_lock_writes_hashes_and_leaves_all_else(
    with_pictures: Pack, pictures: Path, end: str
) -> None:
    file = with_pictures.root / "pack.toml"
    text = file.read_text().replace("bytes = 8\n", "").replace("\n", end)
    file.write_bytes(text.encode())
    (with_pictures.root / "data" / "answers.txt").write_text("4 -4 \n ")
    code, told = called("show", "toy")
    assert code == 0, told
    code, told = called("lock", "toy")
    assert code == 0 and f"images: 4 files, 934 bytes, sha256 {content_of(pictures).sha256}" in told
    pack = read_pack(file)
    assert [item.sha256 is not None for item in pack.data] == [True, True, True]
    assert [item.bytes for item in pack.data] == [6, 7, 934]
    ensure_data(pack, say=quiet)
    left = file.read_bytes().decode()
    kept = [line for line in text.split(end) if not line.startswith(("sha256", "bytes"))]
    assert [x for x in left.split(end) if not x.startswith(("sha256", "bytes"))] == kept
    code, told = called("lock", "toy")
    assert told.count("as it was") == 3 and file.read_bytes().decode() == left
    (pictures / "cat" / "0.jpg").write_bytes(b"another")
    with pytest.raises(DataError, match="recipelab packs lock toy"):
        ensure_data(read_pack(file), say=quiet)


def test_a_lock_names_what_is_missing(with_pictures: Pack, pictures: Path) -> None:
    pictures.rename(pictures.with_name("moved"))
    code, told = called("lock", "toy")
    assert code == 2 and "images: nothing lies at ../../pictures" in told
