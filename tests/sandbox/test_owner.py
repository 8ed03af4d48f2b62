"""Who owns what, and which owners are dead for certain."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recipelab.sandbox import processes as owner
from recipelab.sandbox.files import reap_folders
from recipelab.sandbox.processes import OwnerState, owner_identity, owner_state


def test_this_process_is_alive() -> None:
    assert owner_state(owner_identity()) is OwnerState.ALIVE


def test_a_process_id_that_was_given_away_again() -> None:
    domain, pid, started = owner_identity().split("-")
    assert owner_state(f"{domain}-{pid}-{int(started) + 1}") is OwnerState.DEAD


@pytest.mark.parametrize("identity", ["", "x", "0123456789-1-1", "notes-1-1", "--"])
def test_what_cannot_be_judged_is_foreign(identity: str) -> None:
    assert owner_state(identity) is OwnerState.FOREIGN


def test_a_process_that_is_hidden_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = owner_identity()
    monkeypatch.setattr(owner, "_started", lambda pid: "0")
    assert owner_state(identity) is OwnerState.ALIVE


def test_another_users_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain, pid, started = owner_identity().split("-")
    folder = tmp_path / f"recipelab-trial-{domain}-{pid}-{int(started) + 1}-x"
    folder.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert reap_folders(tmp_path) == ()
    monkeypatch.undo()
    assert reap_folders(tmp_path) == (folder,)
    assert not folder.exists()
