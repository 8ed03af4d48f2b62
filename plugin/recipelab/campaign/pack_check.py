"""The check of a task pack: its files, its profile, its rules, its baseline, and its scorer.

:func:`check_pack` does all of it, in the order of cost. What is wrong with the files is found
without running anything. The baseline then runs as at the start of a campaign, and its predictions
are spoiled in every way in which a hostile recipe might, to see whether the scorer refuses them.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from recipelab.acceptance.items import ITEM_BYTES, agreement, item_mean
from recipelab.agents.charters import pack_problems
from recipelab.campaign.pack_leaks import find_leaks
from recipelab.campaign.pack_machinery import machinery_proofs
from recipelab.core.content import Home, cache_root
from recipelab.core.errors import EditError, RecipelabError
from recipelab.core.knobs import find_knobs, knob_problems
from recipelab.core.recipe import MAX_FILE_CHARACTERS, Recipe, path_matches, syntax_error
from recipelab.core.trial import Outcome, Phase, SeedRun, Status, Trust
from recipelab.evaluation.calibration import calibration_of, calibration_text, smallest_claim
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.failures import SCORER_FAILED, EvaluatorFault, PhaseFailed
from recipelab.evaluation.integrity import FileHashes
from recipelab.evaluation.metric import METRIC, PROJECTED, noise_of
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.projection import MEASURED, projection_note
from recipelab.evaluation.seeds import SeedSource
from recipelab.evaluation.session import CampaignSession
from recipelab.evaluation.workspace import TrainedOnce, Workspace
from recipelab.packs.data import is_here, size_text
from recipelab.packs.judging_sections import SANDBOX_MEASURES
from recipelab.packs.load import Play, load_playbook
from recipelab.packs.pack import Pack
from recipelab.packs.sections import PhaseSpec
from recipelab.packs.upstream import defined_names, missing_files
from recipelab.plan import Plan
from recipelab.sandbox.choose import LOCAL, resolve_kind
from recipelab.sandbox.local.namespaces import interpreter
from recipelab.sandbox.local.sandbox import LocalSandbox
from recipelab.sandbox.requirements import check_here, image_spec_of
from recipelab.sandbox.slots import list_gpus

FEW_SEEDS = 3
"""Seeds of a trial below which small gains are not seen."""

ITEMS_AGREE = 0.5
"""Correlation of two runs of one seed, item by item, below which their order is in doubt."""

NEAR_BUDGET = 0.7
"""Share of a time budget from which a phase is near its limit."""

NEAR_GATE = 3.0
"""Standard errors of the mean below which a value is near its gate."""

LARGE_CARRIED = 1_000_000
"""Size in bytes from which a file that rides along is asked about."""
SHOWN_NAMES = 8
"""Names of a list that a message shows."""

_EACH_FILE = (
    "import os,re\nfor d,_,names in os.walk('out'):\n for n in names:\n  p=os.path.join(d,n)\n"
)

SPOILS: Mapping[str, str] = {
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
"""The ways to spoil predictions: name, and what is done to each file that predict has left."""


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class PackFinding:
    """The result of one check.

    Attributes:
        level: How bad it is: ``WARNING`` may be meant so, ``ERROR`` keeps a campaign from working.
        what: What was checked, in a few words.
        text: What was found, and what to do if it is bad.
        value: The number that it is about, where programs want it: the smallest gain that can be
            claimed, for ``noise``.
    """

    level: Level
    what: str
    text: str
    value: float | None = None


def _ok(what: str, text: str) -> PackFinding:
    return PackFinding(Level.OK, what, text)


def _warning(what: str, text: str) -> PackFinding:
    return PackFinding(Level.WARNING, what, text)


def _error(what: str, text: str) -> PackFinding:
    return PackFinding(Level.ERROR, what, text)


async def check_pack(
    pack: Pack,
    *,
    run: bool = True,
    sandbox: str = "auto",
    slots: int | None = None,
    share_devices: bool = False,
    home: Home | None = None,
    rehearsed: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> AsyncIterator[PackFinding]:
    """Check all of a pack, and yield each finding when it is known; last, what is left to prove.

    The baseline runs only if this machine has the GPUs for it and no error was found before.

    Args:
        pack: The pack.
        run: Whether to run anything: the launcher, the baseline and spoiled predictions.
        sandbox: ``auto``, ``docker`` or ``local``.
        slots: Phases at the same time; ``None`` for what the machine has.
        share_devices: Whether slots may share devices, with each other and with campaigns.
        rehearsed: Whether the caller has the profile rehearsed besides.
        home: Folder of papers and lineage; nothing is written to it.
        say: Called with each text that a person should read.
    """
    upstream = pack.upstream
    here = upstream is None or not missing_files(upstream)
    sound = True
    left = []
    if upstream is not None and not here:
        command = f"recipelab packs fetch {pack.name} --profile {pack.profile} [--source CLONE]"
        yield _warning("upstream", f"{upstream.name} is not here: {command}")
        left.append("recipe, playbook and rules: the recipe has to be fetched first")
    else:
        for finding in (*check_files(pack), *check_profile(pack)):
            sound = sound and finding.level is not Level.ERROR
            yield finding
        async for finding in check_rules(pack):
            sound = sound and finding.level is not Level.ERROR
            yield finding
    for finding in _check_requirements(pack, sandbox):
        sound = sound and finding.level is not Level.ERROR
        yield finding
    async for proof in machinery_proofs(pack, sandbox=sandbox, run=run):
        if proof.holds is None:
            left.append(f"{proof.what}: {proof.text}")
        else:
            sound = sound and proof.holds
            yield (_ok if proof.holds else _error)(proof.what, proof.text)
    gpus = len(list_gpus())
    runs = here and run and sound and gpus >= pack.hardware.gpus
    if not runs:
        left += _left_without_baseline(pack, gpus, rehearsed=rehearsed)
    for text in left:
        yield _warning("left to prove", text)
    if not runs:
        return
    plan = Plan(
        pack=str(pack.root),
        profile=pack.profile,
        sandbox=sandbox,
        slots=slots,
        share_devices=share_devices,
    )
    session = CampaignSession(plan, home or Home.find(), say=say)
    async with session.measuring() as opened:
        async for finding in _check_runs(opened.for_author()):
            yield finding


async def _check_runs(evaluator: Evaluator) -> AsyncIterator[PackFinding]:
    """Run the baseline, and the scorer on spoiled predictions if the baseline is sound."""
    sound = True
    with TrainedOnce() as kept:
        # Where prepare makes data, they are others in every run, and so is what was learned.
        trained = kept if evaluator.pack.phases.prepare is None else None
        async for finding in check_baseline(evaluator, trained):
            sound = sound and finding.level is not Level.ERROR
            yield finding
        if sound:
            async for finding in check_scorer(evaluator, trained):
                yield finding
            async for finding in check_goal(evaluator, trained):
                yield finding


def _check_requirements(pack: Pack, sandbox: str) -> Iterator[PackFinding]:
    """Say whether the packages that the pack asks for are where its phases run."""
    what, wanted = "requirements", ", ".join(pack.requirements)
    if not pack.requirements:
        return
    try:
        if resolve_kind(sandbox, allow_local_fallback=True) != LOCAL:
            yield _ok(
                what,
                f"{wanted}: in the image {image_spec_of(pack.sandbox, pack.requirements).image}",
            )
            return
        check_here(pack.requirements, interpreter())
    except RecipelabError as error:
        yield _error(what, str(error))
    else:
        yield _ok(what, f"{wanted}: {interpreter()} has them")


def _left_without_baseline(pack: Pack, gpus: int, *, rehearsed: bool) -> list[str]:
    """Return what nobody knows of a pack whose baseline did not run."""
    left = []
    if gpus < pack.hardware.gpus:
        if pack.rehearsal is None:
            left.append("phases: none has run, and the profile has no [rehearsal] for a CPU")
        elif not rehearsed:
            command = f"recipelab packs rehearse {pack.name} --profile {pack.profile}"
            left.append(f"phases, on data made on the spot: {command} [--source CLONE]")
        needs = f"needs {pack.hardware.gpus} x {pack.hardware.kind}, and this machine has {gpus}"
        why = f"{needs} GPUs"
    else:
        why = "did not run"
    return [*left, f"baseline, gates, budgets, noise, and the scorer on spoiled predictions: {why}"]


# What files alone can tell.


def check_files(pack: Pack) -> Iterator[PackFinding]:
    """Check all that can be read: recipe, charters, knobs, plays, seeds and certification."""
    recipe = pack.baseline()
    yield _ok("pack.toml", f"{pack.name}, profile {pack.profile}: {pack.title}")
    trust = f"{pack.trust}: {pack.trust_reason}"
    yield (_warning if pack.trust is Trust.SELF_REPORTED else _ok)("trust", trust)
    yield from _check_recipe(pack, recipe)
    problems = pack_problems(pack)
    yield from (_error("specialists", problem) for problem in problems)
    if not problems:
        names = ", ".join(pack.specialists)
        yield _ok("specialists", f"{names} own all {len(pack.surfaces)} surfaces")
    yield from _check_knobs(pack, recipe)
    yield from _check_plays(pack, recipe)
    yield from _check_leaks(pack)
    seeds = f"{len(pack.seeds)} for each trial, {pack.acceptance.calibration} for calibration"
    if len(pack.seeds) < FEW_SEEDS and not pack.metric.side_by_side:
        yield _warning("seeds", f"{seeds}; small gains need more")
    else:
        yield _ok("seeds", seeds)
    if pack.certify.held_out:
        yield _ok("certification", "on answers of its own")
    else:
        text = "no [certify.score] or [certify.prepare]: certified scores are on fresh seeds alone"
        yield _warning("certification", text)


def _check_recipe(pack: Pack, recipe: Recipe) -> Iterator[PackFinding]:
    broken = syntax_error(recipe.files, python=pack.recipe.python)
    if broken is not None:
        yield _error("recipe", f"does not parse: {broken}")
    editable = recipe.editable(pack.recipe.editable)
    if not editable:
        globs = ", ".join(pack.recipe.editable)
        text = f"no file matches editable = [{globs}], so that nobody can change anything"
        yield _error("recipe", text)
        return
    fixed = sorted(set(recipe.files) - set(editable))
    rest = f"; fixed: {_some(fixed)}" if fixed else ""
    yield _ok("recipe", f"{len(editable)} editable files{rest}")
    yield from _check_folder(pack)


def _check_folder(pack: Pack) -> Iterator[PackFinding]:
    """Say what of the recipe's folder is no text, too large for one, or no part of it."""
    folder = pack.folder()
    sizes = {path: file.stat().st_size for path, file in folder.carried.items()}
    large = sorted(path for path, size in sizes.items() if size > LARGE_CARRIED)
    small = sorted(set(sizes) - set(large))
    if small:
        yield _ok("recipe", f"ride along, read-only: {_some(small)}")
    for path in large:
        text = f"{path} has {size_text(sizes[path])} and rides along with every trial"
        yield _warning("recipe", f"{text}; if no phase needs it, move it out of the recipe")
    for path in sorted(path for path in sizes if path_matches(path, pack.recipe.editable)):
        text = f"{path} matches recipe.editable, and is no text of at most"
        yield _warning("recipe", f"{text} {MAX_FILE_CHARACTERS:,} characters: nobody can edit it")
    if folder.left_out:
        yield _ok("recipe", f"left out: {_some(sorted(folder.left_out))}")


