"""A driver whose evaluator measures nothing: for tests, and as a process of its own.

``python -m tests.campaign.stub_drivers URL HOME run|join NAME TRIALS SECONDS`` works at a campaign
of the toy pack in the working directory, and prints how it ended.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autogen_core import FunctionCall
from autogen_core.models import (
    CreateResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    RequestUsage,
)

from recipelab import Plan
from recipelab.budget import BudgetLimits
from recipelab.campaign.campaign import Campaign
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Outcome, Phase, PhaseTiming, SeedRun, Status
from recipelab.evaluation.metric import METRIC
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.scratch import ScratchBench
from recipelab.evaluation.session import Overrides
from recipelab.lineage.leases import LeaseTimes
from recipelab.models import OfflineClient
from recipelab.packs.load import load_pack
from recipelab.sandbox import LocalSandbox
from recipelab.sandbox.slots import ANYWHERE, SlotPool

TIMES = LeaseTimes(beat=0.5, expiry=5.0)
"""Of drivers that are killed or put to sleep: short, and long enough for a busy machine."""


class Proposer(OfflineClient):
    """Asks the lineage, submits an edit that nobody has made, and ends its turn.

    Args:
        first: The first of the values that its edits set, one after the other.
    """

    def __init__(self, first: int) -> None:
        super().__init__()
        self._values = itertools.count(first)

    async def create(
        self, messages: Sequence[LLMMessage], *args: Any, **further: Any
    ) -> CreateResult:
        """The next step of the turn."""
        done = [m for m in messages if isinstance(m, FunctionExecutionResultMessage)]
        content: str | list[FunctionCall] = "Submitted."
        if not done:
            content = [FunctionCall("ask-1", json.dumps({"limit": 1}), "lineage_query")]
        elif len(done) == 1:
            edit = {
                "path": "recipe/train.py",
                "search": "X = 1.0",
                "replace": f"X = {next(self._values)}.5",
            }
            arguments = {
                "parent": 0,
                "hypothesis": "The bottom may lie there.",
                "expected_delta": -1.0,
                "edits": [edit],
            }
            content = [FunctionCall("submit-1", json.dumps(arguments), "submit_trial")]
        return CreateResult(
            finish_reason="stop" if isinstance(content, str) else "function_calls",
            content=content,
            usage=RequestUsage(prompt_tokens=1000, completion_tokens=100),
            cached=False,
        )


class Stub:
    """Discards every trial after a while, and says in the outcome whose it was.

    Args:
        name: What its outcomes have as their environment.
        seconds: How long a trial takes.
        slots: Trials at the same time.
        begun: Called as a trial begins that is not the baseline.
        gate: Trials wait for it.
    """

    sandbox_name = "stub"
    image = ""

    def __init__(
        self,
        name: str,
        seconds: float,
        slots: int = 1,
        begun: Callable[[], None] = lambda: None,
        gate: asyncio.Event | None = None,
    ) -> None:
        self.pack = load_pack("toy")
        self.data: dict[str, Path] = {}
        self.slots = slots
        self._name = name
        self._seconds = seconds
        self._begun = begun
        self._gate = gate

    def bench(self, secret: int) -> ScratchBench:
        """A bench whose sandbox was never started."""
        return ScratchBench(self.pack, LocalSandbox(), {}, SlotPool([ANYWHERE]))

    async def evaluate(
        self,
        recipe: Recipe,
        incumbent: Any,
        *,
        labels: Mapping[str, str] | None = None,
        observer: TrialObserver | None = None,
        **further: Any,
    ) -> Outcome:
        """An outcome after the set time; the baseline has it at once."""
        observer = observer or TrialObserver()
        observer.queued()
        observer.began(Phase.TRAIN, 1)
        if incumbent is not None:
            self._begun()
            if self._gate is not None:
                await self._gate.wait()
            await asyncio.sleep(self._seconds)
        timings = (PhaseTiming(Phase.TRAIN, 1.0, 1.0, 10.0),)
        runs = tuple(SeedRun(seed, timings, {METRIC: 1.0}) for seed in self.pack.seeds)
        status = Status.BASELINE if incumbent is None else Status.DISCARDED
        return Outcome(status, "stub", runs, score=1.0, score_se=0.1, environment=self._name)

    async def checkpoint(self, *arguments: Any, **further: Any) -> None:
        """Tests no line."""

    def spread_group(self, outcome: Outcome) -> tuple[float, ...]:
        """Tells nothing about noise."""
        return ()


def driver(
    url: str,
    home: Path,
    what: str,
    name: str,
    *,
    trials: int,
    stub: Stub,
    say: Callable[[str], None] = lambda text: None,
    times: LeaseTimes | None = None,
    **limits: Any,
) -> Campaign:
    """The campaign in this process, to be run: begun here, or joined."""
    times = times or LeaseTimes()
    overrides = Overrides(evaluator=stub, times=times)  # type: ignore[arg-type]
    if what == "join":
        return Campaign.join(
            name, home=home, lineage=url, overrides=overrides, times=times, say=say
        )
    plan = Plan(pack="toy", name=name, limits=BudgetLimits(trials=trials, **limits))
    return Campaign.create(plan, home=home, lineage=url, overrides=overrides, say=say)


def _told(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Works at a campaign as the command line says."""
    url, home, what, name, trials, seconds = sys.argv[1:]
    stub = Stub(str(os.getpid()), float(seconds))
    campaign = driver(
        url,
        Path(home),
        what,
        name,
        trials=int(trials),
        stub=stub,
        say=_told,
        times=TIMES,
    )
    with campaign:
        proposer = Proposer(1000 * os.getpid())
        _told(str(asyncio.run(campaign.run(clients={"": proposer}))))


if __name__ == "__main__":
    main()
