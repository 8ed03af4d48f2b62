"""The part of the reader that says whether something was tried before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from sqlalchemy import Connection, bindparam, select
from sqlmodel import col

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit
from recipelab.lineage.answers import Similar
from recipelab.lineage.finding import find_trial
from recipelab.lineage.keys import EditKeys, diff_of, hashed, keys_of
from recipelab.lineage.query import check_page, check_text
from recipelab.lineage.reading.base import Asking
from recipelab.lineage.reading.briefs import trial_briefs
from recipelab.lineage.reading.conditions import WORDS, matches
from recipelab.lineage.reading.loading import trial_records
from recipelab.lineage.reading.recipes import recipe_files
from recipelab.lineage.reading.trials import best_id, with_digest, with_key
from recipelab.lineage.records import TrialRecord
from recipelab.lineage.tables import LARGEST_NUMBER, TrialKeyRow, TrialRow, trial_key
from recipelab.lineage.words import asked_words, words_of

SAME_RECIPE = "same recipe"
SAME_EDIT = "same edit"
SAME_KNOB = "same knob and value"
ALIKE = "alike in words"

ASKED_WORDS = 8
"""Words of a text that are looked for, the longest ones."""
CANDIDATES = 20
LEAST_LIKENESS = 0.3

_HAVING = (
    select(col(TrialKeyRow.trial_id))
    .where(col(TrialKeyRow.key) == bindparam("key"))
    .order_by(col(TrialKeyRow.trial_id).desc())
    .limit(bindparam("limit"))
)
_PARENTS = select(col(TrialRow.id), col(TrialRow.digest)).where(
    col(TrialRow.id).in_(bindparam("ids", expanding=True))
)
_HYPOTHESES = select(col(TrialRow.id), col(TrialRow.hypothesis)).where(
    col(TrialRow.id).in_(bindparam("ids", expanding=True))
)
_FIRST_PARENTS = select(col(TrialRow.id), col(TrialRow.parent_id)).where(
    col(TrialRow.id).in_(bindparam("ids", expanding=True))
)

Found = dict[int, tuple[str, float]]
"""By trial id: why it is alike, and how much."""


class AlikeReader(Asking):
    """Finds trials like a proposal."""

    def find_same(self, campaign: str, files: Mapping[str, str]) -> TrialRecord | None:
        """The first trial that measured this recipe, comments and layout aside, or is about to.

        Rejected and aborted trials measured nothing, so they do not count.
        """
        meaning = Recipe(files).meaning
        with self._asking(campaign) as (connection, campaign_id):
            key = hashed(campaign_id, "meaning", meaning)
            for trial_id in connection.scalars(with_key(key).limit(CANDIDATES)):
                if Recipe(recipe_files(connection, trial_id)).meaning == meaning:
                    return trial_records(connection, [trial_id])[0]
        return None

    def similar(
        self,
        campaign: str,
        *,
        edits: Sequence[Edit] = (),
        text: str = "",
        parent: int | None = None,
        limit: int = 10,
    ) -> list[Similar]:
        """Trials like a proposal, the most alike first, of equals the newest.

        Args:
            campaign: Name of the campaign.
            edits: What it would change.
            text: Its hypothesis; trials with words in common are told after the others.
            parent: Number of the trial whose recipe it would edit; ``None`` for the best.
            limit: How many at most, from 1 to 200.

        Returns:
            Each trial once, with the strongest likeness.

        Raises:
            LineageError: There is no such parent, or a text or the limit is out of bounds.
        """
        check_page(limit, 0)
        check_text(text)
        with self._asking(campaign) as (connection, campaign_id):
            found: Found = {}
            if edits:
                parent_id = _parent(connection, campaign_id, campaign, parent)
                files = recipe_files(connection, parent_id)
                found = _same(connection, campaign_id, edits, files, limit)
            for trial_id, likeness in _alike(connection, campaign_id, text):
                found.setdefault(trial_id, (ALIKE, likeness))
            return _told(connection, found, limit)

    def edit_alike(self, campaign: str, edits: Sequence[Edit], parent: int) -> list[Similar]:
        """Trials that a proposal would repeat, though its recipe is another.

        Those made the same edit after formatting, or gave the same knobs the same values and
        nothing else, from the same parent or one with an equal recipe.

        Args:
            campaign: Name of the campaign.
            edits: What it would change.
            parent: Number of the trial whose recipe it would edit.

        Returns:
            At most ten, the same edit first, then the newest.

        Raises:
            LineageError: There is no such parent.
        """
        with self._asking(campaign) as (connection, campaign_id):
            parent_id = find_trial(connection, campaign_id, parent, campaign)
            diff, _ = diff_of(edits, recipe_files(connection, parent_id))
            keys = keys_of(diff)
            found = _same_knobs(connection, campaign_id, keys) if keys.knobs_only else {}
            found |= _same_form(connection, campaign_id, keys)
            return _told(connection, _from_equal(connection, found, parent_id), 10)


def _parent(connection: Connection, campaign_id: int, campaign: str, number: int | None) -> int:
    if number is None:
        return best_id(connection, campaign_id, campaign)
    return find_trial(connection, campaign_id, number, campaign)


def _same(
    connection: Connection,
    campaign_id: int,
    edits: Sequence[Edit],
    files: Mapping[str, str],
    limit: int,
) -> Found:
    diff, digest = diff_of(edits, files)
    keys = keys_of(diff)
    found = _same_knobs(connection, campaign_id, keys)
    found |= _same_form(connection, campaign_id, keys)
    if digest:
        recipes = connection.scalars(with_digest(campaign_id, digest).limit(limit))
        found |= dict.fromkeys(recipes, (SAME_RECIPE, 1.0))
    return found


def _same_form(connection: Connection, campaign_id: int, keys: EditKeys) -> Found:
    if not keys.form:
        return {}
    ids = _having(connection, hashed(campaign_id, "form", keys.form))
    return dict.fromkeys(ids, (SAME_EDIT, 1.0))


def _same_knobs(connection: Connection, campaign_id: int, keys: EditKeys) -> Found:
    """Trials that gave knobs the same values; the likeness is the share of knobs in common."""
    shared: dict[int, int] = {}
    for knob in keys.knobs:
        for trial_id in _having(connection, hashed(campaign_id, "knob", knob)):
            shared[trial_id] = shared.get(trial_id, 0) + 1
    return {key: (SAME_KNOB, count / len(keys.knobs)) for key, count in shared.items()}


def _having(connection: Connection, key: int) -> Sequence[int]:
    return connection.scalars(_HAVING, {"key": key, "limit": CANDIDATES}).all()


def _from_equal(connection: Connection, found: Found, parent_id: int) -> Found:
    """Those from the same parent or one with an equal recipe, with all knobs in common."""
    whole = {key: why for key, why in found.items() if why[1] == 1.0}
    parents = dict(
        (key, above) for key, above in connection.execute(_FIRST_PARENTS, {"ids": list(whole)})
    )
    asked = {"ids": [parent_id, *(above for above in parents.values() if above is not None)]}
    digests = {key: digest for key, digest in connection.execute(_PARENTS, asked)}

    def equal(above: int | None) -> bool:
        same = above is not None and digests[above] and digests[above] == digests[parent_id]
        return above == parent_id or bool(same)

    return {key: why for key, why in whole.items() if equal(parents[key])}


def _alike(connection: Connection, campaign_id: int, text: str) -> Iterator[tuple[int, float]]:
    """Trials whose hypothesis has words in common with a text, and the share of them."""
    words = asked_words(text)
    ids: set[int] = set()
    for asked in _word_groups(words):
        ids.update(_newest_with(connection, campaign_id, asked))
    wanted = set(words_of(text))
    for trial_id, hypothesis in connection.execute(_HYPOTHESES, {"ids": sorted(ids)}):
        there = set(words_of(hypothesis))
        likeness = len(wanted & there) / len(wanted | there)
        if likeness >= LEAST_LIKENESS:
            yield trial_id, likeness


def _word_groups(words: Sequence[str]) -> Iterator[list[str]]:
    """All words together, neighbors in pairs, and the longest ones alone."""
    if not words:
        return
    longest = set(sorted(words, key=len, reverse=True)[:ASKED_WORDS])
    few = [word for word in words if word in longest]
    yield few
    yield from ([first, second] for first, second in pairwise(few))
    yield from ([word] for word in sorted(few, key=len, reverse=True)[:2])


def _newest_with(connection: Connection, campaign_id: int, words: Sequence[str]) -> Sequence[int]:
    first = trial_key(campaign_id, 0)
    statement = (
        select(WORDS.c.rowid)
        .where(matches(connection, [[word] for word in words]))
        .where(WORDS.c.rowid.between(first, first + LARGEST_NUMBER))
        .order_by(WORDS.c.rowid.desc())
        .limit(CANDIDATES)
    )
    return connection.scalars(statement).all()


_RANKS = (SAME_RECIPE, SAME_EDIT, SAME_KNOB, ALIKE)


def _told(connection: Connection, found: Found, limit: int) -> list[Similar]:
    def rank(key: int) -> tuple[int, float, int]:
        why, likeness = found[key]
        return _RANKS.index(why), -likeness, -key

    ids = sorted(found, key=rank)[:limit]
    briefs = trial_briefs(connection, ids)
    return [Similar(brief, *found[key]) for key, brief in zip(ids, briefs, strict=True)]
