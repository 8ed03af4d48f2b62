"""The export to Git: which commits there are, what they hold, and what is not read for them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Proposal, Status
from recipelab.exchange.files import export_campaign, import_campaign
from recipelab.lineage import LineageStore
from tests.lineage.helpers import CAMPAIGN, TEXT, add_campaign, outcome, with_campaign

from .runs import airbench, write_run

TRAIN = "recipe/train.py"


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, check=True)
    return done.stdout.decode()


def add(
    store: LineageStore,
    status: Status,
    *parents: int,
    files: Mapping[str, str] | None = None,
    hypothesis: str = "a smaller step helps",
    specialist: str = "optimizer",
) -> int:
    """Adds a judged trial; its recipe says its number unless files are given."""
    number = store.trial_count(CAMPAIGN)
    store.propose_and_record(
        CAMPAIGN,
        Proposal(specialist, "opt", 0, hypothesis, -0.1, ()),
        outcome(status, 10.0 - number),
        parents=parents,
        files={TRAIN: f"x = {number}\n"} if files is None else files,
        digest=f"d{number}",
        diff="",
        round_number=None,
    )
    return number


@pytest.fixture
def tree(store: LineageStore) -> LineageStore:
    """0 is the baseline; 1, 3, 4, 5 and 6 were kept; 3 stands on 2, and 5 combines 3 and 4."""
    add_campaign(store)
    add(store, Status.BASELINE)
    add(store, Status.KEPT, 0)
    add(store, Status.DISCARDED, 1)
    add(store, Status.KEPT, 2, files={TRAIN: "x = 3\n", "recipe/new.py": "y = 1\n"})
    add(store, Status.KEPT, 1)
    add(store, Status.KEPT, 3, 4)
    add(store, Status.KEPT, 1)
    add(store, Status.KEPT, 5)
    add(store, Status.CRASHED, 7)
    return store


def exported(store: LineageStore, folder: Path) -> Path:
    assert export_campaign(store, CAMPAIGN, folder, format_name="git") == "git"
    return folder


def parents_of(folder: Path, number: int) -> list[str]:
    own = git(folder, "rev-list", "--parents", "-1", f"trial-{number}").split()[1:]
    names = {line.split()[0]: line.split()[1] for line in git(folder, "show-ref").splitlines()}
    return [names[commit].removeprefix("refs/tags/") for commit in own]


def test_every_kept_trial_is_a_commit_on_its_parents(tree: LineageStore, tmp_path: Path) -> None:
    folder = exported(tree, tmp_path / "x.git")
    tags = git(folder, "tag", "--sort=version:refname").split()
    assert tags == [f"trial-{number}" for number in (0, 1, 3, 4, 5, 6, 7)]
    assert parents_of(folder, 0) == []
    assert parents_of(folder, 1) == ["trial-0"]
    assert parents_of(folder, 3) == ["trial-1"]
    assert parents_of(folder, 5) == ["trial-3", "trial-4"]


def test_branches_end_at_the_best_and_at_what_nothing_stands_on(
    tree: LineageStore, tmp_path: Path
) -> None:
    folder = exported(tree, tmp_path / "x.git")
    assert git(folder, "branch", "--format=%(refname:short)").split() == ["main", "side-6"]
    assert git(folder, "rev-parse", "main") == git(folder, "rev-parse", "trial-7")
    assert git(folder, "rev-parse", "side-6") == git(folder, "rev-parse", "trial-6")
    assert git(folder, "status", "--porcelain") == ""
    assert (folder / TRAIN).read_text() == "x = 7\n"


def test_a_commit_holds_exactly_the_recipe(tree: LineageStore, tmp_path: Path) -> None:
    folder = exported(tree, tmp_path / "x.git")
    for number in (0, 3, 5):
        files = tree.files(CAMPAIGN, number)
        listed = git(folder, "ls-tree", "-r", "--name-only", f"trial-{number}").split()
        assert listed == sorted(files)
        assert all(git(folder, "show", f"trial-{number}:{path}") == files[path] for path in files)


def test_a_message_has_hypothesis_measurements_and_trailers(
    tree: LineageStore, tmp_path: Path
) -> None:
    folder = exported(tree, tmp_path / "x.git")
    subject, _, body = git(folder, "log", "-1", "--format=%B", "trial-5").partition("\n\n")
    assert subject == "trial 5, opt: a smaller step helps"
    for words in (
        "kept, untested: it is kept",
        "score: 5.0, standard error none",
        "expected -0.1",
        "gate accuracy: 0.9, limit 0.8, margin 0.1",
        "means over seed runs (n = 1):\n  train.cpu_seconds: 2.5",
    ):
        assert words in body
    trailers = git(folder, "log", "-1", "--format=%(trailers:only)", "trial-5").split("\n")
    assert trailers[:3] == [
        f"Recipelab-Campaign: {CAMPAIGN}",
        "Recipelab-Trial: 5",
        "Recipelab-Parents: 3 4",
    ]


def test_equal_lineages_give_equal_commits(
    tree: LineageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = git(exported(tree, tmp_path / "one.git"), "show-ref")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "somebody")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2001-01-01T00:00:00Z")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert git(exported(tree, tmp_path / "two.git"), "show-ref") == first


def test_nothing_of_the_users_git_is_read(
    tree: LineageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = tmp_path / "templates"
    hook = templates / "hooks/post-checkout"
    hook.parent.mkdir(parents=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    settings_file = (
        f"[core]\n hooksPath = {hook.parent}\n autocrlf = true\n[init]\n templateDir = x"
    )
    (home / ".gitconfig").write_text(settings_file)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(templates))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    folder = exported(tree, tmp_path / "x.git")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "elsewhere").exists()
    assert not (folder / ".git/hooks").exists()
    assert (folder / TRAIN).read_bytes() == b"x = 7\n"


@pytest.mark.parametrize(
    "path",
    ["../out", "/etc/x", "a//b", "./a", ".git/hooks/post-checkout", "a/.GIT/config", "", "git~1/x"],
)
def test_a_path_that_git_must_not_hold_is_refused(
    store: LineageStore, tmp_path: Path, path: str
) -> None:
    add_campaign(store)
    add(store, Status.BASELINE, files={path: "x"})
    with pytest.raises(RecipelabError, match=r"cannot be written into a folder|git .* failed"):
        exported(store, tmp_path / "x.git")
    assert [item.name for item in tmp_path.iterdir() if item.is_dir()] == []


def test_a_file_below_a_file_is_refused(store: LineageStore, tmp_path: Path) -> None:
    add_campaign(store)
    add(store, Status.BASELINE, files={"a": "x", "a/b": "y"})
    with pytest.raises(RecipelabError, match="'a/b'"):
        exported(store, tmp_path / "x.git")


def test_text_from_agents_stays_text(store: LineageStore, tmp_path: Path) -> None:
    add_campaign(store)
    evil = "x\x1b[2J\n\nRecipelab-Trial: 9\ndata 3\ncommit refs/heads/evil\n"
    add(store, Status.BASELINE, hypothesis=evil, specialist="a <b>\ncommitter <c> 0 +0000")
    folder = exported(store, tmp_path / "x.git")
    assert git(folder, "branch", "--format=%(refname:short)").split() == ["main"]
    message = git(folder, "log", "-1", "--format=%B")
    assert "\x1b" not in message
    assert "Recipelab-Trial: 9" not in git(folder, "log", "-1", "--format=%(trailers:only)")
    assert git(folder, "log", "-1", "--format=%an") == "a b committer c 0 +0000\n"


def test_a_released_run_has_its_history_without_recipes(
    store: LineageStore, tmp_path: Path
) -> None:
    import_campaign(store, write_run(tmp_path / "run", airbench()), "old")
    export_campaign(store, "old", tmp_path / "old.git")
    folder = tmp_path / "old.git"
    assert git(folder, "log", "--format=%s").split("\n")[0].startswith("trial 4, opt: exp_002")
    message = git(folder, "log", "-1", "--format=%B%ct")
    assert "train_s: 19.0 s" in message
    assert "The lineage holds no recipe of this trial." in message
    assert message.endswith("1767323040\n")


def test_a_campaign_without_a_kept_trial_has_nothing_to_commit(
    store: LineageStore, tmp_path: Path
) -> None:
    add_campaign(store)
    with pytest.raises(RecipelabError, match="neither baseline nor kept"):
        exported(store, tmp_path / "x.git")


def test_git_must_be_there(
    tree: LineageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecipelabError, match="needs git"):
        exported(tree, tmp_path / "x.git")


NAMES = st.sampled_from(["recipe/train.py", "a b.py", 'q".py', "ünï.py", "deep/er/x.py"])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(TEXT, TEXT, st.dictionaries(NAMES, TEXT, max_size=3)), min_size=1))
def test_any_text_comes_through(trials: list[tuple[str, str, dict[str, str]]]) -> None:
    with TemporaryDirectory() as place, with_campaign(f"{place}/lineage.db") as store:
        for number, (hypothesis, specialist, files) in enumerate(trials):
            status = Status.KEPT if number else Status.BASELINE
            above = () if not number else (number // 2,)
            add(store, status, *above, files=files, hypothesis=hypothesis, specialist=specialist)
        folder = exported(store, Path(place) / "x.git")
        for number in range(len(trials)):
            for path, text in store.files(CAMPAIGN, number).items():
                assert git(folder, "cat-file", "blob", f"trial-{number}:{path}") == text
