"""Weights & Biases offline: what lies in its own run files, record by record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recipelab.core.errors import RecipelabError
from recipelab.lineage import LineageStore
from recipelab.trackers import Sender, opened_tracker
from recipelab.trackers.facts import campaign_facts

from ..report.searched import search
from ..sandbox.helpers import wait_until

wandb = pytest.importorskip("wandb")
pytestmark = pytest.mark.filterwarnings("default")

BLOCK, HEAD = 32_768, 7


def records(file: Path) -> Iterator[Any]:
    """The records of a run's file: LevelDB's log format behind a head of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = file.read_bytes(), HEAD, b""
    while place + HEAD <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEAD:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        if place + HEAD + size > len(data):
            return  # The library's own process still writes.
        parts += data[place + HEAD : place + HEAD + size]
        place += HEAD + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def run_of(folder: Path, run_id: str) -> dict[str, Any]:
    """Name, configuration, history and summary of a run, once all of it is written."""
    (file,) = folder.glob(f"wandb/offline-run-*-{run_id}/*.wandb")
    wait_until(
        lambda: any(one.WhichOneof("record_type") == "exit" for one in records(file)), seconds=60.0
    )
    found: dict[str, Any] = {"config": {}, "history": [], "summary": {}}
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"name": record.run.display_name, "group": record.run.run_group}
            found |= {"project": record.run.project, "job": record.run.job_type}
            updates = record.run.config.update
            found["config"] |= {one.key: json.loads(one.value_json) for one in updates}
        elif kind == "history":
            items = record.history.item
            found["history"].append(
                {one.key or "/".join(one.nested_key): json.loads(one.value_json) for one in items}
            )
        elif kind == "summary":
            for one in record.summary.update:
                key = one.key or "/".join(one.nested_key)
                found["summary"][key] = json.loads(one.value_json)
    return found


def test_runs_of_a_group_lie_in_the_folder_of_the_campaign(
    store: LineageStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    search(store, "night", 3, surfaces=("$x$/../y", "<b>&", "中文"))
    paper = tmp_path / "transcript.md"
    paper.write_text("what was said")
    folder = tmp_path / "campaign"
    for sent in (4, 0):
        tracker = opened_tracker("wandb:offline", folder)
        sender = Sender(store, "night", tracker)
        sender.finish({"transcript.md": paper})
        tracker.close()
        assert sender.sent == sent
    key = campaign_facts(store.campaign("night")).key
    assert "WARNING" not in capfd.readouterr().err
    (said,) = folder.glob(f"wandb/offline-run-*-{key}/files/transcript.md")
    assert not said.is_symlink() and said.read_text() == "what was said"
    assert len(list(folder.glob(f"wandb/offline-run-*-{key}-*"))) == 4
    for number in range(4):
        outcome = store.trial("night", number).outcome
        assert outcome is not None
        found = run_of(folder, f"{key}-{number}")
        assert found["group"] == "night" and found["project"] == "recipelab"
        assert found["job"] == "trial" and found["config"]["trial"] == number
        assert found["config"]["surface"] == store.trial("night", number).surface
        assert found["summary"].get("score") == outcome.score
        assert found["summary"]["status"] == outcome.status
        assert len(found["history"]) == len(outcome.seed_runs)


def test_the_run_of_the_campaign_has_the_best_by_trials(
    store: LineageStore, tmp_path: Path
) -> None:
    search(store, "night", 2)
    tracker = opened_tracker("wandb:offline", tmp_path)
    Sender(store, "night", tracker).finish({})
    tracker.close()
    key = campaign_facts(store.campaign("night")).key
    found = run_of(tmp_path, key)
    assert found["job"] == "campaign" and found["name"] == "night"
    assert [point["trials"] for point in found["history"]][-1] == 2
    assert found["history"][0]["best"] == store.brief("night", 0).score
    assert found["summary"]["state"] == "running"


def test_nobody_is_asked_for_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(RecipelabError, match="run wandb login, set WANDB_API_KEY, or"):
        opened_tracker("wandb:me/project", tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    opened_tracker("wandb:me/project", tmp_path)
