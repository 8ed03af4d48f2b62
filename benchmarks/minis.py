"""What the offline specialists make of a pack's mini profile: one campaign for each seed.

    python benchmarks/minis.py airbench96 --seeds 1 2 3 4 5 --certify

Campaigns lie in the working directory, as always; one that was broken off goes on, and one that is
finished is only told again. Prints a row of the table in the pack's README for each as it ends.
With ``--certify`` each best is measured on answers and seeds that its campaign never had.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

HEAD = "| campaign seed | baseline | best | change | kept |"
PROGRAM = (sys.executable, "-m", "recipelab")


def campaign(pack: str, seed: int, trials: int) -> dict[str, Any]:
    """Runs a campaign, or goes on with it, and returns its facts."""
    name = f"{pack}-{seed}"
    listed = subprocess.run([*PROGRAM, "campaigns", "--json"], capture_output=True, text=True)
    known = {row["campaign"] for row in json.loads(listed.stdout or "[]")}
    begin = ["run", pack, "--seed", str(seed), "--slots", "1", "--ahead", "0"]
    begin += ["--sandbox", "local", "--name", name]
    words = ["resume", name] if name in known else begin
    command = [*PROGRAM, *words, "--trials", str(trials), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def certified(pack: str, seed: int) -> str:
    """The relative change that a certificate finds for the best, and whether it holds."""
    words = ["verify", "best", "--name", f"{pack}-{seed}", "--slots", "1", "--sandbox", "local"]
    done = subprocess.run([*PROGRAM, *words, "--json"], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout)
    if found["status"] != "certified":
        return f" {found['status'].replace('_', ' ')} |"
    return f" {found['delta'] / abs(found['baseline_score']):+.1%} |"


def row(seed: int, facts: dict[str, Any]) -> tuple[str, float]:
    """A row of the table, and the relative change."""
    start, best = facts["baseline"]["score"], facts["best"]["score"]
    change = (best - start) / abs(start)
    kept = facts["counts"].get("kept", 0)
    return f"| {seed} | {start:.3f} | {best:.3f} | {change:+.1%} | {kept} |", change


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--certify", action="store_true")
    args = parser.parse_args()
    head = f"{HEAD} certified |" if args.certify else HEAD
    print(head, "|---" * (head.count("|") - 1) + "|", sep="\n")
    changes = []
    for seed in args.seeds:
        shown, change = row(seed, campaign(args.pack, seed, args.trials))
        print(shown + (certified(args.pack, seed) if args.certify else ""), flush=True)
        changes.append(change)
    print(f"\nmedian change {statistics.median(changes):+.1%}")


if __name__ == "__main__":
    main()
