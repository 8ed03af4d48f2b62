"""Turns that bring no trial: specialists whose ideas come and go, on a simulated clock.

The group chat, scheduler, queue and lineage are the real ones. Each specialist has a stock of
ideas; whoever is asked without one passes. A kept trial gives new ideas to some: a share of their
own for each specialist, so that some are rich and some dry. Turns and trials take times that
scatter, and some trials crash early.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("AUTOGEN_DISABLE_RUNTIME_TRACING", "true")
os.environ["RECIPELAB_PATIENCE"] = "0"

from autogen_core import FunctionCall
from autogen_core.models import CreateResult, LLMMessage, RequestUsage
from simulated_clock import run_simulated
from slots_busy import Use
from stubs import StubEvaluator

from recipelab import Plan, ResearchGroupChat
from recipelab.budget import BudgetLimits
from recipelab.core.content import Home
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Outcome, Status
from recipelab.evaluation.session import Overrides
from recipelab.models import OfflineClient
from recipelab.packs.load import load_pack

WORLDS = {"rich": (1.0, 0.8, 0.5, 0.2, 0.05), "dry": (2.0, 0.3, 0.1, 0.05, 0.0)}
"""New ideas of each specialist that a kept trial brings, in the mean."""

KEPT, CRASHED = 0.4, 0.15
"""Shares of trials that are kept, and that crash after a tenth of their time."""

OWN = 0.3
"""How likely another trial gives its proposer a new idea, as a share of that."""

SPREAD = 0.3
"""Standard deviation of the logarithm of the length of turns and trials."""


def _whole(mean: float, drawn: float) -> int:
    """Return one of the two whole numbers around a mean, by a number between 0 and 1."""
    return int(mean) + (drawn < mean % 1)


@dataclass
class World:
    """What happens in a campaign.

    Attributes:
        ideas: Ideas that each specialist has not proposed yet.
        riches: New ones of each of them that a kept trial brings, in the mean.
        chance: Draws.
        seed: Seed of all chances.
        turns: Turns by how they ended.
        needless: Passes of those for whom nothing had changed since they passed before.
        submitted: When each trial was submitted, by its number.
        owners: Who proposed it.
        waits: How long trials waited for a slot, in seconds.
        thinking: Whose turn it is.
        running: Trials that run.
        idle: Seconds that slots were free.
        idle_with_ideas: Seconds that slots were free while somebody who was not asked had an idea.
        numbers: Gives the next number.
        news: What happened since the last pass of each specialist that has passed.
    """

    ideas: dict[str, int]
    riches: dict[str, float]
    chance: random.Random
    seed: int
    turns: Counter[str] = field(default_factory=Counter)
    needless: int = 0
    submitted: dict[int, float] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    thinking: set[str] = field(default_factory=set)
    running: int = 0
    idle_with_ideas: float = 0.0
    idle: float = 0.0
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    news: Counter[str] = field(default_factory=Counter)
    owners: dict[int, str] = field(default_factory=dict)

    def length(self, mean: float) -> float:
        """Return how long something takes, in seconds."""
        return mean * self.chance.lognormvariate(-SPREAD * SPREAD / 2, SPREAD)

    def judged(self, number: int) -> tuple[bool, bool]:
        """Return whether a trial crashes, and whether it is kept; the same for the same number."""
        fate = random.Random(f"{self.seed} {number}")
        crashes = fate.random() < CRASHED
        return crashes, not crashes and fate.random() < KEPT

    def ended(self, number: int, *, kept: bool) -> None:
        """Give new ideas to some: a kept trial to everybody, another one to who proposed it."""
        fate = random.Random(f"{self.seed} ideas of {number}")
        own = self.owners[number]
        for name, share in self.riches.items():
            drawn = fate.random()
            if kept or name == own:
                self.ideas[name] += _whole(share if kept else OWN * share, drawn)
                self.news[name] += 1

    def passed(self, name: str, news: int | None) -> None:
        """Count a turn of somebody who has no idea.

        Args:
            name: The specialist.
            news: What it had heard at the start of the turn since it passed last, if it had.
        """
        self.turns["passed"] += 1
        self.needless += news == 0
        self.news[name] -= news or 0

    async def watch(self, slots: int) -> None:
        """Measure slot time that is lost, and that is lost while somebody has an idea to tell."""
        while True:
            await asyncio.sleep(1.0)
            free = slots - self.running
            self.idle += free
            left = sum(n > 0 for who, n in self.ideas.items() if who not in self.thinking)
            self.idle_with_ideas += min(free, left)


class Thinker(OfflineClient):
    """The model of one specialist: proposes while it has ideas, and passes else.

    Args:
        name: The specialist.
        world: Knows its ideas.
        seconds: Mean length of a turn, in seconds.
    """

    def __init__(self, name: str, world: World, seconds: float) -> None:
        super().__init__()
        self._name, self._world, self._seconds = name, world, seconds

    async def create(
        self, messages: Sequence[LLMMessage], *, tools: Any = (), **more: Any
    ) -> CreateResult:
        """Think for the time of a turn, then submit or pass; who has none at its start passes."""
        world = self._world
        has_idea, news = bool(world.ideas[self._name]), world.news.get(self._name)
        world.thinking.add(self._name)
        await asyncio.sleep(world.length(self._seconds))
        world.thinking.discard(self._name)
        usage = RequestUsage(prompt_tokens=1000, completion_tokens=100)
        if not has_idea:
            world.passed(self._name, news)
            text = "Nothing of mine beats the noise now."
            return CreateResult(finish_reason="stop", content=text, usage=usage, cached=False)
        world.ideas[self._name] -= 1
        world.turns["submitted"] += 1
        number = next(world.numbers)
        world.owners[number] = self._name
        world.news.pop(self._name, None)
        world.submitted[number] = asyncio.get_running_loop().time()
        future = "from __future__ import annotations\n"
        edit = {
            "path": "recipe/model.py",
            "search": future,
            "replace": f"{future}\nIDEA_{number} = {number}\n",
        }
        arguments = {
            "parent": 0,
            "hypothesis": "The bottom may lie there.",
            "expected_delta": -1.0,
            "edits": [edit],
        }
        calls = [
            FunctionCall(f"ask-{number}", "{}", "lineage_query"),
            FunctionCall(f"call-{number}", json.dumps(arguments), "submit_trial"),
        ]
        return CreateResult(
            finish_reason="function_calls", content=calls, usage=usage, cached=False
        )


class ChanceEvaluator(StubEvaluator):
    """Judges by chance, and gives ideas to specialists when a trial is kept."""

    world: World
    mean: float

    async def evaluate(self, recipe: Recipe, incumbent: Any, **further: Any) -> Outcome:
        """Return an outcome after the time of a trial."""
        world, clock = self.world, asyncio.get_running_loop().time
        words = recipe.files["recipe/model.py"].split("IDEA_")
        number = int(words[1].split(" ")[0]) if len(words) > 1 else 0
        crashes, keep = world.judged(number) if number else (False, False)
        if number:
            world.waits.append(clock() - world.submitted[number])
        self._seconds = world.length(self.mean) * (0.1 if crashes else 1.0)
        world.running += 1
        try:
            found = await super().evaluate(recipe, incumbent, **further)
        finally:
            world.running -= 1
        if not number:
            return found
        world.ended(number, kept=keep)
        status = Status.KEPT if keep else Status.DISCARDED
        return Outcome(
            status=status,
            reason="by chance",
            seed_runs=found.seed_runs,
            score=1.0,
            score_se=0.1,
            delta=-0.01 if keep else 0.02,
            delta_se=0.01,
        )


async def campaign(args: argparse.Namespace, seed: int) -> dict[str, float]:
    """Run a campaign and return its figures."""
    pack = load_pack("airbench96")
    names = pack.specialists
    chance = random.Random(seed)
    world = World(
        ideas=dict.fromkeys(names, args.ideas),
        riches=dict(zip(names, WORLDS[args.world], strict=True)),
        chance=chance,
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        use = Use()
        pack = pack.model_copy(update={"seeds": (1,)})
        evaluator = ChanceEvaluator(pack, args.slots, args.trial, use)
        evaluator.world, evaluator.mean = world, args.trial
        plan = Plan(pack="airbench96", limits=BudgetLimits(trials=args.trials))
        models: Mapping[str, Any] = {name: Thinker(name, world, args.turn) for name in names}
        team = ResearchGroupChat(
            plan,
            home=Home(Path(folder)),
            overrides=Overrides(evaluator=evaluator),  # type: ignore[arg-type]
            clients=models,
        )
        team._session.pack = pack
        began = asyncio.get_running_loop().time()
        watching: asyncio.Task[None] | None = None
        async for _ in team.run_stream():
            if watching is None:
                watching = asyncio.ensure_future(world.watch(args.slots))
        if watching is not None:
            watching.cancel()
    seconds = asyncio.get_running_loop().time() - began
    turns = world.turns.total()
    return {
        "trials": float(world.turns["submitted"]),
        "turns without a trial": world.turns["passed"] / turns,
        "of them needless": world.needless / turns,
        "slots busy": use.share(args.slots),
        "idle beside an idea": world.idle_with_ideas
        / max(world.idle_with_ideas, seconds * args.slots),
        "trial waits, s": sum(world.waits) / max(1, len(world.waits)),
        "hours": seconds / 3600,
    }


SCENES = (
    (1, 10.0, 60.0),
    (2, 10.0, 60.0),
    (8, 10.0, 60.0),
    (2, 10.0, 600.0),
    (2, 60.0, 60.0),
    (2, 200.0, 60.0),
)
"""Slots, seconds of a turn, and of a trial."""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--campaigns", type=int, default=4)
    parser.add_argument("--ideas", type=int, default=3, help="of each specialist at the start")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--scenes", type=int, default=len(SCENES), help="the first ones alone")
    args = parser.parse_args()
    for world, (slots, turn, trial) in itertools.product(args.worlds, SCENES[: args.scenes]):
        args.world, args.slots, args.turn, args.trial = world, slots, turn, trial
        found = [run_simulated(campaign(args, seed)) for seed in range(args.campaigns)]
        mean = {name: sum(one[name] for one in found) / len(found) for name in found[0]}
        words = ", ".join(f"{name} {value:.3g}" for name, value in mean.items())
        print(
            f"{args.world}, {slots} slots, turns {turn:g} s, trials {trial:g} s: {words}",
            flush=True,
        )


if __name__ == "__main__":
    main()
