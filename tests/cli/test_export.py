"""``recipelab export``: a trial's recipe, and a whole campaign there and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipelab.core.trial import Status
from recipelab.lineage import LineageStore
from tests.exchange.runs import airbench, write_run
from tests.lineage.helpers import CAMPAIGN, add_campaign, outcome, proposal

from .conftest import Cli


@pytest.fixture
def old(cli: Cli, project: Path) -> Cli:
    """With the imported campaign ``old``."""
    write_run(project / "run", airbench())
    assert cli("import", "run", "--as", "old").exit_code == 0
    return cli


def test_a_campaign_goes_out_and_comes_back(cli: Cli, project: Path) -> None:
    assert cli("run", "toy", "--sandbox", "local", "--trials", "3").exit_code == 0
    told = cli("export", "toy-1", "--to", "one.jsonl")
    assert told.exit_code == 0 and "one.jsonl (jsonl)" in told.output
    assert cli("import", "one.jsonl", "--as", "back").exit_code == 0
    assert cli("export", "back", "--to", "two.jsonl", "--json").exit_code == 0
    assert Path("one.jsonl").read_bytes() == Path("two.jsonl").read_bytes()
    for words in (("trials",), ("transcript",), ("show", "1")):
        ours = cli(*words, "--name", "toy-1", "--json").stdout
        assert cli(*words, "--name", "back", "--json").stdout == ours.replace(
            '"campaign": "toy-1"', '"campaign": "back"'
        ).replace('"stop_reason": "toy-1"', '"stop_reason": "back"')


def test_export_as_json(old: Cli, project: Path) -> None:
    facts = json.loads(old("export", "old", "--to", "x", "--format", "git", "--json").stdout)
    assert facts == {"campaign": "old", "format": "git", "to": "x", "trials": 5}
    assert (project / "x/.git").is_dir()


def test_nothing_is_written_over_without_force(old: Cli, project: Path) -> None:
    assert old("export", "old", "--to", "x.csv").exit_code == 0
    Path("x.csv").write_text("mine")
    result = old("export", "old", "--to", "x.csv")
    assert result.exit_code == 2 and "--force" in result.stderr
    assert Path("x.csv").read_text() == "mine"
    assert old("export", "old", "--to", "x.csv", "--force").exit_code == 0
    assert Path("x.csv").read_text().startswith("trial,")


def test_a_patch_is_not_written_over_either(cli: Cli, project: Path) -> None:
    assert cli("run", "toy", "--sandbox", "local", "--trials", "1").exit_code == 0
    words = ("export", "1", "--patch", "-o", "x.patch")
    assert cli(*words).exit_code == 0
    patch = Path("x.patch").read_text()
    assert patch.startswith("diff --git")
    assert cli(*words).exit_code == 2
    Path("x.patch").write_text("mine")
    assert cli(*words, "--force").exit_code == 0
    assert Path("x.patch").read_text() == patch


def test_a_recipe_is_never_written_outside_of_its_folder(cli: Cli, project: Path) -> None:
    with LineageStore.open(project / ".recipelab/lineage.db", create=True) as store:
        add_campaign(store)
        store.propose_and_record(
            CAMPAIGN,
            proposal(),
            outcome(Status.BASELINE),
            parents=[],
            files={"../evil.py": "x"},
            digest="",
            diff="",
            round_number=None,
        )
    result = cli("export", "0", "-o", "deep/new")
    assert result.exit_code == 2 and "cannot be written into a folder" in result.stderr
    assert not list(project.rglob("evil.py"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("export", "gone", "--to", "x.csv"), "unknown campaign 'gone'; valid: old"),
        (("export", "old", "--to", "x.txt"), "give --format jsonl|csv|parquet|git"),
        (("export", "old", "--to", "x.csv", "--format", "xml"), "unknown format 'xml'"),
        (("export", "old", "--to", "x.csv", "--patch"), "are for a trial"),
        (("export", "old"), "'old' is no trial; valid: best, or the number of a trial"),
        (("export", "1", "--format", "csv"), "say where with --to"),
        (("export", "99", "--patch"), "no trial 99; it has trials 0 to 4"),
        (("export", "1", "--patch"), "holds no recipe of trial 1"),
        (("export", "old", "--to", "run"), "the format of run is not clear"),
        (("export", "old", "--to", "run", "--format", "jsonl"), "a folder that is not empty"),
        (("export", "old", "--to", "run/tree.tsv/x.csv"), "cannot write"),
    ],
)
def test_bad_exports_are_answered_with_exit_code_2(
    old: Cli, words: tuple[str, ...], told: str
) -> None:
    result = old(*words)
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert "Traceback" not in result.output
