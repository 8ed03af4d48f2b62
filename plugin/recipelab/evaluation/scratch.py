"""The scratch bench: code that is no trial, in the campaign's own sandbox, on its own slots.

A specialist counts parameters here, times a step, or looks at the training data; a profile of a
training runs here, too. The code is held to all that a train phase is held to: same user, same
namespaces, same limits, no network. It sees a recipe and the training data, and never an answer, an
input that is hidden, or the evaluator. Nothing that it writes is kept, and nothing is scored.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from secrets import randbits

from recipelab.core.errors import RecipelabError, SandboxError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Phase
from recipelab.evaluation.failures import EvaluatorFault, PhaseFailed
from recipelab.evaluation.integrity import FileHashes
from recipelab.evaluation.phase_requests import phase_environment, phase_limits
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.profiles import (
    LINES,
    LINES_READ,
    Profile,
    ProfileLogs,
    names_in,
    profile_table,
    profiler,
    withheld_table,
)
from recipelab.evaluation.seeds import NONCE_BITS
from recipelab.evaluation.workspace import Workspace
from recipelab.packs.pack import Pack
from recipelab.sandbox.base import Input, PhaseLimits, PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.files import new_folder, remove_tree
from recipelab.sandbox.slots import Slot, SlotPool

SCRATCH, PROFILE = "scratch", "profile"
"""Names of what runs here, where a phase has its name."""

WAIT_SECONDS = 120.0
"""How long to wait for a slot before the code is given up."""

LOG_KB = 24
"""Size of a log; of a longer one head and tail are kept."""

_MACHINE = """
import json, os, platform
from importlib.metadata import PackageNotFoundError, version
def of(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None
def told(path):
    try:
        return open(path).read().splitlines()
    except OSError:
        return []
rows = [row.partition(":")[::2] for row in told("/proc/cpuinfo")]
cpu = {}
for key, value in rows:
    cpu.setdefault(key.strip(), value.strip())
flags = set((cpu.get("flags") or cpu.get("Features") or "").split())
numeric = ("torch", "numpy", "scipy", "pandas", "scikit-learn")
wanted = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16",
          "asimd", "sve", "bf16", "i8mm")
