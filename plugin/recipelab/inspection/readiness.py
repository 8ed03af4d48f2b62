"""What can be told of a profile without the GPUs that it is made for, and what is left to prove."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator

from recipelab.cache import cache_root
from recipelab.data import is_cached
from recipelab.evaluation.faults import EvaluatorFault, PhaseFailed
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.seals import Seals
from recipelab.evaluation.watch import Watch
from recipelab.evaluation.workspace import Workspace
from recipelab.inspection.findings import Finding, error, ok, warning
from recipelab.pack import Pack
from recipelab.protection import defined_names
from recipelab.recipe import Recipe
from recipelab.sandbox.local.sandbox import LocalSandbox
from recipelab.sandbox.slots.gpus import list_gpus
from recipelab.trial import Phase

LEFT = "baseline, gates, budgets, noise and what the scorer stands"


def lacks_gpus(pack: Pack) -> bool:
    """Whether this machine has fewer GPUs than a phase of the pack needs."""
    return len(list_gpus()) < pack.hardware.gpus


def lacks_upstream(pack: Pack) -> Finding | None:
    """What to say if the recipe of upstream is not here; without it little can be looked at."""
    from recipelab.upstream import missing_files

    if pack.upstream is None or not missing_files(pack.upstream):
        return None
    told = f"recipelab packs fetch {pack.name} --profile {pack.profile} [--source CLONE]"
    return warning(
        "upstream", f"{pack.upstream.name} is not here, so nothing else is known: {told}"
    )


def readiness(pack: Pack) -> Iterator[Finding]:
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


async def rules_on_baseline(pack: Pack) -> AsyncIterator[Finding]:
    """Has the pack's static rules read the starting recipe, which has to pass; runs none of it."""
    if not pack.evaluator.rules:
        return
    async with LocalSandbox() as sandbox:
        recipe = pack.baseline()
        with Workspace(pack, recipe, {}) as workspace:
            watch, labels = Watch(), {"campaign": f"check-{pack.name}", "trial": "0"}
            runner = PhaseRunner(pack, sandbox, workspace, Seals(), labels=labels, watch=watch)
            try:
                await runner.check_rules()
            except PhaseFailed as failed:
                yield error("rules", f"the starting recipe breaks one: {failed.failure.excerpt}")
            except EvaluatorFault as fault:
                yield error("rules", str(fault))
            else:
                yield ok("rules", "the starting recipe passes the pack's static rules")


def left_to_prove(pack: Pack) -> Finding:
    """What only the hardware can tell."""
    have, need = len(list_gpus()), pack.hardware
    told = f"needs {need.gpus} x {need.kind}, and this machine has {have} GPUs"
    return warning("left to prove", f"{LEFT}: {told}")


def _python(pack: Pack) -> Iterator[Finding]:
    wanted = pack.recipe.python
    if wanted is not None and tuple(map(int, wanted.split("."))) > sys.version_info[:2]:
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        told = f"written for {wanted}, this is {here}: edits are parsed in the sandbox alone"
        yield warning("python", told)


def _protected(pack: Pack, recipe: Recipe) -> Iterator[Finding]:
    for item in pack.protected:
        text = recipe.files.get(item.path, "")
        missing = sorted(set(item.names) - set(defined_names(text, item.names)))
        if missing:
            yield error("protected", f"{item.path} does not define once: {', '.join(missing)}")
        else:
            yield ok("protected", f"{item.path}: {len(item.names)} functions are held fixed")


def _data(pack: Pack) -> Iterator[Finding]:
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