def _some(names: Sequence[str]) -> str:
    """Return names for a message; of many the first ones."""
    rest = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _check_knobs(pack: Pack, recipe: Recipe) -> Iterator[PackFinding]:
    knobs = find_knobs(recipe.files)
    for place, why in knob_problems(recipe.files):
        yield _warning("knobs", f"{place} is no knob: {why}")
    for knob in knobs:
        if knob.surface not in pack.surface_names:
            place = f"{knob.path}:{knob.line}: {knob.name} is of surface {knob.surface!r}"
            yield _error("knobs", f"{place}; valid: {', '.join(pack.surface_names)}")
    without = sorted(set(pack.surface_names) - {knob.surface for knob in knobs})
    if without:
        names = ", ".join(without)
        text = f"surfaces without a knob: {names}; the offline model has only plays there"
        yield _warning("knobs", text)
    else:
        yield _ok("knobs", f"{len(knobs)} knobs, at least one on each surface")


def _check_leaks(pack: Pack) -> Iterator[PackFinding]:
    """Look for answers and hidden inputs where the recipe could see them."""
    try:
        leaks = list(find_leaks(pack))
    except RecipelabError as error:
        yield _error("data", str(error))
        return
    for leak in leaks:
        yield (_error if leak.is_answer else _warning)("leaks", leak.text)
    if not leaks:
        yield _ok("leaks", "nothing hidden is in the recipe or in training data that are here")


