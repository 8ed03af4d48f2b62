"""Time and memory of the command line on a lineage of many trials.

Each command is a process of its own; its CPU seconds and its largest memory are what the kernel
says of it when it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from lineage_fill import CAMPAIGN, fill

PROJECT = Path(__file__).parents[1] / "tests/project"


@dataclass(frozen=True)
class Cost:
    """What one command cost.

    Attributes:
        command: Its words after ``recipelab``.
        wall_seconds: From start to end.
        cpu_seconds: User and system time.
        memory_mb: The largest resident memory, in MB.
        exit_code: How it ended.
    """

    command: str
    wall_seconds: float
    cpu_seconds: float
    memory_mb: float
    exit_code: int


def cost_of(words: Sequence[str], home: Path, project: Path) -> Cost:
    """Run one command with its output thrown away, and measure it."""
    environment = {**os.environ, "RECIPELAB_HOME": str(home), "COLUMNS": "120"}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "recipelab", *words],
        cwd=project,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    return Cost(
        command=" ".join(words),
        wall_seconds=time.monotonic() - began,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        memory_mb=usage.ru_maxrss / 1024,
        exit_code=os.waitstatus_to_exitcode(status),
    )


def commands(trials: int, folder: Path) -> list[list[str]]:
    """Return the commands that people give on a campaign of many trials.

    The last one goes on with it: it measures the trial in flight, and ends after three rounds, as
    the pack's charters find nothing to turn in a recipe that is not the pack's. So its exit code
    is 1, and its cost an upper bound of the cost to the next proposal.
    """
    return [
        ["--version"],
        ["trials"],
        ["trials", "--json"],
        ["show", str(trials // 2)],
        ["lineage", "--order", "best"],
        ["lineage", "--text", "warmup"],
        ["stats"],
        *(
            ["plot", kind, "--output", str(folder / f"{kind}.svg")]
            for kind in ("best", "tree", "gates", "surfaces")
        ),
        ["transcript"],
        ["export", CAMPAIGN, "--to", str(folder / "copy.jsonl")],
        ["export", CAMPAIGN, "--to", str(folder / "copy.csv")],
        ["resume", CAMPAIGN, "--trials", str(trials + 2), "--sandbox", "local"],
    ]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home, project = folder / "home", folder / "project"
        home.mkdir()
        shutil.copytree(PROJECT, project)
        # In a process of its own: what this one has held counts for each command that it starts.
        filler = get_context("spawn").Process(target=fill, args=(home / "lineage.db", args.trials))
        filler.start()
        filler.join()
        costs = []
        for words in commands(args.trials, folder):
            cost = cost_of(words, home, project)
            costs.append(cost)
            print(
                f"{cost.command:60.60} {cost.wall_seconds:7.2f} s wall {cost.cpu_seconds:7.2f} s "
                f"CPU {cost.memory_mb:6.0f} MB, exit {cost.exit_code}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=2))


if __name__ == "__main__":
    main()
