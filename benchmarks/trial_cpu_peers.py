"""Own CPU of a trial beside the peers, each with a stub model and a stub evaluator, in one run.

    python -m venv /tmp/openevolve && /tmp/openevolve/bin/pip install openevolve==0.4.0
    python -m venv /tmp/shinka && /tmp/shinka/bin/pip install shinka-evolve==0.0.7
    python -m venv /tmp/gepa && /tmp/gepa/bin/pip install gepa==0.1.4
    python benchmarks/trial_cpu_peers.py --python-of openevolve=/tmp/openevolve/bin/python \
        --python-of shinka=/tmp/shinka/bin/python --python-of gepa=/tmp/gepa/bin/python

A system runs in a process of its own, once for each number of trials. What the kernel booked for it
and its children, user and system, between two numbers of trials is the cost of the trials between:
so its start is in no figure. The model's server is a process apart and is not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from peer_runs.systems import SYSTEMS, System, Used, model_server, run

PEERS = sorted({system.peer for system in SYSTEMS if system.peer})


def all_runs(system: System, python: str, args: argparse.Namespace, url: str) -> Iterator[Used]:
    """A run for each number of trials, as long as they take no longer than they may."""
    last: Used | None = None
    for trials in args.trials:
        if last and last.wall * trials / last.trials > args.patience:
            print(f"{system.name}: {trials} trials would take too long", file=sys.stderr)
            return
        runs = [run(system, python, trials, url) for _ in range(args.times)]
        last = min(runs, key=lambda used: used.cpu)
        print(f"{system.name}: {last}", file=sys.stderr, flush=True)
        yield last


def each(runs: list[Used]) -> list[float]:
    """CPU milliseconds of a trial between each two runs."""
    return [
        1e3 * (more.cpu - less.cpu) / (more.trials - less.trials) for less, more in pairwise(runs)
    ]


def table(found: dict[str, list[Used]], numbers: list[int]) -> Iterator[str]:
    """A Markdown table, with ratios to the first system."""
    spans = [f"{less:,} to {more:,}" for less, more in pairwise(numbers)]
    yield f"| ms of CPU a trial | {' | '.join(spans)} | last, to the first row | largest process |"
    yield "|---|" + "---|" * (len(spans) + 2)
    first = each(next(iter(found.values())))
    for name, runs in found.items():
        taken = each(runs)
        cells = [f"{value:.2f}" for value in taken] + ["-"] * (len(spans) - len(taken))
        ratio = f"{taken[-1] / first[len(taken) - 1]:.2f}" if taken else "-"
        yield f"| {name} | {' | '.join(cells)} | {ratio} | {runs[-1].megabytes:.0f} MB |"


def pythons(given: list[str]) -> dict[str, str]:
    """The interpreters by peer.

    Raises:
        SystemExit: An argument is not ``peer=python``, or there is no such peer.
    """
    pairs = dict(item.partition("=")[::2] for item in given)
    for peer, python in pairs.items():
        if peer not in PEERS or not python:
            raise SystemExit(f"--python-of: want one of {', '.join(PEERS)} and =PYTHON: {peer!r}")
    return {**pairs, "": sys.executable}


def main() -> None:
    """Runs all systems that there is a Python for, and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python-of", action="append", default=[], metavar="PEER=PYTHON")
    parser.add_argument("--trials", type=int, nargs="+", default=[20, 200, 1000, 2000])
    parser.add_argument("--patience", type=float, default=240, help="seconds of one run, at most")
    parser.add_argument("--times", type=int, default=1, help="runs of each; the best counts")
    parser.add_argument("--only", nargs="+", help="words in the names of the systems to run")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found: dict[str, list[Used]] = {}
    given = pythons(args.python_of)
    with model_server() as url:
        for system in SYSTEMS:
            if args.only and not any(word in system.name for word in args.only):
                continue
            if system.peer not in given:
                print(f"{system.name}: left out, no --python-of {system.peer}=", file=sys.stderr)
                continue
            found[system.name] = list(all_runs(system, given[system.peer], args, url))
    print("\n".join(table(found, args.trials)))
    if args.json:
        told = {name: [vars(used) for used in runs] for name, runs in found.items()}
        args.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