def _check_plays(pack: Pack, recipe: Recipe) -> Iterator[PackFinding]:
    try:
        plays = load_playbook(pack)
    except RecipelabError as error:
        yield _error("playbook", str(error))
        return
    problems = [problem for play in plays if (problem := _play_problem(pack, recipe, play))]
    yield from (_error("playbook", problem) for problem in problems)
    if not problems:
        yield _ok("playbook", f"{len(plays)} plays apply to the starting recipe")


def _play_problem(pack: Pack, recipe: Recipe, play: Play) -> str | None:
    try:
        edited = recipe.apply([edit.to_edit() for edit in play.edits], pack.recipe.editable)
    except EditError as error:
        return f"play {play.id} does not apply: {error}"
    broken = syntax_error(edited.files, python=pack.recipe.python)
    return f"play {play.id} does not parse: {broken}" if broken else None


# What a profile needs besides the files of its pack.


def check_profile(pack: Pack) -> Iterator[PackFinding]:
    """Check what a profile needs besides its own files; its upstream recipe must be fetched."""
    recipe = pack.baseline()
    if pack.upstream is not None:
        text = f"{len(pack.upstream.files)} files are those of {pack.upstream.commit[:12]}"
        yield _ok("upstream", f"{pack.upstream.name}: {text}")
    wanted = pack.recipe.python
    if wanted is not None and tuple(map(int, wanted.split("."))) > sys.version_info[:2]:
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        text = f"written for {wanted}, this is {here}: edits are parsed in the sandbox alone"
        yield _warning("python", text)
    for item in pack.protected:
        if item.path not in recipe.files:
            files = ", ".join(sorted(recipe.files))
            yield _error("protected", f"protected.path: no file {item.path}; files: {files}")
            continue
        defined = defined_names(recipe.files.get(item.path, ""), item.names)
        missing = sorted(set(item.names) - set(defined))
        if missing:
            text = f"{item.path} does not define exactly once: {', '.join(missing)}"
            yield _error("protected", text)
        else:
            what = f"{len(item.names)} functions are" if item.names else "the whole file is"
            yield _ok("protected", f"{item.path}: {what} held fixed")
    # The data of a small pack are fetched in seconds when the baseline runs.
    if pack.upstream is not None or pack.hardware.gpus:
        yield from _check_data(pack)


