"""Reads what the pack's own scorer says: its exit code, its log and its ``score.json``."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Failure, FailureKind, Phase, PhaseTiming, SeedRun, Status
from recipelab.evaluation.failures import (
    EXCERPT_CHARACTERS,
    EvaluatorFault,
    PhaseFailed,
    failure_of,
    missing_output,
    signature_of,
    status_of,
)
from recipelab.evaluation.integrity import (
    SCORE_FILE,
    FileHashes,
    broken_rule,
    tampering,
    tripwires,
    withheld,
)
from recipelab.evaluation.observers import Watch, observed_phase
from recipelab.evaluation.workspace import Workspace, folder_bytes, packed_bytes, recipe_bytes
from recipelab.packs.pack import Pack
from recipelab.packs.sections import PACKED, SANDBOX_MEASURES
from recipelab.sandbox.base import Input, PhaseLimits, PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.slots import ANYWHERE, Slot

SCORE_LIMIT_BYTES = 65_536
BAD_PREDICTIONS_EXIT = 3
"""Exit code with which a scorer says that the predictions, not itself, are at fault."""
BROKEN_RULE_EXIT = 4
"""Exit code with which a scorer says that the predictions break a rule, with the evidence."""


def scorer_failed(result: PhaseResult, *, seed: int, budget: float) -> Exception:
    """What to raise for a scorer that did not end well."""
    if result.exit_code == BROKEN_RULE_EXIT:
        return PhaseFailed(Status.ILLEGAL, broken_rule(result.log, seed=seed), result)
    if result.exit_code == BAD_PREDICTIONS_EXIT:
        return PhaseFailed(Status.CRASHED, _bad_predictions(result.log, seed), result)
    return evaluator_failed(result, Phase.SCORE, seed=seed, budget=budget)


def rules_failed(result: PhaseResult, *, seed: int, budget: float) -> Exception:
    """What to raise for the pack's rules, if they did not pass a recipe."""
    if result.exit_code == BROKEN_RULE_EXIT:
        broken = broken_rule(result.log, seed=seed, phase=Phase.PREFLIGHT)
        return PhaseFailed(Status.ILLEGAL, broken, result)
    failure = failure_of(result, Phase.PREFLIGHT, seed=seed, budget=budget)
    return EvaluatorFault(f"the pack's rules failed: {failure.signature}\n{failure.excerpt}")


def evaluator_failed(
    result: PhaseResult, phase: Phase, *, seed: int, budget: float
) -> EvaluatorFault:
    """What to raise for a phase of the evaluator that failed by itself."""
    failure = failure_of(result, phase, seed=seed, budget=budget)
    who = "scorer" if phase is Phase.SCORE else f"evaluator's {phase}"
    return EvaluatorFault(f"the {who} failed: {failure.signature}\n{failure.excerpt}")


def read_score(folder: Path, result: PhaseResult, seed: int) -> dict[str, float]:
    """Reads ``score.json``; it is the pack's own evaluator that wrote it, with no recipe near.

    Raises:
        EvaluatorFault: It is missing, too large, or no table of numbers.
        PhaseFailed: A number is not finite.
    """
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


def _bad_predictions(log: str, seed: int) -> Failure:
    lines = log.strip().splitlines()
    line = lines[-1] if lines else "the scorer refused the predictions"
    excerpt = "\n".join(lines[-6:])[:EXCERPT_CHARACTERS]
    return Failure(Phase.SCORE, FailureKind.BAD_OUTPUT, signature_of(line), excerpt, seed)


NONCE_BITS = 48
"""Size of the random number that prepare gets. A float holds it exactly, so it can be recorded."""

_EVALUATOR_ENVIRONMENT = {"PYTHONPATH": "lib"}


