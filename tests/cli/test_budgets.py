"""Budgets on the command line: estimates before, warnings on the way, and how campaigns end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Cli

RUN = ("run", "toy", "--sandbox", "local", "--slots", "1", "--seed", "1")


def test_a_dry_run_estimates_and_runs_nothing(cli: Cli, project: Path) -> None:
    first = cli(*RUN, "--trials", "5", "--dry-run")
    assert first.exit_code == 0, first.output
    assert "only bounds are known" in first.output
    assert not (project / ".recipelab").exists()
    assert cli(*RUN, "--trials", "2", "--json").exit_code == 0
    facts = json.loads(cli(*RUN, "--trials", "5", "--dry-run", "--json").stdout)
    assert facts["from_past_trials"] == 3
    assert 0 < facts["device_hours_expected"] < facts["device_hours_at_most"]
    assert facts["specialists"] == ["left", "right"]
    assert facts["dollars_expected"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--plateau", "2"), "none of the last"),
        (("--trials", "9", "--target", "34"), "the target of 34 is reached"),
        (("--device-hours", "0.001", "--trials", "500"), "the budget of device time is spent"),
    ],
)
def test_a_campaign_ends_for_the_first_limit_that_it_reaches(
    cli: Cli, words: tuple[str, ...], reason: str
) -> None:
    result = cli(*RUN, *words, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["state"] == "finished"
    assert reason in facts["stop_reason"]


def test_people_are_warned_on_the_way(cli: Cli) -> None:
    result = cli(*RUN, "--trials", "4")
    for share in ("50%", "100%"):
        assert f"{share} of the trials are used" in result.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--model", "x=offline"), "unknown participant with a model 'x'; valid: left, right"),
        (("--model", "offline", "--model", "offline"), "both for everybody"),
        (("--prices", "none.toml"), "none.toml: cannot be read"),
        (("--arm", "best"), "specialists"),
        (("--speakers", "nobody"), "round-robin"),
        (("--ahead", "-1"), "--ahead"),
        (("--money", "0"), "--money"),
    ],
)
def test_bad_options_are_told_and_change_nothing(
    cli: Cli, project: Path, words: tuple[str, ...], told: str
) -> None:
    result = cli(*RUN, *words)
    assert result.exit_code == 2
    assert told in result.output
    assert "Traceback" not in result.output
