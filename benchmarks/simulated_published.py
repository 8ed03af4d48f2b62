"""The published runs, replayed: what each policy would have kept and claimed of their trials."""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from simulated_campaign import Campaign, Setting
from simulated_noise import Noise

from recipelab.acceptance import Acceptance


@dataclass(frozen=True)
class Published:
    """A published run.

    Attributes:
        folder: Its folder.
        column: The column of its score.
        sign: 1 if more is better, else -1.
        spread: The standard deviation of a seed run that is supposed.
    """

    folder: str
    column: str
    sign: int
    spread: float


RUNS = (
    Published("cifar", "train_s", -1, 0.1),
    Published("nanochat_d12", "core_metric", 1, 0.0055),
    Published("pg_ablation_lineage_on", "val_bpb", -1, 0.0005),
    Published("pg_ablation_lineage_off", "val_bpb", -1, 0.0005),
)


def effects(run: Published, folder: Path) -> tuple[list[float], int]:
    """Returns what each trial is worth over the best of its moment, in spreads of a seed run.

    What was measured once is taken as the truth, so the best owes something to luck as well.

    Returns:
        The worth of each, and how many of them the run kept.
    """
    csv.field_size_limit(sys.maxsize)
    worth, kept, best = [], 0, None
    with (folder / run.folder / "results.tsv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            try:
                score = float(row[run.column])
            except ValueError:
                continue
            if best is not None:
                worth.append(run.sign * (score - best) / run.spread)
                kept += row["status"] == "keep"
            if row["status"] in ("baseline", "keep"):
                best = score
    return worth, kept


def replay(
    policy: Acceptance, setting: Setting, worth: list[float], campaigns: int
) -> dict[str, float]:
    """Runs the trials in their order, again and again with other noise."""
    found = []
    for seed in range(campaigns):
        order: Iterator[float] = iter(worth)
        campaign = Campaign(
            policy, Noise(random.Random(seed)), lambda draw, order=order: next(order), setting
        )
        found.append(campaign.run())
    return {
        "kept": fmean(one.kept for one in found),
        "worthless": fmean(one.worthless for one in found),
        "claims": fmean(one.claims for one in found),
        "gain": fmean(one.gain for one in found),
        "runs": fmean(one.runs for one in found),
        "false": fmean(one.false > 0 for one in found),
    }
