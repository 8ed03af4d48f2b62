"""What runs can be looked at, and a single trial can be ended."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from recipelab import Campaign, Edit
from recipelab.cli.app import app
from recipelab.core.errors import LineageError, RecipelabError
from recipelab.core.text import plain
from recipelab.core.trial import FailureKind, Phase, Status
from recipelab.evaluation.live import LINE_CHARACTERS, LOG_BYTES, NOW, SHOWN_LINES, LiveBoard
from recipelab.evaluation.now import Confirming, NowBoard, QueueNow, SlotsNow, now_of, read_team
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import CampaignRecord, LineageStore
from recipelab.team.loop import following_lineage

from .conftest import TRAIN, Make, set_x

SECONDS = 60
"""Longer than anything here takes: what hangs fails."""

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


async def until(holds: Callable[[], bool]) -> None:
    """Waits until something is so."""
    async with asyncio.timeout(SECONDS):
        while True:
            if holds():
                return
            await asyncio.sleep(0.02)


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


async def test_what_goes_on_is_told_as_long_as_somebody_runs_it(campaign: Campaign) -> None:
    task = await hanging(campaign)
    proposal = campaign.proposal("waits", edits=[set_x(3.0)], surface="left", parent=0)
    second = asyncio.create_task(campaign.evaluate(proposal))
    await until(lambda: campaign.now().queued == (2,))
    now = campaign.now()
    assert (now.state, now.paused, now.driver_alive) == ("running", False, True)
    (phase,) = now.running
    assert (phase.trial, phase.phase, phase.seed, phase.look) == (1, "preflight", None, None)
    assert (phase.beside, phase.budget) == (False, 500.0)
    assert phase.log[-1].startswith("step loss 9.25")
    assert (now.slots.busy, now.slots.total) == (1, 1)
    assert now.next_stop == "2 of 2 trials are left"
    assert [(one.kind, one.used, one.limit) for one in now.budget] == [("trials", 0, 2)]
    assert now.confirming is None and now.floor == () and now.warnings == ()
    table = now.facts()
    assert table == json.loads(json.dumps(table))
    assert table["running"][0]["log"] == list(phase.log)
    file = campaign.home.live("toy-1") / NOW
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    campaign.pause()
    assert campaign.now().paused
    assert campaign.now().next_stop == "paused: no trial begins until it goes on"
    campaign.unpause()
    await facts("kill", "1")
    assert (await task).was_killed
    assert (await second).status is Status.KEPT


async def test_where_nobody_runs_it_nothing_goes_on(make: Make, project: Path) -> None:
    campaign = make(1)
    async with campaign.opened():
        file = campaign.home.live("toy-1") / NOW
        await until(file.exists)
        left = file.read_bytes()
    assert not file.exists()
    now = campaign.now()
    assert (now.state, now.driver_alive, now.running, now.floor) == ("stopped", False, (), ())
    assert now.next_stop == "the script that ran it has ended"
    # A killed process leaves its file, and its campaign as running.
    file.write_bytes(left)
    with sqlite3.connect(campaign.home.lineage) as connection:
        connection.execute("UPDATE campaign SET state = 'running', ended_at = NULL")
    connection.close()
    now = campaign.now()
    assert (now.state, now.driver_alive, now.queued) == ("running", False, ())
    assert now.next_stop == "no process runs it: recipelab resume toy-1"
    campaign.close()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"began": "x"}', b'{"began": 1, "floor": [{"who": 1}]}', b"\xff"],
)
def test_a_file_that_tells_nothing_is_no_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NOW).write_bytes(content)
    assert read_team(tmp_path / NOW) is None
    assert read_team(tmp_path / "gone") is None


def test_a_board_is_read_as_it_was_written(tmp_path: Path) -> None:
    board = NowBoard(tmp_path / "live" / NOW)
    board.took_floor("left")
    board.took_floor("right")
    board.calls("left", ["submit_trial", "submit_trial", "\x1b[2Jx"])
    board.calls("nobody", ["x"])
    board.passed("meta", "nothing\nto \x1b[31msay " + "x" * 900)
    board.warn("the disk is full")
    board.warn("again\x1b")
    board.warn("the disk is full")
    board.confirming(4, 2, 4)
    with board.holding("gpu0"), board.holding("gpu0"), board.holding("gpu1"):
        told = board.team(QueueNow((7, 9), 4, "3 of 10 trials are left", 99.0))
        board.write(QueueNow((7, 9), 4, "3 of 10 trials are left", 99.0))
    assert read_team(tmp_path / "live" / NOW) == told
    assert [one.specialist for one in told.floor] == ["left", "right"]
    assert told.floor[0].doing == "calling submit_trial, \ufffd[2Jx"
    assert told.floor[1].doing == "thinking"
    assert told.warnings == ("the disk is full", "again\ufffd")
    assert told.slots == SlotsNow(2, 4)
    assert told.confirming == Confirming(4, 2, 4)
    (passed,) = told.passes
    assert passed.reason.startswith("nothing to \ufffd[31msay xxx") and len(passed.reason) < 300
    board.confirmed(5)
    board.left_floor("left")
    board.calls("right", ())
    board.took_floor("meta")
    later = board.team(QueueNow())
    assert later.confirming is not None and later.passes == ()
    assert [(one.specialist, one.doing) for one in later.floor] == [
        ("right", "thinking"),
        ("meta", "thinking"),
    ]
    board.confirmed(4)
    assert board.team(QueueNow()).confirming is None


@pytest.mark.parametrize(("ends_at", "left"), [(None, None), (990.0, 0.0), (1500.0, 500.0)])
def test_an_end_that_was_foretold_and_is_late_is_due_now(
    store: LineageStore,
    monkeypatch: pytest.MonkeyPatch,
    ends_at: float | None,
    left: float | None,
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    team = NowBoard().team(QueueNow(ends_at=ends_at))
    assert now_of(store.campaign("c"), team, (), alive=True).seconds_left == left


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


async def test_a_campaign_is_stopped_from_elsewhere(make: Make, project: Path) -> None:
    """As by Ctrl-C where it runs."""
    with make(500) as campaign:
        task = asyncio.create_task(campaign.run())
        await until(lambda: campaign.store.campaigns() != ())
        await until(lambda: campaign.store.trial_count("toy-1") > 1)
        told = asyncio.create_task(facts("stop"))
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, SECONDS)
        assert await told == {"campaign": "toy-1", "state": "stopped"}
        record = campaign.record
        assert (record.state, record.stop_reason) == ("stopped", "stopped by hand")
        refused = await command("stop")
        assert (refused.exit_code, "so there is nothing to stop" in refused.stderr) == (2, True)


async def test_a_script_that_has_opened_a_campaign_is_stopped_too(
    make: Make, project: Path
) -> None:
    with make(2) as campaign:

        async def waits() -> None:
            async with campaign.opened():
                campaign.stop()
                await asyncio.sleep(SECONDS)

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(waits())
        record = campaign.record
        assert (record.state, record.stop_reason) == ("stopped", "stopped by hand")


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


@given(st.lists(st.binary(max_size=40) | st.none(), max_size=40))
def test_the_view_is_bounded_and_safe_to_show(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[bytes | None]
) -> None:
    # A long line is drawn as nothing, so that what fails is told in short.
    pieces = [b"x" * 9_000 + b"\n" if piece is None else piece for piece in drawn]
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


async def test_a_moment_without_the_lineage_does_not_end_the_following(
    desk: TrialQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipelab.team.loop.LOOK_SECONDS", 0.01)
    said: list[str] = []
    campaign, looks = desk.store.campaign, []

    def sometimes(name: str) -> CampaignRecord:
        looks.append(name)
        if len(looks) == 2:
            raise LineageError("the lineage cannot be read or written: it is locked")
        return campaign(name)

    monkeypatch.setattr(desk.store, "campaign", sometimes)
    async with following_lineage(desk, said.append):
        await until(lambda: len(looks) > 3)
        desk.store.pause_campaign("c")
        await until(lambda: desk.paused)
    assert said == ["paused: trials that run go on, none is begun"]
