"""What a model makes of a pack beside the rules of the offline model: same seed, same budget.

    python benchmarks/strong_model.py airbench96 --trials 10 --forward http://127.0.0.1:8000/v1
    python benchmarks/strong_model.py airbench96 --trials 10 --by-hand seat

Runs a campaign with each in the working directory, certifies the best of both, and prints a table:
the gain, what trials came to, and what the model was sent for it. ``--calls FILE`` prints what a
recording says of contexts and turns, and runs nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from model_bridge import Call, Recorder, add_options, model_of, read_calls, serving

PROGRAM = (sys.executable, "-m", "recipelab")
SUBMITTING = frozenset({"submit_trial", "turn_knob", "more_seeds"})
CHARACTERS_A_TOKEN = 4
MOST_PARTS = 10
"""Parts of the context that a table lists."""


@dataclass(frozen=True)
class Turn:
    """The calls of one turn of a specialist.

    Attributes:
        specialist: Title of its charter.
        calls: The calls, in order.
    """

    specialist: str
    calls: tuple[Call, ...]

    @property
    def submits(self) -> bool:
        """Whether it asked for a trial."""
        return any(SUBMITTING.intersection(call.tools) for call in self.calls)

    @property
    def calls_to_submit(self) -> int:
        """Calls up to the one that asked for a trial, and the one that ended the turn."""
        return len(self.calls)


def turns_of(calls: Iterable[Call]) -> list[Turn]:
    """Return the turns that calls belong to."""

    def key(call: Call) -> tuple[str, int]:
        return call.specialist, call.turn

    ordered = sorted((call for call in calls if call.specialist), key=key)
    return [Turn(who, tuple(group)) for (who, _), group in groupby(ordered, key)]


@dataclass(frozen=True)
class Traffic:
    """What a campaign sent to its model.

    Attributes:
        calls: Calls.
        turns: Turns.
        idle: Turns that asked for no trial.
        median_calls: Calls of a turn that asked for one, in the median; ``None`` without any.
        start_tokens: The longest context at the start of a turn, schemas included.
        end_tokens: The longest context of all.
        sent: Characters sent, schemas included.
        schemas: Characters of schemas among these.
        new: Characters behind what was sent before, as a provider's cache of prefixes counts; see
            :class:`model_bridge.Call`. ``None`` for an old recording.
        parts: Characters sent, by part of the context.
    """

    calls: int
    turns: int
    idle: int
    median_calls: float | None
    start_tokens: int
    end_tokens: int
    sent: int
    schemas: int
    new: int | None = None
    parts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, calls: Sequence[Call]) -> Traffic:
        """Return what recorded calls add up to."""
        turns = turns_of(calls)
        submitting = [turn.calls_to_submit for turn in turns if turn.submits]
        return cls(
            calls=len(calls),
            turns=len(turns),
            idle=len(turns) - len(submitting),
            median_calls=median(submitting) if submitting else None,
            start_tokens=max((_tokens(turn.calls[0]) for turn in turns), default=0),
            end_tokens=max(map(_tokens, calls), default=0),
            sent=sum(call.chars + call.schema_chars for call in calls),
            schemas=sum(call.schema_chars for call in calls),
            new=None
            if any(call.new_chars is None for call in calls)
            else sum(call.new_chars or 0 for call in calls),
            parts=sum((Counter(call.parts) for call in calls), Counter()),
        )

    def rows(self, trials: int) -> list[tuple[str, str]]:
        """Return names and figures, for a campaign of so many trials."""
        each = max(1, trials)
        middle = "-" if self.median_calls is None else f"{self.median_calls:g}"
        return [
            ("calls, and a trial", f"{self.calls}, {self.calls / each:.1f}"),
            ("calls of a turn that submits, median", middle),
            ("turns without a trial", f"{self.idle} of {self.turns}"),
            ("tokens at the start of a turn, most", f"{self.start_tokens:,}"),
            ("tokens at the end of a turn, most", f"{self.end_tokens:,}"),
            ("characters sent a trial", f"{self.sent // each:,}"),
            ("not in a cached prefix", "-" if self.new is None else f"{self.new // each:,}"),
            *(self._part_rows(each) or [("of these schemas", f"{self.schemas // each:,}")]),
        ]

    def _part_rows(self, trials: int) -> list[tuple[str, str]]:
        """Return the largest parts of what was sent, a trial, with their shares."""
        largest = Counter(self.parts).most_common(MOST_PARTS)
        return [
            (f"of these {name}", f"{size // trials:,} ({size / self.sent:.0%})")
            for name, size in largest
        ]


def _tokens(call: Call) -> int:
    return (call.chars + call.schema_chars) // CHARACTERS_A_TOKEN


def campaign(pack: str, name: str, args: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Run a campaign, certify its best, and return the facts of both."""
    words = ["run", pack, "--name", name, "--trials", str(args.trials), "--seed", str(args.seed)]
    words += ["--sandbox", args.sandbox, *more]
    facts = _asked([*words, "--json"])
    certificate = _asked(["verify", "best", "--name", name, "--sandbox", args.sandbox, "--json"])
    failures = Counter[str]()
    for trial in _asked(["trials", "--name", name, "--json"])["rows"]:
        if trial.get("status") == "rejected":
            failures[str(trial.get("reason", ""))[:100]] += 1
    return {**facts, "certificate": certificate, "rejections": failures}


def _asked(words: Sequence[str]) -> Any:
    done = subprocess.run([*PROGRAM, *words], capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1: ended early, or nothing could be certified.
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def result_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and figures of what a campaign found."""
    start, best = facts["baseline"]["score"], facts["best"]["score"]
    certificate = facts["certificate"]
    gain = certificate.get("delta")
    share = "-" if gain is None else f"{gain / abs(certificate['baseline_score']):+.1%}"
    counts = ", ".join(f"{name} {count}" for name, count in sorted(facts["counts"].items()))
    return [
        ("start, best", f"{start:.4g}, {best:.4g} ({(best - start) / abs(start):+.1%})"),
        ("certificate", f"{certificate['status']} {share}"),
        ("trials", counts),
        *((f"rejected {count} times", why) for why, count in facts["rejections"].most_common(3)),
    ]


def table(columns: dict[str, list[tuple[str, str]]]) -> str:
    """Return a Markdown table of named rows, a column for each campaign."""
    names = list(dict.fromkeys(name for rows in columns.values() for name, _ in rows))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        cells = (dict(rows).get(name, "") for rows in columns.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", nargs="?", default="airbench96")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sandbox", default="auto")
    parser.add_argument("--no-offline", action="store_true", help="leave the offline model out")
    parser.add_argument("--port", type=int, default=0)
    if "--calls" in sys.argv:
        parser.add_argument("--calls", type=Path, metavar="FILE")
        args = parser.parse_args()
        print(table({args.calls.stem: Traffic.of(read_calls(args.calls)).rows(args.trials)}))
        return
    add_options(parser)
    args = parser.parse_args()
    recorder = Recorder(model_of(args), args.record)
    columns = {}
    with serving(recorder, args.port) as url:
        model = ("--model", "openai:strong", "--base-url", url)
        found = campaign(args.pack, f"{args.pack}-model", args, *model)
    trials = sum(found["counts"].values()) - 1
    columns["model"] = [*result_rows(found), *Traffic.of(recorder.calls).rows(trials)]
    if not args.no_offline:
        columns["offline"] = result_rows(campaign(args.pack, f"{args.pack}-offline", args))
    print(table(columns))


if __name__ == "__main__":
    main()
