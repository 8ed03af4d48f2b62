"""What can be told of a pack without running anything."""

from __future__ import annotations

from collections.abc import Iterator

from recipelab.agents.found import pack_problems
from recipelab.errors import EditError, RecipelabError
from recipelab.inspection.findings import Finding, error, ok, warning
from recipelab.knobs import find_knobs
from recipelab.pack import Pack
from recipelab.playbook import Play, load_playbook
from recipelab.recipe import Recipe, syntax_error

FEW_SEEDS = 3


def read_findings(pack: Pack) -> Iterator[Finding]:
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


def _recipe(pack: Pack, recipe: Recipe) -> Iterator[Finding]:
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


def _charters(pack: Pack) -> Iterator[Finding]:
    problems = pack_problems(pack)
    yield from (error("specialists", problem) for problem in problems)
    if not problems:
        yield ok(
            "specialists", f"{', '.join(pack.specialists)} own all {len(pack.surfaces)} surfaces"
        )


def _knobs(pack: Pack, recipe: Recipe) -> Iterator[Finding]:
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


def _plays(pack: Pack, recipe: Recipe) -> Iterator[Finding]:
    try:
        plays = load_playbook(pack)
    except RecipelabError as problem:
        yield error("playbook", str(problem))
        return
    broken = [finding for play in plays if (finding := _play(pack, recipe, play)) is not None]
    yield from broken
    if not broken:
        yield ok("playbook", f"{len(plays)} plays apply to the starting recipe")


def _play(pack: Pack, recipe: Recipe, play: Play) -> Finding | None:
    try:
        edited = recipe.apply([edit.to_edit() for edit in play.edits], pack.recipe.editable)
    except EditError as problem:
        return error("playbook", f"play {play.id} does not apply: {problem}")
    broken = syntax_error(edited.files, python=pack.recipe.python)
    return error("playbook", f"play {play.id} does not parse: {broken}") if broken else None


def _seeds(pack: Pack) -> Finding:
    told = f"{len(pack.seeds)} for each trial, {pack.acceptance.calibration} for calibration"
    if len(pack.seeds) < FEW_SEEDS and not pack.metric.side_by_side:
        return warning("seeds", f"{told}; small gains need more")
    return ok("seeds", told)


def _held_out(pack: Pack) -> Finding:
    if pack.certify.held_out:
        return ok("certification", "on answers of its own")
    told = "no [certify.score] or [certify.prepare]: certified scores are on fresh seeds alone"
    return warning("certification", told)
