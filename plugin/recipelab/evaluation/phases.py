"""The phases of one recipe, seed by seed: run each in the sandbox, and gather measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Failure, FailureKind, Phase, PhaseTiming, SeedRun, Status
from recipelab.evaluation.artifacts import TrainedArtifact
from recipelab.evaluation.curves import (
    CHECKED,
    CurveRace,
    StoppedOnCurve,
    curve_measures,
    curve_words,
)
from recipelab.evaluation.failures import (
    EXCERPT_CHARACTERS,
    EvaluatorFault,
    MachineLoad,
    PhaseFailed,
    failure_of,
    filled,
    is_disk_full,
    left_too_much,
    missing_output,
    scorer_failed,
    signature_of,
    status_of,
    too_slow,
)
from recipelab.evaluation.integrity import (
    FileHashes,
    redacted,
    rule_failure,
    tampering,
)
from recipelab.evaluation.metric import folder_bytes, packed_bytes, recipe_bytes
from recipelab.evaluation.observers import TrialObserver, observed_phase
from recipelab.evaluation.phase_requests import LIBRARY, NOT_THROUGH, PhaseRequests
from recipelab.evaluation.projection import NOTHING_EXPECTED, Projection, read_projection
from recipelab.evaluation.scored import read_items, read_score, shown_text
from recipelab.evaluation.warm_up import WarmUp, WarmUps
from recipelab.evaluation.workspace import TrainedOnce, Workspace
from recipelab.packs.judging_sections import PACKED, SANDBOX_MEASURES
from recipelab.packs.pack import Pack
from recipelab.sandbox.base import Ending, Input, PhaseResult, Sandbox, Watch
from recipelab.sandbox.processes import MIB
from recipelab.sandbox.slots import ANYWHERE, Slot

BAD_PREDICTIONS_EXIT = 3
"""Exit code with which a scorer says that the predictions, not itself, are at fault."""
BROKEN_RULE_EXIT = 4
"""Exit code with which a scorer says that the predictions break a rule, with the evidence."""


class PhaseRunner:
    """Runs the phases of one recipe, one seed at a time, and gathers what they measure.

    The recipe's own phases (preflight, train, predict) and the evaluator's (draw, prepare, score)
    never see each other's files: the recipe runs without the answers, the scorer without the
    recipe.

    Args:
        pack: Commands, data and limits.
        sandbox: Where the phases run.
        workspace: The folders of the trial.
        hashes: Files that the recipe may not change.
        labels: What the phases belong to, for the sandbox.
        observer: Told of each phase.
        nonce: Returns the secret number of a seed, which prepare gets.
        secret: The campaign's secret number, which draw gets.
        warm_ups: Keeps what preflights leave, where the pack says so.
        warm_up: That of this recipe, as ``warm_ups`` holds it.
        author: Whether logs are for the pack's author alone, so that nothing is withheld.
        trained: What trainings of the same recipe have left, in place of which none runs again.
        through: The script by which Python runs the script of a phase, as a profiler.

    Attributes:
        last: The result of the last phase; ``None`` before the first.
    """

    def __init__(
        self,
        pack: Pack,
        sandbox: Sandbox,
        workspace: Workspace,
        hashes: FileHashes,
        *,
        labels: Mapping[str, str],
        observer: TrialObserver,
        nonce: Callable[[int], int],
        secret: int = 0,
        warm_ups: WarmUps | None = None,
        warm_up: WarmUp | None = None,
        author: bool = False,
        trained: TrainedOnce | None = None,
        through: Mapping[Phase, str] = NOT_THROUGH,
    ) -> None:
        self._author = author
        self.observer = observer
        self.last: PhaseResult | None = None
        self._pack = pack
        self._sandbox = sandbox
        self._workspace = workspace
        self._hashes = hashes
        self._labels = labels
        self._requests = PhaseRequests(pack, labels=labels, secret=secret, through=through)
        self._warm_ups = warm_ups or WarmUps()
        self._warm_up = warm_up or WarmUp()
        self._projection = Projection({})
        self._trained = trained
        self._nonce = nonce
        self._nonces: dict[int, int] = {}
        self._results: dict[tuple[Phase, int], PhaseResult] = {}
        self._artifacts: dict[int, str] = {}
        self._races: dict[int, CurveRace | None] = {}
        self._told: dict[int, bytearray] = {}
        self._warmed: PhaseResult | None = None

    @property
    def environment(self) -> str:
        """What the last phase ran in; empty before the first."""
        ran_in = self.last.environment if self.last else ""
        return "; ".join(filter(None, (ran_in, self._warm_up.words)))

    async def preflight(
        self,
        slot: Slot = ANYWHERE,
        seed: int | None = None,
        *,
        usual: Mapping[str, float] = NOTHING_EXPECTED,
    ) -> Projection:
        """Run one tiny step of the recipe, before any budget is spent; also a warm-up.

        Where the pack keeps what it leaves, once is enough for all trainings of the recipe. One
        that is killed at its budget on a busy machine is tried once more: that is no crash of the
        recipe yet.

        Args:
            slot: Where to run.
            seed: The seed; ``None`` for the pack's first.
            usual: What the preflight of the best took, as ``preflight.cpu_seconds``, to be told of
                one that takes too long.

        Returns:
            What it projects of the training.

        Raises:
            PhaseFailed: The recipe does not get through it.
            SandboxError: The machinery failed.
        """
        async with self._warm_up.lock:
            if self._warm_up.projection is not None:
                self.last, self._projection = self._warm_up.result, self._warm_up.projection
                self._hash_warm_up()
            else:
                first = self._pack.seeds[0]
                seed = first if seed is None else seed
                self._projection = await self._preflight(slot, seed, usual)
        return self._projection

    async def warm_up(self, slot: Slot = ANYWHERE) -> None:
        """See to it that what the pack keeps of a preflight is there; nothing where it keeps none.

        Raises:
            PhaseFailed: The recipe does not get through its preflight.
            SandboxError: The machinery failed.
        """
        if self._pack.phases.preflight.keeps is not None and self._warm_up.folder is None:
            await self.preflight(slot)

    async def _preflight(self, slot: Slot, seed: int, usual: Mapping[str, float]) -> Projection:
        self._workspace.clear(Phase.PREFLIGHT, seed)
        if self._pack.evaluator.rules:
            await self.check_rules(slot)
        tries: list[str] = []
        while True:
            try:
                result = self._warmed = await self._run(Phase.PREFLIGHT, seed, slot)
                break
            except PhaseFailed as failed:
                if failed.failure.kind is not FailureKind.TIMEOUT:
                    raise
                load = MachineLoad.now()
                tries.append(load.words(failed.result))
                if len(tries) == 1 and load.is_busy:
                    self._workspace.clear(Phase.PREFLIGHT, seed)
                    continue
                failure = too_slow(failed.failure, tries, usual)
                raise PhaseFailed(failed.status, failure, failed.result) from failed
        left, spec = self._workspace.output(Phase.PREFLIGHT, seed), self._pack.phases.preflight
        projection = read_projection(left, spec.projects.errors)
        if spec.keeps is not None and spec.keep_mb is not None:
            folder, most = left / spec.keeps, spec.keep_mb
            if (size := folder_bytes(folder) / MIB) > most:
                line = f"preflight left {size:,.1f} MiB in out/{spec.keeps}, over its {most:,} MiB"
                failure = left_too_much(Phase.PREFLIGHT, line, seed=seed, result=result)
                raise PhaseFailed(Status.OVERSIZE, failure, result)
            self._warm_ups.keep(self._warm_up, folder, projection, result)
            self._hash_warm_up()
        return projection

    def _hash_warm_up(self) -> None:
        """See to it that a recipe which changes what was kept is found out."""
        if self._warm_up.folder is not None:
            self._hashes.add(self._warm_up.folder)

    async def check_rules(self, slot: Slot = ANYWHERE) -> None:
        """Have the pack's static rules read the recipe, of which nothing runs.

        Raises:
            PhaseFailed: The recipe breaks a rule.
            EvaluatorFault: The rules failed by themselves.
            SandboxError: The machinery failed.
        """
        seed = self._pack.seeds[0]
        folder = self._workspace.output(Phase.PREFLIGHT, seed)
        inputs = self._workspace.rules_inputs()
        request = replace(
            self._requests.request(Phase.PREFLIGHT, seed, slot, inputs=inputs, output=folder),
            command=self._pack.evaluator.rules,
            environment={"PYTHONPATH": LIBRARY},
            directory="",
            tripwires=(),
            warm=(),
        )
        result = self.last = await self._sandbox.run(request)
        self._workspace.clear(Phase.PREFLIGHT, seed)
        if result.ok:
            return
        if result.exit_code == BROKEN_RULE_EXIT:
            broken = rule_failure(result.log, seed=seed, phase=Phase.PREFLIGHT)
            raise PhaseFailed(Status.ILLEGAL, broken, result)
        budget = request.limits.seconds
        failure = failure_of(result, Phase.PREFLIGHT, seed=seed, budget=budget)
        raise EvaluatorFault(f"the pack's rules failed: {failure.excerpt}")

    async def draw(self, slot: Slot = ANYWHERE) -> Path:
        """Have the evaluator choose what is hidden, and return the folder with what it chose.

        Raises:
            EvaluatorFault: It failed.
            SandboxError: The machinery failed.
        """
        seed = self._pack.seeds[0]
        await self._run(Phase.DRAW, seed, slot)
        return self._workspace.output(Phase.DRAW, seed)

    async def prepare(self, seed: int, slot: Slot = ANYWHERE) -> None:
        """Have the evaluator prepare a seed run, unless it did, or has nothing to prepare.

        Raises:
            EvaluatorFault: It failed, or left no round for predict.
            SandboxError: The machinery failed.
        """
        spec = self._pack.phases.prepare
        if spec is None or seed in self._nonces:
            return
        # No recipe can know it, and so what prepare will do with it.
        self._nonces[seed] = self._nonce(seed)
        await self._run(Phase.PREPARE, seed, slot)
        if spec.rounds and not self._workspace.rounds(seed):
            raise EvaluatorFault("the evaluator's prepare left no folder in out/rounds/")
        self._hashes.add(self._workspace.output(Phase.PREPARE, seed))

    async def train(
        self,
        seed: int,
        slot: Slot = ANYWHERE,
        *,
        sharing: int = 1,
        curve: CurveRace | None = None,
    ) -> PhaseResult:
        """Train with one seed; the artifact stays in the workspace, and may not change any more.

        A recipe that has no warm-up yet, where the pack keeps one, makes it first.

        Args:
            seed: The seed.
            slot: Where to run.
            sharing: How many phases share the slot; the deadline is that much later.
            curve: What its curve is held against; ``None`` to train to the end.

        Raises:
            StoppedOnCurve: Its curve was hopeless.
            PhaseFailed: It failed through the recipe's fault.
            SandboxError: The machinery failed.
        """
        await self.warm_up(slot)
        await self.prepare(seed, slot)
        self._races[seed] = curve
        inputs = self._workspace.inputs(Phase.TRAIN, seed)
        if (keeps := self._pack.phases.preflight.keeps) and self._warm_up.folder is not None:
            inputs = (*inputs, Input(self._warm_up.folder, keeps))
        left = self._workspace.output(Phase.TRAIN, seed)
        result = self._trained.take(seed, left) if self._trained is not None else None
        if result is None:
            result = await self._run(Phase.TRAIN, seed, slot, inputs=inputs, sharing=sharing)
            if self._trained is not None:
                self._trained.keep(seed, left, result)
        self.last = self._results[Phase.TRAIN, seed] = result
        self._hashes.add(left)
        self._artifacts[seed] = self._hashes.digest(left)
        return result

    async def predict(self, seed: int, slot: Slot = ANYWHERE, *, sharing: int = 1) -> PhaseResult:
        """Predict with what was trained: once, or once a round where the pack prepares rounds.

        Returns:
            What was measured over all rounds: the sum of the times, the largest of the memories.

        Raises:
            PhaseFailed: It failed through the recipe's fault.
            EvaluatorFault: The evaluator's own prepare failed, where predict comes first.
            SandboxError: The machinery failed.
        """
        await self.prepare(seed, slot)
        rounds = [
            await self._run(
                Phase.PREDICT, seed, slot, inputs=inputs, output=output, sharing=sharing
            )
            for inputs, output in self._workspace.rounds(seed)
        ]
        peaks = [result.peak_memory_mb for result in rounds if result.peak_memory_mb is not None]
        total = self._results[Phase.PREDICT, seed] = replace(
            rounds[-1],
            wall_seconds=sum(result.wall_seconds for result in rounds),
            cpu_seconds=sum(result.cpu_seconds for result in rounds),
            peak_memory_mb=max(peaks, default=None),
        )
        return total

    def artifact(self, seed: int) -> TrainedArtifact | None:
        """Return what a training left here until the trial ends; ``None`` if none ran here."""
        if seed not in self._artifacts:
            return None
        return TrainedArtifact(
            seed, self._artifacts[seed], self._workspace.output(Phase.TRAIN, seed)
        )

    def forget(self, seed: int) -> None:
        """Remove what train and predict left with a seed, so that it can run once more.

        Raises:
            SandboxError: The host cannot remove it.
        """
        for phase in (Phase.TRAIN, Phase.PREPARE, Phase.PREDICT):
            self._hashes.drop(self._workspace.output(phase, seed))
            self._workspace.clear(phase, seed)
        self._nonces.pop(seed, None)

    async def finish(self, recipe: Recipe, seed: int, slot: Slot = ANYWHERE) -> SeedRun:
        """Score the predictions and gather all measurements of the seed run.

        Raises:
            PhaseFailed: The predictions are malformed or break a rule.
            EvaluatorFault: The scorer failed by itself.
            SandboxError: The machinery failed.
        """
        scored = await self._run(Phase.SCORE, seed, slot)
        prepare = (Phase.PREPARE,) if self._pack.phases.prepare is not None else ()
        phases = (Phase.TRAIN, *prepare, Phase.PREDICT, Phase.SCORE)
        results = {phase: self._results[phase, seed] for phase in phases}
        wanted = {self._pack.metric.measure, *(gate.measure for gate in self._pack.gates)}
        wanted |= {name} if (name := self._pack.evaluator.items) is not None else set()
        left = self._workspace.output(Phase.SCORE, seed)
        control = self._pack.control
        judged = wanted | ({control.measure} if control is not None else set())
        measures, shown = read_score(left, scored, seed, judged)
        if shown:
            log = "\n".join(filter(None, (scored.log.rstrip("\n"), shown_text(shown))))
            self.last = replace(scored, log=log)
        before = {Phase.PREFLIGHT: self._warmed} if self._warmed is not None else {}
        measures |= sandbox_measures({**before, **results})
        own = [results[phase] for phase in (Phase.TRAIN, Phase.PREDICT)]
        measures["recipe.cpu_seconds"] = sum(result.cpu_seconds for result in own)
        measures["recipe.wall_seconds"] = sum(result.wall_seconds for result in own)
        measures["artifact.bytes"] = folder_bytes(self._workspace.output(Phase.TRAIN, seed))
        measures["recipe.bytes"] = recipe_bytes(recipe)
        measures["submission.bytes"] = measures["artifact.bytes"] + measures["recipe.bytes"]
        if PACKED in wanted:
            code = packed_bytes(recipe, self._pack.recipe.editable)
            measures[PACKED] = measures["artifact.bytes"] + code
        measures |= self._projection.measures()
        if self._pack.phases.train.curve is not None:
            measures |= curve_measures(results[Phase.TRAIN].watched)
        if (race := self._races.get(seed)) is not None and race.stop is not None:
            measures[CHECKED] = 1.0
        if seed in self._nonces:
            measures["prepare.nonce"] = float(self._nonces[seed])
        if missing := sorted(wanted - set(measures)):
            have = ", ".join(sorted(measures))
            raise EvaluatorFault(f"no measurement {missing[0]!r}; there are: {have}")
        timings = tuple(
            PhaseTiming(phase, result.wall_seconds, result.cpu_seconds, result.peak_memory_mb)
            for phase, result in results.items()
        )
        items = read_items(left, name, measures) if name is not None else b""
        return SeedRun(seed, timings, measures, items, self._artifacts[seed])

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
        """Run one phase in the sandbox, and raise if it did not end well."""
        told = None if phase is Phase.PREFLIGHT else seed
        self.observer.began(phase, told)
        inputs = self._workspace.inputs(phase, seed) if inputs is None else inputs
        output = output or self._workspace.output(phase, seed)
        request = self._requests.request(
            phase,
            seed,
            slot,
            inputs=inputs,
            output=output,
            nonce=self._nonces.get(seed, 0),
            sharing=sharing,
            watch=self._watch(seed) if phase is Phase.TRAIN else None,
        )
        with (
            observed_phase(phase, seed, slot, self._labels) as observed,
            self.observer.running(phase, told, request.limits.seconds, slot) as tell,
        ):
            if self._shows_log(phase):
                request = replace(request, tell=tell)
            result = observed.ended(await self._sandbox.run(request))
        if phase is Phase.PREDICT and self._pack.phases.prepare is not None and not self._author:
            result = redacted(result, self._workspace.recipe_files())
        if phase.runs_recipe:
            self.observer.logged(phase, told, result.log)
        self.last = self._results[phase, seed] = result
        budget = self._pack.seconds(phase)
        if not phase.runs_recipe:
            if not result.ok:
                raise _evaluator_failed(result, phase, seed=seed, budget=budget)
        elif touched := tampering(phase, result, output, self._hashes, seed=seed):
            raise PhaseFailed(Status.ILLEGAL, touched, result)
        elif result.ending is Ending.STOPPED and (race := self._races.get(seed)) and race.stop:
            raise StoppedOnCurve(race.stop, result)
        elif not result.ok:
            failure = failure_of(result, phase, seed=seed, budget=budget)
            # Nothing is collected of a command that was killed, but what it told until then.
            if words := curve_words(result.watched or bytes(self._told.get(seed, b""))):
                failure = replace(failure, excerpt=f"{failure.excerpt}\n{words}")
            if failure.kind is FailureKind.DISK and not is_disk_full():
                raise PhaseFailed(Status.OVERSIZE, filled(failure), result)
            raise PhaseFailed(status_of(result, phase), failure, result)
        elif phase is not Phase.PREFLIGHT and not any(output.iterdir()):
            what = "artifact" if phase is Phase.TRAIN else "predictions"
            failure = missing_output(phase, what, seed=seed, result=result)
            raise PhaseFailed(Status.CRASHED, failure, result)
        return result

    def _shows_log(self, phase: Phase) -> bool:
        """Return whether people may see what a phase prints: it sees no hidden text."""
        hidden = phase is Phase.PREDICT and self._pack.phases.prepare is not None
        return phase.runs_recipe and not hidden

    def _watch(self, seed: int) -> Watch | None:
        """Return what is watched of a training; trial and best alike, so that neither pays more."""
        spec, race = self._pack.phases.train.curve, self._races.get(seed)
        if spec is None:
            return None
        told = self._told[seed] = bytearray()

        def tell(piece: bytes) -> bool:
            told.extend(piece)
            return race is not None and race.tell(piece)

        return Watch(spec.file, tell)


def sandbox_measures(results: Mapping[Phase, PhaseResult]) -> dict[str, float]:
    """Return what the sandbox measured of some phases, as ``train.cpu_seconds``."""
    return {
        f"{phase}.{name}": float(value)
        for phase, result in results.items()
        for name in SANDBOX_MEASURES
        if (value := getattr(result, name)) is not None
    }


def _evaluator_failed(
    result: PhaseResult, phase: Phase, *, seed: int, budget: float
) -> PhaseFailed | EvaluatorFault:
    """Return the error of a prepare or score that did not end well: whose fault was it?"""
    if phase is Phase.SCORE and result.exit_code == BROKEN_RULE_EXIT:
        return PhaseFailed(Status.ILLEGAL, rule_failure(result.log, seed=seed), result)
    if phase is Phase.SCORE and result.exit_code == BAD_PREDICTIONS_EXIT:
        lines = result.log.strip().splitlines() or ["the scorer refused the predictions"]
        failure = Failure(
            Phase.SCORE,
            FailureKind.BAD_OUTPUT,
            signature_of(lines[-1]),
            "\n".join(lines[-6:])[:EXCERPT_CHARACTERS],
            seed,
        )
        return PhaseFailed(Status.CRASHED, failure, result)
    if phase is Phase.SCORE:
        return scorer_failed(result, seed=seed, budget=budget)
    failure = failure_of(result, phase, seed=seed, budget=budget)
    return EvaluatorFault(f"the evaluator's {phase} failed: {failure.excerpt}")
