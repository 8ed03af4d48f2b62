"""Keeps the word index up to date: the words of a trial, and marks for what filters ask about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, text

from recipelab.lineage.words import mark, status_mark, words_of

_ADD_SQLITE = text("INSERT INTO words (rowid, w) VALUES (:id, :w)")
# The index holds no texts, so it must be told the words that it is to forget.
_DROP_SQLITE = text("INSERT INTO words (words, rowid, w) VALUES ('delete', :id, :w)")
_SET_POSTGRES = text(
    "INSERT INTO words (rowid, w) VALUES (:id, array_to_tsvector(CAST(:w AS text[]))) "
    "ON CONFLICT (rowid) DO UPDATE SET w = excluded.w"
)


def proposed_words(
    surface: str, specialist: str, parents: Iterable[int], hypothesis: str, diff: str
) -> list[str]:
    """The words and marks of a trial in flight.

    Args:
        surface: The part of the recipe that it is about.
        specialist: Who proposed it.
        parents: Numbers of its parents.
        hypothesis: Why it should help.
        diff: Unified diff from its parent.
    """
    marks = [mark("u", surface), mark("p", specialist), *(mark("c", number) for number in parents)]
    return [status_mark(None), *marks, *words_of(hypothesis, diff)]


def judged_words(
    proposed: Sequence[str],
    status: str,
    reason: str,
    failure: tuple[int, str, str, str] | None,
) -> list[str]:
    """The words and marks of a judged trial.

    Args:
        proposed: Those that it had in flight.
        status: How it ended.
        reason: Why it has its status.
        failure: Id of its group, kind, signature and excerpt, if it failed.
    """
    marks = [status_mark(status)]
    texts = [reason]
    if failure is not None:
        group_id, kind, *told = failure
        marks += [mark("k", kind), mark("g", group_id)]
        texts += told
    return list(dict.fromkeys([*marks, *proposed[1:], *words_of(*texts)]))


def add_words(connection: Connection, trial_id: int, words: Sequence[str]) -> None:
    """Indexes a new trial."""
    if connection.dialect.name == "sqlite":
        connection.execute(_ADD_SQLITE, {"id": trial_id, "w": " ".join(words)})
    else:
        connection.execute(_SET_POSTGRES, {"id": trial_id, "w": list(words)})


def change_words(
    connection: Connection, trial_id: int, before: Sequence[str], after: Sequence[str]
) -> None:
    """Indexes a trial anew."""
    if connection.dialect.name == "sqlite":
        connection.execute(_DROP_SQLITE, {"id": trial_id, "w": " ".join(before)})
    add_words(connection, trial_id, after)
