"""Runs the phases of a trial in a sandbox and turns what they leave into measurements."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from recipelab.evaluation.failures import (
    failure_of,
    missing_output,
    signature_of,
    status_of,
)
from recipelab.evaluation.workspace import Workspace, folder_bytes
from recipelab.pack import SANDBOX_MEASURES, Pack
from recipelab.recipe import Recipe
from recipelab.sandbox.base import Limits, PhaseRequest, PhaseResult, Sandbox
from recipelab.trial import Failure, FailureKind, Phase, PhaseTiming, SeedRun, Status

CoreSet = tuple[int, ...] | None
"""Numbers of cores; ``None`` for any."""

Watch = Callable[[Phase, int | None], None]
"""Told when a phase of a seed begins."""

SCORE_FILE = "score.json"
SCORE_LIMIT_BYTES = 65_536
BAD_PREDICTIONS_EXIT = 3
"""Exit code with which a scorer says that the predictions, not itself, are at fault."""


class PhaseFailed(Exception):
    """A phase failed for a reason that lies in the recipe.

    Attributes:
        status: The status that the trial gets.
        failure: What went wrong.
        result: What the sandbox saw.
    """

    def __init__(self, status: Status, failure: Failure, result: PhaseResult) -> None:
        super().__init__(failure.signature)
        self.status = status
        self.failure = failure
        self.result = result


class EvaluatorFault(Exception):
    """The pack's own evaluator failed, or gave no usable figures: not the recipe's fault."""


class PhaseRunner:
    """Runs single phases of one trial.

    Args:
        pack: Commands, data and limits.
        sandbox: Where they run.
        workspace: The trial's folders.
        labels: What the phases belong to, for the sandbox.
        watch: Told when a phase begins.
    """

    def __init__(
        self,
        pack: Pack,
        sandbox: Sandbox,
        workspace: Workspace,
        *,
        labels: Mapping[str, str],
        watch: Watch,
    ) -> None:
        self._pack = pack
        self._sandbox = sandbox
        self._workspace = workspace
        self._labels = labels
        self._watch = watch
        self.last: PhaseResult | None = None

    async def preflight(self) -> None:
        """One tiny step of the recipe, in seconds, before any budget is spent.

        Raises:
            PhaseFailed: The recipe does not get through it.
        """
        await self._run(Phase.PREFLIGHT, self._pack.seeds[0])

    async def train(self, seed: int, cores: CoreSet = None, *, sharing: int = 1) -> PhaseResult:
        """Trains with one seed; the artifact stays in the workspace.

        Args:
            seed: The seed.
            cores: The only cores to use.
            sharing: How many phases share these cores; the deadline is that much later.

        Raises:
            PhaseFailed: It failed through the recipe's fault.
            SandboxError: The machinery failed.
        """
        return await self._run(Phase.TRAIN, seed, cores, sharing)

    async def finish(
        self, recipe: Recipe, seed: int, trained: PhaseResult, cores: CoreSet = None
    ) -> SeedRun:
        """Predicts with what was trained, scores the predictions, and gathers all measurements.

        Raises:
            PhaseFailed: A phase failed through the recipe's fault.
            EvaluatorFault: The scorer failed by itself.
            SandboxError: The machinery failed.
        """
        results = {Phase.TRAIN: trained}
        for phase in (Phase.PREDICT, Phase.SCORE):
            results[phase] = await self._run(phase, seed, cores)
        measures = _read_score(
            self._workspace.output(Phase.SCORE, seed), results[Phase.SCORE], seed
        )
        measures |= sandbox_measures(results)
        measures["artifact.bytes"] = folder_bytes(self._workspace.output(Phase.TRAIN, seed))
        measures["recipe.bytes"] = sum(len(text.encode()) for text in recipe.files.values())
        self._check(measures)
        timings = tuple(
            PhaseTiming(phase, result.wall_seconds, result.cpu_seconds, result.peak_memory_mb)
            for phase, result in results.items()
        )
        return SeedRun(seed, timings, measures)

    async def _run(
        self, phase: Phase, seed: int, cores: CoreSet = None, sharing: int = 1
    ) -> PhaseResult:
        self._watch(phase, None if phase is Phase.PREFLIGHT else seed)
        output = self._workspace.output(phase, seed)
        result = await self._sandbox.run(self._request(phase, seed, output, cores, sharing))
        self.last = result
        if not result.ok:
            raise self._failed(phase, seed, result)
        if phase in (Phase.TRAIN, Phase.PREDICT) and not any(output.iterdir()):
            what = "artifact" if phase is Phase.TRAIN else "predictions"
            failure = missing_output(phase, what, seed=seed, result=result)
            raise PhaseFailed(Status.CRASHED, failure, result)
        return result

    def _failed(self, phase: Phase, seed: int, result: PhaseResult) -> Exception:
        budget = self._pack.seconds(phase)
        failure = failure_of(result, phase, seed=seed, budget=budget)
        if phase is not Phase.SCORE:
            return PhaseFailed(status_of(result, phase), failure, result)
        if result.exit_code == BAD_PREDICTIONS_EXIT:
            bad = _bad_predictions(result.log, seed)
            return PhaseFailed(Status.CRASHED, bad, result)
        return EvaluatorFault(f"the scorer failed: {failure.signature}\n{failure.excerpt}")

    def _request(
        self, phase: Phase, seed: int, output: Path, cores: CoreSet, sharing: int
    ) -> PhaseRequest:
        limits = self._pack.limits
        return PhaseRequest(
            phase=phase.value,
            command=tuple(
                word.replace("{seed}", str(seed)) for word in self._pack.phases[phase].command
            ),
            inputs=self._workspace.inputs(phase, seed),
            output=output,
            limits=Limits(
                seconds=self._pack.seconds(phase) * sharing,
                memory_mb=limits.memory_mb,
                cpus=limits.cpus,
                pids=limits.pids,
                output_mb=limits.output_mb,
                output_files=limits.output_files,
                cpu_set=cores,
            ),
            labels={**self._labels, "seed": str(seed)},
        )

    def _check(self, measures: Mapping[str, float]) -> None:
        wanted = {self._pack.metric.measure, *(gate.measure for gate in self._pack.gates)}
        missing = sorted(wanted - set(measures))
        if missing:
            have = ", ".join(sorted(measures))
            raise EvaluatorFault(f"no measurement {missing[0]!r}; there are: {have}")


def sandbox_measures(results: Mapping[Phase, PhaseResult]) -> dict[str, float]:
    """What the sandbox measured of some phases, as ``train.cpu_seconds``."""
    return {
        f"{phase}.{name}": float(value)
        for phase, result in results.items()
        for name in SANDBOX_MEASURES
        if (value := getattr(result, name)) is not None
    }


def _bad_predictions(log: str, seed: int) -> Failure:
    lines = log.strip().splitlines()
    line = lines[-1] if lines else "the scorer refused the predictions"
    kind = FailureKind.BAD_OUTPUT
    return Failure(Phase.SCORE, kind, signature_of(line), "\n".join(lines[-6:])[:1_600], seed)


def _read_score(folder: Path, result: PhaseResult, seed: int) -> dict[str, float]:
    """Reads ``score.json``; it is the pack's own evaluator that wrote it, with no recipe near."""
    path = folder / SCORE_FILE
    if not path.is_file() or path.stat().st_size > SCORE_LIMIT_BYTES:
        raise EvaluatorFault(f"the scorer left no {SCORE_FILE} (or one over {SCORE_LIMIT_BYTES} B)")
    try:
        table = json.loads(path.read_text("utf-8"))
        measures = {f"score.{key}": float(value) for key, value in table.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise EvaluatorFault(f"{SCORE_FILE} is no table of numbers: {error}") from None
    broken = sorted(name for name, value in measures.items() if not math.isfinite(value))
    if broken:
        line = f"{broken[0]} is not a finite number"
        failure = Failure(Phase.SCORE, FailureKind.NAN, signature_of(line), line, seed)
        raise PhaseFailed(Status.CRASHED, failure, result)
    return measures
