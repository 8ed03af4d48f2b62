"""What runs can be looked at, and a single trial can be ended."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from recipelab import Campaign, Edit
from recipelab.cli.app import app
from recipelab.core.errors import RecipelabError
from recipelab.core.text import plain
from recipelab.core.trial import FailureKind, Phase, Status
from recipelab.evaluation.live import LINE_CHARACTERS, LOG_BYTES, SHOWN_LINES, LiveBoard

from .conftest import TRAIN, Make, set_x

HANGS = (
    'while HANGS:\n        print(f"step loss 9.25 \\x1b[31m{args.seed}")\n        time.sleep(0.05)'
)


@pytest.fixture
async def campaign(make: Make, project: Path) -> AsyncIterator[Campaign]:
    """An open campaign of two trials, whose recipe can be edited to print for ever."""
    train = project / "task_packs/toy" / TRAIN
    text = train.read_text().replace("import random", "import random\nimport time", 1)
    text = text.replace("PADDING = 10", "HANGS = False\nPADDING = 10", 1)
    train.write_text(text.replace("    blur =", f"    {HANGS}\n    blur =", 1))
    pack = project / "task_packs/toy/pack.toml"
    pack.write_text(pack.read_text().replace("train = 10", "train = 500"))
    pack.write_text(pack.read_text().replace("preflight = 10", "preflight = 500"))
    with make(2) as made:
        async with made.opened():
            yield made


async def command(*words: str) -> Result:
    """Runs a command beside the campaign, which goes on meanwhile."""
    return await asyncio.to_thread(CliRunner().invoke, app, words)


async def facts(*words: str) -> Any:
    found = await command(*words, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


async def hanging(campaign: Campaign) -> asyncio.Task[Any]:
    """Submits a trial that prints for ever, and waits until somebody can see that it does."""
    edit = Edit(TRAIN, "HANGS = False", "HANGS = True")
    proposal = campaign.proposal("wait", edits=[edit], surface="left", parent=0)
    task = asyncio.create_task(campaign.evaluate(proposal))
    await asyncio.sleep(0)  # it is submitted
    while not any(phase["log"] for phase in await facts("watch", "1")):
        assert not task.done(), task.result()
    return task


async def test_a_running_trial_is_seen_and_can_be_ended(campaign: Campaign) -> None:
    task = await hanging(campaign)
    (running,) = (await facts("show", "1"))["running"]
    assert (running["trial"], running["phase"], running["budget"]) == (1, "preflight", 500.0)
    assert 0.0 < running["seconds"] < 500.0
    assert running["log"][-1].startswith("step loss 9.25 \N{REPLACEMENT CHARACTER}[31m")
    for words in (("show", "1"), ("watch", "1"), ("watch",)):
        shown = await command(*words)
        assert shown.exit_code == 0, shown.output
        assert "trial 1: preflight, " in shown.output
        assert " of 500 s" in shown.output
        assert "step loss 9.25" in shown.output
        assert "\x1b" not in shown.output
    ended = await facts("kill", "1")
    assert ended == {"campaign": "toy-1", "trial": 1, "status": "aborted"}
    record = await task
    assert record.outcome is not None and record.outcome.failure is not None
    assert record.outcome.status is Status.ABORTED
    assert record.outcome.failure.kind is FailureKind.KILLED
    assert "step loss 9.25" in record.outcome.log_tail
    assert campaign.running_phases() == ()
    assert "nothing runs right now" in (await command("watch")).output
    # It cost nothing, the campaign goes on, and the same may be proposed again.
    assert campaign.budget.remaining == 2
    kept = await campaign.evaluate(
        campaign.proposal("nearer", edits=[set_x(3.5)], surface="left", parent=0)
    )
    assert kept.status is Status.KEPT


async def test_what_was_killed_is_not_run_again(campaign: Campaign, project: Path) -> None:
    task = await hanging(campaign)
    proposal = campaign.proposal("waits", edits=[set_x(3.0)], surface="left", parent=0)
    second = asyncio.create_task(campaign.evaluate(proposal))
    await asyncio.sleep(0)  # it is submitted
    assert len(list(campaign.each_trial())) == 3
    assert (await facts("kill", "2"))["status"] == "aborted"  # it had not begun
    assert (await second).was_killed
    assert not task.done()
    await facts("kill", "1")
    assert (await task).was_killed
    assert campaign._open is not None
    assert campaign._open.queue.requeue_unfinished() == ()


async def test_what_cannot_be_ended_is_told(campaign: Campaign, project: Path) -> None:
    for number, words in ((0, "trial 0 is the baseline"), (7, "no trial 7")):
        refused = await command("kill", str(number))
        assert (refused.exit_code, words in refused.stderr) == (2, True), refused.output
    judged = await campaign.evaluate(
        campaign.proposal("nearer", edits=[set_x(3.5)], surface="left", parent=0)
    )
    assert judged.number == 1
    refused = await command("kill", "1")
    assert "trial 1 has ended: kept; valid: (none is in flight)" in refused.stderr
    # A file of somebody else, or of no trial, ends nothing.
    board = LiveBoard(campaign.home.live("toy-1"))
    board.folder.mkdir(exist_ok=True)
    (board.folder / "x.kill").touch()
    assert board.take_kills() == ()
    assert list(board.folder.glob("*.kill")) == []


async def test_without_a_process_there_is_nothing_to_end(make: Make, project: Path) -> None:
    campaign = make(1)
    async with campaign.opened():
        pass
    campaign.close()
    refused = await command("kill", "0")
    assert refused.exit_code == 2
    assert "no process runs campaign toy-1" in refused.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_only_the_owner_can_end_a_trial(tmp_path: Path) -> None:
    closed = tmp_path / "campaign"
    closed.mkdir(mode=0o500)
    with pytest.raises(RecipelabError, match="only the owner of"):
        LiveBoard(closed / "live").ask_to_kill(1)


def test_the_folder_is_closed_to_others(tmp_path: Path) -> None:
    board = LiveBoard(tmp_path / "live")
    with board.running(1, Phase.TRAIN, 2, 30.0, beside=False):
        board.ask_to_kill(1)
        modes = {stat.S_IMODE(path.stat().st_mode) for path in board.folder.iterdir()}
    assert (modes, stat.S_IMODE(board.folder.stat().st_mode)) == ({0o600}, 0o700)


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    board = LiveBoard(tmp_path / "live")
    board.clear()
    board.ask_to_kill(1)
    (board.folder / "1-0.phase").write_text("torn")
    assert board.phases() == ()
    board.clear()
    assert list(board.folder.iterdir()) == []


@given(st.lists(st.binary(max_size=40) | st.just(b"x" * 9_000 + b"\n"), max_size=40))
def test_the_view_is_bounded_and_safe_to_show(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    board = LiveBoard(tmp_path_factory.mktemp("board"))
    with board.running(4, Phase.TRAIN, 1, 10.0, beside=False) as tell:
        for piece in pieces:
            tell(piece)
            (file,) = board.folder.iterdir()
            assert file.stat().st_size <= 4 * LOG_BYTES + 500
        (shown,) = board.phases(4)
        assert board.phases(5) == ()
        assert len(shown.log) <= SHOWN_LINES
        assert all(plain(line) == line and len(line) <= LINE_CHARACTERS for line in shown.log)
        states = [line.rpartition(b"\r")[2].strip() for line in b"".join(pieces).split(b"\n")]
        last = next((s.decode() for s in reversed(states) if s.isascii() and s), None)
        if last is not None and last.isprintable():
            assert any(line.strip() == last[:LINE_CHARACTERS].strip() for line in shown.log) or (
                len(shown.log) == SHOWN_LINES
            )
    assert board.phases() == ()
    assert (
        board.last_log(4).encode("utf-8", "replace")[-20:]
        == (
            b"".join(pieces)[-LOG_BYTES:]
            .decode("utf-8", "replace")
            .encode("utf-8", "replace")[-20:]
        )
    )


def test_readers_see_whole_files_while_a_flood_is_written(tmp_path: Path) -> None:
    board = LiveBoard(tmp_path / "live")
    with board.running(1, Phase.TRAIN, 1, 10.0, beside=False) as tell:
        flood = threading.Thread(target=lambda: [tell(b"line of a flood\n") for _ in range(30_000)])
        flood.start()
        seen = 0
        while flood.is_alive():
            for phase in board.phases():
                assert set(phase.log) <= {
                    "line of a flood",
                    *("line of a flood"[:n] for n in range(16)),
                    *("line of a flood"[n:] for n in range(16)),
                }
                seen += 1
            time.sleep(0)
        flood.join()
    assert seen
