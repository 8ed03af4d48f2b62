"""A trial whose recipe was tried before shares what was measured then."""

from __future__ import annotations

from dataclasses import replace

from recipelab.lineage import LineageStore, TrialRecord
from recipelab.trial import Evidence, Outcome, Status


def shared_outcome(store: LineageStore, campaign: str, number: int) -> Outcome | None:
    """The outcome of a trial that has the recipe of an earlier one, comments and layout aside.

    The same recipe measured twice can look better by luck; it is never a gain.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        number: The trial.

    Returns:
        What it shares; ``None`` if no earlier trial with its recipe has been judged.
    """
    twin = store.find_same(campaign, store.files(campaign, number))
    if twin is None or twin.number >= number or twin.outcome is None:
        return None
    return _shared(twin, twin.outcome, store.best_brief(campaign).number)


def _shared(twin: TrialRecord, outcome: Outcome, best: int) -> Outcome:
    same = f"the same recipe as trial {twin.number}, whose measurements it shares"
    status = outcome.status
    if status in (Status.BASELINE, Status.KEPT):
        status, same = Status.DISCARDED, f"{same}; it is no new gain"
    evidence = Evidence(against=best, planned=0, screened=0, same_as=twin.number)
    # Its seed runs stay with the twin: they took no time again.
    return replace(
        outcome, status=status, reason=same, seed_runs=(), log_tail="", evidence=evidence
    )
