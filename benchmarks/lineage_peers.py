"""Measures the lineage beside text files as the paper's release kept them, and ShinkaEvolve.

    pip install shinka-evolve       # in an environment of its own with recipelab; optional
    python benchmarks/lineage_peers.py --trials 100000

The text file has the columns of the release's results.tsv, and every question reads it whole, as
there. ShinkaEvolve's database is made and asked by its own ProgramDatabase; its rows are put in by
SQL, with programs of 2 KB, because its own way in takes far too long for so many.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lineage_fill import CAMPAIGN, PLAIN, RARE, fill

from recipelab.lineage import LineageStore, TrialFilter

Ask = Callable[[], object]
_FRONT = "exp_id timestamp specialist parent_exp baseline_exp domain hypothesis expected_delta"
_FIGURES = "status val_bpb delta_vs_best artifact_bytes train_s eval_s total_s"
COLUMNS = f"{_FRONT} {_FIGURES} job_name snapshot_path notes".split()
WORD = RARE[5]
STATUSES = ("discard", "size_blocked", "keep", "crash")


def timed(ask: Ask, times: int) -> float:
    """Median of the milliseconds of a call, after one that does not count."""
    ask()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        ask()
        taken.append(1e3 * (time.perf_counter() - start))
    return sorted(taken)[times // 2]


def text_questions(folder: Path, trials: int) -> dict[str, Ask]:
    """Writes a results.tsv, and gives what is asked of it."""
    file, rng = folder / "results.tsv", random.Random(1)
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream, delimiter="\t")
        rows.writerow(COLUMNS)
        for n in range(trials):
            parent, score = rng.randrange(max(n, 1)), rng.gauss(1.07, 0.01)
            words = " ".join([*rng.choices(PLAIN, k=60), rng.choice(RARE)])
            front = (n, "2026-01-01T00:00:00Z", "opt", parent, 0, "opt", words, -0.01)
            figures = (rng.choice(STATUSES), score, 0.0, 15_900_000, 600, 580, 1_500)
            rows.writerow([*front, *figures, f"job-{n}", f"snapshots/{n}", words[:200]])

    def read() -> list[dict[str, str]]:
        with file.open(newline="") as stream:
            return list(csv.DictReader(stream, delimiter="\t"))

    def ancestry() -> list[str]:
        parents = {row["exp_id"]: row["parent_exp"] for row in read()}
        chain, at = [], str(trials - 1)
        while len(chain) < 10 and parents.get(at) not in (None, at):
            chain.append(at := parents[at])
        return chain

    return {
        "one trial": lambda: next(r for r in read() if r["exp_id"] == str(trials // 2)),
        "ten ancestors": ancestry,
        "ten best": lambda: sorted(read(), key=lambda row: float(row["val_bpb"]))[:10],
        "a rare word": lambda: [r for r in read() if r["hypothesis"].endswith(f" {WORD}")][-10:],
    }


def own_questions(folder: Path, trials: int) -> dict[str, Ask]:
    """Fills a lineage, and gives what is asked of it."""
    fill(folder / "lineage.db", trials)
    store = LineageStore.open(folder / "lineage.db")
    return {
        "one trial": lambda: store.trial(CAMPAIGN, trials // 2),
        "ten ancestors": lambda: store.chain_briefs(CAMPAIGN, trials - 1, limit=10),
        "ten best": lambda: store.briefs(CAMPAIGN, TrialFilter(order="best", limit=10)),
        "a rare word": lambda: store.briefs(CAMPAIGN, TrialFilter(text=WORD, limit=10)),
    }


def shinka_questions(folder: Path, trials: int) -> dict[str, Ask]:
    """Fills a database of ShinkaEvolve; empty if it is not installed."""
    try:
        from shinka.database import DatabaseConfig, ProgramDatabase
    except ImportError:
        print("shinka-evolve is not installed: left out", file=sys.stderr)
        return {}
    logging.disable(logging.INFO)
    rng = random.Random(1)
    database = ProgramDatabase(DatabaseConfig(db_path=str(folder / "shinka.db")))
    rows = (
        (
            f"p{n}",
            " ".join([*rng.choices(PLAIN, k=300), rng.choice(RARE)]),
            "python",
            f"p{rng.randrange(n)}" if n else None,
            n,
            1.7e9 + n,
            rng.gauss(1.0, 0.1),
            1,
        )
        for n in range(trials)
    )
    database.conn.executemany(
        "INSERT INTO programs (id, code, language, parent_id, generation, timestamp, "
        "combined_score, correct) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    database.conn.commit()

    def text() -> object:
        # It has no question for words; this is what its file would be asked.
        found = "SELECT id FROM programs WHERE code LIKE ? ORDER BY timestamp DESC LIMIT 10"
        return database.conn.execute(found, (f"% {WORD}",)).fetchall()

    return {
        "one trial": lambda: database.get(f"p{trials // 2}"),
        "ten ancestors": lambda: database.get_ancestry(f"p{trials - 1}"),
        "ten best": lambda: database.get_top_programs(10),
        "a rare word": text,
    }


def main() -> int:
    """Runs what is asked for, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    told: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        makers = {
            "recipelab": own_questions,
            "text file": text_questions,
            "ShinkaEvolve": shinka_questions,
        }
        for name, make in makers.items():
            questions = make(Path(folder), given.trials)
            told[name] = {what: timed(ask, given.times) for what, ask in questions.items()}
            for what, taken in told[name].items():
                print(f"{name:14} {what:14} {taken:10.2f} ms", flush=True)
    if given.json:
        given.json.write_text(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
