"""Which edit gave what share of the gain, from the command line."""

from __future__ import annotations

import json
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from .background import answer, begun, until
from .conftest import Cli, Ran

CAMPAIGN = ("--seed", 3, "--trials", 8)


def facts_of(cli: Cli, *words: object) -> dict[str, Any]:
    found = cli("ablate-best", *words, "--json")
    assert found.exit_code == 0, found.output
    facts: dict[str, Any] = json.loads(found.stdout)
    return facts


def kept_in(project: Path) -> list[dict[str, Any]]:
    """What was measured of each recipe so far."""
    files = list(project.rglob("ablation.json"))
    return [
        one
        for file in files
        for kept in json.loads(file.read_text()).values()
        for one in kept.values()
    ]


@pytest.mark.slow
def test_shares_add_up_and_are_measured_once(cli: Cli, ran: Ran, project: Path) -> None:
    ran(*CAMPAIGN)
    facts = facts_of(cli, "--seeds", 2)
    assert facts["gain"]["value"] > 0
    assert len(facts["steps"]) == len(facts["chain"]) - 1 >= 2
    assert [step["trial"] for step in facts["steps"]] == facts["chain"][1:]
    rest = facts["unexplained"]["value"]
    own = sum(step["own"]["value"] for step in facts["steps"])
    assert own + rest == pytest.approx(facts["gain"]["value"])
    surfaces = sum(row["own"]["value"] for row in facts["surfaces"])
    assert surfaces == pytest.approx(own)
    (file,) = project.rglob("ablation.json")
    before = file.read_text()
    again = cli("ablate-best", "toy-1", "--seeds", 2)
    assert again.exit_code == 0, again.output
    assert "What the best loses without each step" in again.stdout
    assert "By surface" in again.stdout
    assert f"trial {facts['best']} gains" in again.stdout
    assert file.read_text() == before
    seeds = {seed for one in kept_in(project) for seed in one["candidate"]}
    facts_of(cli, "--seeds", 3)
    assert {len(one["candidate"]) for one in kept_in(project)} == {3}
    assert seeds < {seed for one in kept_in(project) for seed in one["candidate"]}


@pytest.mark.slow
def test_stopped_it_goes_on_with_what_was_measured(ran: Ran, project: Path) -> None:
    ran(*CAMPAIGN)
    process = begun(project, "ablate-best", "--seeds", "2", "--slots", "1")
    until(lambda: kept_in(project), process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "recipelab ablate-best toy-1 --seeds 2" in output
    assert "Traceback" not in output
    before = kept_in(project)
    facts = answer("ablate-best", "--seeds", "2")
    assert kept_in(project)[: len(before)] == before
    assert facts["gain"]["value"] > 0


def test_a_best_that_fails_by_now_is_told(cli: Cli, ran: Ran, project: Path) -> None:
    ran(*CAMPAIGN)
    # As an earlier recipelab left it, which took a pack as it was.
    database = sqlite3.connect(project / ".recipelab/lineage.db", isolation_level=None)
    database.execute("UPDATE campaign SET settings = json_remove(settings, '$.seal')")
    database.close()
    pack = project / "task_packs/toy/pack.toml"
    pack.write_text(pack.read_text().replace("at_least = 0.2", "at_least = 1e9"))
    found = cli("ablate-best", "--seeds", 2)
    assert found.exit_code == 2, found.output
    assert "kept no hashes of pack, evaluator, data and image" in found.stderr
    assert "the best, fails by now" in found.stderr
    assert "gate_missed" in found.stderr


def test_without_a_kept_trial_there_is_nothing_to_divide(cli: Cli, ran: Ran) -> None:
    ran("--trials", 1, "--target", "1000")
    found = cli("ablate-best")
    assert found.exit_code == 2
    assert "has kept no trial" in found.stderr
