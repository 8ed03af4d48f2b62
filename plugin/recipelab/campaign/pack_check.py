"""The check of a task pack: its files, its profile, its rules, its baseline, and its scorer.

:func:`check_pack` does all of it, in the order of cost. What is wrong with the files is found
without running anything. The baseline then runs as at the start of a campaign, and its predictions
are spoiled in every way in which a hostile recipe might, to see whether the scorer refuses them.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from recipelab.agents.charters import pack_problems
from recipelab.campaign.pack_leaks import find_leaks
from recipelab.campaign.pack_machinery import machinery_proofs
from recipelab.campaign.pack_runs import Level, PackFinding, check_runs, labels_of
from recipelab.core.content import Home, cache_root
from recipelab.core.errors import EditError, RecipelabError
from recipelab.core.knobs import find_knobs, knob_problems
from recipelab.core.recipe import MAX_FILE_CHARACTERS, Recipe, path_matches, syntax_error
from recipelab.core.trial import Phase, Trust
from recipelab.evaluation.failures import EvaluatorFault, PhaseFailed
from recipelab.evaluation.integrity import FileHashes
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.seeds import SeedSource
from recipelab.evaluation.session import CampaignSession
from recipelab.evaluation.workspace import Workspace
from recipelab.packs.data import is_here, size_text
from recipelab.packs.knowledge import load_knowledge
from recipelab.packs.load import Play, load_playbook
from recipelab.packs.pack import Pack
from recipelab.packs.upstream import defined_names, missing_files
from recipelab.plan import Plan
from recipelab.sandbox.choose import LOCAL, resolve_kind
from recipelab.sandbox.gpus import list_gpus
from recipelab.sandbox.local.namespaces import interpreter
from recipelab.sandbox.local.sandbox import LocalSandbox
from recipelab.sandbox.requirements import check_here, image_spec_of

FEW_SEEDS = 3
"""Seeds of a trial below which small gains are not seen."""

LARGE_CARRIED = 1_000_000
"""Size in bytes from which a file that rides along is asked about."""
SHOWN_NAMES = 8
"""Names of a list that a message shows."""


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
        yield PackFinding.warning("upstream", f"{upstream.name} is not here: {command}")
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
            yield (PackFinding.ok if proof.holds else PackFinding.error)(proof.what, proof.text)
    gpus = len(list_gpus())
    runs = here and run and sound and gpus >= pack.hardware.gpus
    if not runs:
        left += _left_without_baseline(pack, gpus, rehearsed=rehearsed)
    for text in left:
        yield PackFinding.warning("left to prove", text)
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
        async for finding in check_runs(opened.for_author()):
            yield finding


def _check_requirements(pack: Pack, sandbox: str) -> Iterator[PackFinding]:
    """Say whether the packages that the pack asks for are where its phases run."""
    what, wanted = "requirements", ", ".join(pack.requirements)
    if not pack.requirements:
        return
    try:
        if resolve_kind(sandbox, allow_local_fallback=True) != LOCAL:
            yield PackFinding.ok(
                what,
                f"{wanted}: in the image {image_spec_of(pack.sandbox, pack.requirements).image}",
            )
            return
        check_here(pack.requirements, interpreter())
    except RecipelabError as error:
        yield PackFinding.error(what, str(error))
    else:
        yield PackFinding.ok(what, f"{wanted}: {interpreter()} has them")


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
    yield PackFinding.ok("pack.toml", f"{pack.name}, profile {pack.profile}: {pack.title}")
    trust = f"{pack.trust}: {pack.trust_reason}"
    yield (PackFinding.warning if pack.trust is Trust.SELF_REPORTED else PackFinding.ok)(
        "trust", trust
    )
    yield from _check_recipe(pack, recipe)
    problems = pack_problems(pack)
    yield from (PackFinding.error("specialists", problem) for problem in problems)
    if not problems:
        names = ", ".join(pack.specialists)
        yield PackFinding.ok("specialists", f"{names} own all {len(pack.surfaces)} surfaces")
    yield from _check_knobs(pack, recipe)
    yield from _check_plays(pack, recipe)
    yield from _check_knowledge(pack)
    yield from _check_leaks(pack)
    seeds = f"{len(pack.seeds)} for each trial, {pack.acceptance.calibration} for calibration"
    if len(pack.seeds) < FEW_SEEDS and not pack.metric.side_by_side:
        yield PackFinding.warning("seeds", f"{seeds}; small gains need more")
    else:
        yield PackFinding.ok("seeds", seeds)
    if pack.certify.held_out:
        yield PackFinding.ok("certification", "on answers of its own")
    else:
        text = "no [certify.score] or [certify.prepare]: certified scores are on fresh seeds alone"
        yield PackFinding.warning("certification", text)


def _check_recipe(pack: Pack, recipe: Recipe) -> Iterator[PackFinding]:
    broken = syntax_error(recipe.files, python=pack.recipe.python)
    if broken is not None:
        yield PackFinding.error("recipe", f"does not parse: {broken}")
    editable = recipe.editable(pack.recipe.editable)
    if not editable:
        globs = ", ".join(pack.recipe.editable)
        text = f"no file matches editable = [{globs}], so that nobody can change anything"
        yield PackFinding.error("recipe", text)
        return
    fixed = sorted(set(recipe.files) - set(editable))
    rest = f"; fixed: {_some(fixed)}" if fixed else ""
    yield PackFinding.ok("recipe", f"{len(editable)} editable files{rest}")
    yield from _check_folder(pack)


def _check_folder(pack: Pack) -> Iterator[PackFinding]:
    """Say what of the recipe's folder is no text, too large for one, or no part of it."""
    folder = pack.folder()
    sizes = {path: file.stat().st_size for path, file in folder.carried.items()}
    large = sorted(path for path, size in sizes.items() if size > LARGE_CARRIED)
    small = sorted(set(sizes) - set(large))
    if small:
        yield PackFinding.ok("recipe", f"ride along, read-only: {_some(small)}")
    for path in large:
        text = f"{path} has {size_text(sizes[path])} and rides along with every trial"
        yield PackFinding.warning(
            "recipe", f"{text}; if no phase needs it, move it out of the recipe"
        )
    for path in sorted(path for path in sizes if path_matches(path, pack.recipe.editable)):
        text = f"{path} matches recipe.editable, and is no text of at most"
        yield PackFinding.warning(
            "recipe", f"{text} {MAX_FILE_CHARACTERS:,} characters: nobody can edit it"
        )
    if folder.left_out:
        yield PackFinding.ok("recipe", f"left out: {_some(sorted(folder.left_out))}")


