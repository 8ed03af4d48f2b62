"""CPU time of ``recipelab watch`` on a terminal: eight of 1,000 trials run.

    python benchmarks/watch_cpu.py --seconds 60

This process stands for the one that runs the campaign: it holds its lock, tells of eight phases and
gives each ten lines of log a second, and judges a trial every five seconds. The command runs in a
pseudo-terminal of 80 by 40. Its start is not counted, as it happens once.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import random
import shutil
import struct
import sys
import tempfile
import termios
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from lineage_fill import CAMPAIGN, fill

from recipelab.core.content import Home
from recipelab.core.trial import Outcome, Phase, Proposal, Status
from recipelab.evaluation.live import LiveBoard
from recipelab.evaluation.now import BudgetNow, QueueNow
from recipelab.lineage import LineageStore

PROJECT = Path(__file__).parents[1] / "tests/project"
SLOTS, LINES_A_SECOND, JUDGED_EVERY = 8, 10, 5.0


def campaign(home: Home, trials: int, over: threading.Event) -> None:
    """Stands for the process that runs the campaign, until it is over."""
    rng = random.Random(1)
    with (
        LineageStore.open(home.lineage) as store,
        home.locked(CAMPAIGN),
        ExitStack() as stack,
    ):
        board = LiveBoard(home.live(CAMPAIGN))
        tells = [
            stack.enter_context(
                board.running(trials + slot, Phase.TRAIN, 3, 600.0, beside=False, slot=f"gpu{slot}")
            )
            for slot in range(SLOTS)
        ]
        board.now.took_floor("opt")
        judged = time.monotonic()
        for step in range(10**9):
            if over.wait(1 / LINES_A_SECOND):
                return
            for tell in tells:
                tell(f"step {step} loss {rng.random():.4f} lr 0.001 tokens/s 123456\n".encode())
            used = store.trial_count(CAMPAIGN)
            limits = (BudgetNow("trials", used, 2 * trials), BudgetNow("hours", 1.25, 8.0))
            ends = round(time.time() + 3600, -1)
            words = f"{2 * trials - used} of {2 * trials} trials are left, some 60 min"
            board.now.write(QueueNow((), SLOTS, words, ends, limits))
            if time.monotonic() - judged > JUDGED_EVERY:
                judged = time.monotonic()
                words = "a wider layer and a shorter warmup leave more steps at the full rate"
                store.propose_and_record(
                    CAMPAIGN, Proposal("opt", "opt", 0, words, -0.1, ()),
                    Outcome(Status.DISCARDED, "not better", score=rng.gauss(1.0, 0.1)),
                    parents=(0,), files={}, digest="", diff="", round_number=None,
                )  # fmt: skip


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        shutil.copytree(PROJECT, project)
        home = Home(project / ".recipelab")
        home.root.mkdir()
        fill(home.lineage, asked.trials)
        over = threading.Event()
        driver = threading.Thread(target=campaign, args=(home, asked.trials, over))
        driver.start()
        time.sleep(1.0)
        pid, terminal = pty.fork()
        if not pid:
            os.chdir(project)
            os.environ |= {"TERM": "xterm-256color", "RECIPELAB_HOME": str(home.root)}
            os.execv(sys.executable, [sys.executable, "-m", "recipelab", "watch"])
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
        drawn = bytearray()

        def read() -> None:
            while True:
                try:
                    piece = os.read(terminal, 65_536)
                except OSError:
                    return
                drawn.extend(piece)

        threading.Thread(target=read, daemon=True).start()
        while drawn.count(b"slots") < 3:
            time.sleep(0.1)
        began, before = time.monotonic(), cpu_seconds(pid)
        time.sleep(asked.seconds)
        used, passed = cpu_seconds(pid) - before, time.monotonic() - began
        over.set()
        driver.join()
        _, status = os.waitpid(pid, 0)
        pictures = drawn.count(b"slots")
    print(f"{100 * used / passed:.2f} % of one core over {passed:.0f} s, {pictures} pictures")
    print(f"ended with exit code {os.waitstatus_to_exitcode(status)}")
    print(drawn[-3_000:].decode("utf-8", "replace").rpartition("\x1b[1A")[0][-1_800:])


if __name__ == "__main__":
    main()
