"""What racing saves at a gate, with the spread of a published run of ten seeds a trial."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median

from recipelab.acceptance import Spread, chance_to_reach, spread_of, waves

SEEDS, LIMIT = 10, 0.96
REPEATS = 100
CALIBRATION = 10
ERROR = 0.02
SAVED, FLIPPED = 0.5, 0.01
"""The bars: seed runs saved on trials that miss the gate, and verdicts that change."""

MARGINS = (-579.54, -90.43, -6.75, -5.03, -3.04, -2.18, -1.89, -1.45, -1.31, -1.06, -0.87)
MARGINS += (-0.83, -0.69, -0.62, -0.52, -0.44, -0.37, -0.28, 0.0, 0.08, 0.19)
"""Mean accuracy minus the gate's limit, in standard deviations of a seed run: the published trials
from the worst to the best, every twentieth part of them."""
SPREAD = 0.00116
"""The median of their standard deviations."""


def published(file: Path | None) -> Iterator[tuple[float, float]]:
    """Mean and standard deviation of each trial's accuracy; from the summary without a file."""
    if file is None:
        yield from ((LIMIT + margin * SPREAD, SPREAD) for margin in MARGINS)
        return
    with file.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            if row["accuracy"] and row["acc_std"] and float(row["acc_std"]) > 0:
                yield float(row["accuracy"]), float(row["acc_std"])


def race_table(file: Path | None) -> int:
    """Races every published trial and prints what it saved.

    Returns:
        1 if a bar is missed, else 0.
    """
    trials = list(published(file))
    draw = random.Random(1)
    usual = median(spread for _, spread in trials)
    planned = run = flipped = total = 0
    for mean, spread in trials:
        for _ in range(REPEATS):
            values = [draw.gauss(mean, spread) for _ in range(SEEDS)]
            noise = spread_of([draw.gauss(0.0, usual) for _ in range(CALIBRATION)])
            done = _raced(values, noise)
            total += 1
            if fmean(values) >= LIMIT:
                flipped += done < SEEDS
            else:
                planned, run = planned + SEEDS, run + done
    saved = 1.0 - run / planned
    print("| trials | seed runs saved on trials that miss the gate | verdicts that change |")
    print(f"|---|---|---|\n| {total} | {saved:.1%} | {flipped / total:.2%} |")
    return 0 if saved >= SAVED and flipped / total <= FLIPPED else 1


def _raced(values: list[float], noise: Spread) -> int:
    """After how many seeds a trial stops."""
    done = 0
    for wave in waves(range(SEEDS)):
        done += len(wave)
        if done < SEEDS and chance_to_reach(values[:done], SEEDS, LIMIT, noise) < ERROR:
            return done
    return SEEDS
