"""False keeps, power and seed runs of acceptance policies, on the same draws; what racing saves.

    python benchmarks/acceptance.py --campaigns 1000
    python benchmarks/acceptance.py --racing --published results.tsv

The policies are the real ones, driven as the evaluator drives them; only the training is drawn from
a distribution (``simulated_noise.py``). Gains are in standard deviations of one seed run.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from simulated_noise import NOISES, Line, Tried, calibrated, try_out
from simulated_racing import race_table

from recipelab.acceptance import Acceptance, Confirmed, KeepIfBetter, PairedTwoSigma

POLICIES: dict[str, Acceptance] = {
    "confirmed": Confirmed(),
    "paired-two-sigma": PairedTwoSigma(),
    "keep-if-better": KeepIfBetter(),
}
RATE, POWER = 0.05, 0.8
"""The bars: false keeps over a whole campaign, and power at a gain of two standard deviations."""


def null_campaign(seed: int, given: argparse.Namespace, name: str) -> dict[str, float]:
    """A campaign in which nothing is ever better: how many trials are kept, and what they take."""
    tried = _campaign(seed, given, name, gains=[0.0] * given.trials)
    return {
        "kept": sum(one.kept for one in tried),
        "runs": sum(one.runs for one in tried),
        "confirmed": sum(one.confirmed for one in tried),
    }


def true_gain(seed: int, given: argparse.Namespace, name: str, gain: float) -> dict[str, float]:
    """One true gain somewhere among trials that change nothing: whether it is kept."""
    place = random.Random(f"{seed}/place").randrange(given.trials)
    tried = _campaign(seed, given, name, gains=[0.0] * place + [gain])
    return {"kept": float(tried[-1].kept), "runs": tried[-1].runs}


def _campaign(
    seed: int, given: argparse.Namespace, name: str, *, gains: Sequence[float]
) -> list[Tried]:
    draw = random.Random(f"{seed}/{given.noise}")
    line = Line(NOISES[given.noise], draw)
    noise = calibrated(line, given.calibration)
    tried: list[Tried] = []
    for gain in gains:
        history = tuple(one.kept for one in tried if one.confirmed)
        # Every trial has draws of its own, so that all policies see the same ones.
        line.draw = random.Random(f"{seed}/{len(tried)}")
        tried.append(try_out(POLICIES[name], line, gain, given.seeds, noise, history))
        if tried[-1].kept and gain == 0.0:
            line.new_best(given.seeds)
    return tried


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Runs everything."""
    facts: dict[str, Any] = {}
    with ProcessPoolExecutor(given.processes) as pool:
        seeds = range(given.campaigns)
        for name in given.policies:
            null = list(
                pool.map(partial(null_campaign, given=given, name=name), seeds, chunksize=8)
            )
            some = sum(one["kept"] > 0 for one in null)
            facts[name] = {
                "campaigns_with_a_false_keep": some / given.campaigns,
                "error": (some * (given.campaigns - some) / given.campaigns**3) ** 0.5,
                "false_keeps": fmean(one["kept"] for one in null),
                "runs_a_null_trial": fmean(one["runs"] for one in null) / given.trials,
                "confirmations": fmean(one["confirmed"] for one in null),
                "power": {},
            }
            for gain in given.gains:
                work = partial(true_gain, given=given, name=name, gain=gain)
                found = list(pool.map(work, seeds, chunksize=8))
                facts[name]["power"][gain] = fmean(one["kept"] for one in found)
                facts[name].setdefault("runs_a_gain", {})[gain] = fmean(x["runs"] for x in found)
    return facts


def show(facts: dict[str, Any], given: argparse.Namespace) -> None:
    """Prints a table."""
    gains = [f"power at {gain:g} sd" for gain in given.gains]
    heads = [
        "policy",
        "campaigns with a false keep",
        "false keeps",
        "seed runs a null trial",
        *gains,
    ]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for name, one in facts.items():
        power = [f"{value:.1%}" for value in one["power"].values()]
        rate = f"{one['campaigns_with_a_false_keep']:.1%} ± {one['error']:.1%}"
        cells = [name, rate, f"{one['false_keeps']:.2f}", f"{one['runs_a_null_trial']:.2f}", *power]
        print(f"| {' | '.join(cells)} |")


def main() -> int:
    """Runs what is asked for; exit code 1 if the default policy misses a bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=4, help="Seeds of a screening.")
    parser.add_argument("--calibration", type=int, default=8, help="Seed runs of the baseline.")
    parser.add_argument("--gains", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--noise", choices=NOISES, default="normal")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--racing", action="store_true", help="Only what racing saves at a gate.")
    parser.add_argument("--published", type=Path, help="results.tsv of the published Airbench run.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    began = time.monotonic()
    if given.racing:
        return race_table(given.published)
    facts = measure(given)
    show(facts, given)
    print(f"{given.noise} noise, {given.campaigns} campaigns, {time.monotonic() - began:.0f} s")
    if given.json:
        given.json.write_text(json.dumps(facts, indent=1))
    ours = facts.get("confirmed")
    if ours is None:
        return 0
    good = ours["campaigns_with_a_false_keep"] <= RATE and ours["power"].get(2.0, 1.0) >= POWER
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
