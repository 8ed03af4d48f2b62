"""The rehearsal of a profile for GPUs: its real recipe, shrunk, through every phase on a CPU.

A profile that needs eight GPUs can be wrong in many ways that no GPU is needed to see: a launcher
that hangs, a rule that refuses the starting recipe, a scorer that reads another format. So a pack
says in ``[rehearsal]`` what to replace in its recipe, and has a script that makes data in the
formats of upstream. :func:`rehearse` then does what a campaign does with its baseline, on one seed:
the rules, preflight, train, prepare, predict, score, and the gates, which decide nothing here.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from recipelab.campaign.pack_check import check_rules
from recipelab.campaign.pack_runs import Level, PackFinding
from recipelab.core.errors import PackError, RecipelabError
from recipelab.core.recipe import Recipe, syntax_error
from recipelab.core.trial import Outcome, Phase
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.phase_requests import phase_limits
from recipelab.packs.judging_sections import Gate
from recipelab.packs.pack import Pack
from recipelab.packs.sections import RehearsalSpec, Replacement
from recipelab.packs.upstream import changed_names, missing_files, take_from_clone
from recipelab.sandbox import Sandbox
from recipelab.sandbox.base import Input, PhaseRequest, PhaseResult
from recipelab.sandbox.choose import LOCAL, open_sandbox
from recipelab.sandbox.requirements import image_spec_of

SHOWN_LOG = 4_000
"""Characters of the end of a failed phase's log that are shown."""

_PACKAGES = """
import sys
from importlib.metadata import PackageNotFoundError, version
missing = []
for name in sys.argv[1:]:
    try:
        version(name)
    except PackageNotFoundError:
        missing.append(name)
print(" ".join(missing))
sys.exit(1 if missing else 0)
"""
_PACKAGES_SECONDS = 60.0

Found = Callable[[PackFinding], None]


