"""The main job on the toy pack: run, look, resume, export, and what goes wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from autogen_agentchat.messages import MessageFactory

from .conftest import Cli, Ran

CAMPAIGN = ("--seed", 1, "--trials", 6)


def run(cli: Cli, *words: str, trials: int = 5, seed: int = 1) -> dict[str, Any]:
    result = cli(
        "run",
        "toy",
        "--trials",
        trials,
        "--seed",
        seed,
        "--sandbox",
        "local",
        "--slots",
        1,
        "--json",
        *words,
    )
    assert result.exit_code == 0, result.output
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def rows(cli: Cli, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cli("trials", "--name", name, "--json").stdout)["rows"]
    return found


@pytest.mark.slow
def test_a_campaign_improves_the_recipe_and_leaves_its_papers(
    cli: Cli, ran: Ran, project: Path
) -> None:
    facts = ran(*CAMPAIGN)
    assert facts["trials"] == 6
    assert facts["state"] == "finished"
    assert facts["best"]["score"] < facts["baseline"]["score"]
    assert facts["counts"]["kept"] >= 1
    folder = Path(facts["folder"])
    copy = project / "copy"
    shutil.copytree(project / "task_packs" / "toy", copy)
    patch = (folder / "best.patch").resolve()
    subprocess.run(["git", "apply", str(patch)], cwd=copy, check=True, capture_output=True)
    number = facts["best"]["trial"]
    exported = json.loads(cli("export", number, "--json").stdout)
    assert (copy / "recipe/train.py").read_text() == exported["files"]["recipe/train.py"]
    transcript = (folder / "transcript.md").read_text()
    for words in (
        "### left *(offline",
        "- `lineage_query` *(",
        "Proposes **trial 1**",
        "```diff",
        "**kept, ",
    ):
        assert words in transcript


def test_the_transcript_reads_back_as_autogen_messages(ran: Ran) -> None:
    folder = Path(ran(*CAMPAIGN)["folder"])
    lines = (folder / "transcript.jsonl").read_text().splitlines()
    messages = [MessageFactory().create(json.loads(line)) for line in lines]
    assert {"user", "left", "right", "evaluator"} <= {message.source for message in messages}


@pytest.mark.slow
def test_the_same_seed_proposes_the_same_edits(cli: Cli) -> None:
    names = {"one": 3, "two": 3, "other": 4}
    edits = {}
    for name, seed in names.items():
        # What is proposed ahead depends on how fast trials end.
        run(cli, "--ahead", "0", "--name", name, seed=seed, trials=2)
        shown = [json.loads(cli("show", n, "--name", name, "--json").stdout) for n in (1, 2)]
        edits[name] = [trial["edits"] for trial in shown]
    assert edits["one"] == edits["two"]
    assert edits["one"] != edits["other"]


def test_a_proposal_is_never_repeated(cli: Cli, ran: Ran) -> None:
    ran(*CAMPAIGN)
    tried = [row for row in rows(cli, "toy-1") if row["status"] != "rejected"]
    digests = {json.loads(cli("show", row["trial"], "--json").stdout)["digest"] for row in tried}
    assert len(digests) == len(tried)


def test_more_trials_can_be_asked_for_later(cli: Cli) -> None:
    run(cli, "--name", "grows", trials=2)
    before = rows(cli, "grows")
    result = cli("resume", "grows", "--trials", "4", "--json")
    assert result.exit_code == 0, result.output
    after = rows(cli, "grows")
    assert json.loads(result.stdout)["trials"] == 4
    assert after[: len(before)] == before


@pytest.mark.slow
def test_looking_shows_what_happened(cli: Cli) -> None:
    run(cli, "--speakers", "round-robin", trials=4)
    assert "Campaign toy-1" in cli("trials").output
    shown = cli("show", "1").output
    for words in ("Trial 1", "diff", "seed", "train", "gate fit"):
        assert words in shown
    lineage = json.loads(cli("lineage", "--surface", "left", "--json").stdout)
    assert lineage["total"] == 2
    assert {row["surface"] for row in lineage["rows"]} == {"left"}
    assert "## Round 1" in cli("transcript", "--round", "1").output
    assert "toy-1: toy (mini), finished, 4 trials" in cli("campaigns").output
    assert cli("export", "1", "--patch").stdout.startswith("diff --git a/recipe/train.py")
    logs = cli("show", "1", "--log", "train").output
    assert "train, seed 1" in logs
    assert "loss 0.0 accuracy 1.0" in logs
    kept = json.loads(cli("show", "1", "--log", "all", "--json").stdout)
    assert {one["phase"] for one in kept} >= {"preflight", "train", "predict"}
    none = cli("show", "1", "--log", "score")
    assert none.exit_code == 2
    assert "valid: predict, preflight, train, all" in none.stderr


def test_an_export_writes_files_and_never_over_others(cli: Cli, project: Path) -> None:
    run(cli, trials=1)
    assert cli("export", "1", "-o", project / "new").exit_code == 0
    assert (project / "new/recipe/train.py").is_file()
    again = cli("export", "1", "-o", project / "new")
    assert again.exit_code == 2
    assert "is not empty" in again.stderr


@pytest.mark.slow
def test_text_from_agents_cannot_steer_the_terminal(cli: Cli, project: Path) -> None:
    book = project / "task_packs/toy/playbook.toml"
    evil = "\\u001b[2J\\u0007 [red]boo[/red] ```"
    book.write_text(book.read_text().replace("Take the blur out", evil))
    run(cli, trials=6, seed=2)
    for words in (("trials",), ("show", "1"), ("show", "2"), ("show", "3"), ("transcript",)):
        output = cli(*words).output
        assert "\x1b[2J" not in output
        assert "\x07" not in output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "tony"), "unknown task pack 'tony'; valid: "),
        (("run", "toy", "--profile", "maxi"), "'maxi'; valid: confirmed, line, mini, two"),
        (("run", "toy", "--model", "gpt"), "unknown model 'gpt'; valid: offline"),
        (("run", "toy", "--sandbox", "vm"), "vm"),
        (("run", "toy", "--trials", "0"), "--trials"),
        (("run", "toy", "--name", "a/b"), "a/b"),
        (("run", "toy", "--if-exists", "maybe"), "continue"),
        (("trials",), "no lineage at"),
        (("resume", "gone"), "no lineage at"),
    ],
)
def test_bad_input_is_answered_with_exit_code_2(
    cli: Cli, words: tuple[str, ...], told: str
) -> None:
    result = cli(*words)
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("show", "99"), "99"),
        (("trials", "--name", "gone"), "valid: toy-1"),
        (("lineage", "--status", "lost"), "unknown status 'lost'; valid: aborted"),
        (("lineage", "--failure-kind", "bad"), "unknown failure kind 'bad'; valid:"),
        (("lineage", "--order", "up"), "valid: best, newest"),
        (("export", "1"), "--patch"),
        (("run", "toy", "--name", "toy-1"), "recipelab resume toy-1"),
    ],
)
def test_bad_questions_list_the_valid_ones(cli: Cli, words: tuple[str, ...], told: str) -> None:
    run(cli, trials=1)
    result = cli(*words)
    assert result.exit_code == 2, result.output
    assert told in result.stderr


@pytest.mark.slow
def test_continue_resumes_or_starts_the_next(cli: Cli) -> None:
    words = ("run", "toy", "--name", "demo", "--sandbox", "local", "--trials", "1")
    assert cli(*words).exit_code == 0
    second = cli(*words, "--if-exists", "continue")
    assert "Campaign demo is finished: starting demo-1" in second.stderr
    third = cli(*words, "--if-exists", "continue")
    assert "Campaign demo-1 is finished: starting demo-2" in third.stderr
    assert "demo-2" in cli("campaigns").output


def test_a_real_model_never_falls_back_to_the_local_sandbox(cli: Cli, project: Path) -> None:
    from autogen_ext.models.replay import ReplayChatCompletionClient

    client = ReplayChatCompletionClient(["hello"])
    (project / "model.json").write_text(client.dump_component().model_dump_json())
    result = cli("run", "toy", "--model", "model.json", "--trials", "1")
    assert result.exit_code == 2
    assert "--sandbox local" in result.stderr


def test_the_local_sandbox_says_that_it_does_not_isolate(cli: Cli) -> None:
    result = cli("run", "toy", "--trials", "1")
    assert result.exit_code == 0
    assert "does not isolate" in result.output


def test_a_model_that_never_submits_is_stopped_with_a_report(cli: Cli, project: Path) -> None:
    from autogen_core.models import ModelInfo
    from autogen_ext.models.replay import ReplayChatCompletionClient

    info = ModelInfo(
        vision=False,
        function_calling=True,
        json_output=False,
        family="unknown",
        structured_output=False,
    )
    client = ReplayChatCompletionClient(["I would rather talk."] * 50, model_info=info)
    (project / "model.json").write_text(client.dump_component().model_dump_json())
    result = cli("run", "toy", "--model", "model.json", "--trials", "3", "--sandbox", "local")
    assert result.exit_code == 1
    assert "brought no trial" in result.stderr
    assert "recipelab resume" in result.stderr


def test_a_baseline_that_fails_its_own_gates_stops_the_campaign(cli: Cli, project: Path) -> None:
    file = project / "task_packs/toy/pack.toml"
    file.write_text(file.read_text().replace("at_least = 0.2", "at_least = 0.99"))
    result = cli("run", "toy", "--trials", "3", "--sandbox", "local")
    assert result.exit_code == 2
    assert "the baseline of toy fails" in result.stderr
    assert "0.99" in result.stderr


def test_trials_can_be_looked_at_when_the_pack_is_gone(cli: Cli, ran: Ran, project: Path) -> None:
    ran(*CAMPAIGN)
    (project / "task_packs/toy/pack.toml").unlink()
    assert "score (points)" in cli("trials").stdout
    assert "points" in cli("show", "1").stdout
    assert "loss (points), minimize" in cli("stats").stdout
    for words in (("lineage", "--order", "best"), ("leaderboard",), ("export", "1", "--patch")):
        assert cli(*words).exit_code == 0
