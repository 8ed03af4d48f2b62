"""Evaluates all cases in real containers, a few at once, and notes what was seen from outside."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Outcome
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import METRIC, Incumbent
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.sandbox import DockerSandbox, PhaseRequest, PhaseResult

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
    baseline: dict[int, float] = field(default_factory=dict[int, float])

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
        self._data: dict[str, dict[str, Path]] = {}
        self._best: dict[tuple[str, bool], Incumbent] = {}

    async def run(self, cases: Iterable[Case]) -> dict[str, Seen]:
        """Evaluates cases; those that sleep until a deadline go first."""
        trials = sorted(together(cases).items(), key=lambda trial: trial[1].profile != "quick")
        for kind in {_kind(case) for _, case in trials}:
            await self._measure_baseline(*kind)
        queue = iter(trials)
        found: dict[str, Seen] = {}

        async def work() -> None:
            for names, case in queue:
                seen = await self._seen(case)
                found.update(dict.fromkeys(names, seen))

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        return found

    async def _seen(self, case: Case) -> Seen:
        evaluator = self._evaluator(case.pack, case.profile)
        best = self._best[_kind(case)]
        recipe = case.recipe(evaluator.pack, self._words)
        if case.profile == "timed" and case.replace is None:
            recipe = _working(recipe)
        for _ in range(case.repeat):
            outcome = await evaluator.evaluate(recipe, lambda: best, labels={"case": case.name})
        baseline = {seed: run.measures[METRIC] for seed, run in best.runs.items()}
        return Seen(outcome, self._sandbox.phases[case.name], baseline)

    async def _measure_baseline(self, pack: str, timed: bool) -> None:
        evaluator = self._evaluator(pack, "timed" if timed else "calm")
        recipe = evaluator.pack.baseline()
        if timed:
            recipe = _working(recipe)
        outcome = await evaluator.evaluate(recipe, None, labels={"case": f"baseline-{pack}"})
        assert outcome.status == "baseline", outcome
        runs = {run.seed: run for run in outcome.seed_runs}
        self._best[pack, timed] = Incumbent(0, recipe, runs, outcome.seed_runs)

    def _evaluator(self, name: str, profile: str) -> Evaluator:
        """A new one, with a slot of its own: the seeds of a trial come one after the other."""
        pack = load_pack(str(PACKS / name), profile)
        if name not in self._data:
            self._data[name] = ensure_data(pack, say=lambda text: None)
        return Evaluator(pack, self._sandbox, self._data[name], retry_seconds=0.01)


def together(cases: Iterable[Case]) -> dict[tuple[str, ...], Case]:
    """The trials to run, by the names of their cases: those of one batch become one recipe."""
    batches: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        batches[case.batch or case.name].append(case)
    return {tuple(case.name for case in batch): _merged(batch) for batch in batches.values()}


def _merged(batch: list[Case]) -> Case:
    joined = {
        part: "\n".join(filter(None, (getattr(case, part) for case in batch)))
        for part in ("train", "train_first", "predict", "predict_first")
    }
    files = {path: text for case in batch for path, text in case.files.items()}
    return replace(batch[0], files=files, **joined)


def _kind(case: Case) -> tuple[str, bool]:
    """The baseline that a case is held against: its pack, and whether time is measured."""
    return case.pack, case.profile == "timed"


def _working(recipe: Recipe) -> Recipe:
    return recipe.apply([Edit(TRAIN, "STEPS = 0", f"STEPS = {WORK}")], (TRAIN,))
