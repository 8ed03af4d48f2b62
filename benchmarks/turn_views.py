"""Measures what it costs to keep what every turn was shown: bytes of the lineage, and seconds.

    python benchmarks/turn_views.py --trials 1000

Four specialists take turns. Each is shown its lineage view, submits a trial with a hypothesis of
some 150 characters, and the trial ends, one in twelve kept. It is done twice, with and without the
turns, and the two files are held against each other.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lineage_fill import PLAIN, RARE
from stubs import toy_pack

from recipelab.agents.lineage_view import ViewContext, render_lineage_view
from recipelab.core.recipe import Recipe
from recipelab.core.trial import (
    Edit,
    Failure,
    FailureKind,
    Outcome,
    Phase,
    PhaseTiming,
    Proposal,
    SeedRun,
    Status,
)
from recipelab.lineage import LineageStore

CAMPAIGN = "night-1"
SPECIALISTS = ("arch", "aug", "opt", "sched")
CARD = "## What a trial is worth, and where it runs\n" + "\n".join(
    f"- Line {number} of a card, which changes when another trial is the best: {number * 37}."
    for number in range(12)
)


@dataclass
class Found:
    """What one way of keeping a campaign took.

    Attributes:
        bytes: Size of the file.
        shown: Characters of all views.
        add_seconds: Wall-clock seconds of adding each turn.
        read_seconds: Seconds of reading each view.
    """

    bytes: int
    shown: int
    add_seconds: list[float]
    read_seconds: list[float]


def outcome(rng: random.Random) -> Outcome:
    """An outcome: kept, discarded or crashed."""
    timings = (PhaseTiming(Phase.TRAIN, 1.0, rng.random(), 10.0),)
    runs = (SeedRun(0, timings, {"metric": rng.random()}),)
    kind = rng.random()
    if kind < 0.2:
        failure = Failure(Phase.TRAIN, FailureKind.SHAPE, f"shapes {rng.randrange(9)} differ", "")
        return Outcome(Status.CRASHED, "it crashed", failure=failure)
    status = Status.KEPT if kind < 0.28 else Status.DISCARDED
    reason = f"delta {rng.gauss(0, 0.01):+.4f} s, p {rng.random():.3f}, on 3 seeds"
    return Outcome(status, reason, runs, (), rng.gauss(1, 0.01), 0.002, rng.gauss(0, 0.01), 0.002)


def fill(path: Path, trials: int, *, turns: bool) -> Found:
    """Fills a lineage, and measures it."""
    rng, pack = random.Random(5), toy_pack()
    found = Found(0, 0, [], [])
    with LineageStore.open(path, create=True) as store:
        store.create_campaign(
            name=CAMPAIGN, pack="toy", profile=pack.profile, model="stub", sandbox="stub", seed=1,
            trials=None, hours=None, settings={},
        )  # fmt: skip
        start = pack.baseline()
        base = Proposal("campaign", "left", -1, "the starting recipe", 0.0, ())
        store.propose_and_record(
            CAMPAIGN, base, Outcome(Status.BASELINE, "the start", score=1.0), parents=(),
            files=start.files, digest=start.digest, diff="", round_number=None,
        )  # fmt: skip
        for number in range(1, trials + 1):
            name = rng.choice(SPECIALISTS)
            view = render_lineage_view(ViewContext(store, CAMPAIGN, pack, name, (name,)))
            turn = None
            if turns:
                shown = f"{CARD}\n\n{view}"
                found.shown += len(shown)
                began = time.perf_counter()
                turn = store.add_turn(CAMPAIGN, name, view=shown, round_number=None)
                found.add_seconds.append(time.perf_counter() - began)
            edit = Edit("recipe/train.py", "X = 1.0", f"X = {number}.5")
            after: Recipe = start.apply([edit], ["recipe/*.py"])
            words = " ".join([*rng.choices(PLAIN, k=18), rng.choice(RARE)])
            store.propose_and_record(
                CAMPAIGN, Proposal(name, name, 0, words, -0.1, (edit,)), outcome(rng),
                parents=(0,), files=after.files, digest=after.digest, diff=start.diff(after),
                round_number=None, turn=turn,
            )  # fmt: skip
        for view_record in store.views(CAMPAIGN):
            began = time.perf_counter()
            store.view_text(view_record.hash)
            found.read_seconds.append(time.perf_counter() - began)
    found.bytes = sum(file.stat().st_size for file in path.parent.iterdir())
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000)
    trials = parser.parse_args().trials
    results = []
    for turns in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            results.append(fill(Path(folder) / "lineage.db", trials, turns=turns))
    without, kept = results
    print(f"{without.bytes / trials:.0f} bytes a trial without turns")
    print(f"{(kept.bytes - without.bytes) / trials:.0f} bytes more for each turn")
    print(f"{kept.shown / trials:.0f} characters shown a turn")
    for what, seconds in (("to add", kept.add_seconds), ("to read", kept.read_seconds)):
        ordered = sorted(seconds)
        middle, high = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)]
        print(f"{what}: {1000 * middle:.2f} ms at p50, {1000 * high:.2f} ms at p95")


if __name__ == "__main__":
    main()
