"""One view of a trial, of which everything that is shown of a trial is a selection.

To show another figure of a trial, add it to :class:`TrialView` and to those of the selections below
in which it is to appear. A column of CSV and Parquet also needs its type, in
:mod:`recipelab.exchange.tables`; a column on the terminal is an entry of
:func:`recipelab.report.trial.trial_columns`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from statistics import fmean
from typing import Any, NamedTuple

from recipelab.core.knobs import KnobValue, find_knobs
from recipelab.core.leaves import leaf_of
from recipelab.core.text import shorten
from recipelab.core.trial import (
    Checkpoint,
    Edit,
    Evidence,
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    SeedRun,
    Standing,
    Status,
)
from recipelab.lineage import TrialBrief, TrialRecord
from recipelab.packs.knowledge import sources_of

LITERAL_CHARACTERS = 80
"""Characters of a constant that is shown, at most."""

_CONSTANT = re.compile(r"^[ \t]*([A-Z][A-Z0-9_]*)[ \t]*(?::[^=\n]*)?=(?!=).{1,400}$", re.MULTILINE)

MEASURED = ("score", "score_se", "delta", "delta_se")
"""The measurements of a trial, always shown in a row."""

REPORT = (
    *("trial", "round", "specialist", "surface", "parents", "hypothesis", "expected_delta"),
    *("status", "standing", "reason", *MEASURED, "evidence", "gates", "cpu_seconds"),
    *("proposed_at", "judged_at"),
)
"""``--json`` of the commands that list trials."""

FULL_REPORT = (
    *REPORT,
    *("sources", "edits", "diff", "digest", "seed_runs", "failure", "environment", "log_tail"),
)
"""``recipelab show --json``."""

ROW = (
    *("trial", "parents", "specialist", "surface", "hypothesis", "changes", "status"),
    *("standing", "phase", "reason", *MEASURED, "gates", "failure"),
)
"""A trial among others in an answer of the lineage tools."""

DETAIL = (
    *("trial", "parents", "specialist", "surface", "status", "standing", "phase", "hypothesis"),
    *("expected_delta", "sources", "changes", "proposed_at", "reason", *MEASURED, "gates"),
    *("failure", "log_tail", "environment"),
)
"""The answer of ``trial_detail``, without the diff, which is paged, and what seed runs measured."""

TABLE = (
    *("trial", "source_id", "round", "specialist", "surface", "parents", "hypothesis"),
    *("expected_delta", "status", "standing", "reason", *MEASURED, "gates", "worst_margin"),
    *(
        "failure_kind",
        "failure_phase",
        "signature",
        "seed_runs",
        "measures",
        "cpu_seconds",
        "digest",
    ),
    *("proposed_at", "judged_at"),
)
"""The columns of CSV and Parquet, in order."""


@dataclass(frozen=True, slots=True)
class TrialView:
    """A trial with everything that may be shown of it.

    Built from a record, which has all of it, or from a brief, which leaves out what it does not
    hold: expected change, evidence, texts, seed runs and digest.

    Attributes:
        trial: Its number in its campaign; 0 is the baseline.
        round: Number of the round in which it was proposed.
        specialist: Who proposed it.
        surface: The part of the recipe that it is about.
        parents: Numbers of the trials that it was made from, the main one first.
        hypothesis: Why it should help.
        expected_delta: Expected change of the metric, in the metric's unit.
        status: How it ended; ``None`` while it is in flight.
        phase: The phase that it runs, while it is running.
        reason: Why it has its status.
        score: Mean of the metric over its seed runs, in the metric's unit.
        score_se: Standard error of the score.
        delta: Score minus the score of the best it was held against.
        delta_se: Standard error of the delta.
        evidence: On how many seeds it was judged, and how strictly.
        gates: The gates that were judged.
        cpu_seconds: CPU time of all its phases, in seconds.
        proposed_at: When it was proposed, in UTC.
        judged_at: When it was judged, in UTC.
        edits: The changes, in order.
        diff: Unified diff from its main parent.
        digest: Digest of its recipe; empty if it has none.
        seed_runs: The seed runs that finished.
        failure: Why it came to no valid measurement.
        environment: What it ran in.
        log_tail: End of the last phase's log.
        source_id: What it was called in the released run that it was imported from.
        standing: How well the gain of a kept trial is proven by now; ``None`` for any other.
    """

    trial: int
    round: int | None
    specialist: str
    surface: str
    parents: tuple[int, ...]
    hypothesis: str
    expected_delta: float | None
    status: Status | None
    phase: Phase | None
    reason: str | None
    score: float | None
    score_se: float | None
    delta: float | None
    delta_se: float | None
    evidence: Evidence | None
    gates: tuple[GateResult, ...]
    cpu_seconds: float | None
    proposed_at: datetime
    judged_at: datetime | None
    edits: tuple[Edit, ...] = ()
    diff: str = ""
    digest: str = ""
    seed_runs: tuple[SeedRun, ...] = ()
    failure: Failure | None = None
    environment: str | None = None
    log_tail: str | None = None
    source_id: str | None = None
    standing: Standing | None = None

    @classmethod
    def of_record(cls, record: TrialRecord, source_id: str | None = None) -> TrialView:
        """Return the view of a whole trial."""
        outcome = record.outcome
        return cls(
            trial=record.number,
            round=record.round,
            specialist=record.specialist,
            surface=record.surface,
            parents=record.parents,
            hypothesis=record.hypothesis,
            expected_delta=record.expected_delta,
            status=record.status,
            phase=record.phase,
            reason=outcome.reason if outcome else None,
            score=outcome.score if outcome else None,
            score_se=outcome.score_se if outcome else None,
            delta=outcome.delta if outcome else None,
            delta_se=outcome.delta_se if outcome else None,
            evidence=outcome.evidence if outcome else None,
            gates=outcome.gates if outcome else (),
            cpu_seconds=outcome.cpu_seconds if outcome else None,
            proposed_at=record.proposed_at,
            judged_at=record.judged_at,
            edits=record.edits,
            diff=record.diff,
            digest=record.digest,
            seed_runs=outcome.seed_runs if outcome else (),
            failure=outcome.failure if outcome else None,
            environment=outcome.environment if outcome else None,
            log_tail=outcome.log_tail if outcome else None,
            source_id=source_id,
            standing=record.standing,
        )

    @classmethod
    def of_brief(
        cls, brief: TrialBrief, edits: Sequence[Edit] = (), gates: Sequence[GateResult] = ()
    ) -> TrialView:
        """Return the view of a brief, with its edits and gates if they were looked up."""
        failure = None
        if brief.failure_kind is not None:
            signature = brief.signature or ""
            failure = Failure(brief.failure_phase, brief.failure_kind, signature, excerpt="")
        return cls(
            trial=brief.number,
            round=brief.round,
            specialist=brief.specialist,
            surface=brief.surface,
            parents=brief.parents,
            hypothesis=brief.hypothesis,
            expected_delta=None,
            status=brief.status,
            phase=brief.phase,
            reason=brief.reason,
            score=brief.score,
            score_se=brief.score_se,
            delta=brief.delta,
            delta_se=brief.delta_se,
            evidence=None,
            gates=tuple(gates),
            cpu_seconds=brief.cpu_seconds,
            proposed_at=brief.proposed_at,
            judged_at=brief.judged_at,
            edits=tuple(edits),
            failure=failure,
            standing=brief.standing,
        )

    @property
    def changes(self) -> list[str]:
        """The knobs that the edits turn, as ``EPOCHS: 3 -> 2``."""
        return knob_changes(self.edits)

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of the pack's knowledge that the hypothesis cites."""
        return sources_of(self.hypothesis)

    @property
    def worst_margin(self) -> float | None:
        """The smallest margin to a gate; negative if a gate was missed."""
        return min((gate.margin for gate in self.gates), default=None)

    @property
    def failure_kind(self) -> FailureKind | None:
        """What went wrong, if the trial failed."""
        return self.failure.kind if self.failure else None

    @property
    def failure_phase(self) -> Phase | None:
        """The phase in which it failed."""
        return self.failure.phase if self.failure else None

    @property
    def signature(self) -> str | None:
        """The error with numbers and paths taken out."""
        return self.failure.signature if self.failure else None

    @property
    def measures(self) -> dict[str, float]:
        """Each measurement's mean over the seed runs that have it, in order of the names."""
        return measure_means(self.seed_runs)

    def select(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the fields of these names, in their order."""
        return {name: getattr(self, name) for name in names}

    def facts(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the fields of these names as plain data; times are ISO 8601."""
        return {name: _plain(value) for name, value in self.select(names).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, SeedRun):
        # The rest is there for comparisons in one process, and not stored.
        return asdict(value, dict_factory=_stored)
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _stored(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in fields if name not in ("items", "artifact")}


class KnobTurn(NamedTuple):
    """A constant that an edit sets to another value."""

    path: str
    name: str
    before: KnobValue
    after: KnobValue


def knob_turns(edits: Sequence[Edit]) -> list[KnobTurn]:
    """Return the knobs that edits turn, read from the edits themselves."""
    turns: list[KnobTurn] = []
    for edit in edits:
        if edit.search is None:
            continue
        before, after = (_values(edit.path, text) for text in (edit.search, edit.replace))
        turns += [
            KnobTurn(edit.path, name, before[name], value)
            for name, value in after.items()
            if name in before and before[name] != value
        ]
    return turns


def knob_changes(edits: Sequence[Edit]) -> list[str]:
    """Return the constants that edits change, as ``EPOCHS: 3 -> 2``: knobs, then all others.

    Others are assignments of literals to names in capitals, whatever their type: a tuple of widths
    says as much of a trial as a rate.
    """
    found = {turn.name: f"{turn.before!r} -> {turn.after!r}" for turn in knob_turns(edits)}
    for edit in edits:
        if edit.search is not None:
            before, after = _literals(edit.search), _literals(edit.replace)
            for name, value in after.items():
                if name in before and before[name] != value:
                    found.setdefault(name, f"{before[name]} -> {value}")
    return [f"{name}: {change}" for name, change in found.items()]


def _literals(text: str) -> dict[str, str]:
    """Return the constants that the lines of a text set, each written as Python would."""
    found = {}
    for match in _CONSTANT.finditer(text):
        try:
            (statement,) = ast.parse(match[0].strip()).body
            value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
            if value is not None:
                found[match[1]] = shorten(repr(ast.literal_eval(value)), LITERAL_CHARACTERS)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue  # No constant, or only a part of one.
    return found


def _values(path: str, text: str) -> Mapping[str, KnobValue]:
    """Return the constants of a text: those that it marks, or the one that is all of an edit.

    An edit that turns a knob of the table has its line last, and no mark on it.
    """
    marked = {knob.name: knob.value for knob in find_knobs({path: text})}
    leaf = leaf_of(path, text.rpartition("\n")[2])
    return marked or ({leaf.name: leaf.value} if leaf is not None else {})


def measure_means(runs: Sequence[SeedRun]) -> dict[str, float]:
    """Return each measurement's mean over the seed runs that have it, in order of the names."""
    names = sorted({name for run in runs for name in run.measures})
    return {
        name: fmean(run.measures[name] for run in runs if name in run.measures) for name in names
    }


def status_words(status: Status | None, standing: Standing | None) -> str:
    """Return how a trial ended and how well that is proven, as ``kept, provisional``."""
    if status is None:
        return "in flight"
    return f"{status}, {standing}" if standing else str(status)


def evidence_words(evidence: Evidence) -> Iterator[str]:
    """Yield what a reader must know of how a trial was judged, a sentence each."""
    if evidence.rebased_from is not None:
        before, after = f"trial {evidence.rebased_from}", f"trial {evidence.against}"
        if evidence.parent_delta is None:
            yield f"The best changed before it ran, from {before} to {after}"
        else:
            yield (
                f"The best changed meanwhile: it was screened beside {before}, and judged against "
                f"{after}"
            )
    if evidence.parent_delta is not None:
        delta = plus_minus(f"{evidence.parent_delta:+.4g}", evidence.parent_delta_se)
        yield f"Against the recipe that it was screened beside: {delta}"
    if evidence.deterministic:
        yield "The recipe is the same for every seed, so further seeds tell nothing"
    if evidence.stopped_early:
        yield f"{evidence.stopped_early} seed runs were stopped early on their training curve"


def checkpoint_verdict(found: Checkpoint) -> str:
    """Return how a test of the working line ended, in a few words."""
    if found.held:
        return "holds"
    return "does not hold" if found.fell_back else "not proven yet"


def checkpoint_words(found: Checkpoint, metric: str, unit: str) -> str:
    """Return what people and agents read of a test of the working line.

    Args:
        found: The checkpoint.
        metric: Name of the metric.
        unit: Its unit; empty if it has none.
    """
    what = f"the line up to trial {found.trial} against trial {found.against}"
    back = "the baseline" if found.against == 0 else f"trial {found.against}"
    verdict = checkpoint_verdict(found)
    if found.held:
        lines = [f"Checkpoint: {what} {verdict}. Trial {found.trial} is certified."]
    elif found.fell_back:
        lines = [f"Checkpoint: {what} {verdict}. The line falls back to {back}."]
    else:
        lines = [f"Checkpoint: {what} is {verdict}. The line goes on."]
    if measured := checkpoint_figures(found, metric, unit):
        lines.append(f"{measured}.")
    lines += [f"Gate {gate.name}: {gate.figures}." for gate in found.gates]
    lines.append(f"Reason: {found.reason}.")
    return "\n".join(lines)


def checkpoint_figures(found: Checkpoint, metric: str, unit: str) -> str:
    """Return the difference that a checkpoint measured, with its interval; empty if it has none."""
    if found.delta is None:
        return ""
    error = f" +- {found.delta_se:.2g}" if found.delta_se is not None else ""
    reach = ""
    if found.delta_low is not None and found.delta_high is not None:
        reach = f" (95 %: {found.delta_low:+.4g} to {found.delta_high:+.4g})"
    return f"{metric} {found.delta:+.4g}{error}{reach} {unit}".rstrip()


def plus_minus(text: str, error: float | None) -> str:
    """Return a figure with its standard error, as ``31.5 ± 0.25``."""
    return text if error is None else f"{text} ± {error:.2g}"


def failure_place(failure: Failure) -> str:
    """Return what went wrong and where, as ``value in train``."""
    return f"{failure.kind} in {failure.phase}" if failure.phase else str(failure.kind)


def measured_words(outcome: Outcome, metric: str, unit: str) -> str:
    """Return score and change of a trial, as ``loss 31.5 ± 0.25 s; against the best -2 ± 0.12``.

    Empty if it has no score.
    """
    if outcome.score is None:
        return ""
    score = plus_minus(f"{outcome.score:.4g}", outcome.score_se)
    words = f"{metric} {score} {unit}".rstrip()
    if outcome.delta is None:
        return words
    return f"{words}; against the best {plus_minus(f'{outcome.delta:+.4g}', outcome.delta_se)}"
