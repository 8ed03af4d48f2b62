"""Early stop on the training curve: device-seconds saved on hopeless trials, verdicts changed.

Trains variants of a shipped mini, each with one knob moved, as a campaign would, and keeps curve,
score and time of every run. Then every variant is raced over the curves of all others, as if it
came last, by the code that campaigns use. No variant of its own is in what it is held against.

    python benchmarks/curves.py parameter_golf --variants 12
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from pathlib import Path
from statistics import fmean, stdev

from recipelab.core.knobs import Knob, find_knobs
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Phase, SeedRun
from recipelab.evaluation.curves import SLACK, CurveBook, curve_of
from recipelab.evaluation.evaluator import Evaluator
from recipelab.packs.data import ensure_data
from recipelab.packs.judging_sections import Goal
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox

HOPELESS_SD, MATTERS_SD = 3.0, 1.0
"""Standard deviations of a seed run: behind the best, from which a trial is hopeless; ahead of it,
from which its verdict matters."""


def turned(pack: Pack, knob: Knob, chance: random.Random) -> Recipe:
    """Return the starting recipe with a knob somewhere in its range."""
    share = chance.random()
    is_log = knob.log and knob.low > 0
    value = knob.low * (knob.high / knob.low) ** share if is_log else 0.0
    value = value or knob.low + share * (knob.high - knob.low)
    text = f"{knob.name} = {round(value) if isinstance(knob.value, int) else round(value, 6)}"
    return pack.baseline().apply([Edit(knob.path, knob.text, text)], pack.recipe.editable)


Runs = dict[str, list[SeedRun]]


async def measure(pack: Pack, found: Runs, args: argparse.Namespace) -> None:
    """Add the runs of the starting recipe and of variants, as far as the time allows."""
    began, chance = time.monotonic(), random.Random(args.seed)
    wanted = args.knobs.split(",") if args.knobs else ()
    knobs = [knob for knob in find_knobs(pack.baseline().files) if not knob.choices]
    knobs = [knob for knob in knobs if not wanted or knob.name in wanted]
    async with LocalSandbox() as sandbox:
        evaluator = Evaluator(pack, sandbox, ensure_data(pack, say=print))
        if "baseline" not in found:
            outcome = await evaluator.measure(pack.baseline(), (1, 2, 3), lenient=True)
            found["baseline"] = list(outcome.seed_runs)
        while len(found) <= args.variants and time.monotonic() - began < args.seconds:
            knob = chance.choice(knobs)
            recipe = turned(pack, knob, chance)
            outcome = await evaluator.measure(recipe, (1,))
            if outcome.seed_runs:
                name = f"{knob.name} {len(found)}"
                found[name] = list(outcome.seed_runs)
                score = outcome.seed_runs[0].measures[pack.metric.measure]
                print(f"{name:28} {score:.4f}", flush=True)


def train_seconds(run: SeedRun) -> float:
    """Return how long a run trained."""
    return run.measures[f"{Phase.TRAIN}.wall_seconds"]


def raced(pack: Pack, found: Runs) -> dict[str, float]:
    """Race every variant over the curves of all others; return the figures."""
    spec = pack.phases.train.curve
    assert spec is not None
    ends = pack.metric.goal
    limit = [run.measures[spec.foretells] for run in found["baseline"]]
    if spec.foretells != pack.metric.measure:
        gate = next(gate for gate in pack.gates if gate.measure == spec.foretells)
        ends, limit = (Goal.MAXIMIZE, [gate.limit] * 3) if gate.at_least else (ends, limit)
    sd = stdev(run.measures[spec.foretells] for run in found["baseline"])
    hopeless = saved = total = changed = mattering = stopped = 0.0
    for name, (run, *_) in found.items():
        if name == "baseline":
            continue
        book = CurveBook(spec)
        for other, runs in found.items():
            if other != name:
                book.add(other, runs)
        need = fmean(limit) - ends.sign * SLACK * sd
        race = book.race(found["baseline"], need, ends, spec.error, is_check=False)
        if race is None:
            continue
        last = curve_of(run)[-1][0]
        for step, value in curve_of(run):
            if race.tell(f"{step},{value}\n".encode()):
                break
        ahead = ends.sign * (run.measures[spec.foretells] - fmean(limit)) / sd
        seconds = train_seconds(run)
        spared = seconds * (1.0 - race.stop.step / last) if race.stop else 0.0
        stopped += race.stop is not None
        if ahead < -HOPELESS_SD:
            hopeless, saved, total = hopeless + 1, saved + spared, total + seconds
        if ahead > -SLACK:
            mattering, changed = mattering + 1, changed + (race.stop is not None)
        where = f"stopped at {race.stop.step / last:.0%}" if race.stop else "to its end"
        print(f"{name:28} {ahead:+8.1f} sd  {where}")
    return {
        "variants": len(found) - 1,
        "hopeless": hopeless,
        "stopped": stopped,
        "saved_share": saved / total if total else 0.0,
        "within_reach": mattering,
        "changed": changed,
    }


def main() -> None:
    """Reads the command line, and prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", choices=("airbench96", "nanochat_d12", "parameter_golf"))
    parser.add_argument("--variants", type=int, default=24)
    parser.add_argument(
        "--seconds", type=float, default=1800.0, help="time for trainings; 0 for none"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--knobs", default="", help="names with commas between them; all if empty")
    parser.add_argument("--keep", type=Path, help="file of measured runs, read if it is there")
    args = parser.parse_args()
    pack = load_pack(args.pack)
    found: Runs = {}
    if args.keep is not None and args.keep.is_file():
        for name, runs in json.loads(args.keep.read_text()).items():
            found[name] = [SeedRun(seed, (), measures) for seed, measures in runs]
    if args.seconds > 0.0:
        asyncio.run(measure(pack, found, args))
    if args.keep is not None:
        table = {
            name: [(run.seed, dict(run.measures)) for run in runs] for name, runs in found.items()
        }
        args.keep.write_text(json.dumps(table))
    json.dump(raced(pack, found), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
