"""One trial as the page shows it: all that was proposed, measured, printed and said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Failure, SeedRun
from recipelab.evaluation.curves import CURVE, Curve, curve_of
from recipelab.evaluation.metric import BESIDE
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.lineage.columns import Fix
from recipelab.lineage.trial_view import FULL_REPORT, TrialView, evidence_words, knob_turns
from recipelab.page.shown import shortened

RELATED = 200
"""Children and siblings of a trial that are told, at most."""

BESIDE_RUNS = 32
"""Seed runs of the recipe that a trial was compared with that are shown, at most."""


@dataclass(frozen=True)
class Around:
    """What stands around a trial in its campaign.

    Attributes:
        children: Numbers of the trials made from it; ``None`` where the page knows them itself.
        siblings: Numbers of the other trials made from its parent; ``None`` as above.
        fixed_by: Numbers of trials that measured validly after its failure.
        fixes: Signatures of failures that it got past.
        chat: Positions of the messages of the turn that led to it.
        view: Hash of what its specialist was shown when that turn began.
        diff_from_start: Diff from the starting recipe; ``None`` where it is not told.
        beside_runs: The seed runs of the recipe that it was compared with.
    """

    children: Sequence[int] | None = ()
    siblings: Sequence[int] | None = ()
    fixed_by: Sequence[int] = ()
    fixes: Sequence[str] = ()
    chat: Sequence[int] = ()
    view: str | None = None
    diff_from_start: str | None = None
    beside_runs: Sequence[SeedRun] = ()


def trial_data(
    record: TrialRecord, around: Around, *, digits: int | None = None, every_curve: bool = True
) -> dict[str, Any]:
    """Return a trial with everything that the page shows of it.

    Args:
        record: The trial.
        around: What stands around it.
        digits: Significant digits of what seed runs measured; ``None`` for all.
        every_curve: Whether to tell the curve of each seed run, beside their mean.
    """
    view = TrialView.of_record(record)
    outcome = record.outcome
    runs = outcome.seed_runs if outcome else ()
    evidence = outcome.evidence if outcome else None
    facts = view.select(FULL_REPORT)
    facts |= {"number": record.number, "state": record.state, "phase": record.phase}
    curves = [curve for run in runs if (curve := curve_of(run))]
    facts |= {"failure": view.failure, "seed_runs": [_run(run, digits) for run in runs]}
    facts |= {
        "words": [] if evidence is None else list(evidence_words(evidence)),
        "beside_trial": None if evidence is None else evidence.against,
        "beside": [_run(run, digits) for run in _beside(runs, around.beside_runs)],
        "diff": shortened(record.diff),
        "edits": [
            {"path": edit.path, "search": edit.search, "replace": shortened(edit.replace)}
            for edit in record.edits
        ],
        "knobs": [turn._asdict() for turn in knob_turns(record.edits)],
        "curves": [
            {"seed": run.seed, "points": curve}
            for run in (runs if every_curve else ())
            if (curve := curve_of(run))
        ],
        "curve": _rounded(mean_curve(curves), digits),
    }
    names = ("children", "siblings", "fixed_by", "fixes", "chat", "view", "diff_from_start")
    facts |= {name: getattr(around, name) for name in names}
    del facts["trial"]
    return facts


def _run(run: SeedRun, digits: int | None) -> dict[str, Any]:
    """Return a seed run; points of its curve and what ran beside it stand elsewhere."""
    measures = {
        name: _short(value, digits)
        for name, value in run.measures.items()
        if not name.startswith((CURVE, BESIDE))
    }
    timings = [
        {
            "phase": timing.phase,
            "wall_seconds": _short(timing.wall_seconds, digits),
            "cpu_seconds": _short(timing.cpu_seconds, digits),
            "peak_memory_mb": timing.peak_memory_mb,
        }
        for timing in run.timings
    ]
    return {"seed": run.seed, "timings": timings, "measures": measures}


def _short(value: float, digits: int | None) -> float:
    """Return a number to so many significant digits: noise does not compress."""
    return value if digits is None else float(f"{value:.{digits}g}")


def _rounded(curve: Curve | None, digits: int | None) -> Curve | None:
    return curve and tuple((step, _short(value, digits)) for step, value in curve)


def _beside(runs: Sequence[SeedRun], others: Sequence[SeedRun]) -> list[SeedRun]:
    """Return the runs that a trial's were compared with: those beside it, or of the same seeds."""
    found = []
    for run in runs:
        own = {
            name.removeprefix(BESIDE): value
            for name, value in run.measures.items()
            if name.startswith(BESIDE)
        }
        if own:
            found.append(SeedRun(run.seed, (), own))
    if found:
        return found
    seeds = {run.seed for run in runs}
    shared = [run for run in others if run.seed in seeds]
    return list(shared or others)[:BESIDE_RUNS]


