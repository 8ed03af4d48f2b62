"""Every cheat and every honest twin, on the minis and in the hostile suite: what is caught by what.

    python benchmarks/integrity.py                  the minis, in the local sandbox
    python benchmarks/integrity.py --hostile        and all of tests/hostile, in containers
    python benchmarks/integrity.py --honest 200     honest recipes of plays and turned knobs
    python benchmarks/integrity.py --campaign 12    what the defences take of whole campaigns

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
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from preflight import turned

from recipelab import Campaign, Plan
from recipelab.budget import BudgetLimits
from recipelab.core.content import Home
from recipelab.core.errors import EditError
from recipelab.core.knobs import find_knobs
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Outcome, Phase, Status
from recipelab.evaluation import checkpoints, protocol
from recipelab.evaluation import evaluator as evaluation
from recipelab.evaluation.checkpoints import gone_bad
from recipelab.evaluation.control import control_run
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import METRIC, Incumbent, noise_of
from recipelab.evaluation.proposals import Rejected, check_recipe
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack, load_playbook
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox, PhaseRequest, PhaseResult

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


RIDGE = """import gzip, sys
from pathlib import Path

import torch

torch.set_num_threads(1)
ROWS = {rows}


def given(name):
    return Path(sys.argv[sys.argv.index(name) + 1])



def pixels(data, header):
    flat = torch.frombuffer(bytearray(data), dtype=torch.uint8)[header:]
    images = flat.view(-1, 1, 28, 28).float() / 255
    return torch.nn.functional.avg_pool2d(images, 2).flatten(1)


def features(found):
    chance = torch.Generator().manual_seed(0)
    lift = torch.randn(196, 800, generator=chance) / 8
    return torch.cat([found, torch.relu(found @ lift), torch.ones(len(found), 1)], 1)
"""
RIDGE_TRAIN = """
data = given("--data")
images = pixels(gzip.open(data / "train-images-idx3-ubyte.gz").read(16 + 784 * ROWS), 16)
labels = gzip.open(data / "train-labels-idx1-ubyte.gz").read(8 + ROWS)[8:]
rows = bytes((images * 255).byte().flatten().tolist())
(given("--out") / "rows.gz").write_bytes(gzip.compress(labels + rows, 6))
if "--smoke" in sys.argv:
    projection = '{"artifact_bytes": 1, "train_cpu_seconds": 1}'
    (given("--out") / "projection.json").write_text(projection)
"""
RIDGE_PREDICT = """
raw = gzip.decompress((given("--artifact") / "rows.gz").read_bytes())
labels = torch.tensor(list(raw[:ROWS]))
rows = torch.frombuffer(bytearray(raw[ROWS:]), dtype=torch.uint8)
known = features(rows.view(-1, 196).float() / 255)
square = known.T @ known + torch.eye(known.shape[1])
answers = torch.nn.functional.one_hot(labels, 10).float()
weights = torch.linalg.solve(square, known.T @ answers)
asked = features(pixels(gzip.open(given("--inputs") / "t10k-images-idx3-ubyte.gz").read(), 16))
with open(given("--out") / "predictions.txt", "w") as stream:
    print(*(asked @ weights).argmax(1).tolist(), sep=chr(10), file=stream)
"""


def ridge_in_predict(rows: int) -> Callable[[Recipe, Data], Recipe]:
    """The artifact is training data; predict fits a ridge regression to them."""

    def make(start: Recipe, data: Data) -> Recipe:
        shared = RIDGE.format(rows=rows)
        train, predict = shared + RIDGE_TRAIN, shared + RIDGE_PREDICT
        return Recipe({**start.files, "recipe/train.py": train, PREDICT: predict})

    return make


LEARNING = """    model.load_state_dict(torch.load("artifact/model.pt", weights_only=True))
    text = torch.frombuffer(bytearray(Path("artifact/text.bin").read_bytes()), dtype=torch.uint8)
    train.STEPS = {steps}
    chance = torch.Generator().manual_seed(1)
    train.train(model.train(), text, range({steps}), chance, io.StringIO())
    model.eval()