def _some(names: Sequence[str]) -> str:
    """Return names for a message; of many the first ones."""
    rest = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _check_knobs(pack: Pack, recipe: Recipe) -> Iterator[PackFinding]:
    knobs = find_knobs(recipe.files)
    for place, why in knob_problems(recipe.files):
        yield PackFinding.warning("knobs", f"{place} is no knob: {why}")
    for knob in knobs:
        if knob.surface not in pack.surface_names:
            place = f"{knob.path}:{knob.line}: {knob.name} is of surface {knob.surface!r}"
            yield PackFinding.error("knobs", f"{place}; valid: {', '.join(pack.surface_names)}")
    without = sorted(set(pack.surface_names) - {knob.surface for knob in knobs})
    if without:
        names = ", ".join(without)
        text = f"surfaces without a knob: {names}; the offline model has only plays there"
        yield PackFinding.warning("knobs", text)
    else:
        yield PackFinding.ok("knobs", f"{len(knobs)} knobs, at least one on each surface")


def _check_leaks(pack: Pack) -> Iterator[PackFinding]:
    """Look for answers and hidden inputs where the recipe could see them."""
    try:
        leaks = list(find_leaks(pack))
    except RecipelabError as error:
        yield PackFinding.error("data", str(error))
        return
    for leak in leaks:
        yield (PackFinding.error if leak.is_answer else PackFinding.warning)("leaks", leak.text)
    if not leaks:
        yield PackFinding.ok(
            "leaks", "nothing hidden is in the recipe or in training data that are here"
        )


