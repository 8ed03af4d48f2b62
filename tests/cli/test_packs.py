"""A pack of one's own: written, checked, shown, found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recipelab
from recipelab.packs.data import size_text
from recipelab.packs.load import load_pack, pack_schema, read_pack
from recipelab.packs.template import PackDraft, write_pack

from .conftest import Cli

LOCAL = ("--sandbox", "local", "--slots", 1)
READ = "file.read_numbers(count=len(answers))"
TRUST = "[float(word) for word in file.read_text(9999).split()]"


def checked(cli: Cli, *words: object) -> tuple[int, list[dict[str, str]]]:
    result = cli("packs", "check", *words, "--json")
    assert result.exit_code in (0, 1), result.output
    found: list[dict[str, str]] = json.loads(result.stdout)
    return result.exit_code, found


def told(found: list[dict[str, str]], level: str) -> str:
    return "\n".join(f"{item['what']}: {item['told']}" for item in found if item["level"] == level)


@pytest.fixture
def curve(cli: Cli) -> Path:
    result = cli("packs", "new", "curve", "--title", 'A "curve"', "--metric", "mse")
    assert result.exit_code == 0, result.output
    return Path("task_packs/curve")


@pytest.mark.slow
def test_a_new_pack_improves_and_can_be_verified(cli: Cli, curve: Path) -> None:
    """That it is sound is tested as the page says it (tests/examples/test_tutorial.py)."""
    words = ("--trials", 2, "--seed", 2, "--json", *LOCAL)
    facts = json.loads(cli("run", "curve", *words).stdout)
    assert facts["trials"] == 2
    assert facts["best"]["score"] < facts["baseline"]["score"]
    assert cli("verify", "best", "--seeds", 4, "--sandbox", "local").exit_code == 0


@pytest.mark.slow
def test_a_repository_of_a_pack_can_be_installed(cli: Cli, tmp_path: Path) -> None:
    """As its page says: pip makes a wheel of it, by which the pack is found, and its tests pass."""
    title = 'Points "on" a \\ curve\x07'
    result = cli("packs", "new", "curve_2", "--repository", "--title", title, "--metric", "mse")
    assert result.exit_code == 0, result.output
    repository = Path("recipelab-pack-curve-2").absolute()
    assert (repository / ".git").is_dir()
    again = cli("packs", "new", "curve_2", "--repository", "--title", title, "--metric", "mse")
    assert (again.exit_code, "exists already" in again.output) == (2, True)

    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    pip = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, str(repository)], check=True, capture_output=True)
    # What recipelab itself needs is there already.
    paths = [str(Path(recipelab.__file__).parents[1]), sysconfig.get_path("purelib")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    search = [str(python), "-m", "recipelab", "packs", "search", "curve_2", "--json"]
    found = subprocess.run(search, env=environment, cwd=tmp_path, check=True, capture_output=True)
    (entry,) = json.loads(found.stdout)
    assert entry["from"] == "recipelab-pack-curve-2 0.1.0"
    assert Path(entry["folder"]).is_relative_to(tmp_path / "venv")
    tests = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(tests, env=environment, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout


def test_its_own_test_passes(curve: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_curve.py"]
    done = subprocess.run(command, cwd=curve, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_nothing_is_written_over(cli: Cli, curve: Path) -> None:
    before = (curve / "pack.toml").read_text()
    result = cli("packs", "new", "curve")
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert (curve / "pack.toml").read_text() == before


@pytest.mark.parametrize("name", ["Curve", "../x", "a b", "", "1a"])
def test_a_bad_name_is_refused(cli: Cli, name: str) -> None:
    result = cli("packs", "new", name)
    assert result.exit_code == 2
    assert "is no name; valid: a small letter" in result.stderr


def test_list_and_show(cli: Cli, curve: Path) -> None:
    assert 'curve (mini): A "curve"' in cli("packs").stdout
    assert cli("packs", "list").stdout == cli("packs").stdout
    assert {item["pack"] for item in json.loads(cli("packs", "--json").stdout)} >= {"toy", "curve"}
    shown = json.loads(cli("packs", "show", "curve", "--json").stdout)
    assert (shown["knobs"], shown["plays"]) == (5, 1)
    assert "mse (score.mse, minimize)" in cli("packs", "show", "curve").stdout
    missing = cli("packs", "show", "nothing")
    assert missing.exit_code == 2
    assert "valid: " in missing.stderr


FAR = "http://127.0.0.1:9/train.csv"


def test_data_is_told_before_it_is_fetched(cli: Cli, curve: Path) -> None:
    """Data of one's own are here; what is fetched is told before."""
    size = size_text((curve / "data" / "train.csv").stat().st_size)
    own, far = 'kind = "path", path = "data/train.csv"', f'kind = "url", url = "{FAR}"'
    spoil(curve, "pack.toml", own, far)
    result = cli("packs", "fetch", "curve", "--yes")
    assert result.exit_code == 2 and "127.0.0.1:9" in result.stderr
    assert f"train.csv: {size}, your own, to be fetched" in result.stdout.splitlines()
    spoil(curve, "pack.toml", far, own)
    result = cli("packs", "fetch", "curve", "--yes")
    assert result.exit_code == 0
    assert f"train.csv: {size}, your own, is here" in result.stdout.splitlines()


