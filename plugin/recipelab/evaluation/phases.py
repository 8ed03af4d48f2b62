"""Runs the phases of a trial in a sandbox and turns what they leave into measurements."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from recipelab.evaluation.failures import failure_of, missing_output, status_of
from recipelab.evaluation.faults import EvaluatorFault, PhaseFailed
from recipelab.evaluation.legality import tampering, tripwires
from recipelab.evaluation.observing import observed_phase
from recipelab.evaluation.scores import evaluator_failed, read_score, rules_failed, scorer_failed
from recipelab.evaluation.seals import Seals
from recipelab.evaluation.watch import Watch
from recipelab.evaluation.withholding import withheld
from recipelab.evaluation.workspace import Workspace, folder_bytes, packed_bytes, recipe_bytes
from recipelab.pack import Pack
from recipelab.pack_measures import PACKED, SANDBOX_MEASURES
from recipelab.recipe import Recipe
from recipelab.sandbox.base import Input, Limits, PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.slots.pool import ANYWHERE, Slot
from recipelab.trial import Phase, PhaseTiming, SeedRun, Status

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
        seals: Seals,
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
            limits=Limits(
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
