"""The figures of a campaign: counts, best so far, failures, chains and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from recipelab.analysis.history import History
from recipelab.analysis.near_misses import excesses, near_misses
from recipelab.analysis.similarity import diversity
from recipelab.core.trial import Standing, Status
from recipelab.lineage import PastTrial
from recipelab.packs.judging_sections import change_percent
from recipelab.packs.knowledge import sources_of


def campaign_stats(history: History) -> dict[str, Any]:
    """Return the figures of a campaign, as ``recipelab stats --json`` prints them."""
    points = curve(history)
    statuses = status_counts(history)
    best = best_number(history)
    return {
        "campaign": history.campaign,
        "metric": history.metric.to_json(),
        "trials": len(history.proposed),
        "kept": statuses.get("kept", 0),
        "by_status": statuses,
        "by_surface": _grouped(history, lambda trial: trial.surface),
        "by_specialist": _grouped(history, lambda trial: trial.specialist),
        "by_source": by_source(history.proposed),
        "baseline": points[0] if points else None,
        "best": next((point for point in points if point["trial"] == best), None),
        "curve": {"points": points, "sparkline": sparkline(best_so_far(history))},
        "failures": failure_rates(history),
        "repeats": repeats(history),
        "chain": chain_facts(history),
        "time": {"by_status": spending(history), "method": METHOD},
        "near_misses": near_misses(history),
        "diversity": diversity(history),
    }


class Cited(Protocol):
    """A trial, as far as it matters to the sources that it cites."""

    @property
    def hypothesis(self) -> str:
        """Why it should help; it cites sources as ``[source: NAME]``."""

    @property
    def status(self) -> Status | None:
        """How it ended; ``None`` while it is in flight."""

    @property
    def standing(self) -> Standing | None:
        """How well the gain of a kept trial is proven by now."""


def by_source(trials: Iterable[Cited]) -> dict[str, dict[str, int]]:
    """Return what came of the trials that cite each source of knowledge.

    Returns:
        For each source that a judged trial cites, how many do, how many of them were kept, how many
        of these are certified by now, and how many failed.
    """
    found: dict[str, Counter[str]] = {}
    for trial in trials:
        if trial.status is None:
            continue
        for name in sources_of(trial.hypothesis):
            counts = found.setdefault(name, Counter())
            counts["trials"] += 1
            counts["kept"] += trial.status is Status.KEPT
            counts["certified"] += trial.standing is Standing.CERTIFIED
            counts["failed"] += trial.status.is_failure
    keys = ("trials", "kept", "certified", "failed")
    return {name: {key: found[name][key] for key in keys} for name in sorted(found)}


def status_counts(history: History) -> dict[str, int]:
    """Return how many trials ended in each way, the baseline and those in flight included."""
    found = Counter(trial.status_name for trial in history.trials)
    return {name: found[name] for name in (*Status, "in_flight") if found[name]}


def _grouped(history: History, key: Callable[[PastTrial], str]) -> dict[str, dict[str, Any]]:
    """Return trials, kept, failed and statuses of each group of judged proposals."""
    groups: dict[str, Counter[str]] = {}
    for trial in history.proposed:
        groups.setdefault(key(trial), Counter())[trial.status_name] += 1
    return {
        name: {
            "trials": counts.total(),
            "kept": counts[Status.KEPT],
            "failed": sum(many for status, many in counts.items() if Status(status).is_failure),
            "by_status": {s.value: counts[s] for s in Status if counts[s]},
        }
        for name, counts in sorted(groups.items())
    }


BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60


def curve(history: History) -> list[dict[str, Any]]:
    """Return the points where the best changed: the baseline, then every trial that was kept.

    Returns:
        For each the trial, how many proposals had been judged by then, the score, and the change
        from the baseline in percent of the baseline.
    """
    points: list[dict[str, Any]] = []
    start: float | None = None
    judged = 0
    for trial in history.judged:
        judged += trial.status is not Status.BASELINE
        if not trial.is_parent or trial.score is None:
            continue
        start = trial.score if start is None else start
        change = change_percent(start, trial.score)
        point = {"judged": judged, "score": trial.score, "change_percent": change}
        points.append(history.named(trial.number) | point)
    return points


def best_so_far(history: History) -> list[float]:
    """Return the best score after each judged trial, from the first score on."""
    values: list[float] = []
    for trial in history.judged:
        if trial.is_parent and trial.score is not None:
            values.append(trial.score)
        elif values:
            values.append(values[-1])
    return values


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Return the values as a line of bars, the last value of each stretch standing for it."""
    if not values:
        return ""
    columns = min(width, len(values))
    shown = [values[(i + 1) * len(values) // columns - 1] for i in range(columns)]
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1))] for value in shown)


