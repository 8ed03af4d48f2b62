"""Own CPU of a trial: the whole group chat with a stub model and a stub evaluator.

Two tool calls a turn, one trial a turn, a real SQLite lineage on disk.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("AUTOGEN_DISABLE_RUNTIME_TRACING", "true")

from stubs import StubEvaluator, StubModel, toy_pack

from recipelab import Plan, ResearchGroupChat
from recipelab.budget import Limits
from recipelab.home import Home
from recipelab.lab import Parts


async def windows(trials: int, every: int) -> list[tuple[int, float]]:
    """CPU milliseconds of a trial in each window."""
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(evaluator=StubEvaluator(toy_pack()))  # type: ignore[arg-type]
        plan = Plan(pack="toy", limits=Limits(trials=trials), ahead=0)
        team = ResearchGroupChat(
            plan, home=Home(Path(folder)), parts=parts, clients={"": StubModel()}
        )
        found: list[tuple[int, float]] = []
        done, mark = 0, time.process_time()
        async for item in team.run_stream():
            done += "trials" in getattr(item, "metadata", {})
            if done and done % every == 0 and (not found or found[-1][0] != done):
                now = time.process_time()
                found.append((done, 1000 * (now - mark) / every))
                mark = now
                print(f"{done:>7} trials: {found[-1][1]:.2f} ms CPU each", flush=True)
    return found


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    if args.profile:
        import cProfile
        import pstats

        with cProfile.Profile() as profile:
            asyncio.run(windows(args.trials, args.every))
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(45)
        return
    asyncio.run(windows(args.trials, args.every))


if __name__ == "__main__":
    main()