async def rehearse(
    pack: Pack,
    *,
    found: Found,
    source: Path | None = None,
    sandbox: str = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Rehearse a profile, and hand over each finding when it is known.

    Args:
        pack: The pack, with the profile.
        found: Called with each finding; one of them is an error if the rehearsal failed.
        source: The user's clone of upstream; not needed if the recipe was fetched before.
        sandbox: A kind of sandbox: ``auto``, ``docker`` or ``local``.
        say: Called with each text that a person should read.

    Raises:
        RecipelabError: Something the user can fix: no rehearsal, no clone, a replacement that does
            not fit, a missing sandbox or package.
    """
    rehearsed = pack.rehearsed()
    upstream = pack.upstream
    if upstream is not None:
        if source is not None:
            await asyncio.to_thread(take_from_clone, upstream, source)
        elif missing_files(upstream):
            raise RecipelabError(
                f"the recipe of {upstream.name} is not here; give your clone with --source"
            )
        count = len(upstream.files)
        text = f"{upstream.name}: {count} files are those of {upstream.commit[:12]}, by hash"
        found(PackFinding(Level.OK, "upstream", text))
    recipe = shrunk(pack)
    sound = True
    async for finding in check_rules(pack):
        sound = sound and finding.level is not Level.ERROR
        found(finding)
    if not sound:
        return
    spec = image_spec_of(rehearsed.sandbox, rehearsed.requirements)
    opened = await asyncio.to_thread(
        open_sandbox, sandbox, spec, build=True, say=say, allow_local_fallback=True
    )
    async with opened:
        await _Rehearsal(rehearsed, recipe, _Watched(opened), found, say).run()
    for finding in _left_to_prove(pack, recipe):
        found(finding)


def shrunk(pack: Pack) -> Recipe:
    """Return the starting recipe with the replacements of the pack's rehearsal.

    Raises:
        PackError: A replacement names no file of the recipe, its text is not there as often as it
            says, or the result is no Python.
    """
    recipe = pack.baseline()
    files = dict(recipe.files)
    for number, one in enumerate(_plan(pack).replace, start=1):
        files[one.file] = _replaced(files, one, f"{pack.name}: rehearsal.replace, number {number}")
    if broken := syntax_error(files):
        raise PackError(f"{pack.name}: the recipe does not parse with rehearsal.replace: {broken}")
    return Recipe(files)


def _replaced(files: Mapping[str, str], one: Replacement, place: str) -> str:
    if one.file not in files:
        raise PackError(f"{place}: no file {one.file!r}; valid: {', '.join(sorted(files))}")
    count = files[one.file].count(one.find)
    if count != one.times:
        line = one.find.strip().splitlines()[0]
        raise PackError(
            f"{place}: {line!r} is {count} times in {one.file}, and should be {one.times} times"
        )
    return files[one.file].replace(one.find, one.replace)


def _plan(pack: Pack) -> RehearsalSpec:
    """Return the pack's rehearsal, which it has."""
    if pack.rehearsal is None:
        raise PackError(f"{pack.name}: profile {pack.profile} has no [rehearsal]")
    return pack.rehearsal


class _Watched(Sandbox):
    """Passes each phase on to another sandbox, and keeps its result as it was.

    What an evaluator gives back says nothing of phases that see hidden text; in a rehearsal there
    is none to hide.
    """

    name = "watched"
    isolated = False

    def __init__(self, inner: Sandbox) -> None:
        self.inner = inner
        self.last: PhaseResult | None = None
        self.on_end: Callable[[PhaseRequest, PhaseResult], None] = lambda request, result: None

    async def run(self, request: PhaseRequest) -> PhaseResult:
        self.last = None
        result = self.last = await self.inner.run(request)
        self.on_end(request, result)
        return result

    async def start(self) -> None:
        await self.inner.start()

    async def stop(self) -> None:
        await self.inner.stop()

    @property
    def started(self) -> bool:
        return self.inner.started


class _Rehearsal:
    """One rehearsal in a sandbox that was started."""

    def __init__(
        self,
        pack: Pack,
        recipe: Recipe,
        sandbox: _Watched,
        found: Found,
        say: Callable[[str], None],
    ) -> None:
        self._pack = pack
        self._plan = _plan(pack)
        self._recipe = recipe
        self._sandbox = sandbox
        self._found = found
        self._say = say

    async def run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="recipelab-rehearsal-") as name:
            await self._demand_packages(Path(name))
            data = await self._made_data(Path(name))
            if data is None:
                return
            self._sandbox.on_end = self._phase_ended
            without_limits = tuple(_without_limit(gate) for gate in self._pack.gates)
            pack = self._pack.model_copy(update={"gates": without_limits})
            evaluator = Evaluator(pack, self._sandbox, data)
            outcome = await evaluator.measure(
                self._recipe, pack.seeds[:1], labels=self._labels("evaluate")
            )
        self._tell(outcome)

    async def _demand_packages(self, folder: Path) -> None:
        """Check that the sandbox has the packages that the recipe needs.

        Raises:
            RecipelabError: Some are missing; the message says how to get them.
        """
        if not self._plan.packages:
            return
        command = ("python", "-c", _PACKAGES, *self._plan.packages)
        output = folder / "packages"
        result = await self._run("packages", command, (), output, _PACKAGES_SECONDS)
        if result.ok:
            return
        missing = result.log.strip().splitlines()[-1] if result.exit_code == 1 else "(unknown)"
        if self._sandbox.inner.name == LOCAL:
            advice = f"install them beside recipelab with: pip install {missing}"
        else:
            advice = f"build its image anew with: recipelab sandbox build {self._pack.sandbox}"
        raise RecipelabError(f"the sandbox lacks Python packages: {missing}; {advice}")

    async def _made_data(self, folder: Path) -> dict[str, Path] | None:
        """Have the pack's script make the data; ``None`` if it did not."""
        root, place = self._pack.root, self._plan.folder
        recipe = folder / "recipe"
        for path, text in self._recipe.files.items():
            (recipe / path).parent.mkdir(parents=True, exist_ok=True)
            (recipe / path).write_text(text, "utf-8", newline="")
        inputs = (
            Input(root / place, place),
            Input(recipe / self._pack.recipe.folder, self._pack.recipe.folder),
        )
        output, seconds = folder / "data", self._pack.seconds(Phase.PREPARE)
        result = await self._run("data", self._plan.data, inputs, output, seconds)
        data = {file: output / file for file in self._plan.files}
        missing = sorted(file for file, path in data.items() if not path.is_file())
        if not result.ok or missing:
            why = f"it left no {', '.join(missing)}" if result.ok else _ending(result, seconds)
            self._found(PackFinding(Level.ERROR, "data", f"{why}\n{_end_of(result)}"))
            return None
        size = sum(path.stat().st_size for path in data.values()) / 1e6
        text = f"{len(data)} files made, {size:.1f} MB, in {result.wall_seconds:.1f} s"
        self._found(PackFinding(Level.OK, "data", text))
        return data

    async def _run(
        self,
        phase: str,
        command: tuple[str, ...],
        inputs: tuple[Input, ...],
        output: Path,
        seconds: float,
    ) -> PhaseResult:
        await asyncio.to_thread(output.mkdir)
        request = PhaseRequest(
            phase=phase,
            command=command,
            inputs=inputs,
            output=output,
            limits=phase_limits(self._pack, seconds),
            labels=self._labels(phase),
        )
        return await self._sandbox.run(request)

    def _labels(self, purpose: str) -> dict[str, str]:
        return {"campaign": f"rehearse-{self._pack.name}", "trial": "0", "purpose": purpose}

    def _phase_ended(self, request: PhaseRequest, result: PhaseResult) -> None:
        if not result.ok:
            return
        rules = request.command == self._pack.evaluator.rules
        memory = f", {result.peak_memory_mb:.0f} MiB" if result.peak_memory_mb is not None else ""
        text = f"{result.wall_seconds:.1f} s, {result.cpu_seconds:.1f} s of CPU{memory}"
        self._found(PackFinding(Level.OK, "rules again" if rules else request.phase, text))

    def _tell(self, outcome: Outcome) -> None:
        """Hand over what the evaluator made of the recipe."""
        if not outcome.seed_runs:
            last = self._sandbox.last
            log = f"\n{_end_of(last)}" if last is not None and not last.ok else ""
            excerpt = outcome.failure.excerpt if outcome.failure is not None else ""
            text = f"{outcome.status}: {outcome.reason}{log or chr(10) + excerpt}"
            self._found(PackFinding(Level.ERROR, "evaluation", text))
            return
        measures = outcome.seed_runs[0].measures
        metric = self._pack.metric
        value = measures[metric.measure]
        text = f"{metric.name} {value:.5g} {metric.unit}".rstrip()
        self._found(PackFinding(Level.OK, "metric", f"{text}, which means nothing at this size"))
        for gate in (gate for gate in self._pack.gates if not gate.relative):
            verdict, text = _held(gate, measures)
            self._found(PackFinding(Level.OK, "gate, not decisive", f"{text}: would {verdict}"))
        expected = [_held(gate, measures) for gate in self._plan.expects]
        for verdict, text in expected:
            level = Level.OK if verdict == "pass" else Level.ERROR
            self._found(PackFinding(level, "expected", text))
        if all(verdict == "pass" for verdict, _ in expected):
            self._found(PackFinding(Level.OK, "proven", self._proven()))

    def _proven(self) -> str:
        phases = [
            phase for phase in Phase if phase is not Phase.PREPARE or self._pack.phases.prepare
        ]
        return (
            f"the recipe, with {len(self._plan.replace)} replacements, goes through the rules, "
            f"{', '.join(phases)} in the {self._sandbox.inner.name} sandbox, and the evaluator "
            "reads all that it measures"
        )