print(json.dumps({
    "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
    "flags": [flag for flag in wanted if flag in flags],
    "python": platform.python_version(),
    "packages": {name: found for name in numeric if (found := of(name))},
}))
"""


@dataclass(frozen=True)
class Machine:
    """What code meets in the sandbox.

    Attributes:
        cpu: Model of the processor.
        flags: Those of its instruction sets that matter to numeric code.
        python: Version of Python.
        packages: Versions of the numeric packages that are there.
    """

    cpu: str
    flags: tuple[str, ...]
    python: str
    packages: Mapping[str, str]


_MACHINES: dict[tuple[str, str], Machine | None] = {}
"""What was found of each kind of sandbox and image; it does not change while a process lives."""


class ScratchBench:
    """Runs code that is no trial.

    Args:
        pack: The campaign's pack, whose train phase says what the code sees and may use.
        sandbox: Where the code runs.
        data: Path of each data file, those that were drawn with it.
        pool: The slots; the code waits for one as a phase does.

    Attributes:
        held_seconds: How long what ran here has held slots, in seconds.
    """

    def __init__(
        self, pack: Pack, sandbox: Sandbox, data: Mapping[str, Path], pool: SlotPool
    ) -> None:
        self._pack = pack
        self._sandbox = sandbox
        self._data = data
        self._pool = pool
        self.held_seconds = 0.0

    def training_data(self) -> dict[str, Path]:
        """Return the data that code sees here: where train sees them, and where they lie."""
        named = training_names(self._pack)
        return {target: self._data[name] for target, name in named.items() if name in self._data}

    def answers(self) -> dict[str, Path]:
        """Return where the answers lie, for their number alone: ``score`` and ``certify``.

        A phase that sees several files, or answers that its evaluator makes, has none here.
        """
        specs = {"score": self._pack.phases.score, "certify": self._pack.certify.score}
        found: dict[str, Path] = {}
        for what, spec in specs.items():
            names = list(spec.data.values()) if spec is not None else []
            if len(names) == 1:
                name = self._pack.in_fold_of(names[0], self._pack.seeds[0])
                if name in self._data:
                    found[what] = self._data[name]
        return found

    async def run(
        self, files: Mapping[str, str], code: str, seconds: float, labels: Mapping[str, str]
    ) -> PhaseResult:
        """Run code beside a recipe.

        It begins where train does, and imports modules of the recipe as train's own script would.

        Args:
            files: The files of the recipe.
            code: A program in Python.
            seconds: Wall-clock seconds that it may take.
            labels: What it belongs to, for the sandbox.

        Raises:
            RecipelabError: No slot was free in time.
            SandboxError: The machinery failed.
        """
        script = _free_path(files, self._script_folder())
        command = ("python", self._from_workdir(script))
        recipe = Recipe({**files, script: code})
        return await self._run(SCRATCH, recipe, command, seconds, labels)

    async def profile(self, files: Mapping[str, str], labels: Mapping[str, str]) -> Profile:
        """Train a recipe once under Python's profiler.

        Args:
            files: The files of the recipe.
            labels: What it belongs to, for the sandbox.

        Raises:
            RecipelabError: The pack trains by no script in Python, or no slot was free in time.
            SandboxError: The machinery failed.
        """
        self._check_script(Phase.TRAIN)
        words = self._pack.phases.train.command
        seed = str(self._pack.seeds[0])
        command = tuple(word.replace("{seed}", seed) for word in words[1:])
        script = _free_path(files, self._script_folder())
        recipe = Recipe({**files, script: profiler()})
        seconds = self._pack.seconds(Phase.TRAIN)
        ahead = ("python", self._from_workdir(script))
        result = await self._run(PROFILE, recipe, (*ahead, *command), seconds, labels)
        return Profile(result, Phase.TRAIN, profile_table(result.log), result.wall_seconds)

    async def profile_predict(self, files: Mapping[str, str], labels: Mapping[str, str]) -> Profile:
        """Train a recipe, and predict with what it left, both under Python's profiler.

        Predict sees what it sees in a trial, but for rounds of its own where these are drawn for
        every run. Nothing is scored. Where it sees hidden data, the table has no words of its own.

        Args:
            files: The files of the recipe.
            labels: What it belongs to, for the sandbox.

        Raises:
            RecipelabError: A phase is no script in Python, no slot was free in time, or the
                evaluator failed.
            SandboxError: The machinery failed.
        """
        pack, seed, logs = self._pack, self._pack.seeds[0], ProfileLogs()
        hides = pack.phases.prepare is not None
        whole, through = dict(files), dict[Phase, str]()
        for phase in (Phase.TRAIN, Phase.PREDICT):
            self._check_script(phase)
            script = _free_path(whole, self._script_folder(phase))
            whole[script] = profiler(LINES_READ if hides else LINES)
            through[phase] = self._from_workdir(script, phase)
        async with self._slot() as slot:
            began = time.monotonic()
            with Workspace(pack, Recipe(whole), self._data) as workspace:
                hashes = FileHashes()
                hashes.add(workspace.recipe)
                runner = PhaseRunner(
                    pack,
                    self._sandbox,
                    workspace,
                    hashes,
                    labels={**labels, "purpose": PROFILE},
                    observer=logs,
                    nonce=lambda _: randbits(NONCE_BITS),  # That of no trial.
                    author=True,  # What may be shown of the logs is decided here.
                    through=through,
                )
                reached, status = Phase.TRAIN, None
                try:
                    result = await runner.train(seed, slot)
                    reached = Phase.PREDICT
                    result = await runner.predict(seed, slot)
                except PhaseFailed as failed:
                    result, status = failed.result, failed.status
                except EvaluatorFault:
                    # Its words may be of what is hidden.
                    raise RecipelabError("the evaluator failed, so there is no profile") from None
            held = time.monotonic() - began
        table = _table_of(logs, reached, files, hides=hides)
        return Profile(result, reached, table, held, status)

    def _check_script(self, phase: Phase) -> None:
        """Refuse a phase whose command does not begin as a profiler can."""
        words = self._pack.phases[phase].command
        if len(words) < 2 or words[0] != "python" or not words[1].endswith(".py"):
            raise RecipelabError(
                f"the {phase} phase is no `python SCRIPT.py ...` ({' '.join(words[:3])} ...), so "
                "there is no profile of it"
            )

    async def beside(
        self,
        one: Mapping[str, str],
        other: Mapping[str, str],
        *,
        pairs: int,
        seconds: float,
        wall: float,
        labels: Mapping[str, str],
    ) -> tuple[list[tuple[PhaseResult, PhaseResult]], PhaseResult | None]:
        """Train two recipes in turns on one slot, as a trial and the best train beside each other.

        Args:
            one: The files of a recipe.
            other: The files of the recipe beside it; the first alternates.
            pairs: How often both train; each pair has a seed of the pack.
            seconds: CPU seconds for all of it; no pair begins that would take more than is left.
            wall: Wall-clock seconds for all of it; a training that takes longer is killed.
            labels: What it belongs to, for the sandbox.

        Returns:
            The trainings of each pair, that of ``one`` first, fewer where time ran out; and the
            training that failed, which ended it, if one did.

        Raises:
            RecipelabError: No slot was free in time.
            SandboxError: The machinery failed.
        """
        words, seeds = self._pack.phases.train.command, self._pack.seeds
        recipes = (Recipe(dict(one)), Recipe(dict(other)))
        found: list[tuple[PhaseResult, PhaseResult]] = []
        cpu_left, left = seconds, wall
        async with self._slot() as slot:
            for pair in range(pairs):
                seed = str(seeds[pair % len(seeds)])
                command = tuple(word.replace("{seed}", seed) for word in words)
                ran: dict[int, PhaseResult] = {}
                for which in (0, 1) if pair % 2 == 0 else (1, 0):
                    begun = recipes[which], command, left, labels
                    ran[which] = await self._run_on(slot, SCRATCH, *begun)
                    left -= ran[which].wall_seconds
                    cpu_left -= ran[which].cpu_seconds
                    if not ran[which].ok:
                        return found, ran[which]
                found.append((ran[0], ran[1]))
                cpu = sum(result.cpu_seconds for result in found[-1])
                if cpu_left < cpu or left < sum(result.wall_seconds for result in found[-1]):
                    break
        return found, None

    async def machine(self) -> Machine | None:
        """Return what code meets in the sandbox; ``None`` if it cannot be told."""
        if not self._sandbox.started:
            return None
        key = (self._sandbox.name, self._sandbox.image_identity)
        if key not in _MACHINES:
            _MACHINES[key] = await self._look()
        return _MACHINES[key]

    async def _look(self) -> Machine | None:
        try:
            folder = new_folder(Path(tempfile.gettempdir()), what="look")
        except SandboxError:
            return None
        limits = replace(self._limits(20.0), cpu_set=None, gpus=())
        request = PhaseRequest("look", ("python", "-c", _MACHINE), (), folder, limits)
        try:
            result = await self._sandbox.run(request)
            found = json.loads(result.log)
            return Machine(
                str(found["cpu"]), tuple(found["flags"]), found["python"], found["packages"]
            )
        except (SandboxError, ValueError, KeyError, TypeError):
            return None
        finally:
            remove_tree(folder)

    async def _run(
        self,
        what: str,
        recipe: Recipe,
        command: tuple[str, ...],
        seconds: float,
        labels: Mapping[str, str],
    ) -> PhaseResult:
        async with self._slot() as slot:
            return await self._run_on(slot, what, recipe, command, seconds, labels)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[Slot]:
        """Lease a slot, or give up after a while."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    slot = await stack.enter_async_context(self._pool.lease())
            except TimeoutError:
                raise RecipelabError(
                    f"no slot was free within {WAIT_SECONDS:g} seconds, as trials run on all of "
                    "them; nothing was spent, so go on without"
                ) from None
            began = time.monotonic()
            try:
                yield slot
            finally:
                self.held_seconds += time.monotonic() - began

    async def _run_on(
        self,
        slot: Slot,
        what: str,
        recipe: Recipe,
        command: tuple[str, ...],
        seconds: float,
        labels: Mapping[str, str],
    ) -> PhaseResult:
        spec = self._pack.phases.train
        with Workspace(self._pack, recipe, self._data) as workspace:
            code = Input(workspace.recipe, self._pack.recipe.folder, writable=spec.scratch)
            data = (
                Input(path, target, as_is=path.is_dir())
                for target, path in self.training_data().items()
            )
            limits = replace(self._limits(seconds), cpu_set=slot.cores, gpus=slot.gpus)
            request = PhaseRequest(
                phase=what,
                command=command,
                directory=spec.workdir,
                node=slot.node,
                slot=slot.name,
                inputs=(code, *workspace.carried, *data),
                output=workspace.output(Phase.TRAIN, self._pack.seeds[0]),
                limits=limits,
                environment=phase_environment(spec, {"{seed}": str(self._pack.seeds[0])}),
                labels={**labels, "purpose": what},
                warm=self._pack.warm,
            )
            return await self._sandbox.run(request)

    def _limits(self, seconds: float) -> PhaseLimits:
        return replace(phase_limits(self._pack, seconds), log_kb=LOG_KB)

    def _script_folder(self, phase: Phase = Phase.TRAIN) -> str:
        """Return the folder of a phase's script, whose neighbours it imports."""
        spec = self._pack.phases[phase]
        scripts = [word for word in spec.command if word.endswith(".py")]
        if not scripts:
            return self._pack.recipe.folder
        folder = PurePosixPath(spec.workdir, scripts[0]).parent
        inside = PurePosixPath(self._pack.recipe.folder)
        return str(folder) if folder.is_relative_to(inside) else str(inside)

    def _from_workdir(self, path: str, phase: Phase = Phase.TRAIN) -> str:
        spec = self._pack.phases[phase]
        if spec.workdir and PurePosixPath(path).is_relative_to(spec.workdir):
            return str(PurePosixPath(path).relative_to(spec.workdir))
        return spec.upwards + path


def training_names(pack: Pack) -> dict[str, str]:
    """Return the data that code on the bench sees: where train sees them, and their names.

    What the pack keeps to itself is not among them, nor is what its prepare phase puts other names
    into, unless preflight sees that as it is, too.
    """
    if not pack.scratch.data:
        return {}
    phases = pack.phases
    renamed = set(phases.prepare.training.values()) if phases.prepare is not None else set()
    renamed -= set(phases.preflight.data.values())
    return {
        target: pack.in_fold_of(name, pack.seeds[0])
        for target, name in phases.train.data.items()
        if name not in renamed
    }


def _free_path(files: Mapping[str, str], folder: str) -> str:
    """Return the path of a script that the recipe does not have."""
    numbers = range(1, len(files) + 2)
    return next(path for n in numbers if (path := f"{folder}/scratch_{n}.py") not in files)


def _table_of(logs: ProfileLogs, phase: Phase, files: Mapping[str, str], *, hides: bool) -> str:
    """Return the table of the phase that was reached last, as agents may see it."""
    told = logs.of.get(phase, [""])
    if phase is Phase.TRAIN or not hides:
        return profile_table(told[-1])
    return withheld_table(told, files, names_in(logs.of[Phase.TRAIN][-1]))
