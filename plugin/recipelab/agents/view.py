"""The lineage view: what a specialist is shown of past trials when its turn begins.

Every part has a budget of characters of its own, so that no part can push out another.
"""

from __future__ import annotations

from collections.abc import Iterable

from recipelab.evaluation.desk import TrialDesk
from recipelab.lineage import TrialFilter, TrialRecord
from recipelab.trial import Status

PART_CHARACTERS = 2_400
HYPOTHESIS_CHARACTERS = 120


def render_view(desk: TrialDesk, specialist: str) -> str:
    """Renders the view of one specialist.

    Args:
        desk: The campaign's desk.
        specialist: Whose turn begins.

    Returns:
        Markdown of at most some 12,000 characters.
    """
    best = desk.best()
    parts = {
        "State": _state(desk, best),
        "Best recipe and the trials that led to it": _lines(
            desk, desk.store.chain(desk.campaign, best.number)
        ),
        "Your last trials": _lines(
            desk, _page(desk, TrialFilter(specialists=(specialist,), limit=8))
        ),
        "Last trials of all": _lines(desk, _page(desk, TrialFilter(limit=12))),
        "Running now": _lines(desk, desk.store.in_flight(desk.campaign)),
        "Gate misses and failures": _lines(
            desk, _page(desk, TrialFilter(statuses=_FAILED, limit=10))
        ),
    }
    return "\n\n".join(f"## {title}\n{_capped(lines)}" for title, lines in parts.items())


_FAILED = tuple(status for status in Status if status.is_failure and status is not Status.ABORTED)


def _page(desk: TrialDesk, wanted: TrialFilter) -> tuple[TrialRecord, ...]:
    return desk.store.query(desk.campaign, wanted).items


def _state(desk: TrialDesk, best: TrialRecord) -> list[str]:
    counts = desk.store.counts(desk.campaign)
    told = ", ".join(f"{status or 'in flight'} {count}" for status, count in counts.items())
    left = desk.remaining
    budget = "no bound" if left is None else f"{left} left"
    return [
        f"Best is trial {best.number}: {_score(desk, best)}.",
        f"Trials so far: {told}. Budget of trials: {budget}.",
    ]


def _lines(desk: TrialDesk, records: Iterable[TrialRecord]) -> list[str]:
    return [_line(desk, record) for record in records]


def _line(desk: TrialDesk, record: TrialRecord) -> str:
    outcome = record.outcome
    status = outcome.status if outcome else "in flight"
    reason = f" | {outcome.reason[:160]}" if outcome else ""
    hypothesis = " ".join(record.hypothesis.split())[:HYPOTHESIS_CHARACTERS]
    return (
        f"- {record.number} ({record.surface} by {record.specialist}) {status}, "
        f"{_score(desk, record)}: {hypothesis}{reason}"
    )


def _score(desk: TrialDesk, record: TrialRecord) -> str:
    score = record.outcome.score if record.outcome else None
    metric = desk.pack.metric
    return f"{metric.name} {score:.4g} {metric.unit}" if score is not None else "no score"


def _capped(lines: list[str]) -> str:
    kept: list[str] = []
    size = 0
    for number, line in enumerate(lines):
        size += len(line) + 1
        if size > PART_CHARACTERS:
            kept.append(f"- ... {len(lines) - number} more: ask lineage_query")
            break
        kept.append(line)
    return "\n".join(kept) or "(none)"
