"""Writes failures, counts those with one signature, and links the trials that mended them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, text
from sqlmodel import col

from recipelab.core.trial import Failure, Status
from recipelab.lineage.ledgers import FailureGroupRow, FixRow
from recipelab.lineage.tables import FailureRow, TrialRow
from recipelab.lineage.text import EXCERPT_CHARACTERS, SIGNATURE_CHARACTERS, cut

FIXES = 8
"""Failed trials in a row that one valid trial is linked to, at most."""

_GROUP = select(col(FailureGroupRow.id)).where(
    col(FailureGroupRow.campaign_id) == bindparam("campaign_id"),
    col(FailureGroupRow.kind) == bindparam("kind"),
    col(FailureGroupRow.phase) == bindparam("phase"),
    col(FailureGroupRow.signature) == bindparam("signature"),
)
_NEW_GROUP = insert(FailureGroupRow).returning(col(FailureGroupRow.id))
_NEW = insert(FailureRow)
_COUNT = text(
    """
    INSERT INTO failure_count (group_id, scope, campaign_id, trials, first_id, last_id)
    VALUES (:group_id, :scope, :campaign_id, 1, :trial_id, :trial_id)
    ON CONFLICT (group_id, scope) DO UPDATE SET
      trials = failure_count.trials + 1,
      first_id = CASE WHEN excluded.first_id < failure_count.first_id
                 THEN excluded.first_id ELSE failure_count.first_id END,
      last_id = CASE WHEN excluded.last_id > failure_count.last_id
                THEN excluded.last_id ELSE failure_count.last_id END
    """
)
_RECOUNT = text(
    "UPDATE failure_count SET trials = :trials, first_id = :first, last_id = :last "
    "WHERE group_id = :group_id AND scope = :scope"
)
_UNCOUNT = text("DELETE FROM failure_count WHERE group_id = :group_id AND scope = :scope")
_FIX = text(
    "INSERT INTO fix (group_id, trial_id, failed_id) VALUES (:group_id, :trial_id, :failed_id) "
    "ON CONFLICT (group_id, trial_id) DO NOTHING"
)
_NEAR = select(
    col(TrialRow.id),
    col(TrialRow.parent_id),
    col(TrialRow.surface),
    col(TrialRow.failure_id),
    col(TrialRow.status),
).where(col(TrialRow.id).in_(bindparam("ids", expanding=True)))


def save_failure(
    connection: Connection, campaign_id: int, trial_id: int, surface: str, failure: Failure
) -> int:
    """Stores why a trial failed, and counts it.

    Returns:
        The id of its group.
    """
    group = {
        "campaign_id": campaign_id,
        "kind": failure.kind.value,
        "phase": "" if failure.phase is None else failure.phase.value,
        "signature": cut(failure.signature, SIGNATURE_CHARACTERS),
    }
    found = connection.scalar(_GROUP, group)
    group_id = int(found or connection.execute(_NEW_GROUP, group).scalar_one())
    values = {
        "trial_id": trial_id,
        "group_id": group_id,
        "excerpt": cut(failure.excerpt, EXCERPT_CHARACTERS),
        "seed": failure.seed,
    }
    connection.execute(_NEW, values)
    shared = {"group_id": group_id, "campaign_id": campaign_id, "trial_id": trial_id}
    connection.execute(_COUNT, [shared | {"scope": scope} for scope in _scopes(surface)])
    return group_id


def drop_failure(connection: Connection, trial_id: int, group_id: int, surface: str) -> None:
    """Takes the failure of a trial away."""
    connection.execute(delete(FailureRow).where(col(FailureRow.trial_id) == trial_id))
    for scope in _scopes(surface):
        left = select(
            func.count(), func.min(col(FailureRow.trial_id)), func.max(col(FailureRow.trial_id))
        ).where(col(FailureRow.group_id) == group_id)
        if scope:
            left = left.join(TrialRow, col(TrialRow.id) == col(FailureRow.trial_id)).where(
                col(TrialRow.surface) == surface
            )
        count, first, last = connection.execute(left).one()
        values = {"group_id": group_id, "scope": scope}
        if count:
            connection.execute(_RECOUNT, values | {"trials": count, "first": first, "last": last})
        else:
            connection.execute(_UNCOUNT, values)


def failure_scope(surface: str) -> str:
    """The scope of the counters of failures on a surface."""
    return f"s:{surface}"


def _scopes(surface: str) -> Sequence[str]:
    return "", failure_scope(surface)


def save_fixes(
    connection: Connection,
    trial_id: int,
    surface: str,
    parent_id: int | None,
    previous_id: int | None,
) -> None:
    """Links a trial that measured validly to the failures that it mended.

    Those are the failed trials on the way up to the first valid one, and the trial before by the
    same specialist, if it failed on the same surface from the same parent.
    """
    mended: list[dict[str, Any]] = []
    previous = _near(connection, previous_id)
    if _failed(previous) and (previous.parent_id, previous.surface) == (parent_id, surface):
        mended.append({"group_id": previous.failure_id, "failed_id": previous.id})
    above = _near(connection, parent_id)
    while _failed(above) and len(mended) < FIXES:
        mended.append({"group_id": above.failure_id, "failed_id": above.id})
        above = _near(connection, above.parent_id)
    if mended:
        connection.execute(_FIX, [{"trial_id": trial_id, **row} for row in mended])


def _near(connection: Connection, trial_id: int | None) -> Any:
    if trial_id is None:
        return None
    return connection.execute(_NEAR, {"ids": [trial_id]}).one()


def _failed(trial: Any) -> bool:
    return (
        trial is not None and trial.failure_id is not None and trial.status != Status.ABORTED.value
    )


def drop_fixes(connection: Connection, trial_id: int) -> None:
    """Takes the links of a trial away."""
    connection.execute(delete(FixRow).where(col(FixRow.trial_id) == trial_id))
