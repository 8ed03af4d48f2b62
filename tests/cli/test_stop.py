"""Stopping a campaign: Ctrl-C, SIGTERM and SIGKILL, then going on with nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from recipelab.lineage import LineageStore, TrialFilter, TrialRecord

COMMAND = [sys.executable, "-m", "recipelab"]
BUDGET = 6


def start(project: Path) -> subprocess.Popen[str]:
    words = ["run", "toy", "--name", "c", "--sandbox", "local", "--trials", str(BUDGET)]
    return subprocess.Popen(
        [*COMMAND, *words],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell has its background jobs ignore Ctrl-C, and these tests may run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def judged(project: Path) -> list[TrialRecord]:
    with LineageStore.open(project / ".recipelab/lineage.db") as store:
        if "c" not in {campaign.name for campaign in store.campaigns()}:
            return []
        page = store.query("c", TrialFilter(order="oldest", limit=200))
    return [record for record in page.items if record.outcome is not None]


def wait_for(project: Path, count: int, process: subprocess.Popen[str]) -> None:
    database = project / ".recipelab/lineage.db"
    deadline = time.monotonic() + 60
    while not (database.is_file() and len(judged(project)) >= count):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def resumed(project: Path) -> dict[str, Any]:
    done = subprocess.run(
        [*COMMAND, "resume", "c", "--json"], cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


@pytest.mark.parametrize("after", [1, 3])
def test_nothing_measured_is_lost_by_kill_9(project: Path, after: int) -> None:
    process = start(project)
    wait_for(project, after, process)
    process.kill()
    process.communicate()
    before = judged(project)
    facts = resumed(project)
    done = judged(project)
    assert done[: len(before)] == before
    assert [record.number for record in done] == list(range(len(done)))
    assert facts["trials"] == BUDGET
    assert facts["state"] == "finished"
    assert None not in facts["counts"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_and_says_how_to_go_on(project: Path, number: int) -> None:
    process = start(project)
    wait_for(project, 2, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130, output
    assert "recipelab resume c" in output
    assert "Traceback" not in output
    assert resumed(project)["trials"] == BUDGET


def test_a_campaign_runs_once_at_a_time(project: Path) -> None:
    process = start(project)
    wait_for(project, 1, process)
    second = subprocess.run([*COMMAND, "resume", "c"], cwd=project, capture_output=True, text=True)
    assert second.returncode == 2
    assert f"running already (process {process.pid})" in second.stderr
    process.kill()
    process.communicate()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_no_process_outlives_a_killed_campaign(project: Path) -> None:
    train = project / "task_packs/toy/recipe/train.py"
    marker = f"recipelab-test-{os.getpid()}"
    train.write_text(
        train.read_text().replace(
            "    print(", f"    args.smoke or __import__('time').sleep(8)  # {marker}\n    print("
        )
    )
    process = start(project)
    deadline = time.monotonic() + 60
    while not _training():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 5
    while _training():
        assert time.monotonic() < deadline, "a phase outlived the campaign"
        time.sleep(0.02)


def _training() -> list[str]:
    """Command lines of toy phases that train for real (not preflight) now."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if "recipe/train.py --out out" in line and "--smoke" not in line:
            lines.append(line)
    return lines
