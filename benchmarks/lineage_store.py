"""Measures the lineage: answers at many trials, durable writes, writers at once, memory.

    python benchmarks/lineage_store.py --trials 100000 --json lineage.json

The file is filled in bulk (see lineage_fill.py), then asked through the store's public methods with
arguments drawn anew each time. Each answer is a page of 50.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from lineage_fill import CAMPAIGN, PLAIN, RARE, START, SURFACES, fill, recipe

from recipelab.core.recipe import Recipe
from recipelab.core.trial import (
    Edit,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    PhaseTiming,
    Proposal,
    SeedRun,
    Status,
)
from recipelab.lineage import LineageStore, TrialFilter

Ask = Callable[[], object]
WRITERS = 8


def questions(store: LineageStore, trials: int, rng: random.Random) -> dict[str, Ask]:
    """What is asked, by name."""

    def page(**wanted: Any) -> object:
        return store.briefs(CAMPAIGN, TrialFilter(**wanted))

    def some() -> int:
        return rng.randrange(trials)

    def edit() -> Edit:
        return Edit("recipe/train.py", None, recipe(random.Random(rng.random())))

    surface = lambda: (rng.choice(SURFACES),)  # noqa: E731
    kept, missed = (Status.KEPT,), (Status.GATE_MISSED, Status.OVERSIZE)
    shape = (FailureKind.SHAPE,)
    return {
        "newest": page,
        "best": lambda: page(order="best"),
        "worst of a surface": lambda: page(order="worst", surfaces=surface()),
        "best of two statuses on a surface": lambda: page(
            order="best", statuses=missed, surfaces=surface()
        ),
        "by status": lambda: page(statuses=kept),
        "by status and surface": lambda: page(statuses=kept, surfaces=surface()),
        "by kind and specialist": lambda: page(
            failure_kinds=shape, specialists=(f"{rng.choice(SURFACES)}-specialist",)
        ),
        "by signature": lambda: page(signature=f"block P{rng.randrange(1, 100)}"),
        "by score, newest": lambda: page(max_score=rng.uniform(0.8, 1.0)),
        "by score, best": lambda: page(max_score=rng.uniform(0.8, 1.0), order="best"),
        "by time": lambda: page(
            since=START + timedelta(seconds=4 * (at := some())),
            until=START + timedelta(seconds=4 * (at + 5_000)),
            surfaces=surface(),
        ),
        "text, a rare word": lambda: page(text=rng.choice(RARE)),
        "text, two common words": lambda: page(text=" ".join(rng.sample(PLAIN, 2))),
        "text, four common words, on a surface": lambda: page(
            text=" ".join(rng.sample(PLAIN, 4)), surfaces=surface()
        ),
        "text, a rare word, best": lambda: page(text=rng.choice(RARE), order="best"),
        "descendants": lambda: page(ancestor=some()),
        "descendants of the root": lambda: page(ancestor=0),
        "children": lambda: store.children(CAMPAIGN, some()),
        "chain of the best": lambda: store.chain_briefs(CAMPAIGN, trials - 1),
        "best trial": lambda: store.best(CAMPAIGN),
        "one trial, whole": lambda: store.trial(CAMPAIGN, some()),
        "recipe": lambda: store.files(CAMPAIGN, some()),
        "in flight": lambda: store.in_flight(CAMPAIGN),
        "counts": lambda: store.counts(CAMPAIGN),
        "surfaces": lambda: store.surfaces(CAMPAIGN),
        "specialists": lambda: store.specialists(CAMPAIGN),
        "failures": lambda: store.failures(CAMPAIGN),
        "failures of a surface": lambda: store.failures(CAMPAIGN, surfaces=surface(), kinds=shape),
        "near misses": lambda: store.near_misses(CAMPAIGN),
        "similar by text": lambda: store.similar(
            CAMPAIGN, text=" ".join([*rng.choices(PLAIN, k=6), rng.choice(RARE)])
        ),
        "similar by edit": lambda: store.similar(CAMPAIGN, edits=(knob_edit(store, rng),)),
        "edit alike": lambda: store.edit_alike(CAMPAIGN, (knob_edit(store, rng),), 0),
        "same recipe": lambda: store.find_digest(CAMPAIGN, f"digest{some()}"),
        "notes": lambda: store.notes(CAMPAIGN),
    }


_LINES: list[str] = []


def knob_edit(store: LineageStore, rng: random.Random) -> Edit:
    """An edit of one knob of the recipe."""
    if not _LINES:
        _LINES.extend(store.files(CAMPAIGN, 0)["recipe/train.py"].split("\n")[:-1])
    line = rng.choice(_LINES)
    return Edit("recipe/train.py", line, f"{line.split(' ')[0]} = {rng.random():.3f}")


def timed(ask: Ask, times: int) -> tuple[float, float]:
    """Median and 95th percentile of the CPU seconds of a call: others may use the machine, too."""
    seconds: list[float] = []
    for _ in range(times):
        start = time.process_time()
        ask()
        seconds.append(time.process_time() - start)
    seconds.sort()
    return seconds[times // 2], seconds[min(times - 1, int(times * 0.95))]


def outcome(rng: random.Random) -> Outcome:
    """A measured outcome with one seed run."""
    timings = tuple(PhaseTiming(phase, 1.0, 2.0, 3.0) for phase in (Phase.TRAIN, Phase.PREDICT))
    run = SeedRun(0, timings, {"score.accuracy": 0.96})
    gates = (GateResult("accuracy", 0.97, 0.96, 0.01),)
    return Outcome(Status.DISCARDED, "not better", (run,), gates, rng.gauss(1.5, 0.01))


def write_once(store: LineageStore, rng: random.Random, campaign: str, parents: tuple[int, ...],
               before: Recipe, line: str) -> tuple[float, float]:  # fmt: skip
    """Writes a trial, and gives the seconds of its proposal and of its outcome."""
    edit = Edit("recipe/train.py", line, f"{line.split(' ')[0]} = {rng.random():.6f}")
    after = before.apply([edit], ["recipe/*.py"])
    diff = before.diff(after)
    words = " ".join([*rng.choices(PLAIN, k=9), rng.choice(RARE)])
    proposal = Proposal("opt-specialist", "opt", 0, words, -0.1, (edit,))
    came = outcome(rng)
    start = time.perf_counter()
    number = store.propose(
        campaign, proposal, parents=parents, files=after.files, digest=after.digest, diff=diff,
        round_number=None,
    )  # fmt: skip
    middle = time.perf_counter()
    store.record(campaign, number, came)
    return middle - start, time.perf_counter() - middle


def writes(store: LineageStore, rng: random.Random, times: int) -> dict[str, float]:
    """Medians of durable writes, in seconds."""
    before = Recipe(store.files(CAMPAIGN, 0))
    lines = before.files["recipe/train.py"].split("\n")[:-1]
    pairs = [
        write_once(store, rng, CAMPAIGN, (0,), before, rng.choice(lines)) for _ in range(times)
    ]
    both = sorted(sum(pair) for pair in pairs)
    return {
        "propose": sorted(pair[0] for pair in pairs)[times // 2],
        "record": sorted(pair[1] for pair in pairs)[times // 2],
        "both": both[times // 2],
        "both p95": both[int(times * 0.95)],
    }


def worker(url: str, seed: int, count: int) -> None:
    """Writes trials: one of the writers at once."""
    rng = random.Random(seed)
    with LineageStore.open(url) as store:
        before = Recipe({"recipe/train.py": recipe(random.Random(1))})
        lines = before.files["recipe/train.py"].split("\n")[:-1]
        for _ in range(count):
            write_once(store, rng, "at-once", (), before, rng.choice(lines))


def at_once(url: str, count: int) -> dict[str, float]:
    """Lets eight processes write trials at once, and counts what is there afterwards."""
    with LineageStore.open(url, create=True) as store:
        store.create_campaign(
            name="at-once", pack="toy", profile="quick", model="none", sandbox="local", seed=0,
            trials=None, hours=None, settings={},
        )  # fmt: skip
    context = multiprocessing.get_context("spawn")
    start = time.perf_counter()
    workers = [context.Process(target=worker, args=(url, seed, count)) for seed in range(WRITERS)]
    for process in workers:
        process.start()
    for process in workers:
        process.join()
    seconds = time.perf_counter() - start
    with LineageStore.open(url) as store:
        numbers = [brief.number for brief in store.trials("at-once", in_flight=False)]
    wanted = WRITERS * count
    return {
        "seconds": seconds,
        "trials a second": wanted / seconds,
        "lost": wanted - len(set(numbers)),
        "twice": len(numbers) - len(set(numbers)),
    }


def main() -> int:
    """Runs what is asked for, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--file", type=Path, help="Filled before, or to be filled and kept.")
    parser.add_argument("--times", type=int, default=200, help="Answers measured of each kind.")
    parser.add_argument("--at-once", type=int, default=0, metavar="N", help="Trials a writer.")
    parser.add_argument("--postgres", help="URL of an empty database for the writers at once.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    told: dict[str, Any] = {"trials": given.trials}
    with tempfile.TemporaryDirectory() as folder:
        file = given.file or Path(folder) / "lineage.db"
        if not file.exists():
            start = time.perf_counter()
            context = multiprocessing.get_context("spawn")
            filling = context.Process(target=fill, args=(file, given.trials))
            filling.start()
            filling.join()
            told["filled in seconds"] = time.perf_counter() - start
        told["file MB"] = file.stat().st_size / 1e6
        rng = random.Random(7)
        with LineageStore.open(file) as store:
            told["answers"] = {}
            for name, ask in questions(store, given.trials, rng).items():
                ask()
                p50, p95 = timed(ask, given.times)
                told["answers"][name] = {"p50 ms": p50 * 1e3, "p95 ms": p95 * 1e3}
                print(f"{name:42} {p50 * 1e3:8.2f} {p95 * 1e3:8.2f} ms", flush=True)
            told["writes ms"] = {k: v * 1e3 for k, v in writes(store, rng, given.times).items()}
        told["memory MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        if given.at_once:
            url = f"sqlite:///{folder}/at-once.db"
            told["at once, sqlite"] = at_once(url, given.at_once)
            if given.postgres:
                told["at once, postgres"] = at_once(given.postgres, given.at_once)
    answers = told.pop("answers")
    print(json.dumps(told, indent=1))
    if given.json:
        given.json.write_text(json.dumps({**told, "answers": answers}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