def failure_rates(history: History) -> dict[str, Any]:
    """Return the shares of the judged proposals that failed, and the gates that were missed.

    Returns:
        Shares in all, by status, kind and phase. For each gate that was missed, by how many
        trials, and the median of what they would have had to take away, in the gate's unit.
    """
    total = len(history.proposed)
    failed = [trial for trial in history.proposed if trial.is_failure]
    statuses = Counter(trial.status_name for trial in failed)
    kinds = Counter(trial.failure_kind for trial in failed if trial.failure_kind is not None)
    phases = Counter(trial.failure_phase for trial in failed if trial.failure_phase is not None)

    def shares(counts: Counter[Any]) -> dict[str, float | None]:
        return {str(name): _share(many, total) for name, many in counts.most_common()}

    return {
        "failed": len(failed),
        "rate": _share(len(failed), total),
        "by_status": shares(statuses),
        "by_kind": shares(kinds),
        "by_phase": shares(phases),
        "missed_gates": excesses(history.proposed),
    }


def _share(part: int, total: int) -> float | None:
    return part / total if total else None


LISTED = 20
"""How many signatures are listed, the most frequent first."""


def repeats(history: History) -> dict[str, Any]:
    """Return how often failures repeated one that had happened before.

    Returns:
        The failures, their different signatures, how many of them repeated an earlier one, and
        the signatures that did so with their first and last trial.
    """
    groups: dict[str, list[int]] = {}
    for trial in history.proposed:
        if trial.signature is not None:
            groups.setdefault(trial.signature, []).append(trial.number)
    failures = sum(map(len, groups.values()))
    repeated = {text: numbers for text, numbers in groups.items() if len(numbers) > 1}
    ranked = sorted(repeated.items(), key=lambda pair: -len(pair[1]))
    return {
        "failures": failures,
        "signatures": len(groups),
        "repeated": failures - len(groups),
        "most_frequent": [
            {
                "signature": text,
                "count": len(numbers),
                "first": history.named(numbers[0]),
                "last": history.named(numbers[-1]),
            }
            for text, numbers in ranked[:LISTED]
        ],
    }


def depths(history: History) -> dict[int, int]:
    """Return how many first parents each trial has above it; 0 for one without a parent."""
    found: dict[int, int] = {}
    for trial in history.trials:
        parent = next((number for number in trial.parents if number in found), None)
        found[trial.number] = 0 if parent is None else found[parent] + 1
    return found


def best_number(history: History) -> int | None:
    """Return the best trial: the last one that was kept, or else the baseline."""
    return next((trial.number for trial in reversed(history.judged) if trial.is_parent), None)


def chain_facts(history: History) -> dict[str, Any]:
    """Return the chain that led to the best, and how deep trials stand."""
    parents = {trial.number: trial.parents for trial in history.trials}
    found = depths(history)
    chain: list[int] = []
    number = best_number(history)
    while number is not None:
        chain.append(number)
        number = next(iter(parents[number]), None)
    proposed = [found[trial.number] for trial in history.proposed]
    kept = [found[t.number] for t in history.proposed if t.status is Status.KEPT]
    return {
        "best_chain": [history.named(number) for number in reversed(chain)],
        "best_depth": max(len(chain) - 1, 0),
        "deepest": max(proposed, default=0),
        "deepest_kept": max(kept, default=0),
        "mean": sum(proposed) / len(proposed) if proposed else None,
    }


METHOD = (
    "wall_seconds: of all phases of all seed runs, or what an imported run says of a whole trial; "
    "cpu_seconds: of all processes of those phases; device_seconds: wall_seconds, as a phase holds "
    "one slot (a GPU or a set of cores), or, where an imported run says it, wall_seconds times its "
    "devices; seed_runs: those that finished, or n_seeds of an imported run; sums over the trials "
    "for which it is known, which the counts beside them number"
)


def spending(history: History) -> dict[str, dict[str, Any]]:
    """Return seconds by status, each with the number of trials for which it is known."""
    groups: dict[str, list[PastTrial]] = {}
    for trial in history.judged:
        groups.setdefault(trial.status_name, []).append(trial)
    return {
        status: {
            "trials": len(trials),
            **_sum("wall_seconds", [trial.wall_seconds for trial in trials]),
            **_sum("cpu_seconds", [trial.cpu_seconds for trial in trials]),
            **_sum("device_seconds", [trial.device_seconds for trial in trials]),
            "seed_runs": sum(trial.seed_runs for trial in trials),
        }
        for status, trials in groups.items()
    }


def _sum(name: str, values: list[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    return {name: sum(known) if known else None, f"{name}_of": len(known)}