def spoil(pack: Path, file: str, old: str, new: str) -> None:
    path = pack / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("pack.toml", '"recipe/*.py"', '"recipe/*.txt"', "no file matches"),
        (
            "pack.toml",
            '["arch", "opt"]',
            '["arch"]',
            "surface opt: no specialist of the pack owns it",
        ),
        ("recipe/model.py", "knob arch: 1", "knob aug: 1", "of surface 'aug'; valid: arch, opt"),
        ("playbook.toml", 'search = "', 'search = "not there ', "play fading-rate does not apply"),
        ("recipe/train.py", "def main", "def main(", "does not parse"),
        ("recipe/train.py", "    main()", "    1 / 0", "crashed: preflight"),
        ("pack.toml", "at_most = 20_000", "at_most = 200", "gate recipe size"),
        ("evaluator/score.py", READ, TRUST, "scorer broke"),
    ],
)
def test_what_is_wrong_is_told(
    cli: Cli, curve: Path, file: str, old: str, new: str, words: str
) -> None:
    spoil(curve, file, old, new)
    code, found = checked(cli, "curve", *LOCAL)
    assert words in told(found, "error")
    assert code == 1


@pytest.mark.slow
def test_a_scorer_that_can_be_fooled_is_found(cli: Cli, curve: Path) -> None:
    """It scores as many predictions as there are, and none is perfect."""
    text = (curve / "evaluator/score.py").read_text()
    text = text.replace(READ, TRUST)
    text = text.replace("strict=True", "strict=False").replace("/ len(squares)", "/ 1e9")
    (curve / "evaluator/score.py").write_text(text)
    spoil(curve, "pack.toml", 'items = "score.mse"\n', "")
    spoil(curve, "pack.toml", "at_least = 0.1", "at_least = 0.0")
    code, found = checked(cli, "curve", *LOCAL)
    assert code == 1
    assert "items: the scorer leaves none" in told(found, "ok")
    assert "scorer: empty files: scores 0, better than the honest" in told(found, "error")


@pytest.mark.slow
def test_noise_beyond_the_seed_is_warned_of(cli: Cli, curve: Path) -> None:
    spoil(curve, "recipe/train.py", "random.seed(args.seed)", "random.seed()")
    shuffled = "import random\nwrite_items(random.sample(squares, len(squares)))"
    spoil(curve, "evaluator/score.py", "write_items(squares)", shuffled)
    _, found = checked(cli, "curve", *LOCAL)
    assert "the same seed differs: score.mse" in told(found, "warning")
    assert "items: two runs of one seed hardly agree item by item" in told(found, "warning")


def test_without_running_nothing_is_run(cli: Cli, curve: Path) -> None:
    spoil(curve, "recipe/train.py", "    main()", "    1 / 0")
    code, found = checked(cli, "curve", "--no-run")
    assert code == 0
    assert not any(item["what"] == "baseline" for item in found)


def keys(schema: dict[str, Any], table: dict[str, Any], defs: dict[str, Any]) -> None:
    """Every key of a table is one of its schema."""
    if "$ref" in schema:
        schema = defs[schema["$ref"].rpartition("/")[2]]
    known = schema.get("properties")
    for key, value in table.items():
        if known is None:
            return
        assert key in known, key
        if isinstance(value, dict) and ("$ref" in known[key] or "properties" in known[key]):
            keys(known[key], value, defs)


@pytest.mark.parametrize("name", ["toy", "airbench96"])
def test_the_schema_knows_every_key_of_a_pack(cli: Cli, name: str) -> None:
    schema = json.loads(cli("packs", "schema").stdout)
    assert schema == pack_schema()
    kept = Path(__file__).parents[2] / "docs" / "pack.schema.json"
    assert json.loads(kept.read_text()) == schema, "recipelab packs schema > docs/pack.schema.json"
    table = tomllib.loads((load_pack(name).root / "pack.toml").read_text())
    keys(schema, table, schema["$defs"])
    assert "root" not in schema["properties"]


@settings(max_examples=10, deadline=None)
@given(
    name=st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
    metric=st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
    title=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40),
)
def test_any_name_and_title_make_a_pack(
    tmp_path_factory: pytest.TempPathFactory, name: str, metric: str, title: str
) -> None:
    folder = tmp_path_factory.mktemp("packs") / name
    write_pack(PackDraft(name, title, metric), folder)
    pack = read_pack(folder / "pack.toml")
    assert (pack.name, pack.title, pack.metric.measure) == (name, title, f"score.{metric}")
