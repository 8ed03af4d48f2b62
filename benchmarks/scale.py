"""How busy slots are, from 8 to 1,024: real chat, queue, evaluator and lineage, on a fast clock.

    python benchmarks/scale.py                          # the table of docs/scaling.md
    python benchmarks/scale.py --slots 64 --trial 60 --turn 10 --policy confirmed

Only the model and the sandbox are stand-ins, which take their time on a simulated clock:
specialists think, the sandbox trains, predicts and scores by sleeping. Screening, fresh seeds,
checkpoints, merges onto a new best, levels and every row of the lineage are the real ones. A slot
is busy while a phase runs on its device. The time of two turns and two trials at the start is left
out, and so is what comes once as many turns have begun as the budget has trials, as both are
nothing in a long campaign.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("AUTOGEN_DISABLE_RUNTIME_TRACING", "true")
os.environ["RECIPELAB_PATIENCE"] = "0"

from autogen_core import FunctionCall
from autogen_core.models import CreateResult, LLMMessage, RequestUsage
from simulated_clock import run_simulated
from stubs import PROJECT
from trial_cpu import yardstick

from recipelab import Plan, ResearchGroupChat
from recipelab.acceptance import acceptance_policy
from recipelab.budget import BudgetLimits
from recipelab.core.content import Home
from recipelab.core.trial import Status
from recipelab.evaluation import now
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.session import Overrides
from recipelab.lineage import LineageStore
from recipelab.lineage.database import SqliteDatabase
from recipelab.models import OfflineClient
from recipelab.packs.judging_sections import Metric
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox import PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.base import Ending
from recipelab.sandbox.slots import Slot, SlotPool
from recipelab.team import loop

SURFACES = ("arch", "opt", "aug", "loss", "reg")
"""Specialists, and the surface of each."""

KNOBS = 120
"""Constants of the recipe; an edit changes one of them."""

BETTER, EVEN, GAIN, LOSS = 0.03, 0.27, 1.5, -2.0
"""Shares of edits that gain, and that are worth nothing, and what a gain and a loss are worth, in
standard deviations of a seed run; so one trial in nine is promising, as in campaigns of models."""

CRASHED = 0.1
"""Share of trials that crash in their preflight."""

SPREAD = 0.3
"""Standard deviation of the logarithm of the length of turns; phases vary by a tenth."""

PHASES = {"preflight": 1 / 12, "train": 1.0, "predict": 1 / 20, "score": 1 / 60}
"""Length of each phase, as a share of a training."""

SIDE_BY_SIDE = Metric.model_validate(
    {
        "name": "cost",
        "unit": "s",
        "goal": "minimize",
        "measure": "train.wall_seconds",
        "scale": "log",
        "side_by_side": True,
    }
)
"""Times on a GPU, in turns on one slot."""

TIME_NOISE = 0.02
"""Standard deviation of a time, as a share of it."""


def make_pack(folder: Path, policy: str) -> Pack:
    """Return a pack with many constants and five specialists; ``pairs`` compares times."""
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
    root = folder / "task_packs/toy"
    lines = [f"K_{i} = 0  # what number {i} of the training is set to" for i in range(KNOBS)]
    (root / "recipe/train.py").write_text("\n".join(lines) + "\n")
    text = (root / "pack.toml").read_text()
    text = re.sub(r'\[\[surfaces\]\]\nname = "\w+"\ndescription = ".*"\n', "", text)
    names = json.dumps(SURFACES)
    text = text.replace('specialists = ["left", "right"]', f"specialists = {names}")
    text += "".join(f'\n[[surfaces]]\nname = "{n}"\ndescription = "Some."\n' for n in SURFACES)
    (root / "pack.toml").write_text(text)
    (root / "playbook.toml").unlink()
    os.chdir(folder)
    pack = load_pack("toy", "line")
    kind = "line" if policy == "pairs" else policy
    acceptance = pack.acceptance.model_copy(update={"policy": kind, "calibration": 4})
    changes: dict[str, Any] = {"acceptance": acceptance, "gates": ()}
    if policy == "pairs":
        changes["metric"] = SIDE_BY_SIDE
    return pack.model_copy(update=changes)


def worth(knob: int, value: int) -> float:
    """Return what a constant gives at a value, in standard deviations of a seed run."""
    if value == 0:
        return 0.0
    drawn = random.Random(f"{knob} {value}").random()
    return GAIN if drawn < BETTER else 0.0 if drawn < BETTER + EVEN else LOSS


@dataclass
class Use:
    """When each device was busy, on the simulated clock.

    Attributes:
        spans: Since when and until when a phase ran, by device.
        begun: When turns began.
        submitted: When proposals were made.
        writes: Transactions that have written to the lineage.
    """

    spans: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    begun: list[float] = field(default_factory=list)
    submitted: list[float] = field(default_factory=list)
    writes: int = 0

    def share(self, slots: int, begin: float, end: float) -> float:
        """Return the share of the slots' time in which a phase ran on their device."""
        busy = 0.0
        for spans in self.spans.values():
            last = begin
            for since, until in sorted(spans):
                since, until = max(since, last), min(until, end)
                if until > since:
                    busy += until - since
                    last = until
        return busy / (slots * (end - begin))


