"""Content is found in the working directory, in recipelab, and in other distributions."""

from __future__ import annotations

import fcntl
import sys
import threading
from pathlib import Path

import pytest

from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError
from recipelab.packs.catalog import search_packs
from recipelab.packs.load import load_pack, pack_names
from recipelab.packs.template import PackDraft, write_pack

METADATA = "Metadata-Version: 2.1\nName: my-packs\nVersion: 1.0\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed distributions, one of which brings a pack."""
    site = tmp_path / "site"
    package = site / "my_package" / "packs"
    package.mkdir(parents=True)
    (site / "my_package" / "__init__.py").write_text("")
    (package / "__init__.py").write_text("raise RuntimeError('nobody imports this')\n")
    write_pack(PackDraft("wheeled", "From a wheel", "error"), package / "wheeled")
    info = site / "my_packs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    points = "[recipelab.task_packs]\nmine = my_package.packs\ngone = no_such_package.packs\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    monkeypatch.delitem(sys.modules, "my_package", raising=False)  # that of another test
    monkeypatch.chdir(tmp_path)
    return site


def test_a_pack_of_another_distribution_is_found(site: Path) -> None:
    assert {"wheeled", "airbench96"} <= set(pack_names())
    pack = load_pack("wheeled")
    assert pack.title == "From a wheel"
    assert pack.root.is_relative_to(site)
    assert pack.baseline().files


def test_ones_own_pack_comes_first(site: Path, tmp_path: Path) -> None:
    write_pack(PackDraft("wheeled", "My own", "error"), tmp_path / "task_packs" / "wheeled")
    assert load_pack("wheeled").title == "My own"


def test_a_search_tells_whose_each_pack_is(site: Path, tmp_path: Path) -> None:
    (entry,) = search_packs(["WHEELED", "wheel"])
    assert (entry.origin, entry.hidden_by) == ("my-packs 1.0", None)
    assert entry.pack is not None
    assert entry.pack.trust == "isolated"
    assert entry.needs.startswith("one CPU thread, sandbox cpu, ")
    assert {one.source for one in search_packs()} == {"recipelab", "my-packs"}
    assert search_packs(["wheeled", "quantum"]) == ()

    write_pack(PackDraft("wheeled", "My own", "error"), tmp_path / "task_packs" / "wheeled")
    mine, theirs = search_packs(["wheeled"])
    assert (mine.origin, mine.hidden_by) == ("here", None)
    assert (theirs.origin, theirs.hidden_by) == ("my-packs 1.0", "here")


def test_a_pack_that_cannot_be_read_hides_no_other(site: Path) -> None:
    (site / "my_package/packs/wheeled/pack.toml").write_text("format = 2\n")
    (entry,) = search_packs(["wheeled"])
    assert entry.pack is None
    assert "profiles" in entry.problem
    assert len(search_packs()) > 1


def test_a_look_at_a_campaign_does_not_keep_it_from_beginning(tmp_path: Path) -> None:
    """Whoever looks holds the lock for a moment; who runs the campaign keeps it."""
    home = Home(tmp_path)
    home.campaign("night").mkdir(parents=True)
    with (home.campaign("night") / "lock").open("a") as looked:
        fcntl.flock(looked, fcntl.LOCK_SH)
        release = threading.Timer(0.05, fcntl.flock, (looked, fcntl.LOCK_UN))
        release.start()
        with home.locked("night"):
            assert home.is_locked("night")
            with pytest.raises(RecipelabError, match="is running already"), home.locked("night"):
                pass
        release.join()