def _check_plays(pack: Pack, recipe: Recipe) -> Iterator[PackFinding]:
    try:
        plays = load_playbook(pack)
    except RecipelabError as error:
        yield PackFinding.error("playbook", str(error))
        return
    problems = [problem for play in plays if (problem := _play_problem(pack, recipe, play))]
    yield from (PackFinding.error("playbook", problem) for problem in problems)
    if not problems:
        yield PackFinding.ok("playbook", f"{len(plays)} plays apply to the starting recipe")


def _check_knowledge(pack: Pack) -> Iterator[PackFinding]:
    try:
        sources = load_knowledge(pack)
    except RecipelabError as error:
        yield PackFinding.error("knowledge", str(error))
        return
    if sources:
        names = ", ".join(source.name for source in sources)
        yield PackFinding.ok("knowledge", f"agents can search and cite: {names}")


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
        yield PackFinding.ok("upstream", f"{pack.upstream.name}: {text}")
    wanted = pack.recipe.python
    if wanted is not None and tuple(map(int, wanted.split("."))) > sys.version_info[:2]:
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        text = f"written for {wanted}, this is {here}: edits are parsed in the sandbox alone"
        yield PackFinding.warning("python", text)
    for item in pack.protected:
        if item.path not in recipe.files:
            files = ", ".join(sorted(recipe.files))
            yield PackFinding.error(
                "protected", f"protected.path: no file {item.path}; files: {files}"
            )
            continue
        defined = defined_names(recipe.files.get(item.path, ""), item.names)
        missing = sorted(set(item.names) - set(defined))
        if missing:
            text = f"{item.path} does not define exactly once: {', '.join(missing)}"
            yield PackFinding.error("protected", text)
        else:
            what = f"{len(item.names)} functions are" if item.names else "the whole file is"
            yield PackFinding.ok("protected", f"{item.path}: {what} held fixed")
    # The data of a small pack are fetched in seconds when the baseline runs.
    if pack.upstream is not None or pack.hardware.gpus:
        yield from _check_data(pack)


def _check_data(pack: Pack) -> Iterator[PackFinding]:
    missing = [item for item in pack.data if not is_here(item, pack.root)]
    if missing:
        size = size_text(sum(item.bytes for item in missing))
        text = f"{len(missing)} of {len(pack.data)} files ({size}) are still to be fetched"
        yield PackFinding.warning("data", f"{text} into {cache_root() / 'data'}")
    else:
        yield PackFinding.ok("data", f"all {len(pack.data)} files are here")
    unhashed = [item.file for item in pack.data if item.sha256 is None]
    if unhashed:
        text = "no hash of them is published; the size decides, and the first hash is written down"
        yield PackFinding.warning("data", f"{len(unhashed)} files such as {unhashed[0]}: {text}")
    seen = {
        file
        for phases in (pack.phases, pack.certified().phases)
        for phase in Phase
        for file in pack.files_of(phases[phase])
    }
    unused = sorted({item.file for item in pack.data} - seen)
    if unused:
        yield PackFinding.warning("data", f"no phase sees {', '.join(unused[:3])}")


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
                labels=labels_of(pack),
                observer=TrialObserver(),
                nonce=SeedSource(pack).nonce,
            )
            try:
                await runner.check_rules()
            except PhaseFailed as failed:
                text = f"the starting recipe breaks one: {failed.failure.excerpt}"
                yield PackFinding.error("rules", text)
            except EvaluatorFault as fault:
                yield PackFinding.error("rules", str(fault))
            else:
                yield PackFinding.ok("rules", "the starting recipe passes the pack's static rules")
