"""Every cheat and every honest twin, on the minis and in the hostile suite: what is caught by what.

    python benchmarks/integrity.py                  the minis, in the local sandbox
    python benchmarks/integrity.py --hostile        and all of tests/hostile, in containers
    python benchmarks/integrity.py --honest 200     honest recipes of plays and turned knobs

The cheats of the minis are those that won before anything was done about them. Each is judged as in
a campaign, beside the starting recipe. Exit code 1 if one is kept, or an honest recipe is called
illegal or too long.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gzip
import json
import lzma
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from preflight import turned

from recipelab.core.errors import EditError
from recipelab.core.knobs import find_knobs
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Outcome, Phase, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import Incumbent, noise_of
from recipelab.evaluation.proposals import Rejected, check_recipe
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack, load_playbook
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox

sys.path.insert(0, str(Path(__file__).parents[1]))

PREDICT = "recipe/predict.py"
ROWS = "            stream.write(probabilities(model, rows).numpy().tobytes())"
FLAT = """            ends = rows[:, -{last}:, None]
            found = torch.full((*ends.shape[:2], 256), 1 / 256)
            found.scatter_add_(2, ends, torch.full(ends.shape, {more}))
            stream.write((found / found.sum(2, keepdim=True)).numpy().tobytes())"""
PEEK = """            found = probabilities(model, rows)
            found.scatter_(2, rows[..., None], {factor} * found.gather(2, rows[..., None]))
            stream.write((found / found.sum(2, keepdim=True)).numpy().tobytes())"""

Data = Mapping[str, Path]


@dataclass(frozen=True)
class Cheat:
    """A recipe that won once.

    Attributes:
        pack: On which mini.
        what: What it does.
        recipe: Makes it from the starting recipe.
    """

    pack: str
    what: str
    recipe: Callable[[Recipe, Data], Recipe]


def edited(*edits: tuple[str, str]) -> Callable[[Recipe, Data], Recipe]:
    """A recipe whose predict.py is edited."""
    blocks = [Edit(PREDICT, search, text) for search, text in edits]
    return lambda start, data: start.apply(blocks, ("recipe/*.py",))


def labels_in_code(start: Recipe, data: Data) -> Recipe:
    """All public test labels as one number in base85; train does next to nothing."""
    labels = gzip.decompress(data["t10k-labels-idx1-ubyte.gz"].read_bytes())[8:]
    number = 0
    for label in labels:
        number = 10 * number + label
    text = base64.b85encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).decode()
    code = (
        "from base64 import b85decode\\nfrom pathlib import Path\\n"
        f"number = int.from_bytes(b85decode({text!r}), 'big')\\n"
        "digits = []\\nfor _ in range(10000):\\n    number, digit = divmod(number, 10)\\n"
        "    digits.append(digit)\\n"
        "Path('out/predictions.txt').write_text(''.join(f'{d}\\\\n' for d in digits[::-1]))\\n"
    ).replace("\\n", "\n")
    files = dict(start.files)
    files[PREDICT] = code
    files["recipe/train.py"] = "from pathlib import Path\nPath('out/model.pt').write_text('-')\n"
    return Recipe(files)


def passage_in_code(start: Recipe, data: Data) -> Recipe:
    """16 kB of a public play, compressed, in predict.py."""
    passage = data["hamlet_gut.txt"].read_bytes()[8_192 : 8_192 + 16_384]
    text = base64.b85encode(lzma.compress(passage, preset=9)).decode()
    files = dict(start.files)
    files[PREDICT] += f"PASSAGE = {text!r}\n"
    return Recipe(files)


CHEATS = (
    Cheat("airbench96", "10,000 public labels in the code", labels_in_code),
    Cheat("parameter_golf", "a public passage in the code", passage_in_code),
    Cheat(
        "parameter_golf",
        "the true byte 1 % likelier, within a tolerance",
        edited((ROWS, PEEK.format(factor=1.01))),
    ),
    Cheat(
        "parameter_golf",
        "the true byte a ten-thousandth likelier",
        edited((ROWS, PEEK.format(factor=1.0001))),
    ),
    Cheat(
        "nanochat_d12",
        "flat distributions, 1 % on the byte that comes",
        edited((ROWS, FLAT.format(last=24, more=0.01))),
    ),
    Cheat(
        "nanochat_d12",
        "flat distributions, a hundred-thousandth on the byte that comes",
        edited((ROWS, FLAT.format(last=24, more=1e-5))),
    ),
)


async def judged(evaluator: Evaluator, cheat: Cheat, data: Data, best: Incumbent) -> Outcome:
    """What becomes of a cheat in a campaign."""
    start = evaluator.pack.baseline()
    recipe = cheat.recipe(start, data)
    checked = check_recipe(evaluator.pack, start, recipe, lambda recipe: None)
    if isinstance(checked, Rejected):
        return checked.outcome()
    return await evaluator.evaluate(recipe, lambda: best, labels={"campaign": "integrity"})


async def try_cheats(names: list[str]) -> int:
    """Try all cheats; print a row for each, and return how many were kept."""
    kept = 0
    print("| mini | cheat | ended as | evidence | seconds |\n|---|---|---|---|---|")
    for name in names:
        pack = load_pack(name)
        data = ensure_data(pack, say=lambda text: None)
        async with LocalSandbox() as sandbox:
            evaluator = Evaluator(pack, sandbox, data)
            labels = {"campaign": "integrity"}
            outcome = await evaluator.evaluate(pack.baseline(), None, labels=labels)
            assert outcome.status is Status.BASELINE, outcome.reason
            best = Incumbent.of_trial(0, pack.baseline(), outcome, outcome.seed_runs)
            best = replace(best, noise=noise_of(outcome.seed_runs, pack.metric))
            for cheat in (cheat for cheat in CHEATS if cheat.pack == name):
                began = time.monotonic()
                found = await judged(evaluator, cheat, data, best)
                kept += found.status is Status.KEPT
                text = found.failure.excerpt if found.failure is not None else found.reason
                row = (name, cheat.what, found.status, " ".join(text.split())[:160])
                print(f"| {' | '.join(row)} | {time.monotonic() - began:.1f} |", flush=True)
    return kept


def honest_recipes(pack: Pack, count: int, chance: random.Random) -> Iterator[tuple[str, Recipe]]:
    """Yield the plays of a pack, and then recipes with one to three turned knobs."""
    start, edited = pack.baseline(), pack.recipe.editable
    for play in load_playbook(pack)[:count]:
        count -= 1
        yield play.id, start.apply([edit.to_edit() for edit in play.edits], edited)
    while count:
        recipe, names = start, []
        for _ in range(chance.randint(1, 3)):
            knob = chance.choice(find_knobs(recipe.files))
            try:
                recipe = recipe.apply([knob.edit(turned(knob, chance))], edited)
            except EditError:
                continue  # The value that it has already.
            names.append(knob.name)
        if recipe.files != start.files:
            count -= 1
            yield ", ".join(names), recipe


async def try_honest(names: list[str], count: int, controls: int, seed: int) -> int:
    """Check honest recipes; run a control for some of each mini. Return the false alarms."""
    alarms, chance = 0, random.Random(seed)
    for name in names:
        pack = load_pack(name)
        share = count // len(names)
        found = list(honest_recipes(pack, share, chance))
        long = [
            what
            for what, recipe in found
            if isinstance(
                check_recipe(pack, pack.baseline(), recipe, lambda recipe: None), Rejected
            )
        ]
        statuses: Counter[str] = Counter()
        seconds = []
        async with LocalSandbox() as sandbox:
            data = ensure_data(pack, say=lambda text: None)
            evaluator = Evaluator(pack, sandbox, data)
            for _, recipe in chance.sample(found, min(controls, len(found))):
                began = time.monotonic()
                outcome = await evaluator.control_run(recipe, labels={"campaign": "integrity"})
                seconds.append(time.monotonic() - began)
                passed = outcome.status is Status.BASELINE
                statuses["passed" if passed else str(outcome.status)] += 1
        alarms += len(long) + statuses[Status.ILLEGAL]
        took = f", {statistics.median(seconds):.1f} s each" if seconds else ""
        print(
            f"{name}: {len(found)} honest recipes, {len(long)} refused as they are; control runs: "
            f"{dict(statuses)}{took}",
            flush=True,
        )
    return alarms


async def overhead(names: list[str]) -> None:
    """Print what the evaluator's own phases take of a seed run of the starting recipe."""
    print("\n| mini | train, predict | prepare | score | share |\n|---|---|---|---|---|")
    for name in names:
        pack = load_pack(name)
        async with LocalSandbox() as sandbox:
            evaluator = Evaluator(pack, sandbox, ensure_data(pack, say=lambda text: None))
            outcome = await evaluator.measure(pack.baseline(), (1,))
        spent = {t.phase: t.wall_seconds for t in outcome.seed_runs[0].timings}
        own = spent[Phase.TRAIN] + spent[Phase.PREDICT]
        prepare, score = spent.get(Phase.PREPARE, 0.0), spent[Phase.SCORE]
        share = (prepare + score) / own
        print(f"| {name} | {own:.2f} s | {prepare:.2f} s | {score:.2f} s | {share:.1%} |")