def mean_curve(curves: Sequence[Curve]) -> Curve | None:
    """Return the mean of curves at the steps that all of them have; ``None`` if there is none."""
    if not curves:
        return None
    tables = [dict(curve) for curve in curves]
    steps = sorted(set(tables[0]).intersection(*tables[1:]))
    found = ((step, sum(table[step] for table in tables) / len(tables)) for step in steps)
    return tuple(found) or None


def mended(
    fixes: Iterable[Fix], number: int, failure: Failure | None
) -> tuple[list[int], list[str]]:
    """Return the trials that got past a trial's failure, and the failures that it got past."""
    key = (
        None
        if failure is None
        else (failure.kind.value, failure.phase.value if failure.phase else "", failure.signature)
    )
    by = sorted({fix.trial for fix in fixes if fix[:3] == key})
    return by, sorted({fix.signature for fix in fixes if fix.trial == number})


class LiveAround:
    """Looks up what stands around a trial, one trial at a time.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        chat: Returns the positions of the messages that led to a trial.
    """

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        chat: Callable[[int], Sequence[int]],
    ) -> None:
        self._store = store
        self._campaign = campaign
        self._chat = chat
        self._start: Mapping[str, str] | None = None

    def of(self, record: TrialRecord) -> Around:
        """Return what stands around a trial."""
        store, name, number = self._store, self._campaign, record.number
        parent = record.parents[0] if record.parents else None
        siblings = [] if parent is None else store.child_numbers(name, parent, limit=RELATED)
        failure = record.outcome.failure if record.outcome else None
        fixed_by, fixes = mended(store.fixes(name, number), number, failure)
        turn = store.turn_of(name, number)
        return Around(
            children=store.child_numbers(name, number, limit=RELATED),
            siblings=[other for other in siblings if other != number],
            fixed_by=fixed_by,
            fixes=fixes,
            chat=self._chat(number),
            view=None if turn is None else turn.view,
            diff_from_start=self.diff_from_start(record),
            beside_runs=beside_runs(store, name, record),
        )

    def diff_from_start(self, record: TrialRecord) -> str | None:
        """Return the diff from the starting recipe to a trial's; ``None`` if it has no recipe."""
        if record.parents == (0,):
            return record.diff
        files = self._store.files(self._campaign, record.number)
        if not files:
            return None
        if self._start is None:
            self._start = self._store.files(self._campaign, 0)
        return Recipe(self._start).diff(Recipe(files))


def beside_runs(store: LineageStore, campaign: str, record: TrialRecord) -> tuple[SeedRun, ...]:
    """Return the seed runs of the recipe that a trial was compared with, further ones too."""
    evidence = record.outcome.evidence if record.outcome else None
    if evidence is None or evidence.against == record.number:
        return ()
    other = store.trial(campaign, evidence.against)
    further = store.further_runs(campaign, evidence.against)
    return (*(other.outcome.seed_runs if other.outcome else ()), *further)
