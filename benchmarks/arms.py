"""What the lineage is worth to the offline model: the same budget with it and without.

    python benchmarks/arms.py --seeds 30 --trials 60

The queue, the lineage, the group chat and the model are the real ones; training is replaced by a
simulated terrain, another one for each seed and the same one for all arms (``landscape/``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

from terrain_evaluator import PACK, TerrainEvaluator

from recipelab import Evaluator, LineageStore, Plan, ResearchGroupChat
from recipelab.analysis.arms import BASE, RunFigures, compare_runs, run_figures
from recipelab.budget import BudgetLimits
from recipelab.core.content import Home
from recipelab.evaluation.session import Overrides
from recipelab.packs.load import load_pack
from recipelab.plan import Arm

TOLD = ("gain_percent", "kept", "failures", "repeated", "overruns", "duplicates")


async def campaign(plan: Plan, home: Home, store: LineageStore) -> None:
    """Runs one campaign on the terrain of its seed."""
    evaluator = TerrainEvaluator(load_pack(plan.pack), plan.seed, slots=plan.slots or 1)
    overrides = Overrides(store=store, evaluator=cast(Evaluator, evaluator))
    team = ResearchGroupChat(plan, home=home, overrides=overrides)
    async for _ in team.run_stream():
        pass
    await team.close()
    if team.ended is None or not team.ended.finished:
        raise RuntimeError(f"{plan.name}: {team.ended}")


def one_seed(seed: int, given: argparse.Namespace) -> dict[str, RunFigures]:
    """Runs every arm on one terrain, each in a lineage of its own."""
    found = {}
    for arm in given.arms:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            home = Home(Path(folder))
            plan = Plan(
                name=f"{arm}-{seed}",
                pack=str(PACK),
                seed=seed,
                arm=Arm(arm),
                speakers=given.speakers,
                slots=given.slots,
                ahead=0,
                limits=BudgetLimits(trials=given.trials),
            )
            with LineageStore.open(cast(Path, home.lineage), create=True) as store:
                asyncio.run(campaign(plan, home, store))
                found[arm] = run_figures(store, str(plan.name))
    return found


def measure(given: argparse.Namespace) -> dict[str, dict[int, RunFigures]]:
    """Runs all seeds, some at the same time."""
    seeds = range(given.seeds)
    with ProcessPoolExecutor(given.processes) as pool:
        told = dict(zip(seeds, pool.map(partial(one_seed, given=given), seeds), strict=True))
    return {arm: {seed: told[seed][arm] for seed in seeds} for arm in given.arms}


def show(facts: dict[str, Any]) -> None:
    """Prints a table, and the tests."""
    print(f"| arm | {' | '.join(TOLD)} | trials to 90 % |")
    print("|---" * (len(TOLD) + 2) + "|")
    for arm, one in facts.items():
        cells = [f"{one[name]['mean']:.2f} ± {one[name]['sd']:.2f}" for name in TOLD]
        print(f"| {arm} | {' | '.join(cells)} | {one['trials_to_90']} ({one['reached_90']}) |")
    for arm, one in facts.items():
        for name, test in one["against"].items():
            effect = f"{test['effect']:+.2f} sd" if test["effect"] is not None else "-"
            print(
                f"{arm} - {BASE}: {name} {test['difference']:+.2f}, effect {effect}, "
                f"p {test['p']:.2g}"
            )


def main() -> int:
    """Runs what is asked for; exit code 1 if the lineage was of no use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--arms", nargs="+", default=[BASE, Arm.NO_LINEAGE.value])
    parser.add_argument("--speakers", default="round-robin")
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", help="Where the lineages are; default the system's.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    began = time.monotonic()
    facts = compare_runs(measure(given), -1)
    show(facts)
    print(f"{time.monotonic() - began:.0f} s")
    if given.json:
        given.json.write_text(json.dumps(facts, indent=1))
    tests = facts.get(Arm.NO_LINEAGE, {}).get("against", {})
    good = [tests[name]["p"] < 0.01 for name in ("kept", "repeated")] if tests else [True]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
