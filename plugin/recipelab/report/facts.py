"""Trials and campaigns as JSON-ready tables, for ``--json`` and for files."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from recipelab.lineage import CampaignRecord, LineageStore, TrialRecord, prior_campaigns
from recipelab.trial import Status


def trial_facts(record: TrialRecord, *, full: bool = False) -> dict[str, Any]:
    """One trial.

    Args:
        record: The trial.
        full: With edits, diff, seed runs, failure and log.

    Returns:
        A table of plain values; times are ISO 8601 in UTC.
    """
    outcome = record.outcome
    facts: dict[str, Any] = {
        "trial": record.number,
        "round": record.round,
        "specialist": record.specialist,
        "surface": record.surface,
        "parents": list(record.parents),
        "hypothesis": record.hypothesis,
        "expected_delta": record.expected_delta,
        "status": outcome.status if outcome else None,
        "reason": outcome.reason if outcome else None,
        "score": outcome.score if outcome else None,
        "score_se": outcome.score_se if outcome else None,
        "delta": outcome.delta if outcome else None,
        "delta_se": outcome.delta_se if outcome else None,
        "evidence": asdict(outcome.evidence) if outcome and outcome.evidence else None,
        "gates": [asdict(gate) for gate in outcome.gates] if outcome else [],
        "cpu_seconds": outcome.cpu_seconds if outcome else None,
        "proposed_at": record.proposed_at.isoformat(),
        "judged_at": record.judged_at.isoformat() if record.judged_at else None,
    }
    if full:
        facts |= {
            "edits": [asdict(edit) for edit in record.edits],
            "diff": record.diff,
            "digest": record.digest,
            "seed_runs": [asdict(run) for run in outcome.seed_runs] if outcome else [],
            "failure": asdict(outcome.failure) if outcome and outcome.failure else None,
            "environment": outcome.environment if outcome else None,
            "log_tail": outcome.log_tail if outcome else None,
        }
    return facts


def campaign_facts(store: LineageStore, campaign: CampaignRecord) -> dict[str, Any]:
    """One campaign: what was asked for, how it stands, and baseline against best."""
    counts = store.counts(campaign.name)
    facts: dict[str, Any] = {
        "campaign": campaign.name,
        "pack": campaign.pack,
        "profile": campaign.profile,
        "model": campaign.model,
        "sandbox": campaign.sandbox,
        "seed": campaign.seed,
        "priors": list(prior_campaigns(campaign)),
        "state": campaign.state,
        "stop_reason": campaign.stop_reason,
        "counts": {status or "in_flight": count for status, count in counts.items()},
        "trials": spent(counts),
    }
    if Status.BASELINE in counts:
        baseline, best = store.trial(campaign.name, 0), store.best(campaign.name)
        facts |= {"baseline": trial_facts(baseline), "best": trial_facts(best)}
        facts["change_percent"] = change_percent(baseline, best)
        facts["racing"] = store.racing(campaign.name)
    return facts


def spent(counts: dict[Status | None, int]) -> int:
    """How many trials count toward the budget."""
    return sum(count for status, count in counts.items() if status is not None and status.counts)


def change_percent(baseline: TrialRecord, best: TrialRecord) -> float | None:
    """How far the best's score lies from the baseline's, in percent of the baseline's."""
    before = baseline.outcome.score if baseline.outcome else None
    after = best.outcome.score if best.outcome else None
    if before is None or after is None or before == 0.0:
        return None
    return 100.0 * (after - before) / abs(before)