def _held(gate: Gate, measures: Mapping[str, float]) -> tuple[str, str]:
    """Return whether a gate would ``pass`` or ``miss``, and what was held against it.

    Raises:
        PackError: There is no such measurement.
    """
    if gate.measure not in measures:
        valid = ", ".join(sorted(measures))
        raise PackError(f"{gate.name}: no measurement {gate.measure!r}; valid: {valid}")
    value = measures[gate.measure]
    return "pass" if gate.margin(value) >= 0 else "miss", f"{gate.name}: {value:.5g}, {gate.bound}"


def _without_limit(gate: Gate) -> Gate:
    """Return a gate that everything passes."""
    if gate.relative:
        return gate
    if gate.at_least is not None:
        return gate.model_copy(update={"at_least": -math.inf})
    return gate.model_copy(update={"at_most": math.inf})


def _ending(result: PhaseResult, seconds: float) -> str:
    if result.exit_code is None:
        return f"stopped at its limit ({result.ending}) after {result.wall_seconds:.0f} s"
    return f"exit status {result.exit_code} within {seconds:g} s"


def _end_of(result: PhaseResult) -> str:
    return result.log.strip()[-SHOWN_LOG:]


def _left_to_prove(pack: Pack, recipe: Recipe) -> list[PackFinding]:
    """Return what a rehearsal does not show, however it ended."""
    plan = _plan(pack)
    texts = [one.why for one in plan.replace if one.why]
    edited = changed_names(pack.baseline().files, recipe.files, pack.protected)
    if edited:
        texts.append(f"protected functions as upstream has them; edited here: {', '.join(edited)}")
    commands = [phase.value for phase in plan.commands]
    if commands:
        texts.append(f"the profile's own commands of {', '.join(commands)}")
    if pack.hardware.gpus:
        texts.append(
            f"anything of {pack.hardware.gpus} x {pack.hardware.kind}: speed, memory, kernels, and "
            "whether the baseline passes its gates within its budgets"
        )
    texts.append(
        f"the data themselves: {len(pack.data)} files, of which {len(plan.files)} were made"
    )
    return [PackFinding(Level.WARNING, "left to prove", text) for text in dict.fromkeys(texts)]
