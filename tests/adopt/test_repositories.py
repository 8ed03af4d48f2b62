"""Five repositories of different kinds, from a script that trains to a campaign."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recipelab.core.recipe import Recipe
from recipelab.packs.load import load_pack

from .conftest import LOCAL, Adopt, Cli

pytestmark = pytest.mark.campaign

MOST_QUESTIONS = 3


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def searched(cli: Cli, name: str, *words: object) -> dict[str, Any]:
    """Run a short campaign on an adopted pack; no confirmation, as nothing is claimed here."""
    file = Path("task_packs") / name / "pack.toml"
    text = file.read_text().replace("seeds = [1, 2, 3]", "seeds = [1, 2]")
    file.write_text(f'{text}\n[acceptance]\npolicy = "keep-if-better"\ncalibration = 2\n')
    done = cli("run", name, "--trials", 1, "--ahead", 0, "--json", *LOCAL, *words)
    assert done.exit_code == 0, done.output
    facts: dict[str, Any] = json.loads(done.stdout)
    assert facts["trials"] == 1
    return facts


def cli_file(cli: Cli, number: int, path: str) -> str:
    files = json.loads(cli("export", number, "--patch", "--json").stdout)["files"]
    return str(files[path])


def adopted_untouched(adopt: Adopt, folder: Path, *words: object) -> dict[str, Any]:
    """Adopt a repository, whose own files stay as they are."""
    before = digests(folder)
    facts = adopt(folder, *words)
    assert digests(folder) == before
    assert facts["errors"] == 0
    assert facts["questions"] <= MOST_QUESTIONS
    assert facts["knobs"] > 0
    assert facts["seconds_a_trial"] > 0
    assert facts["smallest_gain"] > 0
    return facts


@pytest.mark.slow
def test_a_table_with_cross_validation(
    cli: Cli, adopt: Adopt, repository: Callable[..., Path]
) -> None:
    facts = adopted_untouched(adopt, repository("tabular_cv"))
    assert (facts["metric"], facts["goal"], facts["trust"]) == (
        "cv_rmse",
        "minimize",
        "isolated",
    )
    pack = load_pack("tabular_cv")
    assert (facts["folds"], pack.folds, pack.seeds) == (5, 100, (0, 1, 2, 3, 4))
    assert facts["seed"] == "by the option --seed"
    assert facts["data"] == ["churn.csv"]
    assert cli("packs", "check", "tabular_cv", "--no-run").exit_code == 0
    assert (
        "rows whose answers the recipe never sees"
        in Path("task_packs/tabular_cv/README.md").read_text()
    )
    assert searched(cli, "tabular_cv")["trust"] == "isolated"
    words = ("verify", 1, "--seeds", 2, "--sandbox", "local", "--slots", 1, "--json")
    verified = json.loads(cli(*words).stdout)
    assert verified["status"] in ("certified", "not_certified")
    assert verified["held_out"] is True


@pytest.mark.slow
def test_a_package_with_a_configuration_file(
    cli: Cli,
    adopt: Adopt,
    repository: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = repository("yaml_package")
    facts = adopted_untouched(adopt, folder)
    assert (facts["metric"], facts["goal"]) == ("val_acc", "maximize")
    assert facts["command"] == "python -m tinyclass.train --config configs/base.yaml"
    assert "by the key seed of configs/base.yaml" in facts["seed"]
    assert facts["data"] == ["data"]
    with monkeypatch.context() as key:
        key.setenv("OPENAI_API_KEY", "none")
        refused = cli("run", "yaml_package", "--model", "openai:gpt-4o", "--trials", 1, *LOCAL)
    assert refused.exit_code == 2
    assert "--accept-self-reported" in refused.stderr
    searched(cli, "yaml_package")
    warning = "self-reported: code that agents may change printed every score"
    for words in (("trials",), ("show", 1), ("lineage",), ("stats",), ("transcript",)):
        assert warning in cli(*words).stdout, words
    home = Path(".recipelab").absolute()
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir(folder)
        patch = cli("export", 1, "--patch", "--home", home).stdout
    assert patch.startswith(f"# {warning}")
    applied = subprocess.run(["git", "apply", "-p2"], cwd=folder, input=patch.encode())
    assert applied.returncode == 0
    changed = (folder / "configs" / "base.yaml").read_text()
    assert changed == cli_file(cli, 1, "recipe/configs/base.yaml")
    verified = cli("verify", 1, "--seeds", 2, "--sandbox", "local", "--slots", 1, "--json")
    assert json.loads(verified.stdout)["status"] in ("re-measured", "not_certified")
    held = json.loads(cli("packs", "adopt", "yaml_package", "--to", "protected", "--json").stdout)
    assert held["held"] == {"recipe/src/tinyclass/train.py": ["evaluate"]}
    assert load_pack("yaml_package").trust == "protected"
    assert cli("packs", "check", "yaml_package", "--no-run").exit_code == 0


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("make")), reason="needs a C compiler and make"
)
def test_a_program_in_c(cli: Cli, adopt: Adopt, repository: Callable[..., Path]) -> None:
    facts = adopted_untouched(adopt, repository("c_makefile"))
    assert (facts["command"], facts["metric"], facts["goal"]) == ("make run", "seconds", "minimize")
    gates = {gate.name for gate in load_pack("c_makefile").gates}
    assert gates == {"checksum at least", "checksum at most"}
    searched(cli, "c_makefile")


@pytest.mark.slow
def test_a_repository_of_autoresearch_layout(
    cli: Cli, adopt: Adopt, repository: Callable[..., Path], tmp_path: Path
) -> None:
    folder = repository("autoresearch")
    home = {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-B", "prepare.py"], cwd=folder, env=home, check=True)
    facts = adopted_untouched(adopt, folder)
    assert (facts["metric"], facts["trust"]) == ("val_bpb", "protected")
    assert facts["editable"] == ["train.py"]
    assert facts["data"] == ["recipelab_home/.cache/tinyresearch"]
    pack = load_pack("autoresearch")
    assert [item.path for item in pack.protected] == ["recipe/prepare.py"]
    assert facts["prior"] == "autoresearch-results"
    table = json.loads(cli("trials", "--name", facts["prior"], "--json").stdout)["rows"]
    assert [(row["status"], row["score"]) for row in table] == [
        ("baseline", 4.912345),
        ("kept", 4.8012),
        ("discarded", 5.1),
        ("crashed", None),
    ]
    searched(cli, "autoresearch", "--prior", facts["prior"])


@pytest.mark.slow
@pytest.mark.torch
def test_one_file_of_torch(cli: Cli, adopt: Adopt, repository: Callable[..., Path]) -> None:
    folder = repository("torch_file")
    facts = adopted_untouched(adopt, folder)
    assert (facts["metric"], facts["goal"]) == ("val_loss", "minimize")
    assert facts["seed"] == "by a line of the pack's copy of train.py:18"
    pack = load_pack("torch_file")
    assert set(pack.surface_names) == {"arch", "opt", "reg", "recipe"}
    assert set(pack.specialists) == {"arch", "opt", "reg", "generalist"}
    mine = Recipe({"recipe/train.py": (folder / "train.py").read_text()})
    changed = [
        line[1:]
        for line in mine.diff(
            Recipe({"recipe/train.py": pack.baseline().files["recipe/train.py"]})
        ).splitlines()
        if line.startswith(("-S", "+S"))
    ]
    assert changed == [
        "SEED = 1337",
        'SEED = int(__import__("os").environ.get("RECIPELAB_SEED", 1337))',
    ]
    searched(cli, "torch_file")
