"""Which edit gave what share of the gain, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Cli

RUN = ("run", "toy", "--sandbox", "local", "--slots", 1, "--ahead", 0, "--seed", 3)


def test_shares_add_up_and_are_measured_once(cli: Cli, project: Path) -> None:
    assert cli(*RUN, "--trials", 12).exit_code == 0
    first = cli("ablate-best", "--sandbox", "local", "--seeds", 3, "--json")
    assert first.exit_code == 0, first.output
    facts = json.loads(first.stdout)
    assert facts["gain"] > 0
    assert len(facts["steps"]) == len(facts["chain"]) - 1
    rest = facts["unexplained"] or 0.0
    assert sum(step["own"] for step in facts["steps"]) + rest == pytest.approx(
        facts["gain"], rel=0.05
    )
    (file,) = project.rglob("ablation.json")
    before = file.read_text()
    again = cli("ablate-best", "toy-1", "--sandbox", "local", "--seeds", 3)
    assert again.exit_code == 0
    assert "what the best loses without each step" in again.stdout
    assert "by surface:" in again.stdout
    assert file.read_text() == before


def test_without_a_kept_trial_there_is_nothing_to_divide(cli: Cli) -> None:
    assert cli(*RUN, "--trials", 1, "--target", "1000").exit_code == 0
    found = cli("ablate-best", "--sandbox", "local")
    assert found.exit_code == 2
    assert "has kept no trial" in found.stderr
