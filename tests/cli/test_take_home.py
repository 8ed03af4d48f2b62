"""Taking home what was found: the patch into a repository, and the trained artifact."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from recipelab.evaluation.artifacts import ArtifactStore, TrainedArtifact
from recipelab.lineage import LineageStore
from recipelab.plan import KeepArtifacts

from .conftest import Cli, Ran

TRAIN = "task_packs/toy/recipe/train.py"
BEST = ("--trials", "2", "--seed", "1")


@pytest.fixture
def best(ran: Ran, project: Path) -> int:
    """Number of the best trial of a campaign whose project is a Git repository."""
    facts = ran(*BEST)
    number: int = facts["best"]["trial"]
    assert number > 0
    (project / ".gitignore").write_text(".recipelab\n")
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "start")
    return number


def git(folder: Path, *words: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, input=stdin, capture_output=True, text=True, check=True
    )
    return done.stdout


def changed(project: Path) -> str:
    return git(project, "status", "--porcelain")


def recipe_of(project: Path, number: int) -> str:
    with LineageStore.open(project / ".recipelab/lineage.db", create=True) as store:
        return store.files("toy-1", number)["recipe/train.py"]


@pytest.mark.parametrize("below", ["", "task_packs/toy", "task_packs", "task_packs/toy/recipe"])
def test_git_apply_takes_the_patch_wherever_it_can(
    cli: Cli, best: int, project: Path, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = project / ".recipelab"
    monkeypatch.chdir(project / below)
    patch = cli("export", best, "--patch", "--home", home)
    assert patch.exit_code == 0, patch.output
    assert patch.stderr == ""
    git(project / below, "apply", stdin=patch.stdout)
    assert changed(project) == f" M {TRAIN}\n"
    assert (project / TRAIN).read_text() == recipe_of(project, best)


@pytest.mark.parametrize("below", ["agents", "task_packs/toy/evaluator"])
def test_where_it_would_take_nothing_that_is_said(
    cli: Cli, best: int, project: Path, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / below)
    patch = cli("export", best, "--patch", "--home", project / ".recipelab")
    git(project / below, "apply", stdin=patch.stdout)
    assert changed(project) == ""  # and Git ends with 0
    assert "git apply would apply nothing in" in patch.stderr
    assert str(project) in patch.stderr


def test_outside_of_a_repository_a_patch_is_for_the_packs_folder(
    cli: Cli, ran: Ran, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = ran(*BEST)["best"]["trial"]
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    told = cli("export", number, "--patch")
    pack = project / "task_packs/toy"
    assert f"call it in {pack}, or give --prefix" in told.stderr
    monkeypatch.chdir(pack)
    here = cli("export", number, "--patch", "--home", project / ".recipelab")
    assert (here.stdout, here.stderr) == (told.stdout, "")
    assert re.findall(r"(?m)^--- (.+)$", here.stdout) == ["a/recipe/train.py"]
    before = recipe_of(project, 0)
    git(pack, "apply", stdin=here.stdout)
    assert recipe_of(project, number) == (pack / "recipe/train.py").read_text() != before


def test_a_prefix_is_taken_as_it_is_given(cli: Cli, best: int, project: Path) -> None:
    for prefix, head in (("", "a/recipe/train.py"), ("my/own", "a/my/own/recipe/train.py")):
        patch = cli("export", best, "--patch", "--prefix", prefix).stdout
        assert re.findall(r"(?m)^--- (.+)$", patch) == [head]
    assert cli("export", best, "-o", "x", "--prefix", "y").exit_code == 2


def test_the_paper_of_the_best_is_taken_at_the_root(cli: Cli, best: int, project: Path) -> None:
    assert cli("resume", "--trials", "2").exit_code == 0
    paper = project / ".recipelab/campaigns/toy-1/best.patch"
    git(project, "apply", str(paper))
    assert changed(project) == f" M {TRAIN}\n"


@pytest.mark.parametrize("prefix", ["", "task_packs/toy", "a/b/c/d"])
def test_a_patch_of_any_prefix_can_be_submitted(
    cli: Cli, best: int, project: Path, prefix: str
) -> None:
    patch = cli("export", best, "--patch", "--prefix", prefix).stdout
    # The same files, and a value that no trial has had.
    (project / "my.patch").write_text(re.sub(r"(?m)^\+(\w+) = [\d.]+", r"+\1 = 7", patch))
    words = ("--hypothesis", "Further.", "--patch", "my.patch", "--parent", 0, "--surface", "left")
    found = cli("submit", *words, "--json")
    assert found.exit_code == 0, found.output


def test_the_artifact_of_the_best_can_be_used(cli: Cli, best: int, project: Path) -> None:
    assert cli("export", "best", "--artifact", "-o", "out/mine").exit_code == 0
    folder = project / "out/mine"
    readme = (folder / "README.md").read_text()
    assert "`inputs/inputs.txt` (as the pack's `inputs.txt`)" in readme
    command = re.findall(r"(?m)^    (.+)$", readme)[0]
    (folder / "inputs").mkdir()
    shutil.copy(project / "task_packs/toy/data/inputs.txt", folder / "inputs")
    subprocess.run(command, shell=True, cwd=folder, check=True)
    predicted = [float(word) for word in (folder / "out/predictions.txt").read_text().split()]
    namespace = dict(re.findall(r"(?m)^([XY]) = ([\d.]+)", recipe_of(project, best)))
    assert predicted == pytest.approx([float(namespace["X"]), float(namespace["Y"])], abs=0.1)


def test_an_artifact_predicts_where_its_pack_does_with_its_variables_and_files(
    cli: Cli, project: Path
) -> None:
    pack = project / "task_packs/toy/pack.toml"
    predict = '["python", "recipe/predict.py"'
    assert predict in pack.read_text()
    (project / "task_packs/toy/recipe/scale.bin").write_bytes(b"\x00\xff")
    code = (
        "import os, runpy; assert open('recipe/scale.bin', 'rb').read() == bytes([0, 255]); "
        "assert os.environ['WAY'] == '1 2'; runpy.run_path('recipe/predict.py', None, '__main__')"
    )
    head = "[phases.predict]\n"
    changed = pack.read_text().replace(
        f"{head}command = {predict}]",
        f'{head}environment = {{ WAY = "1 2" }}\ncommand = ["python", "-c", "{code}"]',
    )
    pack.write_text(changed.replace('warm = ["json"]\n', ""))
    assert "WAY" in changed
    words = ("--sandbox", "local", "--slots", 1, "--ahead", 0, "--trials", 1, "--seed", 1)
    assert cli("run", "toy", *words, "--keep-artifacts", "all").exit_code == 0
    done = cli("export", 0, "--artifact", "-o", "mine")
    assert done.exit_code == 0, done.output
    command = re.findall(r"(?m)^    (.+)$", (project / "mine/README.md").read_text())[0]
    shutil.copytree(project / "task_packs/toy/data", project / "mine/inputs")
    subprocess.run(command, shell=True, cwd=project / "mine", check=True)
    assert (project / "mine/out/predictions.txt").is_file()


def test_only_the_artifacts_of_the_best_are_kept(cli: Cli, best: int, project: Path) -> None:
    store = ArtifactStore(project / ".recipelab/campaigns/toy-1/artifacts")
    assert store.trials() == (best,)
    artifact = store.of(best)
    assert artifact is not None
    assert [p.name for p in store._folder.iterdir() if p.is_dir()] == [artifact.digest]
    refused = cli("export", 0, "--artifact", "-o", "x")
    assert refused.exit_code == 2
    assert f"no artifact of trial 0 is kept; valid: {best}." in refused.stderr
    assert cli("export", best, "--artifact").exit_code == 2


@pytest.mark.parametrize(("keep", "trials"), [("all", {0, 1}), ("none", set())])
def test_a_user_says_which_are_kept(cli: Cli, project: Path, keep: str, trials: set[int]) -> None:
    words = ("--sandbox", "local", "--slots", 1, "--ahead", 0, "--trials", 1, "--seed", 1)
    assert cli("run", "toy", *words, "--keep-artifacts", keep).exit_code == 0
    folder = project / ".recipelab/campaigns/toy-1/artifacts"
    assert set(ArtifactStore(folder).trials()) == trials
    assert folder.is_dir() == bool(trials)


def test_what_is_the_same_is_kept_once_and_as_long_as_wanted(tmp_path: Path) -> None:
    source = tmp_path / "left"
    source.mkdir()
    (source / "model").write_text("weights")
    store = ArtifactStore(tmp_path / "kept")
    for trial, digest in ((1, "a"), (2, "a"), (3, "b")):
        store.put(trial, TrainedArtifact(5, digest, source))

    def folders() -> list[str]:
        return sorted(path.name for path in (tmp_path / "kept").iterdir() if path.is_dir())

    assert folders() == ["a", "b"]
    store.settle({2, 3})
    assert (store.trials(), folders()) == ((2, 3), ["a", "b"])
    store.settle({3, 9})
    assert (store.trials(), folders()) == ((3,), ["b"])
    assert store.of(2) is None
    found = store.of(3)
    assert found is not None and (found.folder / "model").read_text() == "weights"
    everything = ArtifactStore(tmp_path / "kept", KeepArtifacts.ALL)
    everything.settle(())
    assert everything.trials() == (3,)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_cannot_be_written_costs_no_trial(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    ArtifactStore(closed / "kept").put(1, TrainedArtifact(1, "a", tmp_path))
    assert ArtifactStore(closed / "kept").trials() == ()


def test_the_json_of_an_export_names_the_folder(cli: Cli, best: int) -> None:
    told = json.loads(cli("export", best, "--artifact", "-o", "there", "--json").stdout)
    assert told == {"trial": best, "folder": "there"}
