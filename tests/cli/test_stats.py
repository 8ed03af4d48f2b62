"""``recipelab stats`` on a run of five trials and on a campaign of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.exchange.runs import airbench, write_run

from .conftest import Cli


@pytest.fixture
def old(cli: Cli, project: Path) -> Cli:
    """With the imported campaign ``old``."""
    write_run(project / "run", airbench())
    assert cli("import", "run", "--as", "old").exit_code == 0
    return cli


def test_figures_of_an_imported_run(old: Cli) -> None:
    stats = json.loads(old("stats", "old", "--json").stdout)
    assert (stats["trials"], stats["kept"]) == (4, 1)
    assert stats["metric"] == {"name": "train_s", "unit": "s", "goal": "minimize"}
    assert stats["best"]["source_id"] == "004"
    assert stats["best"]["change_percent"] == pytest.approx(-5.0)
    near = stats["near_misses"]["trials"]
    assert [(item["source_id"], item["repaired_by"]["source_id"]) for item in near] == [
        ("002", "004")
    ]
    time = stats["time"]["by_status"]["gate_missed"]
    assert (time["device_seconds"], time["seed_runs"]) == (180.0, 10)


def test_figures_for_people(old: Cli) -> None:
    output = old("stats").output
    for words in (
        "Campaign old: 4 trials, 1 kept; train_s (s), minimize",
        "best chain: 000 > 004",
        "near misses: 1, repaired 1, of these kept 1",
        "002 by 004 (named, kept)",
        "gate accuracy: missed by 1",
    ):
        assert words in output


def test_figures_of_a_campaign_that_ran_here(cli: Cli, project: Path) -> None:
    assert cli("run", "toy", "--sandbox", "local", "--trials", "2").exit_code == 0
    stats = json.loads(cli("stats", "--json").stdout)
    counted = {"kept", "discarded", "crashed", "oversize", "gate_missed"}
    assert sum(n for status, n in stats["by_status"].items() if status in counted) == 2
    assert stats["time"]["by_status"]["baseline"]["device_seconds"] > 0
    assert "Campaign toy-1" in cli("stats").output


def test_text_from_a_run_cannot_steer_the_terminal(cli: Cli, project: Path) -> None:
    rows = airbench()
    evil = "\x1b[2J\x07 [red]boo[/red]"
    rows[3] |= {"notes": f"x | TypeError: {evil}", "domain": evil, "specialist": evil}
    write_run(project / "run", rows)
    assert cli("import", "run", "--as", "old").exit_code == 0
    output = cli("stats").output
    assert "\x1b[2J" not in output and "\x07" not in output
    assert "[red]boo[/red]" in output


def test_an_unknown_campaign_is_told(old: Cli) -> None:
    result = old("stats", "odl")
    assert result.exit_code == 2
    assert "unknown campaign 'odl'; valid: old" in result.stderr
