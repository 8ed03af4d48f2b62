"""What an inspection finds."""

from __future__ import annotations

import shlex
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from recipelab.agents.charters import pack_problems
from recipelab.core.content import cache_root
from recipelab.core.errors import EditError, RecipelabError
from recipelab.core.recipe import Recipe, find_knobs, syntax_error
from recipelab.core.trial import Outcome, Phase, SeedRun, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.failures import EvaluatorFault, PhaseFailed
from recipelab.evaluation.integrity import FileHashes
from recipelab.evaluation.judge import calibration_of, calibration_text
from recipelab.evaluation.metric import noise_of
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.workspace import Workspace
from recipelab.packs.data import is_cached
from recipelab.packs.load import Play, load_playbook
from recipelab.packs.pack import Pack
from recipelab.packs.sections import SANDBOX_MEASURES, Goal, PhaseSpec
from recipelab.packs.upstream import defined_names
from recipelab.sandbox.local.sandbox import LocalSandbox
from recipelab.sandbox.slots import list_gpus


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class PackFinding:
    """One thing that was looked at.

    Attributes:
        level: How bad it is.
        what: What was looked at, in a few words.
        told: What was found, and what to do if it is bad.
    """

    level: Level
    what: str
    told: str


def ok(what: str, told: str) -> PackFinding:
    """Something that is as it should be."""
    return PackFinding(Level.OK, what, told)


def warning(what: str, told: str) -> PackFinding:
    """Something that may be meant so."""
    return PackFinding(Level.WARNING, what, told)


def error(what: str, told: str) -> PackFinding:
    """Something with which no campaign should begin."""
    return PackFinding(Level.ERROR, what, told)


FEW_SEEDS = 3


def read_findings(pack: Pack) -> Iterator[PackFinding]:
    """Looks at everything that files alone can tell.

    Args:
        pack: A pack that was read, and so is well-formed.
    """
    recipe = pack.baseline()
    yield ok("pack.toml", f"{pack.name}, profile {pack.profile}: {pack.title}")
    yield from _recipe(pack, recipe)
    yield from _charters(pack)
    yield from _knobs(pack, recipe)
    yield from _plays(pack, recipe)
    yield _seeds(pack)
    yield _held_out(pack)


def _recipe(pack: Pack, recipe: Recipe) -> Iterator[PackFinding]:
    broken = syntax_error(recipe.files, python=pack.recipe.python)
    if broken is not None:
        yield error("recipe", f"does not parse: {broken}")
    editable = recipe.editable(pack.recipe.editable)
    if not editable:
        globs = ", ".join(pack.recipe.editable)
        yield error(
            "recipe", f"no file matches editable = [{globs}], so nobody can change anything"
        )
    else:
        fixed = sorted(set(recipe.files) - set(editable))
        rest = f"; fixed: {', '.join(fixed)}" if fixed else ""
        yield ok("recipe", f"{len(editable)} editable files{rest}")


def _charters(pack: Pack) -> Iterator[PackFinding]:
    problems = pack_problems(pack)
    yield from (error("specialists", problem) for problem in problems)
    if not problems:
        yield ok(
            "specialists", f"{', '.join(pack.specialists)} own all {len(pack.surfaces)} surfaces"
        )


def _knobs(pack: Pack, recipe: Recipe) -> Iterator[PackFinding]:
    knobs = find_knobs(recipe.files)
    for knob in knobs:
        if knob.surface not in pack.surface_names:
            valid = ", ".join(pack.surface_names)
            told = f"{knob.path}:{knob.line}: {knob.name} is of surface {knob.surface!r}"
            yield error("knobs", f"{told}; valid: {valid}")
    without = sorted(set(pack.surface_names) - {knob.surface for knob in knobs})
    if without:
        told = (
            f"surfaces without a knob: {', '.join(without)}; the offline model can only play there"
        )
        yield warning("knobs", told)
    else:
        yield ok("knobs", f"{len(knobs)} knobs, at least one on each surface")


def _plays(pack: Pack, recipe: Recipe) -> Iterator[PackFinding]:
    try:
        plays = load_playbook(pack)
    except RecipelabError as problem:
        yield error("playbook", str(problem))
        return
    broken = [finding for play in plays if (finding := _play(pack, recipe, play)) is not None]
    yield from broken
    if not broken:
        yield ok("playbook", f"{len(plays)} plays apply to the starting recipe")


