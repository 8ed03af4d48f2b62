"""What the page costs: a file of many trials, and a server that follows a campaign.

``python benchmarks/page.py file`` fills a lineage with trials, each with three seed runs, curves,
a log, a turn, what was shown in it and a dozen messages, and writes a report of it.
``python benchmarks/page.py live`` serves a campaign of 1,000 trials in which eight phases run and
print, and something is committed twice a second; one reader follows it as a browser does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Any

from lineage_fill import CAMPAIGN, fill

from recipelab.campaign.reader import CampaignReader
from recipelab.core.content import Home
from recipelab.core.trial import Phase
from recipelab.evaluation.live import LiveBoard
from recipelab.lineage import LineageStore, NewMessage
from recipelab.lineage.lookup import trial_key
from recipelab.lineage.records import TurnRecord
from recipelab.lineage.turns import insert_turn, insert_turn_trial
from recipelab.lineage.values import now
from recipelab.page.data import CampaignData
from recipelab.page.export import Mode, write_page
from recipelab.page.shown import page_json

MESSAGES = 12
"""Messages of a turn: questions to tools with their answers, and words."""

SEEDS = 3
PHASES = 8
WORDS = ("loss", "epoch", "rate", "step", "schedule", "width", "kernel", "batch", "decay", "norm")


def words(rng: random.Random, many: int) -> str:
    """Text that compresses as text does."""
    return " ".join(f"{rng.choice(WORDS)} {rng.random():.3f}" for _ in range(many))


def enrich(path: Path, trials: int) -> None:
    """Give the trials of a filled lineage what those of a real campaign have."""
    rng = random.Random(7)
    with LineageStore.open(path) as store, store._writing_to(CAMPAIGN) as (transaction, campaign):
        for number in range(1, trials):
            # A view tells of the trials before it, so that most of it is in the one before.
            lines = (
                f"trial {n}: {n * 7919 % 10007} {words(random.Random(n), 6)}"
                for n in range(max(0, number - 40), number)
            )
            first = (number - 1) * MESSAGES
            turn = TurnRecord(
                number, "opt-specialist", None, now(), None, (), first, first + MESSAGES - 1
            )
            insert_turn(transaction, campaign, turn, "\n".join(lines))
            insert_turn_trial(transaction, campaign, trial_key(campaign, number), number)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        _texts(connection, rng, trials)
        _chat(connection, rng, trials)
        connection.execute("COMMIT")


def _texts(connection: sqlite3.Connection, rng: random.Random, trials: int) -> None:
    rows = []
    for number in range(trials):
        runs = [
            [
                seed,
                [["train", 60 + rng.random(), 80.0, 900.0], ["predict", 5.0, 9.0, 300]],
                {
                    "metric": rng.random(), "score.accuracy": rng.random(),
                    **{f"curve.{step}": rng.random() for step in range(0, 1600, 100)},
                },
            ]
            for seed in range(SEEDS)
        ]  # fmt: skip
        log = "\n".join(words(rng, 6) for _ in range(40))
        rows.append((json.dumps(runs), log, trial_key(1, number)))
    connection.executemany(
        "UPDATE trial_text SET seed_runs = ?, log_tail = ? WHERE trial_id = ?", rows
    )


def _chat(connection: sqlite3.Connection, rng: random.Random, trials: int) -> None:
    rows = []
    for number in range(1, trials):
        for place in range(MESSAGES):
            position = (number - 1) * MESSAGES + place
            is_last = place == MESSAGES - 1
            kind = (
                "TextMessage"
                if is_last
                else ("ToolCallRequestEvent", "ToolCallExecutionEvent")[place % 2]
            )
            trial = number if place == MESSAGES - 3 else None
            rows.append(
                (1, position, trial, "opt-specialist", kind, _payload(rng, kind, number, trial))
            )
    connection.executemany(
        "INSERT INTO message "
        "(campaign_id, position, trial_number, source, type, payload, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, '2026-01-01T00:00:00.000000+00:00')",
        rows,
    )


def _payload(rng: random.Random, kind: str, number: int, trial: int | None) -> str:
    if kind == "TextMessage":
        return json.dumps({"content": words(rng, 20)})
    if kind == "ToolCallRequestEvent":
        call = {"id": str(number), "name": "lineage_query", "arguments": words(rng, 8)}
        return json.dumps(
            {"content": [call], "models_usage": {"prompt_tokens": 900, "completion_tokens": 90}}
        )
    content = json.dumps({"trial": trial}) if trial else words(rng, 60)
    name = "submit_trial" if trial else "lineage_query"
    return json.dumps({"content": [{"call_id": str(number), "name": name, "content": content}]})


def measure_file(folder: Path, trials: int) -> dict[str, Any]:
    """Fill a lineage, and measure what reading and writing it takes."""
    path = folder / "lineage.db"
    fill(path, trials)
    enrich(path, trials)
    found: dict[str, Any] = {"trials": trials}
    with LineageStore.open(path) as store:
        data = CampaignData(CampaignReader(store, CAMPAIGN, home=Home(folder)))
        page_json(data.trials())

        def timed(name: str, work: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            result = work()
            found[f"{name}_seconds"] = round(time.perf_counter() - wall, 4)
            found[f"{name}_cpu_seconds"] = round(time.process_time() - cpu, 4)
            return result

        told = timed("rows", data.trials)
        timed("rows_as_json", lambda: page_json(told))
        timed("rows_since", lambda: data.trials(told["token"]))
        timed("campaign", data.campaign)
        timed("report", lambda: write_page(folder / "night.html", [data], Mode.REPORT))
    found["report_mb"] = round((folder / "night.html").stat().st_size / 1e6, 2)
    found["memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return found


class Reader(threading.Thread):
    """Follows a campaign as a browser does: it hears of changes, and asks for what has changed."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = f"{url}api/campaigns/{CAMPAIGN}"
        self.known: dict[int, float] = {}
        self.events = 0

    def run(self) -> None:
        """Read until the server ends."""
        token = self._ask("/trials")["token"]
        with urllib.request.urlopen(f"{self.url}/events") as stream:
            for line in stream:
                if not line.startswith(b"data: "):
                    continue
                told = json.loads(line[6:])
                self.events += 1
                if told.get("trials") not in (None, token):
                    token = self._ask(f"/trials?since={token}")["token"]
                self.known.setdefault(told["messages"], time.monotonic())

    def _ask(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path) as answer:
            return json.load(answer)


