"""Turns proposals and outcomes into rows, inside a transaction that its caller owns.

The statements are built once: building one and finding its compiled form again costs more than to
run it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlmodel import col

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Outcome, Proposal, Status
from recipelab.lineage import text
from recipelab.lineage.keys import stored_keys
from recipelab.lineage.ledgers import FailureGroupRow
from recipelab.lineage.states import TrialState
from recipelab.lineage.tables import (
    LARGEST_NUMBER,
    EditRow,
    FailureRow,
    ParentRow,
    TrialKeyRow,
    TrialRow,
    TrialTextRow,
    number_of,
    trial_key,
)
from recipelab.lineage.text import clean, cut, cut_front
from recipelab.lineage.writing import ancestry, failures, indexing, recipes, runs, tallies

_LAST = select(func.max(col(TrialRow.id))).where(
    col(TrialRow.id).between(bindparam("low"), bindparam("high"))
)
_LAST_JUDGED = select(func.max(col(TrialRow.judged_order))).where(
    col(TrialRow.campaign_id) == bindparam("campaign_id")
)
_PARENT_FILES = select(col(TrialTextRow.files)).where(col(TrialTextRow.trial_id) == bindparam("id"))
_ADD_TRIAL = insert(TrialRow)
_ADD_TEXT = insert(TrialTextRow)
_ADD_PARENTS = insert(ParentRow)
_ADD_EDITS = insert(EditRow)
_ADD_KEYS = insert(TrialKeyRow)
_JUDGE = update(TrialRow).where(col(TrialRow.id) == bindparam("trial_id"))
_JUDGE_TEXT = update(TrialTextRow).where(col(TrialTextRow.trial_id) == bindparam("key"))
_STANDING = (
    select(
        col(TrialRow.surface),
        col(TrialRow.specialist),
        col(TrialRow.hypothesis),
        col(TrialRow.status),
        col(TrialRow.reason),
        col(TrialRow.parent_id),
        col(TrialRow.previous_id),
        col(TrialTextRow.diff),
        col(FailureRow.group_id),
        col(FailureGroupRow.kind),
        col(FailureGroupRow.signature),
        col(FailureRow.excerpt),
    )
    .join(TrialTextRow, col(TrialTextRow.trial_id) == col(TrialRow.id))
    .outerjoin(FailureRow, col(FailureRow.trial_id) == col(TrialRow.id))
    .outerjoin(FailureGroupRow, col(FailureGroupRow.id) == col(FailureRow.group_id))
    .where(col(TrialRow.id) == bindparam("id"))
)
_PARENTS = select(col(ParentRow.parent_id)).where(col(ParentRow.trial_id) == bindparam("id"))


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def save_trial(
    connection: Connection,
    campaign_id: int,
    proposal: Proposal,
    *,
    parent_ids: Sequence[int],
    files: Mapping[str, str],
    digest: str,
    diff: str,
    round_number: int | None,
    at: datetime | None = None,
) -> tuple[int, int]:
    """Adds a trial in flight, under the next number of its campaign.

    Args:
        connection: Where to.
        campaign_id: Whose trial it is.
        proposal: What is proposed.
        parent_ids: The trials it was made from, the main one first.
        files: Its recipe: path to text.
        digest: The recipe's digest.
        diff: Unified diff from its parent.
        round_number: The round in which it is proposed.
        at: When it was proposed; ``None`` for now.

    Returns:
        Its id and its number.

    Raises:
        ValueError: The expected change is not a finite number.
    """
    runs.require_finite({"expected_delta": proposal.expected_delta})
    trial_id = _next_id(connection, campaign_id)
    place = ancestry.place_under(connection, parent_ids)
    row = {
        "id": trial_id,
        "campaign_id": campaign_id,
        "number": number_of(trial_id),
        "round_number": round_number,
        "specialist": cut(proposal.specialist, text.NAME_CHARACTERS),
        "surface": cut(proposal.surface, text.NAME_CHARACTERS),
        "hypothesis": cut(proposal.hypothesis, text.HYPOTHESIS_CHARACTERS),
        "expected_delta": proposal.expected_delta,
        "digest": clean(digest),
        "proposed_at": at or now(),
        "state": TrialState.PROPOSED.value,
        **vars(place),
    }
    row["previous_id"] = tallies.newest_by(connection, campaign_id, row["specialist"])
    connection.execute(_ADD_TRIAL, row)
    parent_files = place.parent_id and connection.scalar(_PARENT_FILES, {"id": place.parent_id})
    stored = recipes.save_files(connection, files, parent_files or None)
    diff = cut(diff, text.DIFF_CHARACTERS)
    connection.execute(_ADD_TEXT, {"trial_id": trial_id, "diff": diff, "files": stored})
    _save_around(connection, trial_id, parent_ids, proposal.edits)
    meaning = Recipe(files).meaning if files else ""
    _save_keys(connection, campaign_id, trial_id, row["digest"], diff, meaning)
    scopes = tallies.scopes_of(row["surface"], row["specialist"])
    tallies.count_proposed(connection, campaign_id, trial_id, scopes, row["proposed_at"])
    numbers = [number_of(parent_id) for parent_id in parent_ids]
    told = (row["surface"], row["specialist"], numbers, row["hypothesis"], diff)
    indexing.add_words(connection, trial_id, indexing.proposed_words(*told))
    return trial_id, number_of(trial_id)


def _next_id(connection: Connection, campaign_id: int) -> int:
    first = trial_key(campaign_id, 0)
    last = connection.scalar(_LAST, {"low": first, "high": first + LARGEST_NUMBER})
    return first if last is None else int(last) + 1


def _save_around(
    connection: Connection, trial_id: int, parent_ids: Sequence[int], edits: Sequence[Edit]
) -> None:
    if parent_ids:
        rows = [
            {"trial_id": trial_id, "position": position, "parent_id": parent_id}
            for position, parent_id in enumerate(parent_ids)
        ]
        connection.execute(_ADD_PARENTS, rows)
    if edits:
        connection.execute(_ADD_EDITS, [_edit(trial_id, *item) for item in enumerate(edits)])


def _edit(trial_id: int, position: int, edit: Edit) -> dict[str, Any]:
    return {
        "trial_id": trial_id,
        "position": position,
        "path": clean(edit.path),
        "search": None if edit.search is None else clean(edit.search),
        "replace": clean(edit.replace),
    }


def _save_keys(
    connection: Connection, campaign_id: int, trial_id: int, digest: str, diff: str, meaning: str
) -> None:
    keys = stored_keys(campaign_id, digest, diff, meaning)
    if keys:
        connection.execute(_ADD_KEYS, [{"key": key, "trial_id": trial_id} for key in sorted(keys)])


def save_outcome(
    connection: Connection,
    campaign_id: int,
    trial_id: int,
    outcome: Outcome,
    *,
    at: datetime | None = None,
) -> None:
    """Makes a trial in flight judged.

    Args:
        connection: Where to.
        campaign_id: Whose trial it is.
        trial_id: The trial.
        outcome: How it ended.
        at: When it was judged; ``None`` for now.

    Raises:
        ValueError: A figure of the outcome is not a finite number.
    """
    runs.check_figures(outcome)
    standing = connection.execute(_STANDING, {"id": trial_id}).one()
    surface, failure = standing.surface, None
    if outcome.failure is not None:
        came = outcome.failure
        group_id = failures.save_failure(connection, campaign_id, trial_id, surface, came)
        signature = cut(came.signature, text.SIGNATURE_CHARACTERS)
        failure = (group_id, came.kind.value, signature, cut(came.excerpt, text.EXCERPT_CHARACTERS))
    row = _judged(outcome) | {
        "trial_id": trial_id,
        "judged_at": at or now(),
        "judged_order": (connection.scalar(_LAST_JUDGED, {"campaign_id": campaign_id}) or 0) + 1,
        "failure_id": failure and failure[0],
    }
    connection.execute(_JUDGE, row)
    log = cut_front(outcome.log_tail, text.LOG_CHARACTERS)
    environment = cut(outcome.environment, text.ENVIRONMENT_CHARACTERS)
    if log or environment:
        told = {"key": trial_id, "log_tail": log, "environment": environment}
        connection.execute(_JUDGE_TEXT, told)
    runs.save_runs(connection, trial_id, outcome)
    if not outcome.status.is_failure:
        before = (standing.parent_id, standing.previous_id)
        failures.save_fixes(connection, trial_id, surface, *before)
    scopes = tallies.scopes_of(surface, standing.specialist)
    counted = (outcome.status, outcome.delta)
    tallies.count_judged(connection, campaign_id, trial_id, scopes, *counted)
    words = _words(connection, trial_id, standing)
    judged = indexing.judged_words(words, row["status"], row["reason"], failure)
    indexing.change_words(connection, trial_id, words, judged)


def _judged(outcome: Outcome) -> dict[str, Any]:
    return {
        "state": TrialState.JUDGED.value,
        "phase": None,
        "status": outcome.status.value,
        "reason": cut(outcome.reason, text.REASON_CHARACTERS),
        "score": outcome.score,
        "score_se": outcome.score_se,
        "delta": outcome.delta,
        "delta_se": outcome.delta_se,
        "cpu_seconds": outcome.cpu_seconds,
    }


def _words(connection: Connection, trial_id: int, standing: Any) -> list[str]:
    """The words that a trial had in flight."""
    numbers = [number_of(parent) for parent in connection.scalars(_PARENTS, {"id": trial_id})]
    told = (standing.surface, standing.specialist, numbers, standing.hypothesis, standing.diff)
    return indexing.proposed_words(*told)


def drop_outcome(connection: Connection, campaign_id: int, trial_id: int) -> None:
    """Takes away what came of a judged trial, which is queued from then on."""
    standing = connection.execute(_STANDING, {"id": trial_id}).one()
    words = _words(connection, trial_id, standing)
    failure = None
    if standing.group_id is not None:
        failure = (standing.group_id, standing.kind, standing.signature, standing.excerpt)
        failures.drop_failure(connection, trial_id, standing.group_id, standing.surface)
    judged = indexing.judged_words(words, standing.status, standing.reason, failure)
    indexing.change_words(connection, trial_id, judged, words)
    runs.drop_runs(connection, trial_id)
    nothing = _judged(Outcome(Status.ABORTED, "")) | {"status": None}
    gone = {"state": TrialState.QUEUED.value, "judged_at": None, "judged_order": None}
    connection.execute(_JUDGE, nothing | gone | {"trial_id": trial_id, "failure_id": None})
    told = {"key": trial_id, "log_tail": "", "environment": ""}
    connection.execute(_JUDGE_TEXT, told)
    scopes = tallies.scopes_of(standing.surface, standing.specialist)
    tallies.count_reopened(connection, campaign_id, scopes, standing.status)