def _play(pack: Pack, recipe: Recipe, play: Play) -> PackFinding | None:
    try:
        edited = recipe.apply([edit.to_edit() for edit in play.edits], pack.recipe.editable)
    except EditError as problem:
        return error("playbook", f"play {play.id} does not apply: {problem}")
    broken = syntax_error(edited.files, python=pack.recipe.python)
    return error("playbook", f"play {play.id} does not parse: {broken}") if broken else None


def _seeds(pack: Pack) -> PackFinding:
    told = f"{len(pack.seeds)} for each trial, {pack.acceptance.calibration} for calibration"
    if len(pack.seeds) < FEW_SEEDS and not pack.metric.side_by_side:
        return warning("seeds", f"{told}; small gains need more")
    return ok("seeds", told)


def _held_out(pack: Pack) -> PackFinding:
    if pack.certify.held_out:
        return ok("certification", "on answers of its own")
    told = "no [certify.score] or [certify.prepare]: certified scores are on fresh seeds alone"
    return warning("certification", told)


_EACH = "import os,re\nfor d,_,names in os.walk('out'):\n for n in names:\n  p=os.path.join(d,n)\n"

PROBES: Mapping[str, str] = {
    "no file": "  os.unlink(p)",
    "empty files": "  open(p,'wb').close()",
    "the first half": "  b=open(p,'rb').read();open(p,'wb').write(b[:len(b)//2])",
    "bytes without sense": "  open(p,'wb').write(bytes(range(256))*64)",
    "nan for every number": (
        "  b=open(p,'rb').read();open(p,'wb').write(re.sub(rb'-?[0-9.]+(e-?[0-9]+)?',b'nan',b))"
    ),
    "a word for every number": (
        "  b=open(p,'rb').read();open(p,'wb').write(re.sub(rb'-?[0-9.]+(e-?[0-9]+)?',b'north',b))"
    ),
    "far too much": "  b=open(p,'rb').read();open(p,'ab').write(b*9+b'1\\n'*100000)",
    "a link": "  os.unlink(p);os.symlink('/etc/hostname',p)",
}
"""What is done to the files that an honest predict has left, by name."""


async def probe_scorer(
    evaluator: Evaluator, labels: Mapping[str, str]
) -> AsyncIterator[PackFinding]:
    """Spoils the predictions of the baseline in several ways and has them scored.

    Args:
        evaluator: Of the pack; its baseline passes.
        labels: What it belongs to.
    """
    pack, seeds = evaluator.pack, evaluator.pack.seeds[:1]
    honest = await evaluator.measure(pack.baseline(), seeds, labels=labels)
    for name, code in PROBES.items():
        spoiled = evaluator.with_pack(_spoiled(pack, code))
        outcome = await spoiled.measure(pack.baseline(), seeds, labels=labels)
        yield _judged(name, outcome, honest, pack)


def _spoiled(pack: Pack, code: str) -> Pack:
    """The pack with a predict phase that spoils what it left."""
    honest = pack.phases.predict
    script = f"{shlex.join(honest.command)} && python -c {shlex.quote(_EACH + code)}"
    spec = PhaseSpec(command=("sh", "-c", script), data=honest.data)
    phases = pack.phases.model_copy(update={"predict": spec})
    return pack.model_copy(update={"phases": phases})


def _judged(name: str, outcome: Outcome, honest: Outcome, pack: Pack) -> PackFinding:
    what = f"scorer: {name}"
    if outcome.status is Status.ABORTED:
        told = "the scorer broke; answer malformed predictions with exit status 3 and a line"
        return error(what, f"{told}\n{outcome.log_tail.strip()[-600:]}")
    if outcome.status is not Status.BASELINE:
        return ok(what, f"{outcome.status}: {outcome.reason}")
    if _better(outcome, honest, pack.metric.goal):
        return error(what, f"scores {outcome.score:.5g}, better than the honest {honest.score:.5g}")
    return warning(what, f"is taken, and scores {outcome.score:.5g}")


