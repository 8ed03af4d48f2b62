"""Projections: what preflight foretells of a training, held to the limits before it begins.

A preflight that projects leaves ``out/projection.json``. The file is the recipe's own, and so it is
read as any other output of code that nobody trusts. A recipe that lies gains nothing: what it
trains is measured and held to the same limits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from recipelab.core.recipe import Recipe
from recipelab.core.text import plain, shorten
from recipelab.core.trial import Failure, FailureKind, Phase, SeedRun, Status
from recipelab.evaluation.metric import PROJECTED, packed_bytes, recipe_bytes
from recipelab.packs.judging_sections import PACKED, Gate
from recipelab.packs.pack import Pack

PROJECTION_FILE = "projection.json"
"""Where preflight writes what it projects, below ``out/``."""

PROJECTION_LIMIT_BYTES = 65_536
"""Size up to which a projection is read."""

MEASURED: Mapping[str, str] = {
    "artifact_bytes": "artifact.bytes",
    "train_seconds": "train.wall_seconds",
    "train_cpu_seconds": "train.cpu_seconds",
    "peak_memory_mb": "train.peak_memory_mb",
}
"""What each projection foretells, as the training then measures it."""

NOTHING_EXPECTED: Mapping[str, float] = {}
"""For recipes that are compared with none: nothing has to be projected."""

LARGEST_CORRECTION = 1.25
"""What a projection is corrected by at most: a best that foretells too little on purpose must not
have many others refused."""

_SECONDS = "the training would take {value:,.4g} s"
_CPU_SECONDS = "the training would take {value:,.4g} CPU seconds"
_MEMORY = "the training would need {value:,.0f} MiB of memory"
_ARTIFACT = "the artifact would have {value:,.0f} bytes"
_SUBMISSION = "artifact and recipe would have {value:,.0f} bytes"


@dataclass(frozen=True)
class Projection:
    """What a preflight left in ``projection.json``.

    Attributes:
        values: The numbers that the pack asks for, as far as they are there.
        problem: Why one of them is not; empty if all are.
    """

    values: Mapping[str, float]
    problem: str = ""

    def measures(self) -> dict[str, float]:
        """Return the values as measurements of a seed run."""
        return {f"{PROJECTED}{name}": value for name, value in self.values.items()}


def read_projection(folder: Path, names: Collection[str]) -> Projection:
    """Read what a preflight projects.

    Args:
        folder: What it left: regular files alone, as the sandbox took them.
        names: The numbers that are asked for; all others are ignored.
    """
    if not names:
        return Projection({})
    path = folder / PROJECTION_FILE
    if not path.is_file():
        return Projection({}, f"preflight left no {PROJECTION_FILE}")
    if path.stat().st_size > PROJECTION_LIMIT_BYTES:
        return Projection({}, f"{PROJECTION_FILE} has over {PROJECTION_LIMIT_BYTES:,} bytes")
    try:
        table = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        return Projection({}, f"{PROJECTION_FILE} is no JSON: {shorten(str(error), 100)}")
    if not isinstance(table, dict):
        return Projection({}, f"{PROJECTION_FILE} is no JSON object")
    values = {name: value for name in names if (value := _number(table.get(name))) is not None}
    missing = [name for name in names if name not in values]
    if not missing:
        return Projection(values)
    found = shorten(plain(repr(table.get(missing[0], "nothing"))), 60)
    text = f"{PROJECTION_FILE}: {missing[0]} must be a finite number, at least 0, not {found}"
    return Projection(values, text)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= 0.0 else None


def corrections(runs: Collection[SeedRun]) -> dict[str, float]:
    """Return by what to multiply projections, by their names, as the trainings of a recipe tell.

    A process cannot time its own start and end, nor foretell how busy the machine is; what its
    trainings took over what its preflight projected is the same for the next recipe, by and large.

    Args:
        runs: The seed runs of the recipe, in most cases of the best.

    Returns:
        A factor for each number that its preflight projected.
    """
    found = {}
    for name, measure in MEASURED.items():
        told = [run for run in runs if f"{PROJECTED}{name}" in run.measures]
        ratios = [
            run.measures[measure] / run.measures[f"{PROJECTED}{name}"]
            for run in told
            if run.measures.get(measure) and run.measures[f"{PROJECTED}{name}"]
        ]
        if told:
            factor = fmean(ratios) if ratios else 1.0
            found[name] = min(max(factor, 1 / LARGEST_CORRECTION), LARGEST_CORRECTION)
    return found


def preflight_times(runs: Collection[SeedRun]) -> dict[str, float]:
    """Return what the preflight of a recipe took, as ``preflight.cpu_seconds``, if it is known."""
    names = [f"{Phase.PREFLIGHT}.{name}" for name in ("cpu_seconds", "wall_seconds")]
    for run in runs:
        if all(name in run.measures for name in names):
            return {name: run.measures[name] for name in names}
    return {}


def projection_note(pack: Pack, measures: Mapping[str, float]) -> str:
    """Return what to say of a baseline that does not project all that its pack says; or nothing.

    Args:
        pack: The pack.
        measures: The measurements of one of its seed runs.
    """
    names = pack.phases.preflight.projects.errors
    missing = ", ".join(name for name in names if f"{PROJECTED}{name}" not in measures)
    if not missing:
        return ""
    return (
        f"The baseline's preflight leaves no usable projection of {missing}, so trials are not "
        "held to it before they are trained."
    )


@dataclass(frozen=True)
class _Bound:
    """A limit that a projected measure is held to.

    Attributes:
        words: What is said of a value; ``{value}`` stands for it.
        limit: The limit.
        where: What sets the limit.
        status: How a trial ends that is over it.
        added: What is known exactly and adds to the projected value.
        share: What the projected value is divided by.
    """

    words: str
    limit: float
    where: str
    status: Status
    added: float = 0.0
    share: float = 1.0


def refusal(
    pack: Pack,
    recipe: Recipe,
    projection: Projection,
    expected: Mapping[str, float],
    *,
    seed: int,
) -> tuple[Status, Failure] | None:
    """Return status and failure of a recipe that need not be trained; ``None`` for any other.

    Args:
        pack: Limits, and the errors of projections.
        recipe: The recipe.
        projection: What its preflight projects.
        expected: What the best projects, and by what to correct it (:func:`corrections`): a recipe
            may not leave it out.
        seed: The seed of the preflight.
    """
    errors = pack.phases.preflight.projects.errors
    if any(name not in projection.values for name in expected if name in errors):
        names = ", ".join(sorted(errors.keys() & expected.keys()))
        text = f"{projection.problem}; the baseline projects {names}"
        kind = FailureKind.BAD_OUTPUT
        return Status.CRASHED, Failure(Phase.PREFLIGHT, kind, "no usable projection", text, seed)
    for name, told in projection.values.items():
        error, value = errors[name], told * expected.get(name, 1.0)
        for bound in _bounds(pack, recipe, name):
            total = value / bound.share + bound.added
            if value * (1.0 - error) / bound.share + bound.added <= bound.limit:
                continue
            over = f"{100.0 * (total / bound.limit - 1.0):,.0f} %" if bound.limit else "far"
            text = (
                f"{bound.words.format(value=total)}, {over} over the limit of {bound.limit:,g} "
                f"({bound.where}); projected in preflight, within {100.0 * error:g} %"
            )
            signature = f"projected {name} over {bound.where}"
            kind = FailureKind.PROJECTED
            return bound.status, Failure(Phase.PREFLIGHT, kind, signature, text, seed)
    return None


def _bounds(pack: Pack, recipe: Recipe, name: str) -> Iterator[_Bound]:
    """Yield the limits that a projected measure is held to, the pack's gates first."""
    limits, budget = pack.limits, pack.budgets.train
    gates = [gate for gate in pack.gates if gate.at_most is not None]
    match name:
        case "artifact_bytes":
            yield from (_of_gate(g, _ARTIFACT) for g in gates if g.measure == "artifact.bytes")
            code = float(recipe_bytes(recipe))
            submitted = [gate for gate in gates if gate.measure == "submission.bytes"]
            yield from (_of_gate(gate, _SUBMISSION, code) for gate in submitted)
            for gate in gates:
                if gate.measure == PACKED:
                    packed = float(packed_bytes(recipe, pack.recipe.editable))
                    yield _of_gate(gate, _SUBMISSION, packed)
            most = limits.output_mb * 2**20
            yield _Bound(_ARTIFACT, most, "limits.output_mb", Status.OVERSIZE)
        case "train_seconds":
            times = ("train.wall_seconds", "recipe.wall_seconds")
            yield from (_of_gate(g, _SECONDS) for g in gates if g.measure in times)
            yield _Bound(_SECONDS, budget, "budgets.train", Status.TRAIN_OVERRUN)
        case "train_cpu_seconds":
            times = ("train.cpu_seconds", "recipe.cpu_seconds")
            timed = [gate for gate in gates if gate.measure in times]
            yield from (_of_gate(gate, _CPU_SECONDS) for gate in timed)
            # So many processors cannot do it in less time.
            where, status = "budgets.train", Status.TRAIN_OVERRUN
            yield _Bound(_SECONDS, budget, where, status, share=limits.cpus)
        case _:
            held = [gate for gate in gates if gate.measure == "train.peak_memory_mb"]
            yield from (_of_gate(gate, _MEMORY) for gate in held)
            yield _Bound(_MEMORY, limits.memory_mb, "limits.memory_mb", Status.CRASHED)


def _of_gate(gate: Gate, words: str, added: float = 0.0) -> _Bound:
    return _Bound(words, gate.limit, f"gate {gate.name}", Status(gate.failure), added)
