"""Rows of the answers of lineage tools: short texts, no empty keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from recipelab.core.trial import Edit, GateResult
from recipelab.lineage import FailureGroup, LineageStore, NearMiss, SurfaceSummary, TrialBrief
from recipelab.tools.base import Row, knob_changes, rounded, shortened, without_empty

TEXT_CHARACTERS = 400
EXCERPT_CHARACTERS = 500


def brief_row(
    brief: TrialBrief, edits: Sequence[Edit] = (), gates: Sequence[GateResult] = ()
) -> Row:
    """One trial.

    Args:
        brief: The trial.
        edits: Its edits; the knobs that they turn are told.
        gates: The gates that it was held against.
    """
    return without_empty(
        {
            "trial": brief.number,
            "parents": list(brief.parents),
            "specialist": brief.specialist,
            "surface": brief.surface,
            "hypothesis": shortened(brief.hypothesis, TEXT_CHARACTERS),
            "changes": knob_changes(edits),
            "status": brief.status or "in_flight",
            "phase": brief.phase,
            "reason": shortened(brief.reason, TEXT_CHARACTERS),
            "score": rounded(brief.score),
            "score_se": rounded(brief.score_se),
            "delta": rounded(brief.delta),
            "delta_se": rounded(brief.delta_se),
            "gates": {
                gate.name: {"value": rounded(gate.value), "margin": rounded(gate.margin)}
                for gate in gates
            },
            "failure": _failure_row(brief),
        }
    )


def _failure_row(brief: TrialBrief) -> Row:
    if brief.failure_kind is None:
        return {}
    failure = {
        "phase": brief.failure_phase,
        "kind": brief.failure_kind,
        "signature": brief.signature,
    }
    return without_empty(failure)


def brief_rows(store: LineageStore, campaign: str, briefs: Iterable[TrialBrief]) -> list[Row]:
    """Some trials of one campaign, with the knobs that they turned and their gates."""
    briefs = tuple(briefs)
    numbers = [brief.number for brief in briefs]
    edits, gates = store.edits(campaign, numbers), store.gates(campaign, numbers)
    return [brief_row(b, edits.get(b.number, ()), gates.get(b.number, ())) for b in briefs]


def failure_row(group: FailureGroup) -> Row:
    """One failure, and which trials got past it."""
    return without_empty(
        {
            "signature": group.signature,
            "kind": group.kind,
            "phase": group.phase,
            "count": group.count,
            "first_trial": group.first,
            "last_trial": group.last,
            "last_seen": group.last_seen.isoformat(timespec="seconds"),
            "fixed_by": list(group.fixed_by),
            "excerpt": group.excerpt[-EXCERPT_CHARACTERS:],
        }
    )


def near_miss_row(miss: NearMiss, row: Row) -> Row:
    """One near miss: the trial, what it gained, and what has to go."""
    missed = [
        {
            "gate": gate.name,
            "value": rounded(gate.value),
            "limit": rounded(gate.limit),
            "excess_to_remove": rounded(gate.excess),
        }
        for gate in miss.missed
    ]
    told = {"gain_over_best": rounded(miss.gain), "missed": missed, "repairs": miss.children}
    return without_empty(row | told)


def summary_row(name: str, summary: SurfaceSummary, *, saturated: int) -> Row:
    """How trials on a surface, or by a specialist, went.

    Args:
        name: ``surface`` or ``specialist``.
        summary: The counts.
        saturated: From how many judged trials without one kept it counts as saturated.
    """
    return {
        name: summary.name,
        "tried": summary.tried,
        "kept": summary.kept,
        "statuses": {
            str(status or "in_flight"): count for status, count in summary.statuses.items()
        },
        "best_delta": rounded(summary.best_delta),
        "last_kept": summary.last_kept,
        "since_kept": summary.since_kept,
        "saturated": summary.since_kept >= saturated,
    }
