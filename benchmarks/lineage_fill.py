"""Fills a lineage in SQLite with as many trials as asked for, in bulk.

Rows are made as the store makes them (the same words, keys, ancestry and counters) but written many
to a transaction and without the store's checks: a million trials take minutes, not an hour. One in
two hundred is kept, so that the chain of the best grows long; most are children of the best of
their day, a tenth repair a recent trial.
"""

from __future__ import annotations

import random
import sqlite3
from collections import defaultdict
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from recipelab.core.trial import Edit, Proposal
from recipelab.lineage import LineageStore
from recipelab.lineage.keys import stored_keys
from recipelab.lineage.tables import number_of, trial_key
from recipelab.lineage.writing.indexing import judged_words, proposed_words
from recipelab.lineage.writing.tallies import HOUR, scopes_of

CAMPAIGN = "bench"
SURFACES = ("arch", "opt", "quant", "reg", "loss", "eval", "curr", "tok", "ttt", "meta")
STATUSES = ("discarded", "oversize", "eval_overrun", "crashed", "gate_missed", "kept")
WEIGHTS = (55.0, 17.0, 9.0, 10.0, 8.5, 0.5)
FAILED = {
    "oversize": ("size", "score", "artifact over the limit of N bytes by part P{}"),
    "eval_overrun": ("timeout", "predict", "predict passed its limit of N s in stage P{}"),
    "crashed": ("shape", "train", "RuntimeError: shapes N and N cannot be multiplied in block P{}"),
    "gate_missed": ("gate", "score", "gate accuracy missed at layer P{}"),
}
SIGNATURES = 100
PLAIN = [
    "raise",
    "lower",
    "wider",
    "narrower",
    "learning",
    "rate",
    "weight",
    "decay",
    "momentum",
    "warmup",
    "cosine",
    "schedule",
    "batch",
    "dropout",
    "label",
    "smoothing",
    "layer",
    "norm",
    "residual",
    "attention",
    "heads",
    "depth",
    "width",
    "embedding",
    "tied",
    "gradient",
    "clip",
    "noise",
    "scale",
    "early",
    "late",
    "epochs",
    "steps",
    "converge",
    "faster",
    "because",
    "loss",
    "plateau",
]
RARE = [f"idea{number}" for number in range(20_000)]
START = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 20_000


def recipe(rng: random.Random, lines: int = 400) -> str:
    """A recipe of some 20 KB."""
    return "".join(
        f"KNOB_{line} = {rng.random():.6f}  # knob opt: 0.0 .. 1.0\n" for line in range(lines)
    )


class Filler:
    """Makes the rows of trials, and counts as the store does."""

    def __init__(self, campaign_id: int, files: str, seed: int) -> None:
        self.rng = random.Random(seed)
        self.campaign_id = campaign_id
        self.files = files
        self.best = trial_key(campaign_id, 0)
        self.tree: dict[int, tuple[int, int | None]] = {self.best: (0, None)}
        self.recent = [self.best]
        self.previous: dict[str, int] = {}
        self.groups: dict[tuple[str, int], int] = {}
        self.group_rows: list[tuple[Any, ...]] = []
        self.counts: dict[tuple[int, str], list[int]] = {}
        self.tally: dict[tuple[str, str], list[Any]] = defaultdict(lambda: [0, None, 0, None, None])
        self.judged: dict[str, int] = defaultdict(int)
        self.hours: dict[int, list[int]] = {}

    def rows(self, number: int) -> dict[str, list[tuple[Any, ...]]]:
        """The rows of a trial by table."""
        rng, trial_id = self.rng, trial_key(self.campaign_id, number)
        status = rng.choices(STATUSES, WEIGHTS)[0] if number else "baseline"
        surface = rng.choice(SURFACES)
        specialist = f"{surface}-specialist"
        parent = rng.choice(self.recent) if rng.random() < 0.1 else self.best
        parents = [parent] if number else []
        words = [*rng.choices(PLAIN, k=9), rng.choice(RARE)]
        hypothesis = " ".join(words)
        knob, value = rng.randrange(400), f"{rng.random():.3f}"
        old, new = f"KNOB_{knob} = 0.5", f"KNOB_{knob} = {value}"
        head = "diff --git a/r/t.py b/r/t.py\n--- a/r/t.py\n+++ b/r/t.py\n"
        diff = f"{head}@@ -1 +1 @@\n-{old}\n+{new}\n"
        valid = status in ("discarded", "kept", "baseline", "gate_missed", "oversize")
        score = rng.gauss(1.0 - 0.1 * number / 1e6, 0.01) if valid else None
        delta = rng.gauss(0.0, 0.01) if valid and number else None
        at = (START + timedelta(seconds=4 * number)).replace(tzinfo=None).isoformat(" ")
        failure = self.failed(status, surface, trial_id)
        depth, jump = self.place(trial_id, parents)
        reason = f"it is {status}"
        proposed = proposed_words(
            surface, specialist, [number_of(p) for p in parents], hypothesis, diff
        )
        told = judged_words(proposed, status, reason, failure)
        keys = stored_keys(self.campaign_id, f"digest{number}", diff)
        self.count(trial_id, surface, specialist, status, delta, number)
        made: dict[str, list[tuple[Any, ...]]] = {
            "trial": [
                (
                    trial_id, self.campaign_id, number, None, specialist, surface, hypothesis, -0.1,
                    f"digest{number}", at, "judged", None, status, number + 1, at, reason, score,
                    None, delta, None, 90.0, failure and failure[0], depth, jump,
                    parents[0] if parents else None, self.previous.get(specialist),
                )
            ],
            "trial_text": [(trial_id, diff, self.files, "last lines of the log", "docker cpu")],
            "parent": [(trial_id, 0, p) for p in parents],
            "edit": [(trial_id, 0, "r/t.py", old, new)],
            "trial_key": [(key, trial_id) for key in keys],
            "seed_run": [
                (trial_id, 0, 0, '[["train", 60.0, 80.0, 900.0], ["predict", 5.0, 10.0, 300.0]]',
                 '{"score.accuracy": 0.96}')
            ],
            "gate": [(trial_id, 0, "accuracy", 0.95, 0.96, -0.01 if status in FAILED else 0.01)],
            "failure": [(trial_id, failure[0], failure[3], 0)] if failure else [],
            "words": [(trial_id, " ".join(told))],
        }  # fmt: skip
        self.previous[specialist] = trial_id
        self.recent = [*self.recent[-50:], trial_id]
        if status == "kept":
            self.best = trial_id
        return made

    def place(self, trial_id: int, parents: list[int]) -> tuple[int, int | None]:
        """Its depth, and the ancestor that it refers to for leaps."""
        if not parents:
            return 0, None
        depth, jump = self.tree[parents[0]]
        to = parents[0]
        if jump is not None:
            jump_depth, after = self.tree[jump]
            if after is not None and depth - jump_depth == jump_depth - self.tree[after][0]:
                to = after
        self.tree[trial_id] = depth + 1, to
        return depth + 1, to

    def failed(self, status: str, surface: str, trial_id: int) -> tuple[int, str, str, str] | None:
        """Group, kind, signature and excerpt of its failure, which is counted."""
        if status not in FAILED:
            return None
        kind, phase, words = FAILED[status]
        part = min(int(self.rng.paretovariate(0.8)), SIGNATURES)
        signature = words.format(part)
        group = self.groups.get((status, part))
        if group is None:
            group = self.groups[status, part] = len(self.groups) + 1
            self.group_rows.append((group, self.campaign_id, kind, phase, signature))
        for scope in ("", f"s:{surface}"):
            row = self.counts.setdefault((group, scope), [0, trial_id, trial_id])
            row[0], row[2] = row[0] + 1, trial_id
        return group, kind, signature, f"the log says: {signature}"

    def count(
        self, trial_id: int, surface: str, specialist: str, status: str, delta: float | None,
        number: int,
    ) -> None:  # fmt: skip
        """Adds the trial to the counters of its scopes."""
        for scope in scopes_of(surface, specialist):
            self.tally[scope, ""][1] = trial_id
            self.judged[scope] += 1
            row = self.tally[scope, status]
            row[0], row[1] = row[0] + 1, trial_id
            row[2] = self.judged[scope] if status == "kept" else 1
            if delta is not None and status in ("kept", "discarded"):
                row[3] = delta if row[3] is None else min(row[3], delta)
                row[4] = delta if row[4] is None else max(row[4], delta)
        hour = int((START + timedelta(seconds=4 * number)).timestamp()) // HOUR
        self.hours.setdefault(hour, [trial_id, trial_id])[1] = trial_id


