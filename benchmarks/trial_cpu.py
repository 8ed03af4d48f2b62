"""Own CPU of a trial with a stub model and a stub evaluator, and a real SQLite lineage on disk.

The whole group chat, two tool calls a turn, one trial a turn; or with ``--no-chat`` the queue and
the lineage view alone.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

os.environ.setdefault("AUTOGEN_DISABLE_RUNTIME_TRACING", "true")

from stubs import StubEvaluator, StubModel, toy_pack
from trial_queue import Seconds, queue_trials

from recipelab.packs.load import load_pack


class OtherLines(StubModel):
    """Adds a line that nobody has, in place of another value of the same knob."""

    numbers = itertools.count(1)

    def _proposal(self) -> dict[str, object]:
        edit = {
            "path": "recipe/train.py",
            "search": "X = 1.0",
            "replace": f"UNUSED = {next(self.numbers)}\nX = 1.0",
        }
        return super()._proposal() | {"edits": [edit]}


async def chat_trials(folder: Path, trials: int, *, one_knob: bool) -> AsyncIterator[Seconds]:
    """Runs a campaign in the group chat, and gives the CPU seconds of each trial."""
    from recipelab import Plan, ResearchGroupChat
    from recipelab.budget import BudgetLimits
    from recipelab.core.content import Home
    from recipelab.evaluation.session import Overrides

    overrides = Overrides(evaluator=StubEvaluator(toy_pack()))  # type: ignore[arg-type]
    plan = Plan(pack="toy", limits=BudgetLimits(trials=trials), ahead=0)
    model = StubModel() if one_knob else OtherLines()
    team = ResearchGroupChat(plan, home=Home(folder), overrides=overrides, clients={"": model})
    mark: float | None = None
    async for item in team.run_stream():
        if "trials" in getattr(item, "metadata", {}):
            if mark is not None:  # before it lies the baseline
                yield {"chat": time.process_time() - mark}
            mark = time.process_time()


def yardstick() -> float:
    """CPU seconds of a fixed piece of work, a millisecond or so.

    It is done after every trial: a shared machine drifts by a half, and this by as much.
    """
    began = time.process_time()
    for number in range(120):
        json.loads(json.dumps({str(key): [key, "word"] for key in range(number % 20)}))
    return time.process_time() - began


def memory_mb() -> float:
    """Memory that this process holds now, in MB; Linux only."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def windows(args: argparse.Namespace) -> None:
    """Prints the CPU milliseconds of a trial in each window."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.no_chat:
            pack = load_pack(args.pack) if args.pack else None
            file = folder / "lineage.db"
            trials = queue_trials(file, args.trials, one_knob=args.one_knob, pack=pack)
        else:
            trials = chat_trials(folder, args.trials, one_knob=args.one_knob)
        seconds: defaultdict[str, float] = defaultdict(float)
        done, sticks = 0, 0.0
        async for used in trials:
            for stage, value in used.items():
                seconds[stage] += value
            sticks += yardstick()
            done += 1
            if done % args.every == 0:
                told = {stage: 1e3 * value / args.every for stage, value in seconds.items()}
                parts = ", ".join(f"{stage} {value:.2f}" for stage, value in told.items())
                total, stick = sum(told.values()), 1e3 * sticks / args.every
                print(f"{done:>7} trials: {total:.2f} ms CPU each ({parts})", end="; ")
                print(f"{total / stick:.1f} yardsticks of {stick:.2f} ms", end="; ")
                print(f"{memory_mb():.0f} MB in memory", flush=True)
                seconds.clear()
                sticks = 0.0


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--no-chat", action="store_true", help="the queue and the view alone")
    parser.add_argument(
        "--one-knob", action="store_true", help="turn the same knob in every trial: the worst case"
    )
    parser.add_argument(
        "--pack", help="with --no-chat: edit the recipe of this pack instead of the toy pack's"
    )
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    if args.profile:
        import cProfile
        import pstats

        with cProfile.Profile() as profile:
            asyncio.run(windows(args))
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(45)
        return
    asyncio.run(windows(args))


if __name__ == "__main__":
    main()