def measure_live(folder: Path, trials: int, seconds: float) -> dict[str, Any]:
    """Serve a campaign in which much goes on, and measure what that costs."""
    home = Home(folder)
    fill(home.root / "lineage.db", trials)
    command = [
        sys.executable,
        "-m",
        "recipelab",
        "ui",
        "--port",
        "0",
        "--no-open",
        "--home",
        str(folder),
    ]
    with ExitStack() as stack:
        server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(server.send_signal, signal.SIGINT)
        assert server.stdout is not None
        url = server.stdout.readline().partition("campaigns: ")[2].strip()
        store = stack.enter_context(LineageStore.open(home.root / "lineage.db"))
        stack.enter_context(home.locked(CAMPAIGN))
        board = LiveBoard(home.live(CAMPAIGN))
        logs = [
            stack.enter_context(board.running(n, Phase.TRAIN, 1, 600.0, beside=False))
            for n in range(PHASES)
        ]
        reader = Reader(url)
        reader.start()
        time.sleep(2.0)
        before, began, events = _cpu_seconds(server.pid), time.monotonic(), reader.events
        committed: dict[int, float] = {}
        while time.monotonic() - began < seconds:
            said = [NewMessage("opt", "TextMessage", {"content": "going on"})]
            place = store.add_messages(CAMPAIGN, said, round_number=None)
            committed[place + 1] = time.monotonic()
            for number, log in enumerate(logs):
                log(f"step {place} of phase {number}: loss 0.1234\n".encode() * 5)
            time.sleep(0.5)
        spent = _cpu_seconds(server.pid) - before
        time.sleep(1.5)
        delays = [_delay(reader.known, total, at) for total, at in committed.items()]
        return {
            "trials": trials, "phases": PHASES, "seconds": round(time.monotonic() - began, 1),
            "events": reader.events - events,
            "percent_of_a_core": round(100 * spent / seconds, 2),
            "delay_median_seconds": round(median(delays), 3),
            "delay_most_seconds": round(max(delays), 3),
        }  # fmt: skip


def _delay(known: dict[int, float], total: int, at: float) -> float:
    """Return after how long a reader knew of a message, alone or with later ones."""
    return min(seen for count, seen in known.items() if count >= total) - at


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("file", "live"))
    parser.add_argument("--trials", type=int)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "file":
            print(json.dumps(measure_file(Path(folder), given.trials or 10_000)))
        else:
            print(json.dumps(measure_live(Path(folder), given.trials or 1_000, given.seconds)))


if __name__ == "__main__":
    main()