def _check_data(pack: Pack) -> Iterator[PackFinding]:
    missing = [item for item in pack.data if not is_here(item, pack.root)]
    if missing:
        size = size_text(sum(item.bytes for item in missing))
        text = f"{len(missing)} of {len(pack.data)} files ({size}) are still to be fetched"
        yield _warning("data", f"{text} into {cache_root() / 'data'}")
    else:
        yield _ok("data", f"all {len(pack.data)} files are here")
    unhashed = [item.file for item in pack.data if item.sha256 is None]
    if unhashed:
        text = "no hash of them is published; the size decides, and the first hash is written down"
        yield _warning("data", f"{len(unhashed)} files such as {unhashed[0]}: {text}")
    seen = {
        file
        for phases in (pack.phases, pack.certified().phases)
        for phase in Phase
        for file in phases[phase].data.values()
    }
    unused = sorted({item.file for item in pack.data} - seen)
    if unused:
        yield _warning("data", f"no phase sees {', '.join(unused[:3])}")


async def check_rules(pack: Pack) -> AsyncIterator[PackFinding]:
    """Let the pack's static rules read the starting recipe, which must pass; none of it runs."""
    if not pack.evaluator.rules:
        return
    async with LocalSandbox() as sandbox:
        with Workspace(pack, pack.baseline(), {}) as workspace:
            runner = PhaseRunner(
                pack,
                sandbox,
                workspace,
                FileHashes(),
                labels=_labels(pack),
                observer=TrialObserver(),
                nonce=SeedSource(pack).nonce,
            )
            try:
                await runner.check_rules()
            except PhaseFailed as failed:
                text = f"the starting recipe breaks one: {failed.failure.excerpt}"
                yield _error("rules", text)
            except EvaluatorFault as fault:
                yield _error("rules", str(fault))
            else:
                yield _ok("rules", "the starting recipe passes the pack's static rules")


# What the baseline tells when it runs.