class SleepingSandbox(Sandbox):
    """Phases take their time and leave what the pack expects, and nothing runs.

    Args:
        trial: Seconds of a training.
        use: Told when devices are busy.
        timed: Whether the time of a training is the score.
    """

    name = "sleeping"
    isolated = True

    def __init__(self, trial: float, use: Use, *, timed: bool) -> None:
        super().__init__()
        self._trial, self._use, self._timed = trial, use, timed
        self._worth: dict[Path, float] = {}

    async def start(self) -> None:
        """Nothing is to be made ready."""

    async def stop(self) -> None:
        """Nothing runs."""

    @property
    def started(self) -> bool:
        """Always."""
        return True

    async def run(self, request: PhaseRequest) -> PhaseResult:
        """Sleep as long as the phase takes."""
        labels = request.labels
        who = f"{labels.get('trial')} {labels.get('beside')} {labels['seed']} {request.phase}"
        chance = random.Random(who)
        gain = self._gain(request)
        seconds = self._trial * PHASES[request.phase] * chance.uniform(0.9, 1.1)
        crashes = request.phase == "preflight" and self._crashes(labels)
        if self._timed and request.phase == "train":
            seconds = self._trial * math.exp(TIME_NOISE * (chance.gauss(0.0, 1.0) - gain))
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(seconds / 10 if crashes else seconds)
        ended = asyncio.get_running_loop().time()
        for gpu in request.limits.gpus:
            self._use.spans.setdefault(gpu, []).append((began, ended))
        if not crashes:
            self._leave(request, gain)
        log = "" if not crashes else f"ValueError: no {labels.get('trial')}"
        return PhaseResult(
            Ending.EXITED, int(crashes), ended - began, ended - began, 100.0, log, environment="sim"
        )

    @staticmethod
    def _crashes(labels: Any) -> bool:
        number = labels.get("trial", "0")
        return number != "0" and random.Random(f"fate {number}").random() < CRASHED

    def _gain(self, request: PhaseRequest) -> float:
        """Return what the recipe of a request is worth."""
        source = next((i.source for i in request.inputs if i.target == "recipe"), None)
        if source is None or request.phase != "train":
            return 0.0
        if source not in self._worth:
            found = re.findall(r"^K_(\d+) = (\d+)", (source / "train.py").read_text(), re.M)
            self._worth[source] = sum(worth(int(k), int(v)) for k, v in found)
        return self._worth[source]

    def _leave(self, request: PhaseRequest, gain: float) -> None:
        out, seed = request.output, request.labels["seed"]
        if request.phase == "train":
            noise = random.Random(f"{request.labels} {seed}").gauss(0.0, 1.0)
            (out / "model.json").write_text(json.dumps(-(gain + noise)))
        elif request.phase == "predict":
            (artifact,) = (i.source for i in request.inputs if i.target == "artifact")
            shutil.copyfile(artifact / "model.json", out / "predictions.txt")
        elif request.phase == "score":
            (left,) = (i.source for i in request.inputs if i.target == "predictions")
            loss = 100.0 + json.loads((left / "predictions.txt").read_text())
            (out / "score.json").write_text(json.dumps({"loss": loss, "fit": 1.0}))


class Thinker(OfflineClient):
    """Thinks for the time of a turn, and submits an edit of one constant of the best.

    Args:
        seconds: Mean length of a turn, in seconds.
        numbers: Gives the next proposal its number.
        queue: Returns the campaign's queue.
        use: Told of proposals.
    """

    def __init__(
        self, seconds: float, numbers: Any, queue: Callable[[], TrialQueue | None], use: Use
    ) -> None:
        super().__init__()
        self._seconds, self._numbers, self._queue, self._use = seconds, numbers, queue, use
        self._chance = random.Random(1)

    async def create(
        self, messages: Sequence[LLMMessage], *, tools: Any = (), **more: Any
    ) -> CreateResult:
        """Think, ask the lineage, and submit."""
        self._use.begun.append(asyncio.get_running_loop().time())
        mean = -SPREAD * SPREAD / 2
        await asyncio.sleep(self._seconds * self._chance.lognormvariate(mean, SPREAD))
        number, queue = next(self._numbers), self._queue()
        assert queue is not None
        self._use.submitted.append(asyncio.get_running_loop().time())
        best, knob = queue.best().number, number % KNOBS
        text = queue.recipe_of(best)["recipe/train.py"]
        line = next(line for line in text.splitlines() if line.startswith(f"K_{knob} ="))
        edit = {
            "path": "recipe/train.py",
            "search": line,
            "replace": re.sub(r"= \d+", f"= {number}", line),
        }
        arguments = {
            "parent": best,
            "hypothesis": "The bottom may lie there.",
            "expected_delta": -1.0,
            "edits": [edit],
        }
        calls = [
            FunctionCall(f"ask-{number}", '{"limit": 5}', "lineage_query"),
            FunctionCall(f"call-{number}", json.dumps(arguments), "submit_trial"),
        ]
        usage = RequestUsage(prompt_tokens=1000, completion_tokens=100)
        return CreateResult(
            finish_reason="function_calls", content=calls, usage=usage, cached=False
        )


