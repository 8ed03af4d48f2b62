"""Export of a whole campaign: a table, and a Git repository that people can read."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest

from recipelab.errors import RecipelabError
from recipelab.exchange.exporting import FORMATS, export_campaign
from recipelab.exchange.importing import import_campaign
from recipelab.lineage import LineageStore
from recipelab.trial import FailureKind, Status
from tests.tools.history import add_campaign, failed, measured, propose, rate, tell

from .runs import airbench, write_run


@pytest.fixture
def told(store: LineageStore) -> LineageStore:
    """A campaign with a known history, and a kept trial that two others lead to."""
    add_campaign(store, "c")
    tell(store, "c")
    number = propose(store, "c", 5, "=a small step from\x1b[31m 5", rate("0.25", "0.3"))
    store.record("c", number, measured(Status.KEPT, 7.5))
    side = propose(store, "c", 0, "a side branch", rate("0.1", "0.9"))
    store.record("c", side, measured(Status.KEPT, 7.9))
    last = propose(store, "c", number, "back", rate("0.3", "0.28"))
    store.record("c", last, measured(Status.KEPT, 7.0))
    return store


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_every_kept_trial_is_a_commit_on_the_one_it_came_from(
    told: LineageStore, tmp_path: Path
) -> None:
    folder = tmp_path / "repo"
    export_campaign(told, "c", folder, "git")
    subjects = git(folder, "log", "--format=%s", "main").splitlines()
    assert subjects == [
        "Trial 9: back",
        "Trial 7: =a small step from\N{REPLACEMENT CHARACTER}[31m 5",
        "Trial 1: a larger rate needs fewer steps",
        "Trial 0: the starting recipe",
    ]
    assert git(folder, "log", "--format=%s", "-2", "side/8").splitlines() == [
        "Trial 8: a side branch",
        "Trial 0: the starting recipe",
    ]
    assert (folder / "recipe/train.py").read_text().startswith("RATE = 0.28 ")
    body = git(folder, "show", "-s", "--format=%B", "trial/1")
    assert "Score: 8.0" in body
    assert "Seed 1: train.cpu_seconds=8.0" in body
    assert "Gate: accuracy 0.85, limit 0.8" in body
    assert git(folder, "fsck", "--strict") == ""
    assert git(folder, "status", "--porcelain") == ""


def test_the_same_campaign_gives_the_same_commits(told: LineageStore, tmp_path: Path) -> None:
    heads = []
    for name in ("one", "two"):
        export_campaign(told, "c", tmp_path / name, "git")
        heads.append(git(tmp_path / name, "rev-parse", "main"))
    assert heads[0] == heads[1]


def test_nobodys_hooks_run(
    told: LineageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "template" / "hooks"
    template.mkdir(parents=True)
    hook = template / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    config = tmp_path / "gitconfig"
    hooks = f"[core]\n hooksPath = {template}\n"
    config.write_text(f"[init]\n templateDir = {template.parent}\n{hooks}")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    export_campaign(told, "c", tmp_path / "repo", "git")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "repo/.git/hooks").exists()


def test_a_released_run_has_no_recipes_to_commit(store: LineageStore, tmp_path: Path) -> None:
    import_campaign(store, write_run(tmp_path / "run", airbench()), "old")
    with pytest.raises(RecipelabError, match="no trial of old has a recipe"):
        export_campaign(store, "old", tmp_path / "repo", "git")
    assert not (tmp_path / "repo").exists()


def test_csv_has_a_row_a_trial_and_no_formulas(told: LineageStore, tmp_path: Path) -> None:
    export_campaign(told, "c", tmp_path / "c.csv", "csv")
    with (tmp_path / "c.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["trial"] for row in rows] == [str(n) for n in range(10)]
    assert rows[7]["hypothesis"].startswith("'=a small step")
    assert "\x1b" not in rows[7]["hypothesis"]
    assert (rows[3]["status"], rows[3]["failure_kind"]) == ("crashed", "oom")
    assert float(rows[4]["score"]) == 6.0


def test_jsonl_can_be_imported_again(told: LineageStore, tmp_path: Path) -> None:
    told.add_note("c", "leave the loss alone")
    told.add_usage(
        "c", specialist="opt", model="m", prompt_tokens=9, completion_tokens=1, seconds=0.5
    )
    export_campaign(told, "c", tmp_path / "c.jsonl", "jsonl")
    import_campaign(told, tmp_path / "c.jsonl", "again")
    assert told.trial("again", 4) == told.trial("c", 4)
    assert told.counts("again") == told.counts("c")
    assert told.notes("again") == told.notes("c")
    assert told.usage("again") == told.usage("c")


def test_more_trials_than_a_count_goes_to(store: LineageStore, tmp_path: Path) -> None:
    add_campaign(store, "c")
    tell(store, "c")
    for n in range(1_200):
        number = propose(store, "c", 0, f"idea {n}", rate("0.1", "0.3"), digest=f"d{n}")
        if n % 3 == 0:
            store.record("c", number, failed("Error", FailureKind.VALUE, "Error"))
    export_campaign(store, "c", tmp_path / "c.jsonl", "jsonl")
    lines = (tmp_path / "c.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[-1])["trials"] == 1_207


def test_nothing_is_overwritten_unless_it_is_asked_for(told: LineageStore, tmp_path: Path) -> None:
    target = tmp_path / "c.csv"
    target.write_text("mine")
    with pytest.raises(RecipelabError, match="is there already"):
        export_campaign(told, "c", target, "csv")
    assert target.read_text() == "mine"
    export_campaign(told, "c", target, "csv", force=True)
    assert target.read_text().startswith("trial,")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_an_unknown_format_lists_the_valid_ones(told: LineageStore, tmp_path: Path) -> None:
    with pytest.raises(RecipelabError, match="valid: csv, git, jsonl, parquet"):
        export_campaign(told, "c", tmp_path / "x", "xml")
    assert set(FORMATS) == {"csv", "git", "jsonl", "parquet"}


def test_files_that_lead_out_of_their_folder_are_refused(
    told: LineageStore, tmp_path: Path
) -> None:
    file = tmp_path / "c.jsonl"
    export_campaign(told, "c", file, "jsonl")
    for path in ("../../outside", "/etc/x", ".git/hooks/post-checkout"):
        hostile = file.read_text("utf-8").replace('"recipe/train.py":', f'"{path}":')
        other = tmp_path / "hostile.jsonl"
        other.write_text(hostile, "utf-8")
        with pytest.raises(RecipelabError, match="which is no path"):
            import_campaign(told, other, "hostile")
