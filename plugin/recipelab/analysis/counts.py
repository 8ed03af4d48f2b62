"""How many trials ended in which way, by surface and by specialist, and how many failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from recipelab.analysis.history import History
from recipelab.lineage import TrialRecord
from recipelab.trial import Status


def status_counts(history: History) -> dict[str, int]:
    """How many trials ended in each way, the baseline and those in flight included."""
    found = Counter(record.status for record in history.trials)
    return {status or "in_flight": found[status] for status in (*Status, None) if found[status]}


def by_surface(history: History) -> dict[str, dict[str, Any]]:
    """Trials, kept and statuses of each surface."""
    return _grouped(history, lambda record: record.surface)


def by_specialist(history: History) -> dict[str, dict[str, Any]]:
    """Trials, kept and statuses of each specialist."""
    return _grouped(history, lambda record: record.specialist)


def _grouped(history: History, key: Callable[[TrialRecord], str]) -> dict[str, dict[str, Any]]:
    groups: dict[str, Counter[str]] = {}
    for item in history.proposed:
        groups.setdefault(key(item.record), Counter())[item.outcome.status.value] += 1
    return {
        name: {
            "trials": counts.total(),
            "kept": counts[Status.KEPT.value],
            "failed": sum(many for status, many in counts.items() if Status(status).is_failure),
            "by_status": {s.value: counts[s.value] for s in Status if counts[s.value]},
        }
        for name, counts in sorted(groups.items())
    }


def failure_rates(history: History) -> dict[str, Any]:
    """The share of proposals that failed: in all, by status and by kind of failure."""
    total = len(history.proposed)
    failed = [item for item in history.proposed if item.outcome.status.is_failure]
    statuses = Counter(item.outcome.status.value for item in failed)
    kinds = Counter(i.outcome.failure.kind.value for i in failed if i.outcome.failure is not None)
    return {
        "failed": len(failed),
        "rate": _share(len(failed), total),
        "by_status": {name: _share(many, total) for name, many in statuses.most_common()},
        "by_kind": {name: _share(many, total) for name, many in kinds.most_common()},
    }


def _share(part: int, total: int) -> float | None:
    return part / total if total else None