@dataclass(frozen=True)
class Scene:
    """What is simulated.

    Attributes:
        slots: Slots.
        trial: Seconds of a training.
        turn: Seconds of a turn.
        policy: ``line``, ``confirmed``, or ``pairs`` for the line where times are compared.
        each: Trials of each slot.
    """

    slots: int
    trial: float
    turn: float
    policy: str
    each: float


async def campaign(scene: Scene, folder: Path, lineage: str | None) -> dict[str, float]:
    """Run a campaign and return its figures."""
    # Seconds that pass at once are no time to look at what other processes did.
    now.WRITE_SECONDS = loop.LOOK_SECONDS = 600.0
    use, numbers = Use(), itertools.count(1)
    pack = make_pack(folder / "project", scene.policy)
    data = {file.file: pack.root / "data" / file.file for file in pack.data}
    pool = SlotPool([Slot(f"gpu-{i}", gpus=(f"{i}",)) for i in range(scene.slots)], shared=True)
    sandbox = SleepingSandbox(scene.trial, use, timed=scene.policy == "pairs")
    evaluator = Evaluator(
        pack, sandbox, data, pool=pool, acceptance=acceptance_policy(pack.acceptance)
    )
    trials = int(scene.each * scene.slots)
    plan = Plan(pack="toy", profile="line", limits=BudgetLimits(trials=trials))
    clock = asyncio.get_running_loop().time
    team = ResearchGroupChat(
        plan,
        home=Home(folder / "home"),
        overrides=Overrides(evaluator=evaluator),
        clients={"": Thinker(scene.turn, numbers, lambda: team._session.queue, use)},
        lineage=lineage,
    )
    team._session.pack = pack
    writing = SqliteDatabase.writing

    def counted(database: SqliteDatabase) -> Any:
        use.writes += 1
        return writing(database)

    SqliteDatabase.writing = counted  # type: ignore[method-assign]
    began, cpu, stick = 0.0, time.process_time(), fmean(yardstick() for _ in range(50))
    async for _ in team.run_stream():
        if not began and team._session.queue is not None and use.spans:
            began = clock()
    SqliteDatabase.writing = writing  # type: ignore[method-assign]
    ended = clock()
    # A pair of trainings is twice as long.
    first = began + 2 * (scene.turn + scene.trial * (2.2 if scene.policy == "pairs" else 1.1))
    last = use.begun[trials - 1]
    store = LineageStore.open(lineage or team._session.home.lineage)
    with store:
        name = store.campaigns()[0].name
        counts = store.counts(name)
        tests = store.confirmations(name)
    done = sum(counts.values()) - 1
    rate = sum(first <= when <= last for when in use.submitted) / (last - first)
    # CPU seconds on a machine where the yardstick takes a millisecond.
    cpu = 2e-3 * (time.process_time() - cpu) / (stick + fmean(yardstick() for _ in range(50)))
    return {
        "busy": use.share(scene.slots, first, last),
        "tail": (ended - last) / scene.trial,
        "trials": done,
        "kept": counts.get(Status.KEPT, 0),
        "tests": len(tests),
        "rate": 3600 * rate,
        "writes": use.writes / done * rate,
        "cpu": 1e3 * cpu / done,
        "core": cpu / done * rate,
    }


def run_scene(scene: Scene, lineage: str | None = None) -> dict[str, float]:
    """Run one scene in a folder of its own."""
    before = Path.cwd()
    memory = Path("/dev/shm")  # Disks of small machines are slow, and no simulated clock waits.
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        try:
            tempfile.tempdir = folder
            return run_simulated(campaign(scene, Path(folder), lineage))
        finally:
            tempfile.tempdir = None
            os.chdir(before)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, nargs="+", default=[8, 64, 256, 1024])
    parser.add_argument("--trial", type=float, nargs="+", default=[60.0, 600.0], help="seconds")
    parser.add_argument("--turn", type=float, nargs="+", default=[10.0, 30.0, 60.0], help="seconds")
    parser.add_argument("--policy", nargs="+", default=["line", "confirmed", "pairs"])
    parser.add_argument("--each", type=float, default=8.0, help="trials of each slot")
    args = parser.parse_args()
    heads = ("slots", "trial", "turn", "policy", "busy", "trials an hour", "writes a second")
    more = ("CPU a trial", "cores of the driver", "trials", "kept", "tests", "end, in trials")
    print(f"| {' | '.join((*heads, *more))} |\n{'|---' * 13}|")
    for slots, trial, turn, policy in itertools.product(
        args.slots, args.trial, args.turn, args.policy
    ):
        found = run_scene(Scene(slots, trial, turn, policy, args.each))
        print(
            f"| {slots:,} | {trial:g} s | {turn:g} s | {policy} | {found['busy']:.1%} "
            f"| {found['rate']:,.0f} | {found['writes']:.1f} | {found['cpu']:.0f} ms "
            f"| {found['core']:.2f} | {found['trials']:,.0f} | {found['kept']:.0f} "
            f"| {found['tests']:.0f} | {found['tail']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
