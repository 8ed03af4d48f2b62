"""``--log-level`` and ``--log-format`` over a real campaign."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Cli


@pytest.mark.slow
def test_a_campaign_logs_json_lines_with_campaign_and_trial(project: Path) -> None:
    words = ["--log-level", "debug", "--log-format", "json", "run", "toy"]
    words += ["--trials", "2", "--sandbox", "local", "--slots", "1"]
    command = [sys.executable, "-m", "recipelab", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    told = [line for line in lines if line["event"] in ("trial judged", "phase ended")]
    assert all(line["campaign"] == "toy-1" for line in told)
    judged = [line for line in told if line["event"] == "trial judged"]
    assert [line["trial"] for line in judged] == [0, 1, 2]
    assert judged[0]["status"] == "baseline"
    assert all(line["level"] == "info" and line["seconds"] > 0 for line in judged)
    first = [line for line in told if line["trial"] == 1 and line["event"] == "phase ended"]
    assert [line["phase"] for line in first].count("train") == 2
    assert {line["seed"] for line in first if line["phase"] == "score"} == {1, 2}
    assert all(line["exit"] == 0 and line["wall_seconds"] > 0 for line in first)
    # No hypothesis, prompt or recipe has come into the logs.
    assert "knob" not in done.stderr
    assert "hypothesis" not in done.stderr


@pytest.mark.parametrize(
    ("words", "environment", "told"),
    [
        (("--log-level", "loud"), {}, "unknown log level 'loud'; valid: debug, error, info, w"),
        (("--log-format", "xml"), {}, "unknown log format 'xml'; valid: auto, console, json"),
        ((), {"RECIPELAB_LOG_LEVEL": "7"}, "RECIPELAB_LOG_LEVEL): unknown log level '7'; valid:"),
        ((), {"RECIPELAB_LOG_FORMAT": "7"}, "RECIPELAB_LOG_FORMAT): unknown log format '7'"),
    ],
)
def test_bad_values_list_the_valid_ones(
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    environment: dict[str, str],
    told: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = cli(*words, "packs")
    assert result.exit_code == 2
    assert told in result.stderr
    assert not result.stdout
