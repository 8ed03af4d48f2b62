"""Measures what agents wait for: the tools of the lineage, and the lineage view.

    python benchmarks/lineage_store.py --trials 100000 --file lineage.db
    python benchmarks/lineage_tools.py lineage.db

A tool is called as an agent calls it: arguments as JSON in, JSON out, in a thread of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lineage_fill import CAMPAIGN, PLAIN, RARE, SURFACES

from recipelab import LineageWorkbench
from recipelab.agents.lineage_view import ViewContext, render_lineage_view
from recipelab.lineage import LineageStore
from recipelab.packs.load import load_pack

Call = Callable[[], Awaitable[object]]


def calls(bench: LineageWorkbench, store: LineageStore, trials: int) -> dict[str, Call]:
    """One call of every tool, with arguments drawn anew each time."""
    rng = random.Random(3)

    def tool(name: str, arguments: Callable[[], dict[str, Any]]) -> Call:
        async def call() -> None:
            result = await bench.call_tool(name, arguments())
            assert not result.is_error, result.to_text()

        return call

    def some() -> int:
        return rng.randrange(trials)

    def edits() -> list[dict[str, str]]:
        line = rng.choice(lines)
        put = f"{line.split(' ')[0]} = {rng.random():.3f}"
        return [{"path": "recipe/train.py", "search": line, "replace": put}]

    lines = store.files(CAMPAIGN, 0)["recipe/train.py"].split("\n")[:-1]
    return {
        "lineage_query": tool("lineage_query", dict),
        "lineage_query, filters": tool(
            "lineage_query",
            lambda: {"status": ["gate_missed"], "surface": [rng.choice(SURFACES)], "order": "best"},
        ),
        "lineage_query, text": tool(
            "lineage_query", lambda: {"text": f"{rng.choice(PLAIN)} {rng.choice(PLAIN)}"}
        ),
        "lineage_failures": tool("lineage_failures", dict),
        "near_misses": tool("near_misses", dict),
        "trial_detail": tool("trial_detail", lambda: {"trial": some()}),
        "diff_trials": tool("diff_trials", lambda: {"before": some(), "after": some()}),
        "best_chain": tool("best_chain", dict),
        "children": tool("children", lambda: {"trial": some()}),
        "in_flight": tool("in_flight", dict),
        "similar_trials, edits": tool("similar_trials", lambda: {"edits": edits(), "parent": 0}),
        "similar_trials, text": tool(
            "similar_trials", lambda: {"text": f"{rng.choice(PLAIN)} {rng.choice(RARE)}"}
        ),
        "surface_summary": tool("surface_summary", dict),
    }


async def timed(call: Call, times: int) -> tuple[float, float]:
    """Median and 95th percentile of the CPU milliseconds of a call, all threads together."""
    await call()
    taken: list[float] = []
    for _ in range(times):
        start = time.process_time()
        await call()
        taken.append(1e3 * (time.process_time() - start))
    taken.sort()
    return taken[times // 2], taken[min(times - 1, int(times * 0.95))]


async def measure(file: Path, times: int) -> dict[str, Any]:
    """Measures every tool and the view of every specialist."""
    told: dict[str, Any] = {}
    pack = load_pack("airbench96")
    with LineageStore.open(file) as store:
        trials = store.trial_count(CAMPAIGN)
        bench = LineageWorkbench(store, CAMPAIGN)
        todo = calls(bench, store, trials)
        names = [item.name for item in store.specialists(CAMPAIGN)]

        async def view() -> None:
            name = random.choice(names)
            render_lineage_view(ViewContext(store, CAMPAIGN, pack, name, (name.split("-")[0],)))

        for name, call in {**todo, "lineage view": view}.items():
            p50, p95 = await timed(call, times)
            told[name] = {"p50 ms": p50, "p95 ms": p95}
            print(f"{name:28} {p50:8.2f} {p95:8.2f} ms", flush=True)
    told["memory MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"memory {told['memory MB']:.0f} MB")
    return told


def main() -> int:
    """Runs what is asked for, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="A lineage that lineage_store.py has filled.")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    told = asyncio.run(measure(given.file, given.times))
    if given.json:
        given.json.write_text(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