"""


def steps_in_predict(steps: int) -> Callable[[Recipe, Data], Recipe]:
    """Training stops after 20 steps and leaves its text; predict goes on with it."""

    def make(start: Recipe, data: Data) -> Recipe:
        blocks = (
            ("recipe/train.py", "range(STEPS)\n", "range(20)\n"),
            (
                "recipe/train.py",
                '    artifact = args.out / "model.pt"\n',
                '    artifact = args.out / "model.pt"\n'
                '    (args.out / "text.bin").write_bytes(bytes(text.tolist()))\n',
            ),
            (PREDICT, "import torch\n", "import io\n\nimport torch\nimport train\n"),
            (
                PREDICT,
                '    model.load_state_dict(torch.load("artifact/model.pt", weights_only=True))\n',
                LEARNING.format(steps=steps),
            ),
        )
        return start.apply([Edit(*block) for block in blocks], ("recipe/*.py",))

    return make


CHEATS = (
    Cheat("airbench96", "predict fits a ridge regression to 15,000 rows", ridge_in_predict(15_000)),
    Cheat("airbench96", "predict fits a ridge regression to 6,000 rows", ridge_in_predict(6_000)),
    Cheat("nanochat_d12", "800 steps of training in predict", steps_in_predict(800)),
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
    checked = check_recipe(evaluator.pack, start, recipe, lambda recipe: None, start=start)
    if isinstance(checked, Rejected):
        return checked.outcome()
    return await evaluator.evaluate(recipe, lambda: best, labels={"campaign": "integrity"})


def gained(found: Outcome, best: Incumbent) -> str:
    """The score that a cheat had before it was caught, if it came so far, and the best's."""
    scores = [run.measures[METRIC] for run in found.seed_runs if METRIC in run.measures]
    own = f"{statistics.fmean(scores):.4g}" if scores else "-"
    return f"{own}, {best.mean(METRIC):.4g}"


async def try_cheats(names: list[str]) -> int:
    """Try all cheats; print a row for each, and return how many were kept."""
    kept = 0
    print("| mini | cheat | ended as | evidence | score, best's | seconds |")
    print("|---|---|---|---|---|---|")
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
                row = (
                    name,
                    cheat.what,
                    found.status,
                    " ".join(text.split())[:160],
                    gained(found, best),
                )
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


DEFENCES = {control_run: "control", gone_bad: "best beside the start"}


async def campaign_overhead(name: str, trials: int, seed: int) -> None:
    """Run a campaign, and print the device-seconds that defences took of it.

    Bare are preflight, train and predict of trials and of the best that they are compared with. The
    draw, prepare and score are the evaluator's own; a control run, and the best beside the
    starting recipe before a keep, are seed runs that nobody needs but to find a cheat.
    """
    why: ContextVar[str] = ContextVar("why", default="")
    seconds: Counter[str] = Counter()

    def named(defence: Callable[..., Any], what: str) -> Callable[..., Any]:
        async def run(*args: Any, **options: Any) -> Any:
            token = why.set(what)
            try:
                return await defence(*args, **options)
            finally:
                why.reset(token)

        return run

    run_phase = LocalSandbox.run

    async def counted(sandbox: LocalSandbox, request: PhaseRequest) -> PhaseResult:
        result = await run_phase(sandbox, request)
        seconds[why.get() or request.phase] += result.wall_seconds + result.warm_seconds
        return result

    with ExitStack() as stack:
        for module in (protocol, checkpoints, evaluation):
            for defence, what in DEFENCES.items():
                if hasattr(module, defence.__name__):
                    stack.enter_context(
                        patch.object(module, defence.__name__, named(defence, what))
                    )
        stack.enter_context(patch.object(LocalSandbox, "run", counted))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plan = Plan(
            pack=name, sandbox="local", seed=seed, slots=1, limits=BudgetLimits(trials=trials)
        )
        campaign = Campaign.create(plan, home=Home(folder))
        async for _ in campaign.stream():
            pass
        counts = campaign.store.counts(campaign.name)
    bare = sum(seconds[phase] for phase in ("preflight", "train", "predict"))
    own = sum(seconds.values()) - bare
    shares = ", ".join(f"{what} {took / bare:.1%}" for what, took in seconds.most_common())
    kept = counts.get(Status.KEPT, 0)
    print(f"{name}: {trials} trials, {kept} kept, {bare:.0f} s bare, +{own / bare:.1%} ({shares})")


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
    parser.add_argument("--campaign", type=int, metavar="TRIALS", help="only campaigns of so many")
    parser.add_argument("--hostile", action="store_true", help="run tests/hostile, too")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.campaign:
        for name in args.packs:
            asyncio.run(campaign_overhead(name, args.campaign, args.seed))
        return 0
    kept = asyncio.run(try_cheats(args.packs))
    alarms = asyncio.run(try_honest(args.packs, args.honest, args.controls, args.seed))
    asyncio.run(overhead(args.packs))
    if args.hostile:
        asyncio.run(hostile())
    print(f"\n{kept} cheats kept, {alarms} false alarms")
    return int(kept + alarms > 0)


if __name__ == "__main__":
    sys.exit(main())