def fill(path: Path, trials: int, *, seed: int = 5) -> None:
    """Makes a lineage of so many judged trials, and one more in flight through the store."""
    with LineageStore.open(path) as store:
        store.create_campaign(
            name=CAMPAIGN, pack="toy", profile="quick", model="none", sandbox="local", seed=0,
            trials=None, hours=None, settings={},
        )  # fmt: skip
        text = recipe(random.Random(seed))
        first = Proposal("start", "opt", 0, "the start", 0.0, ())
        files = {"recipe/train.py": text}
        rest = {"digest": "d", "diff": "", "round_number": None}
        store.propose(CAMPAIGN, first, parents=(), files=files, **rest)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        _clear(connection)
        filler = Filler(1, '{"recipe/train.py": 1}', seed)
        for start in range(0, trials, BATCH):
            connection.execute("BEGIN")
            _write(connection, filler, range(start, min(trials, start + BATCH)))
            connection.execute("COMMIT")
        _close(connection, filler)
    with LineageStore.open(path) as store:
        edit = Edit("recipe/train.py", text.split("\n")[0], "KNOB_0 = 0.125")
        waiting = Proposal("opt-specialist", "opt", 0, "raise learning rate", -0.1, (edit,))
        store.propose(CAMPAIGN, waiting, parents=(0,), files=files, **rest)


def _clear(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO words (words) VALUES ('delete-all')")
    for table in ("trial_text", "parent", "edit", "trial_key", "tally", "hour", "trial"):
        connection.execute(f"DELETE FROM {table}")


def _write(connection: sqlite3.Connection, filler: Filler, numbers: range) -> None:
    tables: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    before = len(filler.group_rows)
    for number in numbers:
        for table, rows in filler.rows(number).items():
            tables[table] += rows
    _insert(connection, "failure_group", filler.group_rows[before:])
    for table, rows in tables.items():
        _insert(connection, table, rows, "(rowid, w)" if table == "words" else "")


def _close(connection: sqlite3.Connection, filler: Filler) -> None:
    own = filler.campaign_id
    connection.execute("BEGIN")
    _insert(connection, "tally", [(own, *key, *row) for key, row in filler.tally.items()])
    _insert(connection, "hour", [(own, key, *row) for key, row in filler.hours.items()])
    counts = [(group, scope, own, *row) for (group, scope), row in filler.counts.items()]
    _insert(connection, "failure_count", counts)
    connection.execute("COMMIT")


def _insert(
    connection: sqlite3.Connection, table: str, rows: list[tuple[Any, ...]], columns: str = ""
) -> None:
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {table} {columns} VALUES ({marks})", rows)
