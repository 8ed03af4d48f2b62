"""Stand-ins for what costs money or hardware, behind the same interfaces: a model, an evaluator."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import (
    CreateResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    RequestUsage,
)
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Outcome, Phase, PhaseTiming, SeedRun, Status
from recipelab.evaluation.metric import METRIC, Incumbent
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.scratch import ScratchBench
from recipelab.models import OfflineClient
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox
from recipelab.sandbox.slots import ANYWHERE, SlotPool

PROJECT = Path(__file__).parents[1] / "tests/project"


def toy_pack() -> Pack:
    """The toy pack of the tests; its project becomes the working directory."""
    os.chdir(PROJECT)
    return load_pack("toy")


class StubModel(OfflineClient):
    """Asks the lineage, submits an edit that nobody has made, and ends its turn.

    Args:
        seconds: How long a turn takes, on the clock of the running loop.
        values: Gives the value of each edit; shared, so that no two are alike.
    """

    def __init__(self, seconds: float = 0.0, values: itertools.count[int] | None = None) -> None:
        super().__init__()
        self._seconds = seconds
        self._values = values or itertools.count(1)

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: Tool | Literal["auto", "required", "none"] = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        """The next step of the turn; the first one takes the time."""
        done = [m for m in messages if isinstance(m, FunctionExecutionResultMessage)]
        if not done and self._seconds:
            await asyncio.sleep(self._seconds)
        content: str | list[FunctionCall] = "Submitted."
        if not done:
            content = [_call("lineage_query", {"limit": 5})]
        elif len(done) == 1:
            content = [_call("submit_trial", self._proposal())]
        usage = RequestUsage(prompt_tokens=1000, completion_tokens=100)
        reason: Literal["stop", "function_calls"] = (
            "stop" if isinstance(content, str) else "function_calls"
        )
        return CreateResult(finish_reason=reason, content=content, usage=usage, cached=False)

    def _proposal(self) -> dict[str, Any]:
        edit = {
            "path": "recipe/train.py",
            "search": "X = 1.0",
            "replace": f"X = {next(self._values)}.5",
        }
        return {
            "parent": 0,
            "hypothesis": "The bottom may lie there.",
            "expected_delta": -1.0,
            "edits": [edit],
        }


def _call(name: str, arguments: dict[str, Any]) -> FunctionCall:
    return FunctionCall(id=f"{name}-1", name=name, arguments=json.dumps(arguments))


class StubEvaluator:
    """Judges without measuring: one trial in twenty is kept, one in four crashes.

    Args:
        pack: The pack.
        slots: Trials that run at the same time.
        seconds: How long a trial takes, on the clock of the running loop.
        busy: Told how many seconds a slot was busy.
    """

    sandbox_name = "stub"
    image = ""

    def __init__(
        self,
        pack: Pack,
        slots: int = 1,
        seconds: float = 0.0,
        busy: Callable[[float, float], None] = lambda since, until: None,
    ) -> None:
        self.pack = pack
        self.data: dict[str, Path] = {}
        self.slots = slots
        self._seconds = seconds
        self._busy = busy
        self._random = random.Random(1)

    def bench(self, secret: int) -> ScratchBench:
        """Return a bench whose sandbox was never started."""
        return ScratchBench(self.pack, LocalSandbox(), {}, SlotPool([ANYWHERE]))

    async def evaluate(
        self,
        recipe: Recipe,
        incumbent: Callable[[], Incumbent] | None,
        *,
        labels: Mapping[str, str] | None = None,
        observer: TrialObserver | None = None,
        **further: Any,
    ) -> Outcome:
        """Gives an outcome after the set time."""
        observer = observer or TrialObserver()
        observer.queued()
        observer.began(Phase.TRAIN, 1)
        since = asyncio.get_running_loop().time()
        if self._seconds:
            await asyncio.sleep(self._seconds)
        self._busy(since, asyncio.get_running_loop().time())
        timings = (PhaseTiming(Phase.TRAIN, 1.0, 1.0, 10.0),)
        measures = {"score.loss": 1.0, METRIC: 1.0}
        runs = tuple(SeedRun(seed, timings, measures) for seed in self.pack.seeds)
        if incumbent is None:
            status, delta = Status.BASELINE, None
        else:
            status = Status.KEPT if self._random.random() < 0.05 else Status.DISCARDED
            delta = -0.01 if status is Status.KEPT else 0.02
        return Outcome(
            status=status,
            reason="stub",
            seed_runs=runs,
            score=1.0,
            score_se=0.1,
            delta=delta,
            delta_se=0.01 if delta else None,
        )

    async def checkpoint(self, *arguments: Any, **further: Any) -> None:
        """Tests no line."""

    def spread_group(self, outcome: Outcome) -> tuple[float, ...]:
        """Tells nothing about noise."""
        return ()