def _better(outcome: Outcome, honest: Outcome, goal: Goal) -> bool:
    if outcome.score is None or honest.score is None:
        return False
    return goal.sign * (outcome.score - honest.score) > 0.0


NEARLY = 0.7
"""Share of a budget from which a phase is told to be near its end."""

NEAR_GATE = 3.0
"""Standard errors of the mean below which a gate is told to be near."""


async def try_baseline(evaluator: Evaluator, labels: dict[str, str]) -> AsyncIterator[PackFinding]:
    """Runs the baseline as a campaign does, and once more with a seed that it had.

    Args:
        evaluator: Of the pack.
        labels: What it belongs to.
    """
    pack = evaluator.pack
    outcome = await evaluator.evaluate(pack.baseline(), None, labels=labels)
    if outcome.status is not Status.BASELINE:
        log = f"\n{outcome.failure.excerpt}" if outcome.failure is not None else ""
        yield error("baseline", f"{outcome.status}: {outcome.reason}{log}")
        return
    yield ok("baseline", f"{pack.metric.name} {outcome.score:.5g} {pack.metric.unit}".rstrip())
    for finding in (
        *_budgets(pack, outcome.seed_runs),
        *_gates(pack, outcome),
        *_noise(pack, outcome),
    ):
        yield finding
    yield await _repeated(evaluator, outcome, labels)


def _budgets(pack: Pack, runs: tuple[SeedRun, ...]) -> Iterator[PackFinding]:
    longest: dict[Phase, float] = {}
    for run in runs:
        for timing in run.timings:
            longest[timing.phase] = max(longest.get(timing.phase, 0.0), timing.wall_seconds)
    for phase, seconds in longest.items():
        budget = pack.seconds(phase)
        told = f"{phase} took up to {seconds:.1f} of {budget:g} s"
        near = seconds > NEARLY * budget
        yield warning("budgets", f"{told}: leave more room") if near else ok("budgets", told)


def _gates(pack: Pack, outcome: Outcome) -> Iterator[PackFinding]:
    noise = noise_of(outcome.seed_runs, pack.metric)
    for gate, result in zip(pack.gates, outcome.gates, strict=True):
        spread = noise.measures.get(gate.measure) if noise is not None else None
        error_of_mean = spread.sd / len(pack.seeds) ** 0.5 if spread is not None else 0.0
        told = f"{gate.name}: {result.value:.5g}, limit {result.limit:g}"
        if error_of_mean and result.margin < NEAR_GATE * error_of_mean:
            far = result.margin / error_of_mean
            yield warning("gates", f"{told}: only {far:.1f} standard errors away, luck decides")
        else:
            yield ok("gates", told)


def _noise(pack: Pack, outcome: Outcome) -> Iterator[PackFinding]:
    found = calibration_of(pack, outcome.seed_runs)
    if found is not None:
        yield ok("noise", calibration_text(pack, found))


async def _repeated(evaluator: Evaluator, outcome: Outcome, labels: dict[str, str]) -> PackFinding:
    """Whether the same seed gives the same score."""
    first = outcome.seed_runs[0]
    again = await evaluator.measure(
        evaluator.pack.baseline(), (first.seed,), labels={**labels, "purpose": "again"}
    )
    if not again.seed_runs:
        return error("repeats", f"the same seed fails the second time: {again.reason}")
    two = again.seed_runs[0]
    of_sandbox = {f"{Phase.SCORE}.{name}" for name in SANDBOX_MEASURES}
    names = [name for name in first.measures if name.startswith("score.")]
    names = [name for name in names if name not in of_sandbox]
    differ = [name for name in names if first.measures[name] != two.measures.get(name)]
    if not differ:
        return ok("repeats", "the same seed gives the same scores")
    told = ", ".join(
        f"{name} {first.measures[name]:.6g} and {two.measures[name]:.6g}" for name in differ
    )
    return warning("repeats", f"the same seed differs: {told}; noise beyond the seed costs power")


LEFT = "baseline, gates, budgets, noise and what the scorer stands"


def lacks_gpus(pack: Pack) -> bool:
    """Whether this machine has fewer GPUs than a phase of the pack needs."""
    return len(list_gpus()) < pack.hardware.gpus


