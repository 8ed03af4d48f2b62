"""How busy slots are: trials of a minute, turns of ten seconds, on a simulated clock.

The group chat, the queue and the lineage are the real ones; model and evaluator only take time.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import tempfile
from pathlib import Path

os.environ.setdefault("AUTOGEN_DISABLE_RUNTIME_TRACING", "true")

from simulated_clock import run_simulated
from stubs import StubEvaluator, StubModel, toy_pack

from recipelab import Plan, ResearchGroupChat
from recipelab.budget import BudgetLimits
from recipelab.core.content import Home
from recipelab.evaluation.session import Overrides


class Use:
    """How long slots were busy after the baseline, on the simulated clock."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []

    def __call__(self, since: float, until: float) -> None:
        """Notes that a slot was busy from one moment to another."""
        self.spans.append((since, until))

    def share(self, slots: int) -> float:
        """Busy seconds over seconds that there were, between the baseline and the last start."""
        begin = self.spans[0][1]
        end = max(since for since, _ in self.spans)
        busy = sum(max(0.0, min(until, end) - max(since, begin)) for since, until in self.spans[1:])
        return busy / (slots * (end - begin))


class UnevenModel(StubModel):
    """Turns of uneven length: uniform from half the mean to one and a half."""

    def __init__(self, seconds: float, values: itertools.count[int], uneven: bool) -> None:
        super().__init__(seconds, values)
        self._mean = seconds
        self._uneven = random.Random(1) if uneven else None

    async def create(self, messages, **more):  # type: ignore[no-untyped-def, override]
        """See :class:`StubModel`."""
        if self._uneven:
            self._seconds = self._mean * self._uneven.uniform(0.5, 1.5)
        return await super().create(messages, **more)


async def busy(args: argparse.Namespace) -> tuple[float, float]:
    """The share of slot time that was busy, and the simulated hours."""
    with tempfile.TemporaryDirectory() as folder:
        use = Use()
        pack = toy_pack()
        evaluator = StubEvaluator(pack, args.slots, args.trial, use)
        # As many trials at once as slots: one seed a trial.
        pack = evaluator.pack = pack.model_copy(update={"seeds": (1,)})
        plan = Plan(pack="toy", limits=BudgetLimits(trials=args.trials), ahead=args.ahead)
        model = UnevenModel(args.turn, itertools.count(1), args.uneven)
        team = ResearchGroupChat(
            plan,
            home=Home(Path(folder)),
            overrides=Overrides(evaluator=evaluator),  # type: ignore[arg-type]
            clients={"": model},
        )
        team._session.pack = pack
        async for _ in team.run_stream():
            pass
        return use.share(args.slots), asyncio.get_running_loop().time() / 3600


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--trial", type=float, default=60.0, help="seconds of a trial")
    parser.add_argument("--turn", type=float, default=10.0, help="seconds of a turn")
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--ahead", type=int, default=None)
    parser.add_argument("--uneven", action="store_true", help="turns of uneven length")
    args = parser.parse_args()
    share, hours = run_simulated(busy(args))
    print(
        f"{args.slots} slots, trials {args.trial:g} s, turns {args.turn:g} s: "
        f"busy {share:.2%} of {hours:.2f} simulated hours"
    )


if __name__ == "__main__":
    main()
