"""Write out what makes a lineage: its tables, its text index and the triggers that keep tallies."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.schema import CreateIndex, CreateTable

from recipelab.lineage.side_tables import LineageTable

_ADDED_AFTER = {
    2: ("turn_view", "turn", "turn_trial", "finished_run"),
    3: ("driver", "trial_lease", "driver_round", "driver_test"),
}
"""Tables that came with the version after the one that is named."""


def table_definitions(*, sqlite: bool) -> Iterator[str]:
    """Yield the statements that make everything, in order."""
    yield from _definitions([table.name for table in LineageTable.metadata.sorted_tables], sqlite)
    yield from _SQLITE_TEXT_INDEX if sqlite else _POSTGRES_TEXT_INDEX
    for name, event, body in _TALLY_TRIGGERS:
        yield from (_sqlite_trigger if sqlite else _postgres_trigger)(name, event, body)


def upgrade_definitions(version: int, *, sqlite: bool) -> Iterator[str]:
    """Yield the statements that turn the tables of an older version into those of the next one."""
    yield from _definitions(_ADDED_AFTER[version], sqlite)


def _definitions(names: Collection[str], sqlite: bool) -> Iterator[str]:
    dialect: Dialect = SQLiteDialect() if sqlite else PGDialect()  # type: ignore[no-untyped-call]
    for table in LineageTable.metadata.sorted_tables:
        if table.name in names:
            yield str(CreateTable(table).compile(dialect=dialect))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                yield str(CreateIndex(index).compile(dialect=dialect))


_TEXTS = ("hypothesis", "reason", "signature", "excerpt", "diff")


def _columns(prefix: str = "") -> str:
    return ", ".join(prefix + name for name in _TEXTS)


_FORGET = (
    f"INSERT INTO trial_words (trial_words, rowid, {_columns()}) "
    f"VALUES ('delete', old.trial_id, {_columns('old.')});"
)
_LEARN = f"INSERT INTO trial_words (rowid, {_columns()}) VALUES (new.trial_id, {_columns('new.')});"

# The index holds no texts of its own: they are in trial_text, and it must be told what to forget.
_SQLITE_TEXT_INDEX = (
    f"CREATE VIRTUAL TABLE trial_words USING fts5({_columns()}, content = 'trial_text', "
    "content_rowid = 'trial_id', columnsize = 0, tokenize = 'unicode61 remove_diacritics 0')",
    f"CREATE TRIGGER words_added AFTER INSERT ON trial_text BEGIN {_LEARN} END",
    f"CREATE TRIGGER words_removed AFTER DELETE ON trial_text BEGIN {_FORGET} END",
    f"CREATE TRIGGER words_changed AFTER UPDATE OF {_columns()} ON trial_text "
    f"BEGIN {_FORGET} {_LEARN} END",
)

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Characters that part words on PostgreSQL, whose own parser would take paths and numbers whole."""

_JOINED = " || ' ' || ".join(_TEXTS)
_WORDS = "translate({}, '{}', '{}')".format(
    _JOINED, PUNCTUATION.replace("'", "''"), " " * len(PUNCTUATION)
)
_POSTGRES_TEXT_INDEX = (
    "ALTER TABLE trial_text ADD COLUMN words tsvector "
    f"GENERATED ALWAYS AS (to_tsvector('simple', {_WORDS})) STORED",
    "CREATE INDEX trial_words ON trial_text USING gin (words)",
)

_TALLIED_AS_OLD = (
    "campaign_id = old.campaign_id AND surface = old.surface AND specialist = old.specialist "
    "AND status = coalesce(old.status, '') AND failure_id = coalesce(old.failure_id, 0)"
)
_LIKE_OLD = (
    "t.campaign_id = old.campaign_id AND t.surface = old.surface "
    "AND t.specialist = old.specialist AND t.status = old.status "
    "AND coalesce(t.failure_id, 0) = coalesce(old.failure_id, 0)"
)
_DELTA = "CASE WHEN new.status IN ('kept', 'discarded') THEN new.delta END"
_JUDGED = "CASE WHEN new.status IS NULL THEN 0 ELSE 1 END"
_COUNT = f"""
INSERT INTO tally VALUES (
  new.campaign_id, new.surface, new.specialist, coalesce(new.status, ''),
  coalesce(new.failure_id, 0), 1, new.id, new.id, {_DELTA}, {_DELTA}, {_JUDGED}, {_JUDGED}
)
ON CONFLICT (campaign_id, surface, specialist, status, failure_id) DO UPDATE SET
  trials = tally.trials + 1,
  first_id = CASE WHEN excluded.first_id < tally.first_id
             THEN excluded.first_id ELSE tally.first_id END,
  last_id = CASE WHEN excluded.last_id > tally.last_id
            THEN excluded.last_id ELSE tally.last_id END,
  low_delta = CASE WHEN tally.low_delta IS NULL OR excluded.low_delta < tally.low_delta
              THEN excluded.low_delta ELSE tally.low_delta END,
  high_delta = CASE WHEN tally.high_delta IS NULL OR excluded.high_delta > tally.high_delta
               THEN excluded.high_delta ELSE tally.high_delta END,
  since_kept_on_surface = tally.since_kept_on_surface + excluded.since_kept_on_surface,
  since_kept_by_specialist = tally.since_kept_by_specialist + excluded.since_kept_by_specialist;
UPDATE tally SET since_kept_on_surface = 0
WHERE new.status = 'kept' AND campaign_id = new.campaign_id AND surface = new.surface;
UPDATE tally SET since_kept_by_specialist = 0
WHERE new.status = 'kept' AND campaign_id = new.campaign_id AND specialist = new.specialist;
"""
_UNCOUNT = f"""
UPDATE tally SET trials = trials - 1,
  since_kept_on_surface = CASE WHEN since_kept_on_surface > 0 AND old.status IS NOT NULL
                          THEN since_kept_on_surface - 1 ELSE since_kept_on_surface END,
  since_kept_by_specialist = CASE WHEN since_kept_by_specialist > 0 AND old.status IS NOT NULL
                             THEN since_kept_by_specialist - 1 ELSE since_kept_by_specialist END
WHERE {_TALLIED_AS_OLD};
DELETE FROM tally WHERE trials = 0 AND {_TALLIED_AS_OLD};
UPDATE tally SET
  first_id = (SELECT min(t.id) FROM trial t WHERE {_LIKE_OLD}),
  last_id = (SELECT max(t.id) FROM trial t WHERE {_LIKE_OLD})
WHERE old.status IS NOT NULL AND old.id IN (first_id, last_id) AND {_TALLIED_AS_OLD};
"""
# A trial goes from one count to another when it is judged, or runs again after it was aborted.
_TALLY_TRIGGERS = (
    ("trial_counted", "INSERT", _COUNT),
    ("trial_recounted", "UPDATE OF status, failure_id", _UNCOUNT + _COUNT),
)


def _sqlite_trigger(name: str, event: str, body: str) -> Iterator[str]:
    yield f"CREATE TRIGGER {name} AFTER {event} ON trial BEGIN {body} END"


def _postgres_trigger(name: str, event: str, body: str) -> Iterator[str]:
    yield (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {body} RETURN NULL; END $$"
    )
    yield f"CREATE TRIGGER {name} AFTER {event} ON trial FOR EACH ROW EXECUTE FUNCTION {name}()"
