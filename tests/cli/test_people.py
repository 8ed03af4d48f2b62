"""People in the loop: pausing, proposing, approving."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recipelab.cli.progress import Progress
from recipelab.core.content import Home
from recipelab.core.recipe import Recipe
from recipelab.core.trial import FailureKind, Status
from recipelab.lineage import LineageStore

from .background import SECONDS, answer, begun, call, judged, start, stopped, trials_of, until
from .conftest import Cli, Ran

PLENTY = 60
"""Trials of a campaign that is not to end while it is looked at."""

TRAIN = "recipe/train.py"


def a_patch(project: Path, old: str = "X = 1.0", new: str = "X = 3.3") -> str:
    """What ``git diff`` would give after an edit of the pack's own recipe."""
    text = (project / "task_packs/toy" / TRAIN).read_text()
    return Recipe({TRAIN: text}).diff(Recipe({TRAIN: text.replace(old, new)}))


def proposed(cli: Cli, project: Path, *words: str, patch: str | None = None) -> Any:
    file = project / "my.patch"
    file.write_text(a_patch(project) if patch is None else patch)
    given = ["--hypothesis", "The bottom is near.", "--patch", str(file), *words]
    return cli("submit", *(given if "--surface" in words else [*given, "--surface", "left"]))


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What a process prints, up to some words; they need not end a line."""
    assert process.stdout is not None
    said = ""
    in_time = threading.Timer(SECONDS, process.kill)
    in_time.start()
    while not said.endswith(words):
        char = process.stdout.read(1)
        assert char, f"it ended without {words!r}: {said}"
        said += char
    in_time.cancel()
    return said


@pytest.fixture
def ended(cli: Cli, ran: Ran) -> Cli:
    """A campaign of one trial that has ended."""
    ran("--name", "c", "--trials", 1)
    return cli


def test_a_person_rests_a_campaign_and_proposes_a_trial_in_it(project: Path) -> None:
    process = start(project, trials=PLENTY)
    until(lambda: len(judged(project)) >= 2, process)
    assert answer("pause", "c")["state"] == "paused"
    read_until(process, "paused: trials that run go on, none is begun")
    assert "c: toy (mini), paused" in call("campaigns").stdout
    words = ("--hypothesis", "The bottom is near.", "--surface", "left", "--parent", "0")
    own = answer("submit", *words, "--patch", "-", stdin=a_patch(project))
    assert own["status"] == "in_flight"
    assert "paused" in own["next"]
    read_until(process, f"trial {own['trial']} was proposed from outside: it is queued")
    assert trials_of(project)[own["trial"]].outcome is None
    resumed = call("resume", "c")
    assert "goes on where it runs" in resumed.stderr
    until(lambda: trials_of(project)[own["trial"]].outcome, process)
    mine = trials_of(project)[own["trial"]]
    assert (mine.specialist, mine.surface, mine.parents) == ("person", "left", (0,))
    assert mine.outcome is not None
    assert mine.outcome.status in (Status.KEPT, Status.DISCARDED)
    stopped(process)


def test_a_campaign_that_nothing_runs_cannot_be_paused(ended: Cli) -> None:
    result = ended("pause")
    assert result.exit_code == 2
    assert "no process runs campaign c (finished)" in result.stderr
    assert "recipelab resume c" in result.stderr


@pytest.mark.slow
def test_a_killed_campaign_that_was_paused_goes_on(project: Path) -> None:
    process = start(project)
    until(lambda: len(judged(project)) >= 1, process)
    answer("pause", "c")
    stopped(process)
    facts = answer("resume", "c")
    assert (facts["state"], facts["trials"]) == ("finished", 6)


def test_a_trial_proposed_to_a_resting_campaign_runs_when_it_goes_on(
    ended: Cli, project: Path
) -> None:
    words = ("--parent", "0", "--as", "ada", "--expected-delta", "-3", "--json")
    result = proposed(ended, project, *words)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["next"] == "run it with: recipelab resume c"
    # The whole of the budget is spent, so that nothing but this one is tried.
    done = json.loads(ended("resume", "c", "--trials", 2, "--json").stdout)
    assert (done["trials"], done["best"]["trial"]) == (2, facts["trial"])
    assert done["best"]["specialist"] == "ada"
    assert done["best"]["expected_delta"] == -3.0
    exported = ended("export", facts["trial"], "--patch").output
    assert "+X = 3.3" in exported
    assert "ada" in ended("transcript").output


def test_an_exported_patch_can_be_proposed_again_and_is_known(ended: Cli, project: Path) -> None:
    patch = ended("export", 1, "--patch").output
    result = proposed(ended, project, "--parent", "0", patch=patch)
    assert result.exit_code == 1
    assert "trial 2 of c is rejected (duplicate): already tried: trial 1" in result.output
    assert Status.REJECTED in {
        record.outcome.status for record in judged(project) if record.outcome
    }


def test_what_may_not_be_edited_is_rejected_and_recorded(ended: Cli, project: Path) -> None:
    added = Recipe({}).diff(Recipe({"evaluator/score.py": "print(1)\n"}))
    result = proposed(ended, project, "--json", patch=added)
    assert result.exit_code == 1
    facts = json.loads(result.stdout)
    assert (facts["status"], facts["kind"]) == ("rejected", "edit")
    assert "recipe/*.py" in facts["reason"]
    assert len(trials_of(project)) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--surface", "up"), "unknown surface 'up'; valid: left, right"),
        (("--parent", "7"), "campaign c has no trial 7"),
        (("--as", "left"), "'left' is not the name of a person"),
        (("--as", "generic_2"), "'generic_2' is not the name of a person"),
        (("--as", "a b"), "'a b' is not the name of a person"),
        (("--expected-delta", "nan"), "valid: a finite number"),
        (("--hypothesis", " "), "hypothesis: 1 characters are not valid; valid: 1 to 4,000"),
        (("--patch", "gone.patch"), "cannot read the patch gone.patch"),
        (("--name", "gone"), "gone"),
    ],
)
def test_a_proposal_that_is_none_records_nothing(
    ended: Cli, project: Path, words: tuple[str, ...], told: str
) -> None:
    result = proposed(ended, project, *words)
    assert result.exit_code == 2, result.output
    assert told in " ".join(result.stderr.split())
    assert len(trials_of(project)) == 2


def test_the_surface_is_not_guessed(ended: Cli, project: Path) -> None:
    (project / "my.patch").write_text(a_patch(project))
    result = ended("submit", "--hypothesis", "Near.", "--patch", project / "my.patch")
    assert result.exit_code == 2
    assert "give a surface; valid: left, right" in result.stderr


def test_a_running_campaign_takes_no_more_than_its_budget(ended: Cli, project: Path) -> None:
    with Home.find().locked("c"):
        result = proposed(ended, project)
    assert result.exit_code == 2
    assert "recipelab resume c --trials 2" in " ".join(result.stderr.split())


def test_an_imported_campaign_takes_no_proposal(ended: Cli, project: Path) -> None:
    assert ended("export", "c", "--to", project / "c.jsonl").exit_code == 0
    result = ended("import", project / "c.jsonl", "--as", "copy")
    assert result.exit_code == 0, result.output
    refused = proposed(ended, project, "--name", "copy")
    assert refused.exit_code == 2
    assert "imported" in refused.stderr


def asked(project: Path, *more: str, trials: int = 1) -> subprocess.Popen[str]:
    words = ("--approve", "--slots", "1", *more)
    return start(project, *words, trials=trials, stdin=subprocess.PIPE)


@pytest.mark.slow
def test_a_person_is_asked_before_each_trial(project: Path) -> None:
    process = asked(project, trials=2)
    said, _ = process.communicate("\n too dear\nyes\ny\n", timeout=60)
    assert process.returncode == 0, said
    # The empty answer to the first question brought it up once more; the baseline is not asked for.
    assert said.count("Run it? [y]es, or say why not: ") == 4
    baseline, first, *others = trials_of(project)
    assert baseline.outcome is not None
    assert first.outcome is not None
    assert first.outcome.status is Status.REJECTED
    assert first.outcome.reason == "a person declined it: too dear"
    assert first.outcome.failure is not None
    assert first.outcome.failure.kind is FailureKind.DECLINED
    assert first.outcome.seed_runs == ()
    counted = [r for r in others if r.outcome and r.outcome.status.counts]
    assert len(counted) == 2


@pytest.mark.slow
def test_with_nobody_to_ask_it_stops_and_declines_nothing(project: Path) -> None:
    process = asked(project)
    said, _ = process.communicate("", timeout=60)
    assert process.returncode == 130, said
    assert "nobody is there to ask" in said
    assert "recipelab resume c" in said
    assert [record.outcome is None for record in trials_of(project)] == [False, True]
    # Who goes on is asked again.
    again = begun(project, "resume", "c", stdin=subprocess.PIPE)
    said, _ = again.communicate("y\n", timeout=60)
    assert again.returncode == 0, said
    assert answer("trials", "--name", "c")["trials"] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_a_question_waits(project: Path, number: int) -> None:
    process = asked(project)
    read_until(process, "say why not: ")
    process.send_signal(number)
    # Its input stays open: what ends it must not be the end of that.
    assert process.wait(timeout=20) == 130
    said, _ = process.communicate()
    assert "recipelab resume c" in said
    assert "Traceback" not in said
    assert "Fatal" not in said
    assert trials_of(project)[1].outcome is None


def test_what_was_typed_before_a_question_is_no_answer(project: Path) -> None:
    keyboard, terminal = pty.openpty()
    process = start(project, "--approve", "--slots", "1", trials=1, stdin=terminal)
    os.write(keyboard, b"y\n")
    read_until(process, "say why not: ")
    os.write(keyboard, b"not this one\n")
    read_until(process, "say why not: ")
    first = trials_of(project)[1].outcome
    assert first is not None
    assert first.reason == "a person declined it: not this one"
    stopped(process)
    os.close(keyboard)
    os.close(terminal)


def test_a_question_is_not_talked_over() -> None:
    shown = StringIO()
    progress = Progress(Console(file=shown, force_terminal=False, width=100))
    with progress.silent():
        progress.note("trial 2 was proposed from outside")
        progress.note("paused")
        assert shown.getvalue() == ""
    assert shown.getvalue() == "trial 2 was proposed from outside\npaused\n"


def test_a_note_reaches_the_lineage_of_a_running_campaign(project: Path) -> None:
    process = start(project, trials=PLENTY)
    until(lambda: len(judged(project)) >= 1, process)
    call("note", "Mind the padding.", "--name", "c")
    with LineageStore.open(project / ".recipelab/lineage.db", create=True) as store:
        assert [note.text for note in store.notes("c")] == ["Mind the padding."]
    stopped(process)
