"""Fills a lineage in SQLite with as many trials as asked for, in bulk.

Rows are those that the store makes, but written many to a transaction and without its checks: a
hundred thousand trials take a minute. One in two hundred is kept, so that the chain of the best
grows long; most are children of the best of their day, a tenth repair a recent trial.
"""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from recipelab.budget import BudgetLimits
from recipelab.core.trial import Edit, Proposal, Trust
from recipelab.lineage import LineageStore, keys_of
from recipelab.lineage.lookup import number_of, trial_key
from recipelab.lineage.similar import stored_keys
from recipelab.lineage.values import to_stamp
from recipelab.packs.judging_sections import Goal, Metric
from recipelab.plan import Plan, settings_of

CAMPAIGN = "bench"
METRIC = Metric(name="loss", unit="", goal=Goal.MINIMIZE, measure="score.loss")
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
TABLES = ("failure", "trial", "trial_text", "parent", "trial_key")


def recipe(rng: random.Random, lines: int = 400) -> str:
    """A recipe of some 20 KB."""
    return "".join(
        f"KNOB_{line} = {rng.random():.6f}  # knob opt: 0.0 .. 1.0\n" for line in range(lines)
    )


RUNS = (
    '[[0, [["train", 60.0, 80.0, 900.0], ["predict", 5.0, 10.0, 300.0]], '
    '{"metric": 1.0, "score.accuracy": 0.96}]]'
)

Rows = dict[str, list[dict[str, Any]]]
"""Rows by table: column to value."""


class Filler:
    """Makes the rows of trials."""

    def __init__(self, campaign_id: int, files: str, seed: int) -> None:
        self.rng = random.Random(seed)
        self.campaign_id = campaign_id
        self.files = files
        self.best = trial_key(campaign_id, 0)
        self.recent = [self.best]
        self.failures: dict[tuple[str, int], int] = {}

    def add(self, number: int, rows: Rows) -> None:
        """Adds the rows of a trial."""
        rng, trial_id = self.rng, trial_key(self.campaign_id, number)
        status = rng.choices(STATUSES, WEIGHTS)[0] if number else "baseline"
        surface = rng.choice(SURFACES)
        parent = rng.choice(self.recent) if rng.random() < 0.1 else self.best
        knob, value = rng.randrange(400), f"{rng.random():.3f}"
        old, new = f"KNOB_{knob} = 0.5", f"KNOB_{knob} = {value}"
        head = "diff --git a/r/t.py b/r/t.py\n--- a/r/t.py\n+++ b/r/t.py\n"
        diff = f"{head}@@ -1 +1 @@\n-{old}\n+{new}\n"
        valid = status in ("discarded", "kept", "baseline", "gate_missed", "oversize")
        at = to_stamp(START + timedelta(seconds=4 * number))
        failure_id, signature = self.failed(status, rows)
        margin = -0.01 if status in FAILED else 0.01
        trial = {
            "id": trial_id, "campaign_id": self.campaign_id, "number": number,
            "specialist": f"{surface}-specialist", "surface": surface, "expected_delta": -0.1,
            "digest": f"digest{number}", "meaning": f"meaning{number}",
            "parents": json.dumps([number_of(parent)] if number else []),
            "parent_id": parent if number else None, "proposed_at": at, "state": "judged",
            "status": status, "judged_order": number + 1, "judged_at": at,
            "score": rng.gauss(1.0 - 0.1 * number / 1e6, 0.01) if valid else None,
            "delta": rng.gauss(0.0, 0.01) if valid and number else None, "cpu_seconds": 90.0,
            "failure_id": failure_id, "failure_seed": 0 if failure_id else None,
        }  # fmt: skip
        text = {
            "trial_id": trial_id,
            "hypothesis": " ".join([*rng.choices(PLAIN, k=9), rng.choice(RARE)]),
            "reason": f"it is {status}", "signature": signature,
            "excerpt": f"the log says: {signature}" if signature else "", "diff": diff,
            "edits": json.dumps([["r/t.py", old, new]]), "files": self.files, "seed_runs": RUNS,
            "gates": json.dumps([["accuracy", 0.95, 0.96, margin]]),
            "log_tail": "last lines of the log", "environment": "docker cpu",
        }  # fmt: skip
        rows["trial"].append(trial)
        rows["trial_text"].append(text)
        if number:
            rows["parent"].append({"parent_id": parent, "trial_id": trial_id, "position": 0})
        keys = stored_keys(
            self.campaign_id, f"digest{number}", keys_of(diff), f"meaning{number}", ""
        )
        rows["trial_key"] += [{"key": key, "trial_id": trial_id} for key in keys]
        self.recent = [*self.recent[-50:], trial_id]
        if status == "kept":
            self.best = trial_id

    def failed(self, status: str, rows: Rows) -> tuple[int | None, str]:
        """Returns the id and the signature of a failure, which is new or repeats."""
        if status not in FAILED:
            return None, ""
        kind, phase, words = FAILED[status]
        part = min(int(self.rng.paretovariate(0.8)), SIGNATURES)
        known = self.failures.get((status, part))
        if known is None:
            known = self.failures[status, part] = len(self.failures) + 1
            failure = {"id": known, "campaign_id": self.campaign_id, "kind": kind, "phase": phase}
            rows["failure"].append(failure | {"signature": words.format(part)})
        return known, words.format(part)


def settings(trials: int) -> dict[str, Any]:
    """Return the settings under which the lineage keeps a campaign of the toy pack."""
    limits = BudgetLimits(trials=trials)
    return settings_of(
        Plan(name=CAMPAIGN, pack="toy", profile="mini", limits=limits), METRIC, Trust.ISOLATED
    )


def fill(path: Path, trials: int, *, seed: int = 5, knobs: int = 400) -> None:
    """Makes a lineage of so many judged trials, and one more in flight through the store."""
    text = recipe(random.Random(seed), knobs)
    files = {"recipe/train.py": text}
    rest = {"files": files, "digest": "d", "diff": "", "round_number": None}
    with LineageStore.open(path, create=True) as store:
        store.create_campaign(
            name=CAMPAIGN, pack="toy", profile="mini", model="offline", sandbox="local", seed=0,
            trials=trials + 1, hours=None, settings=settings(trials + 1),
        )  # fmt: skip
        # The recipe is what stays of this one: the trials below share it.
        store.propose(
            CAMPAIGN, Proposal("start", "opt", 0, "the start", 0.0, ()), parents=(), **rest
        )
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for table in ("trial_text", "trial_key", "trial", "tally"):
            connection.execute(f"DELETE FROM {table}")
        filler = Filler(1, '{"recipe/train.py": 1}', seed)
        for start in range(0, trials, BATCH):
            rows: Rows = {table: [] for table in TABLES}
            for number in range(start, min(trials, start + BATCH)):
                filler.add(number, rows)
            connection.execute("BEGIN")
            for table, some in rows.items():
                _insert(connection, table, some)
            connection.execute("COMMIT")
    with LineageStore.open(path, create=True) as store:
        edit = Edit("recipe/train.py", text.split("\n")[0], "KNOB_0 = 0.125")
        waiting = Proposal("opt-specialist", "opt", 0, "raise learning rate", -0.1, (edit,))
        store.propose(CAMPAIGN, waiting, parents=(0,), **rest)


def _insert(connection: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        names = ", ".join(rows[0])
        values = ", ".join(f":{name}" for name in rows[0])
        connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({values})", rows)
