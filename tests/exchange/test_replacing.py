"""An export is there whole or not at all, and writes over nothing that it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Status
from recipelab.exchange.files import export_campaign
from recipelab.exchange.replacing import replacing
from recipelab.lineage import LineageStore
from tests.lineage.helpers import CAMPAIGN, add_campaign, judged


@pytest.fixture
def small(store: LineageStore) -> LineageStore:
    add_campaign(store)
    judged(store, Status.BASELINE)
    return store


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_a_file_is_replaced_by_force_alone(small: LineageStore, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text("mine")
    with pytest.raises(RecipelabError, match=r"there already.*--force"):
        export_campaign(small, CAMPAIGN, file)
    assert file.read_text() == "mine"
    export_campaign(small, CAMPAIGN, file, force=True)
    assert CAMPAIGN in file.read_text() or "baseline" in file.read_text()


def test_a_folder_of_others_is_never_replaced(small: LineageStore, tmp_path: Path) -> None:
    folder = tmp_path / "x.git"
    folder.mkdir()
    export_campaign(small, CAMPAIGN, folder)
    with pytest.raises(RecipelabError, match="--force"):
        export_campaign(small, CAMPAIGN, folder)
    export_campaign(small, CAMPAIGN, folder, force=True)
    (folder / ".git/recipelab-export").unlink()
    (folder / "mine").write_text("mine")
    for name in ("git", "jsonl"):
        with pytest.raises(RecipelabError, match="not empty"):
            export_campaign(small, CAMPAIGN, folder, format_name=name, force=True)
    assert (folder / "mine").read_text() == "mine"
    assert sorted(item.name for item in tmp_path.iterdir() if item.is_dir()) == ["x.git"]


def test_a_file_is_not_replaced_by_a_repository(small: LineageStore, tmp_path: Path) -> None:
    (tmp_path / "x.git").write_text("mine")
    with pytest.raises(RecipelabError, match="is a file"):
        export_campaign(small, CAMPAIGN, tmp_path / "x.git", force=True)


def test_what_fails_half_way_leaves_nothing_and_keeps_what_was(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("before")
    with pytest.raises(ZeroDivisionError), replacing(file, force=True) as place:
        place.write_text("half")
        raise ZeroDivisionError
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_folders_above_are_made_and_a_file_above_is_told(
    small: LineageStore, tmp_path: Path
) -> None:
    export_campaign(small, CAMPAIGN, tmp_path / "a/b/x.csv")
    assert (tmp_path / "a/b/x.csv").is_file()
    with pytest.raises(RecipelabError, match=r"cannot write .*x\.csv/y\.csv"):
        export_campaign(small, CAMPAIGN, tmp_path / "a/b/x.csv/y.csv")


@pytest.mark.parametrize(
    ("target", "format_name", "told"),
    [
        ("x.txt", None, r"end it in one of \.jsonl, \.csv, \.parquet, \.git, or give --format"),
        ("x.csv", "xml", "unknown format 'xml'; valid: csv, git, jsonl, parquet"),
    ],
)
def test_a_format_must_be_known(
    small: LineageStore, tmp_path: Path, target: str, format_name: str | None, told: str
) -> None:
    with pytest.raises(RecipelabError, match=told):
        export_campaign(small, CAMPAIGN, tmp_path / target, format_name=format_name)