def lacks_upstream(pack: Pack) -> PackFinding | None:
    """What to say if the recipe of upstream is not here; without it little can be looked at."""
    from recipelab.packs.upstream import missing_files

    if pack.upstream is None or not missing_files(pack.upstream):
        return None
    told = f"recipelab packs fetch {pack.name} --profile {pack.profile} [--source CLONE]"
    return warning(
        "upstream", f"{pack.upstream.name} is not here, so nothing else is known: {told}"
    )


def readiness(pack: Pack) -> Iterator[PackFinding]:
    """Looks at what a profile needs beside its own files.

    Args:
        pack: A pack whose upstream recipe, if it has one, was fetched.
    """
    recipe = pack.baseline()
    if pack.upstream is not None:
        told = f"{len(pack.upstream.files)} files are those of {pack.upstream.commit[:12]}"
        yield ok("upstream", f"{pack.upstream.name}: {told}")
    yield from _python(pack)
    yield from _protected(pack, recipe)
    yield from _data(pack)


async def rules_on_baseline(pack: Pack) -> AsyncIterator[PackFinding]:
    """Has the pack's static rules read the starting recipe, which has to pass; runs none of it."""
    if not pack.evaluator.rules:
        return
    async with LocalSandbox() as sandbox:
        recipe = pack.baseline()
        with Workspace(pack, recipe, {}) as workspace:
            observer, labels = TrialObserver(), {"campaign": f"check-{pack.name}", "trial": "0"}
            runner = PhaseRunner(
                pack, sandbox, workspace, FileHashes(), labels=labels, observer=observer
            )
            try:
                await runner.check_rules()
            except PhaseFailed as failed:
                yield error("rules", f"the starting recipe breaks one: {failed.failure.excerpt}")
            except EvaluatorFault as fault:
                yield error("rules", str(fault))
            else:
                yield ok("rules", "the starting recipe passes the pack's static rules")


def left_to_prove(pack: Pack) -> PackFinding:
    """What only the hardware can tell."""
    have, need = len(list_gpus()), pack.hardware
    told = f"needs {need.gpus} x {need.kind}, and this machine has {have} GPUs"
    return warning("left to prove", f"{LEFT}: {told}")


def _python(pack: Pack) -> Iterator[PackFinding]:
    wanted = pack.recipe.python
    if wanted is not None and tuple(map(int, wanted.split("."))) > sys.version_info[:2]:
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        told = f"written for {wanted}, this is {here}: edits are parsed in the sandbox alone"
        yield warning("python", told)


def _protected(pack: Pack, recipe: Recipe) -> Iterator[PackFinding]:
    for item in pack.protected:
        text = recipe.files.get(item.path, "")
        missing = sorted(set(item.names) - set(defined_names(text, item.names)))
        if missing:
            yield error("protected", f"{item.path} does not define once: {', '.join(missing)}")
        else:
            yield ok("protected", f"{item.path}: {len(item.names)} functions are held fixed")


def _data(pack: Pack) -> Iterator[PackFinding]:
    if pack.upstream is None and not pack.hardware.gpus:
        return  # It is fetched in seconds when the baseline runs.
    missing = [item for item in pack.data if not is_cached(item)]
    size = sum(item.bytes for item in missing) / 1e9
    if missing:
        told = f"{len(missing)} of {len(pack.data)} files ({size:.2f} GB) are still to be fetched"
        yield warning("data", f"{told} into {cache_root() / 'data'}")
    else:
        yield ok("data", f"all {len(pack.data)} files are here")
    unhashed = [item.file for item in pack.data if item.sha256 is None]
    if unhashed:
        told = "nobody publishes a hash; what you fetch first is written down"
        yield warning("data", f"{len(unhashed)} files as {unhashed[0]}: {told}")
    seen = {file for phase in Phase for file in pack.phases[phase].data.values()}
    unused = sorted({item.file for item in pack.data} - seen - _certified(pack))
    if unused:
        yield warning("data", f"no phase sees {', '.join(unused[:3])}")


def _certified(pack: Pack) -> set[str]:
    certified = pack.certified()
    return {file for phase in Phase for file in certified.phases[phase].data.values()}
