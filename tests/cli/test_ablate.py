"""``recipelab ablate``: arms on equal budgets, gone on with, as table, JSON and picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Cli

ABLATE = ("ablate", "toy", "--trials", "2", "--sandbox", "local", "--slots", "1")


@pytest.mark.slow
def test_arms_run_on_equal_budgets_and_are_not_run_twice(cli: Cli, project: Path) -> None:
    words = (*ABLATE, "--seeds", "2", "--arms", "specialists,no-lineage")
    picture = project / "curves.svg"
    first = cli(*words, "--plot", picture)
    assert first.exit_code == 0, first.output
    assert "no-lineage against specialists: kept" in first.output
    too_few = (
        "With 2 seeds no difference between arms can be shown: the 4 tests of the table need 8"
    )
    assert too_few in first.stderr and too_few in " ".join(first.stdout.split())
    assert "</svg>" in picture.read_text()
    names = {c["campaign"] for c in json.loads(cli("campaigns", "--json").stdout)}
    assert len(names) == 4
    assert "toy-ablation-no-lineage-2" in names
    again = cli(*words, "--json")
    assert json.loads(again.stdout)["too_few"].startswith(too_few)
    facts = json.loads(again.stdout)["arms"]
    assert again.stderr.count("there already") == 4
    assert [facts[arm]["trials"]["mean"] for arm in facts] == [2, 2]
    assert facts["no-lineage"]["against"]["kept"]["pairs"] == 2
    tests = [test for arm in facts.values() for test in arm["against"].values()]
    assert {test["p_corrected"] for test in tests} == {1.0}
    # Two pairs can show no less, whichever trials the arms have kept.
    assert {test["p"] for test in tests} <= {0.5, 1.0}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--arms", "best"), "unknown arm 'best'; valid: generic, no-lineage, single"),
        (("--arms", ","), "name at least one"),
        (("--plot", "curves.gif"), "must end with one of .svg"),
        (("--plot", "nowhere/curves.svg"), "does not exist"),
    ],
)
def test_what_makes_no_sense_is_told_at_once(
    cli: Cli, project: Path, words: tuple[str, ...], told: str
) -> None:
    result = cli(*ABLATE, *words)
    assert result.exit_code == 2
    assert told in result.output
    assert not (project / ".recipelab").exists()
