"""``recipelab watch`` on a terminal, and what ``recipelab run`` shows below its trials."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from recipelab.cli import progress
from recipelab.cli.progress import Progress
from recipelab.core.content import Home
from recipelab.core.trial import Phase, Status
from recipelab.evaluation.live import LiveBoard
from recipelab.evaluation.now import QueueNow
from tests.lineage.helpers import CAMPAIGN, judged, with_campaign
from tests.report.test_watch import HOSTILE, MOMENT, NOW, running, shown

from .background import COMMAND, SECONDS
from .conftest import Cli


@pytest.fixture
def home(project: Path) -> Home:
    """A home with a campaign of one trial."""
    place = Home(project / ".recipelab")
    place.root.mkdir()
    with with_campaign(place.lineage) as store:
        judged(store, Status.BASELINE)
    return place


@contextmanager
def driven(home: Home) -> Iterator[None]:
    """Stands for the process that runs the campaign."""
    with home.locked(CAMPAIGN):
        board = LiveBoard(home.live(CAMPAIGN))
        with board.running(1, Phase.TRAIN, 3, 300.0, beside=False, slot="gpu0") as tell:
            tell(f"loss 9.25 {HOSTILE}\n".encode())
            board.now.took_floor("left")
            board.now.write(QueueNow((2,), 1, "3 of 10 trials are left"))
            yield


class Terminal:
    """A command on a terminal of 80 by 24."""

    def __init__(self, project: Path, *words: str) -> None:
        self.keyboard, terminal = pty.openpty()
        self.resize(80, 24)
        self.process = subprocess.Popen(
            [*COMMAND, *words],
            cwd=project,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(terminal)
        self.seen = ""

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.keyboard, termios.TIOCSWINSZ, size)

    def until(self, pattern: str) -> str:
        """Reads until a pattern was shown since the last call, and gives what was."""
        end = time.monotonic() + SECONDS
        while not re.search(pattern, self.seen):
            assert time.monotonic() < end, self.seen
            if select.select([self.keyboard], [], [], 1.0)[0]:
                try:
                    self.seen += os.read(self.keyboard, 65_536).decode("utf-8", "replace")
                except OSError:  # it has ended
                    assert re.search(pattern, self.seen), self.seen
        found, self.seen = self.seen, ""
        return found


def test_a_campaign_is_watched_until_it_ends_or_one_leaves(home: Home, project: Path) -> None:
    with driven(home):
        terminal = Terminal(project, "watch")
        first = terminal.until(r"on gpu0[^\0]*loss 9.25[^\0]*outcomes")
        for words in ("runs for", "trial 0: 1", "next stop", "3 of 10 trials are left", "queued 2"):
            assert words in first
        assert "left for" in first
        # The log's own escapes are text.
        assert "\x1b[2J[red]" not in first and "[2J[red]x[/red]" in first
        terminal.resize(50, 24)
        terminal.until(r"\n[^\n]{0,60}…\r")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(SECONDS) == 0
        assert home.is_locked(CAMPAIGN)
        staying = Terminal(project, "watch")
        staying.until("on gpu0")
    staying.until("no process runs it")
    assert staying.process.wait(SECONDS) == 0
    for one in (terminal, staying):
        os.close(one.keyboard)


def test_without_a_terminal_what_runs_is_printed_once(cli: Cli, home: Home) -> None:
    with driven(home):
        for words in (("watch",), ("watch", "--once")):
            told = cli(*words)
            assert told.exit_code == 0, told.output
            assert re.match(r"trial 1: train, seed 3, \d+ s of 300 s\n", told.stdout)
            assert "slots" not in told.stdout
    assert cli("watch", "--once").stdout == f"{CAMPAIGN}: nothing runs right now\n"


def test_a_terminal_shows_what_goes_on_below_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: MOMENT)
    file = StringIO()
    console = Console(file=file, width=80, height=24, force_terminal=True, highlight=False)
    many = replace(NOW, running=tuple(running(number) for number in range(20, 29)))
    with Progress(console, lambda: many, "best 3.310 ± 0.01 (trial 23)"):
        pass
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in file.getvalue().splitlines()]
    text = "\n".join(lines)
    assert "27 of 40 trials · 1,250,000 of 5,000,000 tokens · best 3.310 ± 0.01 (trial" in text
    assert "  20 train     #......... 31 s of 5 min seed 3 on gpu0" in text
    assert "and 3 more phases" in text
    assert "opt calling read_recipe for 12 s" in text
    assert all(cell_len(line) <= 80 for line in lines)


def test_a_log_file_has_plain_lines_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.01)
    monkeypatch.setattr(time, "time", lambda: MOMENT)
    file = StringIO()
    console = Console(file=file, width=80, force_terminal=False, highlight=False)
    with with_campaign(tmp_path / "lineage.db") as store:
        judged(store, Status.BASELINE)
        record = store.trial(CAMPAIGN, 0)
    with Progress(console, lambda: NOW) as shows:
        shows.judged(record)
        end = time.monotonic() + SECONDS
        while "31 s" not in file.getvalue():
            assert time.monotonic() < end, file.getvalue()
            time.sleep(0.01)
    first, line, *_ = file.getvalue().splitlines()
    assert first == "   0  opt      baseline                    1.000  a smaller step helps"
    assert line == (
        "27 of 40 trials · 1,250,000 of 5,000,000 tokens · best 1.000 (trial 0) · 1 h 02 min · "
        "some 14 min left · confirming 24, look 2 of 4 · trial 24 train 31 s of 5 min, "
        "trial 25 train 31 s of 5 min"
    )
    assert "#" not in file.getvalue()


def test_what_cannot_be_read_for_a_moment_is_no_error() -> None:
    def look() -> None:
        raise OSError("the disk is away")

    console = Console(file=StringIO(), width=80, force_terminal=True)
    with Progress(console, look) as shows:
        assert "getting ready" in "\n".join(shown(shows._picture()))
