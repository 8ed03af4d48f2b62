"""Several drivers on one campaign in PostgreSQL: trials lost or run twice, budget, own CPU a trial.

    python benchmarks/drivers.py --lineage postgresql+psycopg://user@host/name --trials 2000
    python benchmarks/drivers.py --drivers 1 --trials 2000       # SQLite, to compare with

Each driver is a process with the whole group chat, a stub model and a stub evaluator, whose trials
take no time. A schema of the database is made for the run, and dropped.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("AUTOGEN_DISABLE_RUNTIME_TRACING", "true")

from stubs import StubEvaluator, StubModel, toy_pack

NAME = "shared"
START_SECONDS = 120.0
WARM = 5
"""Trials of each driver that are left out of its CPU time."""


class OtherLines(StubModel):
    """Adds a line that nobody has; each process has numbers of its own."""

    numbers = itertools.count(1_000_000 * os.getpid())

    def _proposal(self) -> dict[str, object]:
        edit = {
            "path": "recipe/train.py",
            "search": "X = 1.0",
            "replace": f"UNUSED = {next(self.numbers)}\nX = 1.0",
        }
        return super()._proposal() | {"edits": [edit]}


async def drive(url: str, home: Path, what: str, trials: int, slots: int) -> dict[str, float]:
    """Works at the campaign; returns the CPU seconds of its trials, and how many these were."""
    from recipelab import Plan
    from recipelab.budget import BudgetLimits
    from recipelab.campaign.campaign import Campaign
    from recipelab.evaluation.session import Overrides

    evaluator = StubEvaluator(toy_pack(), slots=slots)
    overrides = Overrides(evaluator=evaluator)  # type: ignore[arg-type]
    if what == "join":
        campaign = Campaign.join(NAME, home=home, lineage=url, overrides=overrides, ahead=0)
    else:
        plan = Plan(pack="toy", name=NAME, limits=BudgetLimits(trials=trials), ahead=0)
        campaign = Campaign.create(plan, home=home, lineage=url, overrides=overrides)
    marks: list[float] = []
    with campaign:
        async for item in campaign.stream(clients={"": OtherLines()}):
            if "trials" in getattr(item, "metadata", {}):
                marks.append(time.process_time())
    # The first trials load what a process loads once.
    later = marks[WARM:]
    return {"cpu": later[-1] - later[0] if later else 0.0, "trials": max(0, len(later) - 1)}


def schema_of(server: str, *, drop: bool) -> str:
    """Makes or drops the schema of this run, and returns the URL that names it."""
    from sqlalchemy import create_engine, make_url, text

    name = f"recipelab_drivers_{os.getpid()}"
    engine = create_engine(server)
    with engine.begin() as connection:
        what = f"DROP SCHEMA {name} CASCADE" if drop else f"CREATE SCHEMA {name}"
        connection.execute(text(what))
    engine.dispose()
    url = make_url(server).update_query_dict({"options": f"-csearch_path={name}"})
    return url.render_as_string(hide_password=False)


def measured(url: str, folder: Path, args: argparse.Namespace) -> None:
    """Runs the drivers to the end of the campaign, and prints what came of it."""
    from recipelab.lineage import LineageStore

    def start(what: str, number: int) -> subprocess.Popen[str]:
        words = [url, str(folder / f"home{number}"), what, str(args.trials), str(args.slots)]
        command = [sys.executable, __file__, "--child", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    began = time.monotonic()
    processes = [start("run", 0)]
    with LineageStore.open(url, create=True) as store:
        while not (store.campaigns() and store.counts(NAME)):
            assert time.monotonic() - began < START_SECONDS, "the first driver did not begin"
            time.sleep(0.1)
        processes += [start("join", number) for number in range(1, args.drivers)]
        told = [json.loads(one.communicate()[0].splitlines()[-1]) for one in processes]
        wall = time.monotonic() - began
        report(store, told, wall, args)


def report(
    store: object, told: list[dict[str, float]], wall: float, args: argparse.Namespace
) -> None:
    """Prints how many trials are there, lost and twice, and what each took."""
    from recipelab.lineage import LineageStore

    assert isinstance(store, LineageStore)
    counts = store.counts(NAME)
    spent = sum(n for status, n in counts.items() if status and status.counts)
    orders = store.judged_since(NAME, 0)
    twice = len(orders) - len({number for _, number in orders})
    cpu, own = (sum(one[key] for one in told) for key in ("cpu", "trials"))
    by_driver = ", ".join(f"{one['trials']:.0f}" for one in told)
    print(f"{args.drivers} drivers: {spent} trials of {args.trials} in {wall:.0f} s")
    print(f"  without an outcome {counts.get(None, 0)}, twice {twice}, over {spent - args.trials}")
    print(f"  {1e3 * cpu / max(1, own):.2f} ms CPU a trial; trials of each driver {by_driver}")


def main() -> None:
    """Runs the benchmark, or is one of its drivers."""
    if sys.argv[1:2] == ["--child"]:
        url, home, what, trials, slots = sys.argv[2:]
        print(json.dumps(asyncio.run(drive(url, Path(home), what, int(trials), int(slots)))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lineage", help="server to make a schema in; default a SQLite file")
    parser.add_argument("--drivers", type=int, default=4)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=1, help="of each driver")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.lineage is None:
            measured(f"sqlite:///{folder / 'lineage.db'}", folder, args)
            return
        url = schema_of(args.lineage, drop=False)
        try:
            measured(url, folder, args)
        finally:
            schema_of(args.lineage, drop=True)


if __name__ == "__main__":
    main()
