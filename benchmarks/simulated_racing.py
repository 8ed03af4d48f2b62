"""What stopping early saves at a gate, with the spread of a published run and shipped settings."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from recipelab.acceptance import Line, Spread, chance_to_reach, spread_of, waves
from recipelab.acceptance.line import PAIRS
from recipelab.packs.load import load_pack

LIMIT = 0.96
MARGINS = (-579.54, -90.43, -6.75, -5.03, -3.04, -2.18, -1.89, -1.45, -1.31, -1.06, -0.87)
MARGINS += (-0.83, -0.69, -0.62, -0.52, -0.44, -0.37, -0.28, 0.0, 0.08, 0.19)
"""Mean accuracy minus the gate's limit, in standard deviations of a seed run: the published trials
from the worst to the best, every twentieth part of them."""
SPREAD = 0.00116
"""The median of their standard deviations."""

PROFILES = (
    ("airbench96", "mini"),
    ("airbench96", "full"),
    ("nanochat_d12", "mini"),
    ("nanochat_d12", "full"),
    ("parameter_golf", "mini"),
    ("parameter_golf", "full"),
    ("play_search", "mini"),
)


@dataclass(frozen=True)
class Raced:
    """What stopping early did to the trials of one profile.

    Attributes:
        planned: Seed runs of a trial that is not stopped, before it is kept or not.
        hopeless: Trials that would miss the gate.
        saved: Share of their seed runs that were left out.
        passing: Trials that would pass.
        changed: Those of them that were stopped.
    """

    planned: int
    hopeless: int
    saved: float
    passing: int
    changed: int


def published(file: Path | None) -> Iterator[tuple[float, float]]:
    """Mean and standard deviation of each trial's accuracy; from the summary without a file."""
    if file is None:
        yield from ((LIMIT + margin * SPREAD, SPREAD) for margin in MARGINS)
        return
    with file.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            if row["accuracy"] and row["acc_std"] and float(row["acc_std"]) > 0:
                yield float(row["accuracy"]), float(row["acc_std"])


def race(pack: str, profile: str, policy: str, file: Path | None, repeats: int) -> Raced:
    """Races every published trial with the settings of a profile.

    Args:
        pack: Name of the pack.
        profile: Its profile.
        policy: ``line`` or ``confirmed``.
        file: The published trials.
        repeats: How often each is drawn.
    """
    found = load_pack(pack, profile)
    if policy == "line":
        fresh = PAIRS if found.metric.side_by_side else found.acceptance.fresh
        sizes = [Line().screening or 1, PAIRS, fresh - PAIRS]
    else:
        first = 2 if found.metric.in_turns else 1
        sizes = [len(wave) for wave in waves(found.seeds, first=first)]
    sizes = [size for size in sizes if size]
    calibration = max(found.acceptance.calibration, len(found.seeds))
    trials = list(published(file))
    usual, draw = median(spread for _, spread in trials), random.Random(1)
    planned, run, hopeless, passing, changed = sum(sizes), 0, 0, 0, 0
    for mean, spread in trials:
        for _ in range(repeats):
            values = [draw.gauss(mean, spread) for _ in range(planned)]
            noise = spread_of([draw.gauss(0.0, usual) for _ in range(calibration)])
            done = _raced(values, sizes, noise, found.acceptance.racing_error)
            if fmean(values) >= LIMIT:
                passing, changed = passing + 1, changed + (done < planned)
            else:
                hopeless, run = hopeless + 1, run + done
    return Raced(planned, hopeless, 1.0 - run / (hopeless * planned), passing, changed)


def _raced(values: list[float], sizes: list[int], noise: Spread, error: float) -> int:
    """After how many seeds a trial stops."""
    done, planned = 0, len(values)
    for size in sizes:
        done += size
        if done < planned and chance_to_reach(values[:done], planned, LIMIT, noise) < error:
            return done
    return planned
