"""Made-up campaigns as the data of the page, of any length and with texts that mean harm."""

from __future__ import annotations

import base64
import gzip
import json
import math
import random
from pathlib import Path
from typing import Any

from recipelab.page.export import Bundle

NAME = "made-up"
HARM = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script></pre>\'`${7}` \u202e'
BEGAN = 1_780_000_000.0
TRIAL_SECONDS = 40.0

SURFACES = ("arch", "opt", "data", "sched")
FAILURES = (
    ("crashed", "shape", "RuntimeError: shapes # and # cannot be multiplied", "train"),
    ("oversize", "size", "artifact of # bytes is too large", "score"),
    ("eval_overrun", "timeout", "predict passed its limit", "predict"),
    ("gate_missed", "gate", "gate size missed", "score"),
    ("rejected", "duplicate", "the recipe was tried before", None),
    ("illegal", "tampering", "the scorer was changed", "train"),
)
CHECKPOINT_EVERY = 5

Row = dict[str, Any]


class MadeUp:
    """A campaign of ``trials`` trials: the first ten hold one of each kind.

    Args:
        trials: How many trials there are beside the baseline.
        running: Whether the last two have not ended.
        name: Its name.
        harm: A text that is part of many others.
    """

    def __init__(
        self, trials: int, *, running: bool = False, name: str = NAME, harm: str = HARM
    ) -> None:
        self.name = name
        self.harm = harm
        self.draw = random.Random(7)
        self.running = running
        self.rows: list[Row] = []
        self.checkpoints: list[dict[str, Any]] = []
        self._score = 3.0
        self._head = 0
        self._certified = 0
        for number in range(trials + 1):
            self.rows.append(self._row(number, trials))
        self.ended_at = BEGAN + TRIAL_SECONDS * (trials + 1)

    def _row(self, number: int, trials: int) -> Row:
        proposed = BEGAN + TRIAL_SECONDS * number
        row: Row = {
            "number": number,
            "status": "discarded",
            "state": "judged",
            "standing": None,
            "phase": None,
            "specialist": SURFACES[number % len(SURFACES)],
            "surface": SURFACES[number % len(SURFACES)],
            "parents": [self._head],
            "score": None,
            "score_se": None,
            "delta": None,
            "delta_se": None,
            "proposed_at": proposed,
            "judged_at": proposed + 30.0,
            "judged_order": number,
            "cpu_seconds": 25.0,
            "wall_seconds": 28.0,
            "failure_kind": None,
            "signature": None,
            "near_miss": False,
            "unproven_gain": False,
            "round": 1 + number // 50,
            "hypothesis": f"idea {number}: a wider layer learns more",
            "reason": "its gain is within the noise",
        }
        if number == 0:
            return row | {
                "status": "baseline",
                "specialist": "campaign",
                "surface": "baseline",
                "parents": [],
                "score": self._score,
                "score_se": 0.01,
                "hypothesis": "the starting recipe of the pack",
                "reason": "the starting recipe",
            }
        if self.running and number > trials - 2:
            queued = {"status": None, "state": "queued", "judged_at": None, "judged_order": None}
            row |= queued if number == trials else queued | {"state": "running", "phase": "train"}
            return row
        if number == 2:
            row["hypothesis"] = f"idea 2 {self.harm}"
        if number % 5 in (2, 4):
            return self._failed(row, number)
        gain = self._gain(number)
        row |= {
            "score": self._score - gain,
            "score_se": 0.008,
            "delta": -gain,
            "delta_se": 0.01,
            "unproven_gain": number == 3,
        }
        if gain > 0.02:
            self._keep(row, gain)
        return row

    def _gain(self, number: int) -> float:
        if number in (1, 5, 6):
            return 0.1
        if number % max(2, round(6 * math.sqrt(number))) == 0:
            return 0.03
        return self.draw.uniform(-0.2, 0.01)

    def _keep(self, row: Row, gain: float) -> None:
        row |= {"status": "kept", "standing": "provisional", "reason": "it beats the head"}
        self._score -= gain
        self._head = row["number"]
        kept = sum(1 for one in self.rows if one["status"] == "kept") + 1
        if kept % 2 == 0:
            self._certify(row)

    def _certify(self, row: Row) -> None:
        number = len(self.checkpoints)
        self.checkpoints.append(
            {
                "position": number,
                "made_at": row["judged_at"] + 5.0,
                "trial": row["number"],
                "against": self._certified,
                "held": True,
                "fell_back": False,
                "reason": f"gain on fresh seeds is more than luck {self.harm}",
                "verdict": "holds",
                "seeds": 4,
                "delta": -0.2,
                "delta_se": 0.01,
                "delta_low": -0.22,
                "delta_high": -0.18,
                "p": 0.00002,
                "level": 0.001,
                "gates": [],
            }
        )
        self._certified = row["number"]
        row["standing"] = "certified"
        for other in self.rows:
            if other["standing"] == "provisional":
                other["standing"] = "certified"

    def _failed(self, row: Row, number: int) -> Row:
        status, kind, signature, _ = FAILURES[number // 2 % len(FAILURES)]
        return row | {
            "status": status,
            "failure_kind": kind,
            "signature": signature,
            "near_miss": status == "gate_missed",
            "reason": f"{kind}: {signature}",
        }

    def campaign(self) -> dict[str, Any]:
        """What the page shows of it beside its trials."""
        judged = [row for row in self.rows if row["status"] is not None]
        spent = len(judged) - 1
        return {
            "name": self.name,
            "pack": "toy",
            "profile": "mini",
            "model": f"some:model {self.harm}",
            "sandbox": "docker",
            "seed": 1,
            "state": "running" if self.running else "finished",
            "stop_reason": None if self.running else "all trials are spent",
            "created_at": BEGAN,
            "ended_at": None if self.running else self.ended_at,
            "trust": "isolated",
            "missing": [],
            "metric": {
                "name": "loss",
                "unit": "nats",
                "goal": "minimize",
                "title": "held-out loss (nats)",
            },
            "surfaces": list(SURFACES),
            "specialists": list(SURFACES),
            "budget": [
                {"kind": "trials", "used": spent, "limit": len(self.rows) + 5, "unit": "trials"},
                {"kind": "device_hours", "used": spent * 28 / 3600, "limit": None, "unit": "h"},
                {"kind": "money", "used": 1.25, "limit": 10.0, "unit": "USD"},
            ],
            "noise": {"sd": 0.01, "smallest_visible": 0.015, "seeds": 4},
            "gates": [
                {"name": "size", "limit": 5000, "at_most": True, "unit": "bytes", "baseline": 4000}
            ],
            "baseline": 0,
            "best": self._head,
            "certified": self._certified,
            "best_gain": 4.0,
            "certified_gain": 3.0,
            "checkpoints": self.checkpoints,
            "certificates": [],
            "evidence": self._evidence(),
            "failures": self._failures(),
            "by_surface": [self._sum("surface", name) for name in SURFACES],
            "by_specialist": [self._sum("specialist", name) for name in SURFACES],
            "notes": [
                {
                    "number": 1,
                    "text": f"look at the schedule {self.harm}",
                    "specialist": None,
                    "trial": 1,
                    "created_at": BEGAN + 60.0,
                    "retired_at": None,
                }
            ],
            "rounds": [
                {"number": number, "started_at": BEGAN + 2000 * (number - 1), "ended_at": None}
                for number in range(1, 2 + len(self.rows) // 50)
            ],
            "messages": len(self.messages()),
            "arms": None,
        }

    def _evidence(self) -> dict[str, Any]:
        keys = ("trial", "against", "held", "verdict", "p", "level", "seeds", "made_at")
        tests = [
            {"kind": "checkpoint", **{key: test[key] for key in keys}} for test in self.checkpoints
        ]
        return {
            "policy": "line",
            "false_claim_budget": 0.05,
            "spent": 0.0,
            "left": 0.05,
            "claims": len(tests),
            "looks": [4, 8, 16, 32],
            "tests": tests,
        }

    def _failures(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for _, kind, signature, phase in FAILURES:
            its = [row for row in self.rows if row["signature"] == signature]
            if its:
                found.append(
                    {
                        "kind": kind,
                        "phase": phase,
                        "signature": signature,
                        "count": len(its),
                        "first": its[0]["number"],
                        "last": its[-1]["number"],
                        "last_seen": its[-1]["judged_at"],
                        "excerpt": f"Traceback: {signature} {self.harm}",
                        "fixed_by": [1],
                    }
                )
        return found

    def _sum(self, key: str, name: str) -> dict[str, Any]:
        its = [row for row in self.rows if row[key] == name and row["status"] is not None]
        kept = [row for row in its if row["status"] == "kept"]
        statuses: dict[str, int] = {}
        for row in its:
            statuses[row["status"]] = statuses.get(row["status"], 0) + 1
        return {
            "name": name,
            "tried": len(its),
            "kept": len(kept),
            "best_delta": min((row["delta"] for row in kept), default=None),
            "last_kept": kept[-1]["number"] if kept else None,
            "since_kept": len(its),
            "statuses": statuses,
            "cpu_seconds": 25.0 * len(its),
            "calls": 12,
            "prompt_tokens": 24_000,
            "completion_tokens": 800,
            "cost": 0.3,
            "seconds": 61.0,
            "passes": 1,
        }

    def trials(self) -> dict[str, Any]:
        """All rows, as columns."""
        names = self.rows[0].keys()
        columns = {name: [row[name] for row in self.rows] for name in names}
        return {"token": "1", "whole": True, "columns": columns}

    def trial(self, number: int) -> dict[str, Any]:
        """All of one trial."""
        row = self.rows[number]
        failure = None
        if row["failure_kind"] is not None:
            phase = next(one[3] for one in FAILURES if one[2] == row["signature"])
            failure = {
                "phase": phase,
                "kind": row["failure_kind"],
                "signature": row["signature"],
                "excerpt": f"Traceback: {row['signature']} {self.harm}",
                "seed": 1,
            }
        measured = row["score"] is not None
        runs = [_seed_run(seed, row["score"]) for seed in (1, 2, 3)] if measured else []
        diff = "" if number == 0 else _diff(number, self.harm)
        return row | {
            "expected_delta": -0.05,
            "evidence": {"against": 0, "planned": 3, "screened": 3} if measured else None,
            "gates": [{"name": "size", "value": 4100, "limit": 5000, "margin": 900, "error": 1.0}]
            if measured
            else [],
            "seed_runs": runs,
            "beside": [_seed_run(seed, 3.0) for seed in (1, 2, 3)] if measured else [],
            "beside_trial": 0 if measured else None,
            "failure": failure,
            "log_tail": f"step 100 loss 2.5\n{self.harm}\ndone",
            "environment": "docker cpu",
            "edits": [],
            "diff": diff,
            "diff_from_start": diff,
            "curve": None,
            "curves": [{"seed": 1, "points": [[at, 3 - at / 100] for at in range(0, 100, 10)]}]
            if measured
            else None,
            "knobs": [{"path": "recipe/train.py", "name": "STEPS", "before": 320, "after": 900}],
            "view": "a1b2" if number else None,
            "chat": [] if number == 0 else [2 * number - 1, 2 * number],
            "children": None,
            "siblings": None,
            "fixed_by": [],
            "fixes": [],
            "words": [],
        }

    def messages(self) -> list[dict[str, Any]]:
        """The chat: a call and an outcome for each trial."""
        found = [self._message(0, "user", "Round 1: improve the loss.", None)]
        for row in self.rows[1:]:
            number = row["number"]
            call = self._message(2 * number - 1, row["specialist"], "", row)
            call["payload"] = {
                "calls": [{"id": "1", "name": "submit_trial", "arguments": json.dumps(self.harm)}],
                "usage": {"prompt_tokens": 2000, "completion_tokens": 66},
            }
            found.append(call)
            told = f"Trial {number}: {row['status']}. {self.harm}"
            if number % 3 == 0:
                told += "\n" + "What follows is long. " * 40
            found.append(self._message(2 * number, "evaluator", told, row))
        return found

    def _message(self, position: int, source: str, text: str, row: Row | None) -> dict[str, Any]:
        at = BEGAN if row is None else row["proposed_at"] + (position % 2 == 0) * 31.0
        return {
            "position": position,
            "round": 1 if row is None else row["round"],
            "trial": None if row is None else row["number"],
            "trials": [] if row is None else [row["number"]],
            "source": source,
            "type": "TextMessage",
            "created_at": at,
            "text": text,
            "payload": {"calls": [], "usage": None},
        }

    def line(self) -> dict[str, Any]:
        """Its line in the list of campaigns."""
        campaign = self.campaign()
        keys = ("name", "pack", "profile", "model", "sandbox", "state", "stop_reason")
        return {key: campaign[key] for key in (*keys, "created_at", "ended_at", "best_gain")} | {
            "trials": len(self.rows) - 1,
            "running": 2 if self.running else 0,
        }

    def chunks(self) -> dict[str, Any]:
        """What a file holds of it."""
        found: dict[str, Any] = {
            f"campaign:{self.name}": self.campaign(),
            f"trials:{self.name}": self.trials(),
            f"view:{self.name}:0": [
                {"hash": "a1b2", "text": f"best: trial 0 {self.harm}", "first_used_at": BEGAN}
            ],
        }
        for first in range(0, len(self.rows), 100):
            some = range(first, min(first + 100, len(self.rows)))
            found[f"detail:{self.name}:{first // 100}"] = [self.trial(number) for number in some]
        messages = self.messages()
        for first in range(0, len(messages), 200):
            found[f"chat:{self.name}:{first // 200}"] = messages[first : first + 200]
        return found


def _seed_run(seed: int, score: float) -> dict[str, Any]:
    timing = {"wall_seconds": 9.0, "cpu_seconds": 8.0, "peak_memory_mb": 120.0}
    return {
        "seed": seed,
        "timings": [{"phase": phase, **timing} for phase in ("train", "predict", "score")],
        "measures": {"metric": score + seed / 100, "score.size": 4100.0, "train.cpu_seconds": 8.0},
    }


def _diff(number: int, harm: str) -> str:
    return (
        "diff --git a/recipe/train.py b/recipe/train.py\n"
        "--- a/recipe/train.py\n+++ b/recipe/train.py\n"
        "@@ -1,3 +1,3 @@ def train():\n"
        " import torch\n"
        "-STEPS = 320  # knob\n"
        f"+STEPS = {900 + number}  # knob {harm}\n"
        " WIDTH = 64\n"
        f"diff --git a/recipe/new{harm}.py b/recipe/new{harm}.py\n"
        "@@ -0,0 +1 @@\n"
        "+new\n"
    )


def write_document(path: Path, mode: str, campaigns: list[MadeUp], *, packed: bool = True) -> Path:
    """Write campaigns as a file of the page, with the policy that ``recipelab report`` sets."""
    bundle = Bundle.load()
    chunks: dict[str, Any] = {"campaigns": [campaign.line() for campaign in campaigns]}
    for campaign in campaigns:
        for name, value in campaign.chunks().items():
            text = json.dumps(value)
            squeezed = gzip.compress(text.encode(), 1, mtime=0)
            chunks[name] = base64.b64encode(squeezed).decode() if packed else value
    data = json.dumps({"mode": mode, "chunks": chunks}).replace("<", "\\u003c")
    policy = bundle.policy.replace('"', "&quot;")
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>recipelab</title><style>{bundle.style}</style></head>"
        '<body><div id="app"></div>'
        f'<script id="recipelab-data" type="application/json">{data}</script>'
        f"<script>{bundle.script}</script></body></html>",
        encoding="utf-8",
    )
    return path
