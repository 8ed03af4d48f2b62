"""``recipelab stats``, ``note``, ``export`` and ``lineage``, as a person uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipelab.core.trial import Checkpoint, Evidence, Outcome, Proposal, Standing, Status
from recipelab.lineage import LineageStore, prior_campaigns
from tests.tools.history import add_campaign, tell

from .conftest import Cli


@pytest.fixture(autouse=True)
def campaign(project: Path) -> None:
    """A campaign with a known history in the project's lineage."""
    with LineageStore.open(project / ".recipelab/lineage.db", create=True) as store:
        add_campaign(store, "c")
        tell(store, "c")


def test_stats_for_people_and_for_programs(cli: Cli) -> None:
    shown = cli("stats", "c")
    assert shown.exit_code == 0
    assert "Campaign c: 5 trials, 1 kept" in shown.stdout
    assert "near misses: 1, repaired" in shown.stdout
    facts = json.loads(cli("stats", "--json").stdout)
    assert facts["near_misses"]["count"] == 1


def test_notes_are_left_listed_and_retired(cli: Cli) -> None:
    assert "no notes" in cli("note").stdout
    cli("note", "leave the end alone", "--to", "opt", "--trial", "4")
    assert cli("note").stdout == "1 to opt on trial 4: leave the end alone\n"
    assert cli("note", "--retire", "1").exit_code == 0
    assert json.loads(cli("note", "--json").stdout) == []
    wrong = cli("note", "x", "--trial", "77")
    assert wrong.exit_code == 2
    assert "has no trial 77" in wrong.stderr
    assert cli("note", "--to", "opt").exit_code == 2


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        (["--ancestor", "1"], [6, 5, 4]),
        (["--max-score", "8"], [4, 1]),
        (["--standing", "untested"], [1]),
        (["--standing", "certified", "--standing", "unproven"], []),
        (["--since", "2000-01-01", "--limit", "2", "--offset", "1"], [5, 4]),
        (["--until", "2000-01-01"], []),
    ],
)
def test_the_filters_that_agents_have(cli: Cli, filters: list[str], numbers: list[int]) -> None:
    answer = json.loads(cli("lineage", *filters, "--json").stdout)
    assert [row["trial"] for row in answer["rows"]] == numbers


def test_an_unknown_standing_is_refused_with_the_valid_ones(cli: Cli) -> None:
    wrong = cli("lineage", "--standing", "proven")
    assert wrong.exit_code == 2
    assert "certified, provisional, unproven, untested" in " ".join(wrong.stderr.split())


def test_the_best_that_is_exported_is_certified_unless_the_head_is_asked_for(cli: Cli) -> None:
    with LineageStore.open(".recipelab/lineage.db", create=True) as store:
        evidence = Evidence(1, 2, 2, standing=Standing.PROVISIONAL)
        number = store.propose(
            "c",
            Proposal("opt", "opt", 1, "why", 0.0, ()),
            parents=(1,),
            files={"recipe/train.py": "x = 5\n"},
            digest="new",
            diff="",
            round_number=None,
        )
        store.record("c", number, Outcome(Status.KEPT, "so", score=1.0, evidence=evidence))
    refused = cli("export", "best", "--patch", "--name", "c")
    assert refused.exit_code == 2
    assert f"trial {number} (provisional), with --head" in " ".join(refused.stderr.split())
    facts = json.loads(cli("export", "best", "--head", "--json", "--name", "c").stdout)
    assert (facts["trial"], facts["standing"]) == (number, "provisional")
    with LineageStore.open(".recipelab/lineage.db", create=True) as store:
        store.add_checkpoint("c", Checkpoint(number, 0, True, False, "it holds", 4, level=0.01))
    facts = json.loads(cli("export", "best", "--json", "--name", "c").stdout)
    assert (facts["trial"], facts["standing"]) == (number, "certified")
    assert cli("export", "1", "--head", "--patch").exit_code == 2


def test_a_whole_campaign_goes_out_and_in_again(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    assert cli("export", "c", "--to", file).exit_code == 0
    assert cli("export", "c", "--to", file).exit_code == 2
    assert cli("import", file, "--as", "copy").exit_code == 0
    first, second = (
        json.loads(cli("lineage", "--name", name, "--json").stdout) for name in ("c", "copy")
    )
    assert first == second


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["export", "1"], "--patch, --output FOLDER"),
        (["export", "c", "--to", "x", "--format", "xml"], "valid: csv, git, jsonl, parquet"),
        (["stats", "nobody"], "valid: c"),
        (["run", "toy", "--trials", "1", "--sandbox", "local", "--prior", "nobody"], "valid: c"),
    ],
)
def test_bad_input_is_told_in_words(cli: Cli, words: list[str], told: str) -> None:
    result = cli(*words)
    assert result.exit_code == 2
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_the_lineage_may_be_elsewhere(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LineageStore.open(tmp_path / "other.db", create=True) as store:
        add_campaign(store, "elsewhere")
        tell(store, "elsewhere")
    monkeypatch.setenv("RECIPELAB_LINEAGE", f"sqlite:///{tmp_path}/other.db")
    assert cli("campaigns").stdout.startswith("elsewhere: toy")


def test_agents_may_ask_a_prior_campaign(cli: Cli) -> None:
    words = ["run", "toy", "--trials", "1", "--sandbox", "local", "--name", "next"]
    assert cli(*words, "--prior", "c").exit_code == 0
    with LineageStore.open(".recipelab/lineage.db", create=True) as store:
        assert prior_campaigns(store.campaign("next")) == ("c",)


def test_the_newest_trials_are_shown_and_the_others_counted(cli: Cli) -> None:
    assert "earlier trials" not in cli("trials").stdout
    shown = cli("trials", "--limit", "2").stdout
    lines = [line.split()[0] for line in shown.splitlines() if line.strip()[:1].isdigit()]
    assert lines == ["5", "6", "5"]
    assert "5 earlier trials are not shown: recipelab trials --limit N, or --json" in shown
    rows = json.loads(cli("trials", "--json").stdout)["rows"]
    assert [row["trial"] for row in rows] == list(range(7))
    rows = json.loads(cli("trials", "--limit", "2", "--json").stdout)["rows"]
    assert [row["trial"] for row in rows] == [5, 6]
