"""Stopping a campaign: Ctrl-C, SIGTERM and SIGKILL, then going on with nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recipelab.lineage import LineageStore

from .background import answer, call, judged, start, stopped, trials_of, until

pytestmark = pytest.mark.slow

BUDGET = 6
ROOT = Path(__file__).parents[2]


def resumed(project: Path) -> dict[str, Any]:
    facts: dict[str, Any] = answer("resume", "c")
    return facts


@pytest.mark.parametrize("after", [1, 3])
def test_nothing_measured_is_lost_by_kill_9(project: Path, after: int) -> None:
    process = start(project)
    until(lambda: len(judged(project)) >= after, process)
    stopped(process)
    before = judged(project)
    facts = resumed(project)
    done = judged(project)
    assert done[: len(before)] == before
    assert [record.number for record in done] == list(range(len(done)))
    assert facts["trials"] == BUDGET
    assert facts["state"] == "finished"
    assert None not in facts["counts"]


def test_what_was_in_flight_or_queued_is_run_once_after_kill_9(project: Path) -> None:
    process = start(project, "--slots", "2", "--share-devices", "--ahead", "3")
    until(lambda: len(trials_of(project)) - len(judged(project)) >= 3, process)
    stopped(process)
    before, judged_before = trials_of(project), judged(project)
    assert len(before) - len(judged_before) >= 3
    facts = resumed(project)
    after = trials_of(project)
    # A trial whose best changed meanwhile may have another recipe, but its edits are as proposed.
    proposed = [(r.specialist, r.hypothesis, r.edits) for r in after[: len(before)]]
    assert proposed == [(r.specialist, r.hypothesis, r.edits) for r in before]
    assert [r for r in after if r in judged_before] == judged_before
    assert all(len(r.outcome.seed_runs) == 2 for r in after if r.outcome and r.outcome.score)
    assert (facts["trials"], facts["state"]) == (BUDGET, "finished")
    with LineageStore.open(project / ".recipelab/lineage.db", create=True) as store:
        assert store.leases("c") == ()


def test_kills_at_random_moments_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    struck = 0
    for within in ("5", "15", "45"):  # A slow machine has nothing in flight before.
        if struck:
            break
        words = ["--strikes", "6", "--trials", "5", "--slots", "2", "--seed", "7"]
        words += ["--within", within, "--json", str(tmp_path / "tally.json")]
        program = str(ROOT / "benchmarks/endurance.py")
        done = subprocess.run([sys.executable, program, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        tally = json.loads((tmp_path / "tally.json").read_text())
        assert tally["strikes"]["driver"] >= 6
        assert tally["trials"] == 5 * tally["campaigns"]
        struck = sum(tally["in_flight"].values())
        zero = ("lost", "twice", "without_outcome", "miscounted", "processes", "folders", "leases")
        assert {key: tally[key] for key in zero} == dict.fromkeys(zero, 0)
        assert tally["faults"] == []
    assert struck >= 1


@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGINT,),
        (signal.SIGTERM,),
        (signal.SIGHUP,),
        (signal.SIGTERM, signal.SIGINT, signal.SIGINT),
    ],
)
def test_a_signal_stops_cleanly_and_says_how_to_go_on(
    project: Path, numbers: tuple[int, ...]
) -> None:
    process = start(project)
    until(lambda: len(judged(project)) >= 1, process)
    for number in numbers:
        process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130, output
    assert "recipelab resume c" in output
    assert "Traceback" not in output
    assert resumed(project)["trials"] == BUDGET


def test_a_campaign_runs_once_at_a_time(project: Path) -> None:
    process = start(project)
    until(lambda: len(judged(project)) >= 1, process)
    second = call("resume", "c")
    assert second.exit_code == 2
    assert f"running already (process {process.pid})" in second.stderr
    stopped(process)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_no_process_outlives_a_killed_campaign(project: Path) -> None:
    toml = project / "task_packs/toy/pack.toml"
    # Processes of a warm start have the command line of what they were forked from.
    toml.write_text(toml.read_text().replace('warm = ["json"]\n', ""))
    train = project / "task_packs/toy/recipe/train.py"
    marker = f"recipelab-test-{os.getpid()}"
    train.write_text(
        train.read_text().replace(
            "    print(", f"    args.smoke or __import__('time').sleep(8)  # {marker}\n    print("
        )
    )
    process = start(project)
    until(_training, process)
    stopped(process)
    until(lambda: not _training(), seconds=5)


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
