"""How many trials ended in which way, by surface and by specialist, and how many failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

from recipelab.analysis.history import History, Judged
from recipelab.core.trial import Status
from recipelab.lineage import TrialRecord


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
    """The share of proposals that failed: in all, by status, kind and phase; and missed gates.

    Returns:
        Shares of all judged proposals. For each gate that was missed, by how many trials, and the
        median of what they would have had to take away, in the gate's unit.
    """
    total = len(history.proposed)
    failed = [item for item in history.proposed if item.outcome.status.is_failure]
    statuses = Counter(item.outcome.status.value for item in failed)
    causes = [i.outcome.failure for i in failed if i.outcome.failure is not None]
    kinds = Counter(cause.kind.value for cause in causes)
    phases = Counter(cause.phase.value for cause in causes if cause.phase is not None)
    return {
        "failed": len(failed),
        "rate": _share(len(failed), total),
        "by_status": {name: _share(many, total) for name, many in statuses.most_common()},
        "by_kind": {name: _share(many, total) for name, many in kinds.most_common()},
        "by_phase": {name: _share(many, total) for name, many in phases.most_common()},
        "missed_gates": excesses(history.proposed),
    }


def excesses(trials: Iterable[Judged]) -> dict[str, dict[str, Any]]:
    """The gates that trials missed: how many did, and by how much at the median."""
    found: dict[str, list[float]] = {}
    for item in trials:
        for gate in item.outcome.gates:
            if not gate.passed:
                found.setdefault(gate.name, []).append(-gate.margin)
    return {
        name: {"missed": len(values), "median_excess": median(values)}
        for name, values in found.items()
    }


def _share(part: int, total: int) -> float | None:
    return part / total if total else None
