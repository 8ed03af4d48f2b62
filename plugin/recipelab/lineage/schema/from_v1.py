"""Makes a lineage of schema 2 from one of schema 1.

The old tables are set aside, and what they hold goes through the functions that store new trials:
so counters, the word index and the keys of edits are there as if they had always been.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

from recipelab.lineage.saving import save_outcome, save_trial
from recipelab.lineage.schema import v1
from recipelab.lineage.schema.making import make_tables
from recipelab.lineage.tables import trial_key


def from_v1(connection: Connection) -> None:
    """Upgrades the tables from schema 1, which was in SQLite files alone."""
    _set_aside(connection)
    make_tables(connection)
    _copy(connection, "campaign")
    _copy(connection, "round")
    campaigns = connection.scalars(text("SELECT id FROM campaign ORDER BY id")).all()
    for campaign_id in campaigns:
        _add_trials(connection, campaign_id)
    _copy(connection, "message")
    for table in v1.TABLES:
        connection.execute(text(f"DROP TABLE {v1.old(table)}"))


def _set_aside(connection: Connection) -> None:
    indexes = [
        index["name"] for table in v1.TABLES for index in inspect(connection).get_indexes(table)
    ]
    for name in indexes:
        connection.execute(text(f'DROP INDEX "{name}"'))
    for table in v1.TABLES:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {v1.old(table)}"))


def _copy(connection: Connection, table: str) -> None:
    columns = ", ".join(column["name"] for column in inspect(connection).get_columns(v1.old(table)))
    connection.execute(
        text(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {v1.old(table)}")
    )


def _add_trials(connection: Connection, campaign_id: int) -> None:
    new: dict[int, int] = {}
    for old_id in v1.trial_ids(connection, campaign_id, "number"):
        new[old_id] = _add_trial(connection, campaign_id, old_id, new)
    for old_id in v1.trial_ids(connection, campaign_id, "judged_order"):
        row = v1.trial_row(connection, old_id)
        outcome = v1.outcome_of(connection, row)
        at = v1.instant(row.judged_at)
        save_outcome(connection, campaign_id, new[old_id], outcome, at=at)


def _add_trial(connection: Connection, campaign_id: int, old_id: int, new: dict[int, int]) -> int:
    row = v1.trial_row(connection, old_id)
    parents = v1.rows_of(connection, "parent", old_id, "position")
    trial_id, _ = save_trial(
        connection,
        campaign_id,
        v1.proposal_of(connection, row),
        parent_ids=[new[parent.parent_id] for parent in parents],
        files=v1.files_of(connection, old_id),
        digest=row.digest,
        diff=row.diff,
        round_number=row.round_number,
        at=v1.instant(row.proposed_at),
    )
    assert trial_id == trial_key(campaign_id, row.number), "numbers of schema 1 have no gaps"
    return trial_id