async def check_baseline(
    evaluator: Evaluator, trained: TrainedOnce | None = None
) -> AsyncIterator[PackFinding]:
    """Run the baseline as a campaign does, and once more with a seed that it had.

    Args:
        evaluator: Runs it.
        trained: Keeps what the last training leaves; ``None`` to keep nothing.
    """
    pack = evaluator.pack
    outcome = await evaluator.evaluate(pack.baseline(), None, labels=_labels(pack))
    if outcome.status is not Status.BASELINE:
        failure, log = outcome.failure, outcome.log_tail.strip()
        # The reason has its numbers taken out, so that repeats can be counted.
        told = f"{failure.phase or 'machinery'}: {failure.excerpt}" if failure else outcome.reason
        log = f"\nits whole log:\n{log}" if log and log not in told else ""
        yield _error("baseline", f"{outcome.status}: {told}{log}")
        return
    yield _check_seed(pack, outcome)
    yield _ok("baseline", f"{pack.metric.name} {outcome.score:.5g} {pack.metric.unit}".rstrip())
    held = (*_check_budgets(pack, outcome), *_check_gates(pack, outcome))
    for finding in (*held, *_check_projections(pack, outcome)):
        yield finding
    calibration = calibration_of(pack, outcome.seed_runs)
    if calibration is not None:
        text, gain = calibration_text(pack, calibration), smallest_claim(pack, calibration)
        yield PackFinding(Level.OK, "noise", text, gain)
    labels = {**_labels(pack), "purpose": "again"}
    first = outcome.seed_runs[0]
    alike = evaluator.with_pack(pack, trained=trained)
    again = await alike.measure(pack.baseline(), (first.seed,), labels=labels)
    yield _check_repeats(first, again)
    yield _check_items(pack, outcome.seed_runs, again)
    if pack.acceptance.deterministic:
        yield _check_deterministic(pack, outcome)
    yield await _check_control(evaluator)


async def _check_control(evaluator: Evaluator) -> PackFinding:
    """Check that the starting recipe knows nothing that it was not taught."""
    pack, what = evaluator.pack, "control"
    if pack.control is None:
        text = "there is none, so that answers in the code would be taken for learned ones"
        return _warning(what, f"{text}; see [control]")
    labels = {**_labels(pack), "purpose": "control"}
    outcome = await evaluator.control_run(pack.baseline(), labels=labels)
    if outcome.status is Status.BASELINE:
        return _ok(what, outcome.reason)
    return _error(what, f"the starting recipe fails it, {outcome.status}: {outcome.reason}")


def _check_seed(pack: Pack, outcome: Outcome) -> PackFinding:
    """Check that another seed makes another run, as fresh seeds prove nothing otherwise."""
    runs = outcome.seed_runs
    train = pack.phases.train
    words = (*train.command, *train.environment.values())
    scores = {run.measures[METRIC] for run in runs}
    same_artifact = len({run.artifact for run in runs}) == 1 and bool(runs[0].artifact)
    if len(runs) < 2 or pack.acceptance.deterministic or (len(scores) > 1 and not same_artifact):
        return _ok("seed", "another seed gives another run")
    what = "left the same artifact" if same_artifact else "have the same score"
    if any("{seed}" in word for word in words):
        hint = "let train draw all its random numbers from the seed that it is given"
    else:
        hint = "no word of phases.train.command, nor of its environment, holds {seed}"
    text = f"the seed changes nothing: {len(runs)} of them {what}, so fresh seeds prove nothing"
    return _warning("seed", f"{text}; {hint}, or say acceptance.deterministic = true")


def _check_deterministic(pack: Pack, outcome: Outcome) -> PackFinding:
    """Check that the metric is the same for every seed, where the pack says so."""
    found = sorted({run.measures[METRIC] for run in outcome.seed_runs})
    if len(found) == 1:
        return _ok("deterministic", f"all {len(outcome.seed_runs)} seeds measured {found[0]:.8g}")
    text = f"{pack.metric.name} was {found[0]:.8g} to {found[-1]:.8g} over the seeds"
    return _error("deterministic", f"{text}; take deterministic out of [acceptance]")


def _check_budgets(pack: Pack, outcome: Outcome) -> Iterator[PackFinding]:
    longest: dict[Phase, float] = {}
    for run in outcome.seed_runs:
        for timing in run.timings:
            longest[timing.phase] = max(longest.get(timing.phase, 0.0), timing.wall_seconds)
    for phase, seconds in longest.items():
        budget = pack.seconds(phase)
        text = f"{phase} took up to {seconds:.1f} of {budget:g} s"
        near = seconds > NEAR_BUDGET * budget
        yield _warning("budgets", f"{text}: leave more room") if near else _ok("budgets", text)


