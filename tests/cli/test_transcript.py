"""``recipelab transcript``: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from autogen_agentchat.messages import MessageFactory

from recipelab.lineage import LineageStore
from tests.report.conversation import propose, two_at_once

from .conftest import Cli


@pytest.fixture
def chat(cli: Cli, project: Path, store: LineageStore) -> Cli:
    """The command line over a lineage with the campaign of two specialists."""
    two_at_once(store)
    home = project / ".recipelab"
    home.mkdir()
    (home / "lineage.db").symlink_to(project / "lineage.db")
    return cli


def test_it_prints_markdown_where_there_is_no_terminal(chat: Cli) -> None:
    told = chat("transcript").stdout
    assert told.startswith("# Transcript of campaign c\n\n## Round 1\n\n### user\n")
    assert chat("transcript", "--round", "1").stdout == told
    assert chat("transcript", "--format", "markdown", "--name", "c").stdout == told
    assert chat("transcript", "--format", "text").stdout.startswith("Transcript of campaign c ──")


def test_the_ending_of_the_file_tells_the_format(chat: Cli, project: Path) -> None:
    for name in ("a.md", "a.html", "a.jsonl", "a.txt"):
        result = chat("transcript", "--trial", "1", "-o", project / name)
        assert result.exit_code == 0, result.output
        assert f"{name} (" in result.stdout
    assert (project / "a.md").read_text().startswith("# Transcript")
    assert (project / "a.html").read_text().startswith("<!doctype html>")
    assert (project / "a.txt").read_text().startswith("Transcript of campaign c ──")
    lines = (project / "a.jsonl").read_text().splitlines()
    assert [MessageFactory().create(json.loads(line)).source for line in lines][-1] == "evaluator"


def test_a_file_that_is_there_stays_unless_it_is_told_to_go(chat: Cli, project: Path) -> None:
    file = project / "a.md"
    file.write_text("mine")
    refused = chat("transcript", "-o", file)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert chat("transcript", "--trial", "99", "-o", file, "--force").exit_code == 2
    assert file.read_text() == "mine"
    assert chat("transcript", "-o", file, "--force").exit_code == 0
    assert file.read_text().startswith("# Transcript")


def test_json_is_one_list_of_messages(chat: Cli) -> None:
    messages = json.loads(chat("transcript", "--json").stdout)
    assert len(messages) == 17
    assert messages[0]["content"] == "Round 1: improve loss of toy."
    assert len(json.loads(chat("transcript", "--json", "--trial", "1").stdout)) == 6


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--trial", "99"), "campaign c has no trial 99; it has trials 0 to 3"),
        (("--round", "9"), "campaign c has no round 9; it has rounds 1 to 1"),
        (("--round", "1", "--trial", "1"), "give one of them"),
        (("--format", "pdf"), "unknown format 'pdf'; valid: html, jsonl, markdown, text"),
        (("--output", "a.pdf"), "known: .txt, .md, .html, .htm, .jsonl"),
        (("--json", "--format", "html"), "leave it out"),
        (("--name", "gone"), "unknown campaign 'gone'; valid: c"),
    ],
)
def test_bad_questions_say_what_is_valid(chat: Cli, words: tuple[str, ...], told: str) -> None:
    result = chat("transcript", *words)
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert not result.stdout


def test_a_transcript_can_be_read_when_the_pack_is_gone(chat: Cli, project: Path) -> None:
    (project / "task_packs" / "toy" / "pack.toml").unlink()
    told = chat("transcript", "--trial", "1")
    assert told.exit_code == 0, told.output
    assert "- score 31.5 ± 0.25; against the best" in told.stdout


def test_what_a_proposer_was_shown_is_printed(
    chat: Cli, store: LineageStore, project: Path
) -> None:
    turn = store.add_turn("c", "left", view="## Best\n- \x1b[2Jtrial 0", round_number=1)
    number = propose(store, "left", "it helps", 1, turn=turn)
    shown = chat("show", number, "--seen")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == "## Best\n- \ufffd[2Jtrial 0\n"
    facts = json.loads(chat("show", number, "--seen", "--json").stdout)
    assert facts == {"trial": number, "seen": "## Best\n- \x1b[2Jtrial 0"}
    assert "was shown" not in chat("transcript").stdout
    refused = chat("show", "0", "--seen")
    assert refused.exit_code == 2
    assert "trial 0 of c was proposed in no turn that the lineage has" in refused.stderr