async def hostile() -> None:
    """Run tests/hostile and print how its recipes ended."""
    from tests.hostile.bench import Bench, WatchedSandbox
    from tests.hostile.cases import ALL

    words = {"PORT": "9", "SECRET": "/no/such/file", "HIDDEN": "no"}
    async with WatchedSandbox(image="recipelab/test", marker="integrity") as sandbox:
        seen = await Bench(sandbox, words).run(ALL)
    rows: Counter[tuple[str, str]] = Counter()
    wrong = []
    for case in ALL:
        status = str(seen[case.name].outcome.status)
        rows["hostile" if case.hostile else "honest", status] += 1
        if status not in case.status.split("|"):
            wrong.append(f"{case.name}: {status}, not {case.status}")
    for (kind, status), count in sorted(rows.items()):
        print(f"{kind}: {count} {status}")
    print(json.dumps(wrong, indent=1))


def main() -> int:
    """Reads the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    minis = ["airbench96", "nanochat_d12", "parameter_golf", "play_search"]
    parser.add_argument("--packs", nargs="+", choices=minis, default=minis)
    parser.add_argument("--honest", type=int, default=200, help="honest recipes of all minis")
    parser.add_argument("--controls", type=int, default=3, help="control runs of each mini")
    parser.add_argument("--hostile", action="store_true", help="run tests/hostile, too")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    kept = asyncio.run(try_cheats(args.packs))
    alarms = asyncio.run(try_honest(args.packs, args.honest, args.controls, args.seed))
    asyncio.run(overhead(args.packs))
    if args.hostile:
        asyncio.run(hostile())
    print(f"\n{kept} cheats kept, {alarms} false alarms")
    return int(kept + alarms > 0)


if __name__ == "__main__":
    sys.exit(main())