def _check_gates(pack: Pack, outcome: Outcome) -> Iterator[PackFinding]:
    noise = noise_of(outcome.seed_runs, pack.metric)
    gates = [gate for gate in pack.gates if not gate.relative]
    for gate, result in zip(gates, outcome.gates, strict=True):
        spread = noise.measures.get(gate.measure) if noise is not None else None
        error_of_mean = spread.sd / len(pack.seeds) ** 0.5 if spread is not None else 0.0
        text = f"{gate.name}: {result.value:.5g}, limit {result.limit:g}"
        if error_of_mean and result.margin < NEAR_GATE * error_of_mean:
            errors = abs(result.margin) / error_of_mean
            how = f"only {errors:.1f} standard errors away" if result.passed else "missed"
            yield _warning("gates", f"{text}: {how}, luck decides")
        else:
            yield _ok("gates", text)


def _check_projections(pack: Pack, outcome: Outcome) -> Iterator[PackFinding]:
    """Hold what the baseline's preflight foretells against what its trainings measured."""
    measures = outcome.seed_runs[0].measures
    if note := projection_note(pack, measures):
        yield _warning("projections", note)
    for name, error in pack.phases.preflight.projects.errors.items():
        projected, measured = measures.get(f"{PROJECTED}{name}"), MEASURED[name]
        found = [run.measures[measured] for run in outcome.seed_runs if measured in run.measures]
        if projected is None or not found or not (true := fmean(found)):
            continue
        off = projected / true - 1.0
        text = f"{name}: {projected:,.5g} foretold, {true:,.5g} measured ({off:+.1%}; {error:.1%})"
        if abs(off) > error:
            yield _warning("projections", f"{text}: further off than the pack states")
        else:
            yield _ok("projections", text)


def _check_repeats(first: SeedRun, again: Outcome) -> PackFinding:
    if not again.seed_runs:
        return _error("repeats", f"the same seed fails the second time: {again.reason}")
    second = again.seed_runs[0]
    of_sandbox = {f"{Phase.SCORE}.{name}" for name in SANDBOX_MEASURES}
    scores = [name for name in first.measures if name.startswith(f"{Phase.SCORE}.")]
    differences = ", ".join(
        f"{name} {first.measures[name]:.6g} and {second.measures[name]:.6g}"
        for name in scores
        if name not in of_sandbox and first.measures[name] != second.measures.get(name)
    )
    if not differences:
        return _ok("repeats", "the same seed gives the same scores")
    text = f"the same seed differs: {differences}; noise beyond the seed costs power"
    return _warning("repeats", text)


