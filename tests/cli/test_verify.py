"""Certified scores: on seeds and answers that no trial had, beside the score of the search."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recipelab.evaluation.seeds import SeedSource
from recipelab.lineage import LineageStore
from recipelab.packs.load import load_pack

from .conftest import Cli, Ran

CONFIRMED = ("--profile", "confirmed", "--trials", 4, "--seed", 1)


def verify(cli: Cli, *words: str) -> tuple[int, dict[str, Any]]:
    result = cli("verify", *words, "--sandbox", "local", "--json")
    return result.exit_code, json.loads(result.stdout) if result.stdout else {}


@pytest.fixture
def best(ran: Ran) -> int:
    """A campaign that kept something."""
    number = ran(*CONFIRMED)["best"]["trial"]
    assert number > 0
    return int(number)


def test_the_best_is_certified_and_listed_first(cli: Cli, best: int) -> None:
    assert "verify best" in cli("leaderboard").stdout
    code, found = verify(cli, "best")
    assert (code, found["status"], found["trial"]) == (0, "certified", best)
    assert found["held_out"] is True
    assert found["seeds"] == 4
    assert found["delta_low"] < found["delta"] < found["delta_high"] < 0
    # The hidden answers lie elsewhere, so the scores of search and certificate differ.
    code, start = verify(cli, "0", "--seeds", "3")
    assert (code, start["status"], start["seeds"]) == (1, "not_certified", 3)
    assert (found["tries"], start["tries"]) == (1, 2)
    assert "corrected for 2 certifications" in start["reason"]
    assert "corrected" not in found["reason"]
    # Corrected once: what the newest certificate says is what the leaderboard shows.
    newest = json.loads(cli("leaderboard", "--json").stdout)["rows"][1]
    assert newest["low_corrected"] == pytest.approx(start["delta_low"])
    assert newest["p_corrected"] == pytest.approx(start["p"])
    rows = json.loads(cli("leaderboard", "--json").stdout)["rows"]
    assert [row["trial"] for row in rows] == [best, 0]
    assert rows[0]["score"] < rows[1]["score"]
    assert abs(rows[0]["score"] - rows[0]["search_score"]) > 0.5
    assert "[knob" in cli("leaderboard").stdout


def test_certificates_have_seeds_that_no_trial_had(cli: Cli, best: int) -> None:
    seeds = {run["seed"] for row in _trials(cli) for run in row["seed_runs"]}
    with LineageStore.open(".recipelab/lineage.db", create=True) as store:
        source = SeedSource(load_pack("toy", "confirmed"), "toy-1", store.secret("toy-1"))
    certified = source.certification(0, 50)
    assert len(seeds) > 3 and not seeds & set(certified)
    (_, one), (_, two) = verify(cli, "best"), verify(cli, "best")
    assert one["score"] != two["score"], "every certificate has seeds of its own"


def _trials(cli: Cli) -> list[dict[str, Any]]:
    rows = json.loads(cli("trials", "--json").stdout)["rows"]
    return [json.loads(cli("show", row["trial"], "--json").stdout) for row in rows]


@pytest.mark.parametrize(
    ("trial", "words"),
    [("77", "has no trial 77"), ("first", "valid: best, or the number"), ("-1", "No such option")],
)
def test_what_is_no_trial_is_refused(cli: Cli, best: int, trial: str, words: str) -> None:
    result = cli("verify", trial, "--sandbox", "local")
    assert result.exit_code == 2
    assert words in result.stderr + result.output


def test_a_campaign_says_its_noise_before_its_first_trial(cli: Cli) -> None:
    result = cli(
        *("run", "toy", "--profile", "confirmed", "--trials", 1, "--sandbox", "local"),
        *("--slots", 1, "--name", "n"),
    )
    told = " ".join(result.stdout.split())
    assert "Noise, from 3 seed runs of the baseline" in told
    assert "smallest true gain that is claimed four times in five" in told
    assert told.index("Noise, from") < told.index("1 trials")
    transcript = cli("transcript", "--name", "n").output
    assert "Noise, from 3 seed runs" in " ".join(transcript.split())


def test_stopped_seed_runs_are_told(ran: Ran) -> None:
    racing = ran(*CONFIRMED)["racing"]
    assert racing["left_out"] > 0
    assert racing["planned"] == 4 * 3
    assert racing["saved_seconds"] > 0
