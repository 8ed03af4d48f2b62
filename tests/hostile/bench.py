"""Evaluates all cases in real containers, a few at once, and notes what was seen from outside."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from recipelab.data import ensure_data
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import Reference, mean_predict
from recipelab.packs import load_pack
from recipelab.recipe import Recipe
from recipelab.sandbox import DockerSandbox, PhaseRequest, PhaseResult
from recipelab.sandbox.slots import ANYWHERE, SlotPool
from recipelab.trial import Edit, Outcome

from .case import TRAIN, Case

PACKS = Path(__file__).parent / "project" / "task_packs"
AT_ONCE = 5
WORK = 12_000_000
"""Turns of an empty loop: what the baseline of the profile ``timed`` spends its time on."""


@dataclass(frozen=True)
class PhaseSeen:
    """One phase of a case, and how long the sandbox took for all of it."""

    request: PhaseRequest
    result: PhaseResult
    elapsed: float


@dataclass
class Seen:
    """What became of a case."""

    outcome: Outcome
    phases: list[PhaseSeen] = field(default_factory=list[PhaseSeen])

    @property
    def log(self) -> str:
        """What the recipe printed, in all phases."""
        return "\n".join(seen.result.log for seen in self.phases if seen.request.phase != "score")


class WatchedSandbox(DockerSandbox):
    """Times each phase from outside, and marks its processes so that they can be found."""

    def __init__(self, *, image: str, marker: str) -> None:
        super().__init__(image=image)
        self._marker = marker
        self.phases: dict[str, list[PhaseSeen]] = defaultdict(list)

    async def run(self, request: PhaseRequest) -> PhaseResult:
        marked = replace(
            request,
            command=(*request.command, self._marker),
            environment={**request.environment, "RECIPELAB_TEST_MARKER": self._marker},
        )
        begun = time.monotonic()
        result = await super().run(marked)
        seen = PhaseSeen(marked, result, time.monotonic() - begun)
        self.phases[request.labels["case"]].append(seen)
        return result


class Bench:
    """Runs cases. A profile is measured against the baseline of its pack."""

    def __init__(self, sandbox: WatchedSandbox, words: Mapping[str, str]) -> None:
        self._sandbox = sandbox
        self._words = words
        self._pool = SlotPool([ANYWHERE] * AT_ONCE)
        self._evaluators: dict[tuple[str, str], Evaluator] = {}
        self._best: dict[tuple[str, bool], Reference] = {}

    async def run(self, cases: Iterable[Case]) -> dict[str, Seen]:
        """Evaluates cases; those that sleep until a deadline go first."""
        ordered = sorted(cases, key=lambda case: case.profile != "quick")
        for kind in {self._kind(case) for case in ordered}:
            await self._measure_baseline(*kind)
        queue = iter(ordered)
        found: dict[str, Seen] = {}

        async def work() -> None:
            for case in queue:
                found[case.name] = await self._seen(case)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        return found

    async def _seen(self, case: Case) -> Seen:
        evaluator = self._evaluator(case.pack, case.profile)
        best = self._best[self._kind(case)]
        recipe = case.recipe(evaluator.pack, self._words)
        if case.profile == "timed" and case.replace is None:
            recipe = _working(recipe)
        for _ in range(case.repeat):
            outcome = await evaluator.evaluate(recipe, lambda: best, labels={"case": case.name})
        return Seen(outcome, self._sandbox.phases[case.name])

    async def _measure_baseline(self, pack: str, timed: bool) -> None:
        evaluator = self._evaluator(pack, "timed" if timed else "calm")
        recipe = evaluator.pack.baseline()
        if timed:
            recipe = _working(recipe)
        outcome = await evaluator.evaluate(recipe, None, labels={"case": f"baseline-{pack}"})
        assert outcome.status == "baseline", outcome
        runs = {run.seed: run for run in outcome.seed_runs}
        self._best[pack, timed] = Reference(0, recipe, runs, mean_predict(outcome.seed_runs))

    def _kind(self, case: Case) -> tuple[str, bool]:
        return case.pack, case.profile == "timed"

    def _evaluator(self, name: str, profile: str) -> Evaluator:
        if (name, profile) not in self._evaluators:
            pack = load_pack(str(PACKS / name), profile)
            data = ensure_data(pack, say=lambda text: None)
            self._evaluators[name, profile] = Evaluator(
                pack, self._sandbox, data, pool=self._pool, retry_seconds=0.01
            )
        return self._evaluators[name, profile]


def _working(recipe: Recipe) -> Recipe:
    return recipe.apply([Edit(TRAIN, "STEPS = 0", f"STEPS = {WORK}")], (TRAIN,))
