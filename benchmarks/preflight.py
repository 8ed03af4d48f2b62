"""What the preflights of the minis foretell: 20 varied recipes of each, trained to see the truth.

    python benchmarks/preflight.py parameter_golf --recipes 20

A recipe is the starting recipe with a play of the playbook or a few knobs turned at random. Its
preflight runs, then a training. Three times the projection is held to limits that are moved to
where the truth lies: exactly at the limit (an honest recipe, and the hardest), an artifact 10 %
over it, a training 30 % over it. Counts honest recipes that were refused and others that were not,
and prints how far projections are off. At the end the starting recipe goes through the whole
evaluator with each of the moved limits, to see that it is refused before it trains.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Iterator

from one_recipe import drawn_runner

from recipelab.core.errors import EditError
from recipelab.core.knobs import Knob, KnobValue, find_knobs
from recipelab.core.recipe import Recipe
from recipelab.core.trial import FailureKind, Phase, SeedRun
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.failures import PhaseFailed
from recipelab.evaluation.metric import folder_bytes
from recipelab.evaluation.projection import MEASURED, Projection, corrections, refusal
from recipelab.packs.data import ensure_data
from recipelab.packs.judging_sections import Gate
from recipelab.packs.load import load_pack, load_playbook
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox

PACKS = ("airbench96", "parameter_golf", "nanochat_d12", "play_search")
START_RUNS = 4
"""Seed runs of the starting recipe, as the packs' calibration has."""

OVERSIZE, OVERRUN = 1.1, 1.3
"""How far the bad recipes are over the limit."""


def turned(knob: Knob, chance: random.Random) -> KnobValue:
    """Another value of a knob: another choice, or up to half as much again, or less."""
    if knob.choices:
        return chance.choice(knob.choices)
    value = float(knob.value) * chance.uniform(0.6, 1.5)
    value = min(knob.high, max(knob.low, value))
    return round(value) if isinstance(knob.value, int) else value


def recipes(pack: Pack, count: int, chance: random.Random) -> Iterator[tuple[str, Recipe]]:
    """The starting recipe, plays in random order for half of the rest, then turned knobs."""
    start = pack.baseline()
    yield "baseline", start
    plays = list(load_playbook(pack))
    chance.shuffle(plays)
    plays = plays[: (count - 1) // 2]
    for play in plays:
        edits = [edit.to_edit() for edit in play.edits]
        yield f"play {play.id}", start.apply(edits, pack.recipe.editable)
    for _ in range(count - 1 - len(plays)):
        recipe, words = start, []
        for _ in range(3):
            knob = chance.choice(find_knobs(recipe.files))
            value = turned(knob, chance)
            try:
                recipe = recipe.apply([knob.edit(value)], pack.recipe.editable)
            except EditError:
                continue  # The value that it has already.
            words.append(
                f"{knob.name}={value:.3g}" if isinstance(value, float) else f"{knob.name}={value}"
            )
        yield ", ".join(words), recipe


def limited(pack: Pack, measure: str, most: float) -> Pack:
    """The pack with one gate alone, on a measure."""
    gate = Gate(name="moved", measure=measure, at_most=most)
    return pack.model_copy(update={"gates": (gate,)})


async def measured(
    pack: Pack, recipe: Recipe, sandbox: LocalSandbox
) -> tuple[Projection, float, float, float]:
    """What the preflight of a recipe projects, and the CPU seconds and bytes of its training."""
    async with drawn_runner(pack, recipe, sandbox) as (runner, workspace):
        projection = await runner.preflight()
        cost = runner.last.cpu_seconds if runner.last is not None else 0.0
        result = await runner.train(1)
        size = folder_bytes(workspace.output(Phase.TRAIN, 1))
    return projection, cost, result.cpu_seconds, float(size)


async def start_runs(pack: Pack, recipe: Recipe, sandbox: LocalSandbox) -> list[SeedRun]:
    """The starting recipe's own runs: as in a campaign, they correct what others project."""
    runs = []
    for number in range(START_RUNS):
        projection, _, seconds, size = await measured(pack, recipe, sandbox)
        truth = {"train.cpu_seconds": seconds, "artifact.bytes": size}
        runs.append(SeedRun(number, (), projection.measures() | truth))
    return runs


async def run(pack: Pack, count: int, seed: int) -> None:
    """Measures the recipes of one pack, and prints a row for each and the sums."""
    print(f"\n{pack.name}: projected against trained; preflight CPU s", flush=True)
    wrong = refused_size = refused_time = done = 0
    stated = pack.phases.preflight.projects.errors
    off: dict[str, list[float]] = {name: [] for name in stated}
    first: tuple[float, float] | None = None
    corrected: dict[str, float] = {}
    async with LocalSandbox() as sandbox:
        for words, recipe in recipes(pack, count, random.Random(seed)):
            try:
                projection, cost, seconds, size = await measured(pack, recipe, sandbox)
            except PhaseFailed as failed:
                print(f"  {words}: {failed.reason}", flush=True)
                continue
            done += 1
            truth = {"artifact_bytes": size, "train_cpu_seconds": seconds}
            if first is None:
                corrected = corrections(await start_runs(pack, recipe, sandbox))
            first = first or (seconds, size)
            for name, found in off.items():
                found.append(projection.values[name] * corrected[name] / truth[name] - 1.0)
            bounds = {MEASURED[name]: truth[name] for name in off}

            def refuses(measure: str, over: float) -> bool:
                moved = limited(pack, measure, bounds[measure] / over)  # noqa: B023
                return refusal(moved, recipe, projection, corrected, seed=1) is not None  # noqa: B023

            wrong += any(refuses(measure, 1.0) for measure in bounds)
            refused_size += refuses("artifact.bytes", OVERSIZE)
            refused_time += "train_cpu_seconds" in off and refuses("train.cpu_seconds", OVERRUN)
            errors = "  ".join(f"{name} {found[-1]:+.1%}" for name, found in off.items())
            print(f"  {words}: {errors}; {cost:.1f} of {seconds:.1f}", flush=True)
        for name, found in off.items():
            print(f"{name}: {min(found):+.1%} to {max(found):+.1%}, stated {stated[name]:.0%}")
        print(
            f"{done} honest recipes at the limit, {wrong} refused; 10 % oversize: {refused_size} "
            f"refused; 30 % too long: {refused_time} refused"
        )
        if first is not None:
            await show_refusals(pack, sandbox, *first)


async def show_refusals(pack: Pack, sandbox: LocalSandbox, seconds: float, size: float) -> None:
    """Sends the starting recipe through the evaluator with limits that it is over."""
    data = ensure_data(pack, say=lambda text: None)
    limits = {"artifact_bytes": size / OVERSIZE, "train_cpu_seconds": seconds / OVERRUN}
    for name in pack.phases.preflight.projects.errors:
        measure, most = MEASURED[name], limits[name]
        evaluator = Evaluator(limited(pack, measure, most), sandbox, data)
        outcome = await evaluator.evaluate(pack.baseline(), None)
        kind = outcome.failure.kind if outcome.failure is not None else None
        before = "before" if kind is FailureKind.PROJECTED else "NOT before"
        print(f"refused {before} its training: {outcome.reason}", flush=True)


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packs", nargs="*", default=list(PACKS))
    parser.add_argument("--recipes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for name in args.packs:
        asyncio.run(run(load_pack(name, "mini"), args.recipes, args.seed))


if __name__ == "__main__":
    main()