def _check_items(pack: Pack, runs: Sequence[SeedRun], again: Outcome) -> PackFinding:
    """Tell of the items that the scorer leaves, and whether their order is always the same."""
    spec, what = pack.evaluator, "items"
    if spec.items is None:
        text = "the scorer leaves none, so that nobody knows how much a finite hidden set tells"
        return _ok(what, f"{text}; see evaluator.items")
    found = item_mean([run.items for run in runs], fresh=spec.fresh_items)
    if found is None:
        numbers = sorted({len(run.items) // ITEM_BYTES for run in runs})
        text = f"runs have {' and '.join(map(str, numbers))} items; all must have the same ones"
        return _error(what, text)
    text = f"{found.count:,}, their mean is {spec.items}"
    if spec.fresh_items:
        return _ok(what, f"{text}; every run has others, so that seeds tell their error too")
    second = again.seed_runs[0].items if again.seed_runs else b""
    agree = agreement(runs[0].items, second)
    if agree is not None and agree < ITEMS_AGREE:
        text = f"two runs of one seed hardly agree item by item (correlation {agree:.2f})"
        hint = "the scorer has to put them into one order; or say fresh_items = true"
        return _warning(what, f"{text}: {hint}")
    return _ok(what, f"{text}; so many leave a standard error of {found.error:.2g} in it")


# What the scorer makes of spoiled predictions.


async def check_scorer(
    evaluator: Evaluator, trained: TrainedOnce | None = None
) -> AsyncIterator[PackFinding]:
    """Spoil the predictions of the baseline in several ways and have them scored.

    Args:
        evaluator: Runs it.
        trained: What trainings have left, so that none runs again; ``None`` to train for each.
    """
    pack, seeds, labels = evaluator.pack, evaluator.pack.seeds[:1], _labels(evaluator.pack)
    alike = evaluator.with_pack(pack, trained=trained)
    honest = await alike.measure(pack.baseline(), seeds, labels=labels)
    for name, code in SPOILS.items():
        spoiling = evaluator.with_pack(_spoiling_pack(pack, code), trained=trained)
        outcome = await spoiling.measure(pack.baseline(), seeds, labels=labels)
        yield _scorer_finding(f"scorer: {name}", outcome, honest, pack)


async def check_goal(
    evaluator: Evaluator, trained: TrainedOnce | None = None
) -> AsyncIterator[PackFinding]:
    """Hand in the answers as predictions, where the scorer takes such files: they must win.

    Args:
        evaluator: Runs it.
        trained: As in :func:`check_scorer`.
    """
    pack = evaluator.pack
    answers = pack.phases.score.data if pack.phases.prepare is None else {}
    if not answers or not pack.metric.measure.startswith(f"{Phase.SCORE}."):
        return
    seeds, labels = pack.seeds[:1], _labels(pack)
    alike = evaluator.with_pack(pack, trained=trained)
    honest = await alike.measure(pack.baseline(), seeds, labels=labels)
    for name in sorted(set(answers.values())):
        knowing = evaluator.with_pack(_knowing_pack(pack, name), trained=trained)
        outcome = await knowing.measure(pack.baseline(), seeds, labels=labels)
        if outcome.score is None or honest.score is None or outcome.status is not Status.BASELINE:
            continue
        better = pack.metric.goal.sign * (outcome.score - honest.score)
        text = f"{name} as predictions scores {outcome.score:.5g}, the baseline {honest.score:.5g}"
        if better < 0.0:
            hint = f"is metric.goal = {str(pack.metric.goal)!r} meant?"
            yield _error("goal", f"{text}: the answers themselves are worse; {hint}")
        else:
            yield _ok("goal", f"{text}; {pack.metric.goal} it is")


def _knowing_pack(pack: Pack, name: str) -> Pack:
    """Return the pack with a predict phase that hands in answers, as no other phase could."""
    honest, place = pack.phases.predict, "answers-of-the-check/answers"
    code = f"  import shutil;shutil.copyfile('{honest.upwards}{place}',p)"
    spec = _also(honest, code).model_copy(update={"data": {**honest.data, place: name}})
    phases = pack.phases.model_copy(update={"predict": spec})
    return pack.model_copy(update={"phases": phases, "warm": ()})


def _also(honest: PhaseSpec, code: str) -> PhaseSpec:
    """Return a phase that does something with each of its own files at the end."""
    each_file = _EACH_FILE.replace("'out'", f"'{honest.upwards}out'")
    script = f"{shlex.join(honest.command)} && python -c {shlex.quote(each_file + code)}"
    return honest.model_copy(update={"command": ("sh", "-c", script)})


def _spoiling_pack(pack: Pack, code: str) -> Pack:
    """Return the pack with a predict phase that spoils its own files at the end."""
    spec = _also(pack.phases.predict, code)
    phases = pack.phases.model_copy(update={"predict": spec})
    # What is imported first is imported for a script alone, and this is a shell.
    return pack.model_copy(update={"phases": phases, "warm": ()})


def _scorer_finding(what: str, outcome: Outcome, honest: Outcome, pack: Pack) -> PackFinding:
    broke = outcome.failure is not None and outcome.failure.excerpt.startswith(SCORER_FAILED)
    if outcome.status is Status.ABORTED or broke:
        text = "the scorer broke; answer malformed predictions with exit status 3 and a line"
        return _error(what, f"{text}\n{outcome.log_tail.strip()[-600:]}")
    if outcome.status is not Status.BASELINE:
        return _ok(what, f"{outcome.status}: {outcome.reason}")
    score, fair = outcome.score, honest.score
    if score is not None and fair is not None and pack.metric.goal.sign * (score - fair) > 0.0:
        return _error(what, f"scores {score:.5g}, better than the honest {fair:.5g}")
    return _warning(what, f"is accepted, and scores {score:.5g}")


def _labels(pack: Pack) -> dict[str, str]:
    return {"campaign": f"check-{pack.name}", "trial": "0"}