class PhaseRunner:
    """Runs single phases of one trial.

    Args:
        pack: Commands, data and limits.
        sandbox: Where they run.
        workspace: The trial's folders.
        seals: Files that the recipe may not change.
        labels: What the phases belong to, for the sandbox.
        watch: Told how the trial gets on.
    """

    def __init__(
        self,
        pack: Pack,
        sandbox: Sandbox,
        workspace: Workspace,
        seals: FileHashes,
        *,
        labels: Mapping[str, str],
        watch: Watch,
    ) -> None:
        self._pack = pack
        self._sandbox = sandbox
        self._workspace = workspace
        self._seals = seals
        self._labels = labels
        self.watch = watch
        self._nonces: dict[int, int] = {}
        self._results: dict[tuple[Phase, int], PhaseResult] = {}
        self.last: PhaseResult | None = None

    async def preflight(self, slot: Slot = ANYWHERE, seed: int | None = None) -> None:
        """One tiny step of the recipe, in seconds, before any budget is spent; also a warm-up.

        Args:
            slot: Where to run.
            seed: The seed; ``None`` for the pack's first.

        Raises:
            PhaseFailed: The recipe does not get through it.
            SandboxError: The machinery failed.
        """
        seed = self._pack.seeds[0] if seed is None else seed
        self._workspace.clear(Phase.PREFLIGHT, seed)
        if self._pack.evaluator.rules:
            await self.check_rules(slot)
        await self._run(Phase.PREFLIGHT, seed, slot)

    async def check_rules(self, slot: Slot = ANYWHERE) -> None:
        """Has the pack's static rules read the recipe, of which nothing runs.

        Raises:
            PhaseFailed: The recipe breaks a rule.
            EvaluatorFault: The rules failed by themselves.
            SandboxError: The machinery failed.
        """
        seed = self._pack.seeds[0]
        folder = self._workspace.output(Phase.PREFLIGHT, seed)
        inputs = self._workspace.readers_inputs()
        request = self._request(Phase.PREFLIGHT, seed, slot, inputs, folder, 1)
        rules = self._pack.evaluator.rules
        request = replace(request, command=rules, environment=_EVALUATOR_ENVIRONMENT, tripwires=())
        result = self.last = await self._sandbox.run(request)
        self._workspace.clear(Phase.PREFLIGHT, seed)
        if not result.ok:
            raise rules_failed(result, seed=seed, budget=request.limits.seconds)

    async def train(self, seed: int, slot: Slot = ANYWHERE, *, sharing: int = 1) -> PhaseResult:
        """Trains with one seed; the artifact stays in the workspace, sealed.

        Args:
            seed: The seed.
            slot: Where to run.
            sharing: How many phases share the slot; the deadline is that much later.

        Raises:
            PhaseFailed: It failed through the recipe's fault.
            SandboxError: The machinery failed.
        """
        result = await self._run(Phase.TRAIN, seed, slot, sharing=sharing)
        self._seals.add(self._workspace.output(Phase.TRAIN, seed))
        return result

    async def predict(self, seed: int, slot: Slot = ANYWHERE, *, sharing: int = 1) -> PhaseResult:
        """Predicts with what was trained: once, or once a round where the pack prepares rounds.

        Returns:
            What was measured over all rounds together.

        Raises:
            PhaseFailed: It failed through the recipe's fault.
            EvaluatorFault: The evaluator's own prepare failed.
            SandboxError: The machinery failed.
        """
        if self._pack.phases.prepare is not None:
            await self._prepare(seed, slot)
        results = []
        for inputs, output in self._workspace.rounds(seed):
            result = await self._run(
                Phase.PREDICT, seed, slot, inputs=inputs, output=output, sharing=sharing
            )
            results.append(result)
        together = self._results[Phase.PREDICT, seed] = _together(results)
        return together

    def forget(self, seed: int) -> None:
        """Takes away what train and predict left with a seed, so that it can run once more.

        Raises:
            SandboxError: The host cannot remove it.
        """
        for phase in (Phase.TRAIN, Phase.PREPARE, Phase.PREDICT):
            self._seals.drop(self._workspace.output(phase, seed))
            self._workspace.clear(phase, seed)

    async def finish(self, recipe: Recipe, seed: int, slot: Slot = ANYWHERE) -> SeedRun:
        """Scores the predictions and gathers all measurements of the seed run.

        Raises:
            PhaseFailed: The predictions are malformed or break a rule.
            EvaluatorFault: The scorer failed by itself.
            SandboxError: The machinery failed.
        """
        scored = await self._run(Phase.SCORE, seed, slot)
        results = {phase: self._results[phase, seed] for phase in self._phases()}
        measures = read_score(self._workspace.output(Phase.SCORE, seed), scored, seed)
        measures |= sandbox_measures(results)
        measures["artifact.bytes"] = folder_bytes(self._workspace.output(Phase.TRAIN, seed))
        measures["recipe.bytes"] = recipe_bytes(recipe)
        measures["submission.bytes"] = measures["artifact.bytes"] + measures["recipe.bytes"]
        if PACKED in self._wanted():
            code = packed_bytes(recipe, self._pack.recipe.editable)
            measures[PACKED] = measures["artifact.bytes"] + code
        if seed in self._nonces:
            measures["prepare.nonce"] = float(self._nonces[seed])
        self._check(measures)
        timings = tuple(
            PhaseTiming(phase, result.wall_seconds, result.cpu_seconds, result.peak_memory_mb)
            for phase, result in results.items()
        )
        return SeedRun(seed, timings, measures)

    def _phases(self) -> tuple[Phase, ...]:
        """The phases of a seed run."""
        prepare = (Phase.PREPARE,) if self._pack.phases.prepare is not None else ()
        return (Phase.TRAIN, *prepare, Phase.PREDICT, Phase.SCORE)

    async def _prepare(self, seed: int, slot: Slot) -> None:
        # A new number for every seed run: no recipe can know what prepare will do with it.
        self._nonces[seed] = secrets.randbits(NONCE_BITS)
        await self._run(Phase.PREPARE, seed, slot)
        if not self._workspace.rounds(seed):
            raise EvaluatorFault("the evaluator's prepare left no folder in out/rounds/")

    async def _run(
        self,
        phase: Phase,
        seed: int,
        slot: Slot,
        *,
        inputs: tuple[Input, ...] | None = None,
        output: Path | None = None,
        sharing: int = 1,
    ) -> PhaseResult:
        self.watch.began(phase, None if phase is Phase.PREFLIGHT else seed)
        inputs = self._workspace.inputs(phase, seed) if inputs is None else inputs
        output = output or self._workspace.output(phase, seed)
        request = self._request(phase, seed, slot, inputs, output, sharing)
        with observed_phase(phase, seed, slot, self._labels) as observed:
            result = observed.ended(await self._sandbox.run(request))
        if phase is Phase.PREDICT and self._pack.phases.prepare is not None:
            result = withheld(result, self._workspace.recipe_files())
        self.last = self._results[phase, seed] = result
        if phase.runs_recipe:
            self._check_recipe_phase(phase, seed, result, output)
        elif not result.ok:
            explain = scorer_failed if phase is Phase.SCORE else _prepare_failed
            raise explain(result, seed=seed, budget=self._pack.seconds(phase))
        return result

    def _check_recipe_phase(
        self, phase: Phase, seed: int, result: PhaseResult, output: Path
    ) -> None:
        if touched := tampering(phase, result, output, self._seals, seed=seed):
            raise PhaseFailed(Status.ILLEGAL, touched, result)
        if not result.ok:
            failure = failure_of(result, phase, seed=seed, budget=self._pack.seconds(phase))
            raise PhaseFailed(status_of(result, phase), failure, result)
        if phase is not Phase.PREFLIGHT and not any(output.iterdir()):
            what = "artifact" if phase is Phase.TRAIN else "predictions"
            failure = missing_output(phase, what, seed=seed, result=result)
            raise PhaseFailed(Status.CRASHED, failure, result)

    def _request(
        self,
        phase: Phase,
        seed: int,
        slot: Slot,
        inputs: tuple[Input, ...],
        output: Path,
        sharing: int,
    ) -> PhaseRequest:
        limits = self._pack.limits
        words = {"{seed}": str(seed), "{nonce}": str(self._nonces.get(seed, 0))}
        return PhaseRequest(
            phase=phase.value,
            command=tuple(_filled(word, words) for word in self._pack.phases[phase].command),
            inputs=inputs,
            output=output,
            limits=PhaseLimits(
                seconds=self._pack.seconds(phase) * sharing,
                memory_mb=limits.memory_mb,
                cpus=limits.cpus,
                pids=limits.pids,
                output_mb=limits.output_mb,
                scratch_mb=limits.scratch_mb,
                output_files=limits.output_files,
                cpu_set=slot.cores,
                # The evaluator's own phases compare numbers; they need no GPU.
                gpus=slot.gpus if phase.runs_recipe else (),
            ),
            environment={} if phase.runs_recipe else _EVALUATOR_ENVIRONMENT,
            labels={**self._labels, "seed": str(seed)},
            tripwires=tripwires(self._pack, inputs) if phase.runs_recipe else (),
        )

    def _wanted(self) -> set[str]:
        return {self._pack.metric.measure, *(gate.measure for gate in self._pack.gates)}

    def _check(self, measures: Mapping[str, float]) -> None:
        missing = sorted(self._wanted() - set(measures))
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


def _prepare_failed(result: PhaseResult, *, seed: int, budget: float) -> Exception:
    return evaluator_failed(result, Phase.PREPARE, seed=seed, budget=budget)


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word


def _together(results: Iterable[PhaseResult]) -> PhaseResult:
    """What several rounds used: the sum of their times and the largest of their memories."""
    rounds = list(results)
    peaks = [result.peak_memory_mb for result in rounds if result.peak_memory_mb is not None]
    return replace(
        rounds[-1],
        wall_seconds=sum(result.wall_seconds for result in rounds),
        cpu_seconds=sum(result.cpu_seconds for result in rounds),
        peak_memory_mb=max(peaks, default=None),
    )
