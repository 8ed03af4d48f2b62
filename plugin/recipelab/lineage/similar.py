"""Find trials that tried the same, however it was written, or that are alike in words.

Two trials with a common key tried the same. Keys are taken from the diff, which is computed, not
from the edits, which may be whole files:

- the form of an edit: its changed lines without comments and spacing;
- a knob's new value: a changed line that gives a name a plain value;
- the shape of the whole recipe: its text without its numbers. Recipes of one shape whose numbers
  are nearly the same are the same idea, measured on another draw of seeds.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from recipelab.core.errors import EditError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Status
from recipelab.lineage.database import Transaction
from recipelab.lineage.filter import WORD, check_page, check_text, match_all, word_source
from recipelab.lineage.lookup import LARGEST_NUMBER, trial_id_of, trial_key
from recipelab.lineage.records import TrialRecord
from recipelab.lineage.summaries import SummaryReader
from recipelab.lineage.summary_records import Similar
from recipelab.lineage.trial_reads import recipe_files, recipes_of, trial_briefs, trial_records
from recipelab.lineage.trials import best_id
from recipelab.lineage.values import DIFF_CHARACTERS, clean

SAME_RECIPE = "same recipe"
SAME_EDIT = "same edit"
SAME_KNOB = "same knob and value"
NEARLY_SAME = "same recipe but for numbers that differ by 2 % at most"
ALIKE = "alike in words"
_RANKS = (SAME_RECIPE, SAME_EDIT, SAME_KNOB, NEARLY_SAME, ALIKE)
NEAR = 0.02
"""Relative difference of two numbers that count as nearly the same."""

ASKED_WORDS = 8
"""Words of a text that are looked for, the longest ones."""
CANDIDATES = 20
LEAST_LIKENESS = 0.3
MOST_ALIKE = 10
"""Trials that :meth:`SimilarReader.edit_alike` tells, at most."""

_MEASURED = """
SELECT t.id FROM trial_key k JOIN trial t ON t.id = k.trial_id
WHERE k.key = :key AND t.{column} = :value
  AND (t.status IS NULL OR t.status NOT IN ('rejected', 'aborted'))
ORDER BY t.id LIMIT :limit
"""
_AGAIN = """
SELECT count(*) - count(DISTINCT digest) FROM trial
WHERE campaign_id = :campaign AND (status IS NULL OR status NOT IN ('rejected', 'aborted'))
"""
_WITH_KEY = """
SELECT trial_id FROM trial_key WHERE key = :key ORDER BY trial_id DESC LIMIT :limit
"""
_FIRST_PARENTS = "SELECT id, parent_id FROM trial WHERE id IN :ids"
_DIGESTS = "SELECT id, digest FROM trial WHERE id IN :ids"
_HYPOTHESES = "SELECT trial_id, hypothesis FROM trial_text WHERE trial_id IN :ids"

Found = dict[int, tuple[str, float]]
"""By trial id: why it is alike, and how much."""

MAX_KNOBS = 8

# A string without an end reaches to the end of the line: to look for the end from every quote of a
# long line would take time in the square of its length.
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*+"?|'(?:[^'\\]|\\.)*+'?)|(?P<comment>\#.*)|(?P<token>\w+(?:\.\w+)*|\S)"""
)
_NUMBER = re.compile(r"(?<![\w.])(?:\d[\d_]*+\.?[\d_]*+|\.\d[\d_]*+)(?:[eE][+-]?\d++)?+(?![\w.])")
_ASSIGNED = re.compile(r"([A-Za-z_][\w.]*)\x1f(?::\x1f[^=]*)?=\x1f(.+)")


@dataclass(frozen=True)
class EditKeys:
    """What an edit changes, without how it is written.

    Attributes:
        form: Its changed lines; empty if it changes comments and spacing alone.
        knobs: ``path:name=value`` for each name that gets a plain value.
        knobs_only: Whether it changes nothing else.
    """

    form: str
    knobs: tuple[str, ...]
    knobs_only: bool


class SimilarReader(SummaryReader):
    """Finds trials like a proposal.

    Args:
        database: The open database.
    """

    def find_digest(self, campaign: str, digest: str) -> TrialRecord | None:
        """Return the first trial that measured a recipe or is about to, if there is one.

        Rejected and aborted trials measured nothing, so they do not count.
        """
        return self._first_measured(campaign, "digest", clean(digest))

    def measured_again(self, campaign: str) -> int:
        """Return how many trials measured the recipe of an earlier one, letter by letter."""
        with self._asking(campaign) as (transaction, campaign_id):
            return int(transaction.value(_AGAIN, campaign=campaign_id))

    def find_same(self, campaign: str, files: Mapping[str, str]) -> TrialRecord | None:
        """Return the first trial that measured a recipe, comments and layout aside, or is about to.

        Rejected and aborted trials measured nothing, so they do not count.
        """
        return self.find_meaning(campaign, Recipe(files).meaning)

    def find_meaning(
        self, campaign: str, meaning: str, *, but: Collection[Status] = ()
    ) -> TrialRecord | None:
        """Return the same as :meth:`find_same` for the meaning of a recipe.

        Args:
            campaign: Name of the campaign.
            meaning: The meaning.
            but: Trials that ended so do not count either.
        """
        return self._first_measured(campaign, "meaning", meaning, but)

    def _first_measured(
        self, campaign: str, column: str, value: str, but: Collection[Status] = ()
    ) -> TrialRecord | None:
        with self._asking(campaign) as (transaction, campaign_id):
            limit = CANDIDATES if but else 1
            ids = _measured(transaction, campaign_id, column, value, limit=limit)
            records = trial_records(transaction, ids)
            return next((record for record in records if record.status not in but), None)

    def similar(
        self,
        campaign: str,
        *,
        edits: Sequence[Edit] = (),
        text: str = "",
        parent: int | None = None,
        limit: int = 10,
    ) -> list[Similar]:
        """Return trials like a proposal, the most alike first, of equals the newest.

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
        with self._asking(campaign) as (transaction, campaign_id):
            found: Found = {}
            if edits:
                if parent is None:
                    parent_id = best_id(transaction, campaign_id, campaign)
                else:
                    parent_id = trial_id_of(transaction, campaign_id, parent, campaign)
                diff, digest = diff_of(edits, recipe_files(transaction, parent_id))
                found = _same(transaction, campaign_id, keys_of(diff))
                recipes = _measured(transaction, campaign_id, "digest", digest, limit=limit)
                found |= dict.fromkeys(recipes, (SAME_RECIPE, 1.0))
            for trial_id, likeness in _alike(transaction, campaign_id, text):
                found.setdefault(trial_id, (ALIKE, likeness))
            return _ranked(transaction, found, limit)

    def edit_alike(
        self,
        campaign: str,
        edits: Sequence[Edit],
        parent: int,
        *,
        keys: EditKeys | None = None,
        recipe: Mapping[str, str] | None = None,
    ) -> list[Similar]:
        """Return trials that a proposal would repeat, though its recipe is another.

        Those made the same edit after formatting, or gave the same knobs the same values and
        nothing else, from the same parent or one with an equal recipe; or their recipe differs in
        numbers alone, by a few percent, whatever the parent.

        Args:
            campaign: Name of the campaign.
            edits: What it would change.
            parent: Number of the trial whose recipe it would edit.
            keys: The keys of the edits' diff, where the caller has them.
            recipe: The edited recipe, to find those that differ in numbers alone.

        Returns:
            At most ten, the same edit first, then the newest.

        Raises:
            LineageError: There is no such parent.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            parent_id = trial_id_of(transaction, campaign_id, parent, campaign)
            if keys is None:
                keys = keys_of(diff_of(edits, recipe_files(transaction, parent_id))[0])
            found = _same(transaction, campaign_id, keys, knobs=keys.knobs_only)
            found = _from_equal(transaction, found, parent_id)
            if recipe is not None:
                found = _nearly_same(transaction, campaign_id, recipe) | found
            return _ranked(transaction, found, MOST_ALIKE)


def _measured(
    transaction: Transaction, campaign_id: int, column: str, value: str, *, limit: int
) -> list[int]:
    """Return the trials that measured a recipe or are about to, lowest number first."""
    if not value:
        return []
    key = key_of(campaign_id, column, value)
    return transaction.values(_MEASURED.format(column=column), key=key, value=value, limit=limit)


def _same(
    transaction: Transaction, campaign_id: int, keys: EditKeys, *, knobs: bool = True
) -> Found:
    """Return the trials with a common key; of knobs, the likeness is the share in common."""
    shared: Counter[int] = Counter()
    for knob in keys.knobs if knobs else ():
        shared.update(_with_key(transaction, key_of(campaign_id, "knob", knob)))
    found = {key: (SAME_KNOB, count / len(keys.knobs)) for key, count in shared.items()}
    if keys.form:
        ids = _with_key(transaction, key_of(campaign_id, "form", keys.form))
        found |= dict.fromkeys(ids, (SAME_EDIT, 1.0))
    return found


def shape_of(files: Mapping[str, str]) -> str:
    """Return the digest of a recipe without its numbers; empty for no recipe."""
    total = hashlib.sha256()
    for path in sorted(files):
        for part in (path, _NUMBER.sub("0", files[path])):
            total.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return total.hexdigest() if files else ""


def _nearly_same(transaction: Transaction, campaign_id: int, recipe: Mapping[str, str]) -> Found:
    """Return the trials whose recipe is the same but for numbers that are nearly the same."""
    found: Found = {}
    ids = _with_key(transaction, key_of(campaign_id, "shape", shape_of(recipe)))
    others = recipes_of(transaction, ids) if ids else {}
    for trial_id in ids:
        other = others[trial_id]
        if all(_is_near(text, other.get(path, "")) for path, text in recipe.items()):
            found[trial_id] = (NEARLY_SAME, 1.0)
    return found


def _is_near(one: str, other: str) -> bool:
    """Return whether two texts of one shape differ in numbers of nearly the same value alone."""
    if one == other:
        return True
    # No number goes over the end of a line, and most lines are equal.
    lines = zip(one.split("\n"), other.split("\n"), strict=False)
    return all(first == second or _numbers_near(first, second) for first, second in lines)


def _numbers_near(one: str, other: str) -> bool:
    pairs = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=False)
    numbers = ((float(x), float(y)) for x, y in pairs if x != y)
    return all(abs(x - y) <= NEAR * max(abs(x), abs(y)) for x, y in numbers)


def _with_key(transaction: Transaction, key: int) -> list[int]:
    return transaction.values(_WITH_KEY, key=key, limit=CANDIDATES)


def _from_equal(transaction: Transaction, found: Found, parent_id: int) -> Found:
    """Keep those from the same parent or one with an equal recipe, with all knobs in common."""
    whole = {trial_id: why for trial_id, why in found.items() if why[1] == 1.0}
    if not whole:
        return {}
    parents = transaction.pairs(_FIRST_PARENTS, ids=list(whole))
    above = {parent_id, *(known for known in parents.values() if known is not None)}
    digests = transaction.pairs(_DIGESTS, ids=list(above))

    def is_equal(other: int | None) -> bool:
        if other is None or other == parent_id:
            return other == parent_id
        return bool(digests[other]) and digests[other] == digests[parent_id]

    return {trial_id: why for trial_id, why in whole.items() if is_equal(parents[trial_id])}


def _alike(transaction: Transaction, campaign_id: int, text: str) -> Iterator[tuple[int, float]]:
    """Yield trials whose hypothesis has words in common with a text, and the share of them."""
    words = _words_of(text)
    ids: set[int] = set()
    for asked in _word_groups(list(dict.fromkeys(WORD.findall(clean(text).lower())))):
        ids.update(_newest_with(transaction, campaign_id, asked))
    for trial_id, hypothesis in transaction.rows(_HYPOTHESES, ids=sorted(ids)):
        others = _words_of(hypothesis)
        likeness = len(words & others) / len(words | others)
        if likeness >= LEAST_LIKENESS:
            yield trial_id, likeness


def _words_of(text: str) -> set[str]:
    return set(WORD.findall(text.lower()))


def _word_groups(words: Sequence[str]) -> Iterator[list[str]]:
    """Yield all words together, neighbors in pairs, and the longest ones alone."""
    if not words:
        return
    longest = sorted(words, key=len, reverse=True)[:ASKED_WORDS]
    few = [word for word in words if word in longest]
    yield few
    if len(few) > 2:
        yield from ([first, second] for first, second in pairwise(few))
    if len(few) > 1:
        yield from ([word] for word in longest[:2])


def _newest_with(transaction: Transaction, campaign_id: int, words: Sequence[str]) -> list[int]:
    """Return the newest trials that have all of some words."""
    condition, values = match_all(transaction, words)
    source, key = word_source(transaction)
    low = trial_key(campaign_id, 0)
    return transaction.values(
        f"SELECT {key} FROM {source} WHERE {condition} AND {key} BETWEEN :low AND :high "
        f"ORDER BY {key} DESC LIMIT :limit",
        **values,
        low=low,
        high=low + LARGEST_NUMBER,
        limit=CANDIDATES,
    )


def _ranked(transaction: Transaction, found: Found, limit: int) -> list[Similar]:
    def rank(trial_id: int) -> tuple[int, float, int]:
        why, likeness = found[trial_id]
        return _RANKS.index(why), -likeness, -trial_id

    ids = sorted(found, key=rank)[:limit]
    briefs = trial_briefs(transaction, ids)
    return [Similar(brief, *found[key]) for key, brief in zip(ids, briefs, strict=True)]


def keys_of(diff: str) -> EditKeys:
    """Return the keys of a unified diff, as :meth:`Recipe.diff` makes it."""
    form: list[str] = []
    knobs: list[str] = []
    plain = True
    # What is not stored of a longer one is not compared either.
    for path, removed, added in _changes(diff[:DIFF_CHARACTERS]):
        gone, new = _without(removed, added), _without(added, removed)
        if gone or new:
            form.append("\n".join([path, *("-" + line for line in gone), *("+" + n for n in new)]))
        found = [_knob(path, line) for line in new]
        knobs += [knob for knob in found if knob]
        plain = plain and all(found) and len(gone) == len(new)
    few = tuple(dict.fromkeys(knobs))[:MAX_KNOBS]
    return EditKeys("\n".join(form), few, plain and bool(few) and len(few) == len(knobs))


def diff_of(edits: Iterable[Edit], files: Mapping[str, str]) -> tuple[str, str]:
    """Return the diff and the digest that edits of a recipe make.

    Returns:
        An empty digest if the edits do not apply to it; the diff is then from the blocks alone.
    """
    edits = tuple(edits)
    recipe = Recipe(files)
    try:
        edited = recipe.apply(edits, {edit.path for edit in edits})
    except EditError:
        return "".join(_block(edit) for edit in edits), ""
    return recipe.diff(edited), edited.digest


def key_of(campaign_id: int, kind: str, value: str) -> int:
    """Return the number under which a key is stored, unlike that of any other campaign or kind."""
    text = f"{campaign_id}\0{kind}\0{value}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


def stored_keys(
    campaign_id: int, digest: str, keys: EditKeys, meaning: str, shape: str
) -> list[int]:
    """Return the numbers under which a trial is to be found, in order."""
    named = [("knob", knob) for knob in keys.knobs]
    whole = (("form", keys.form), ("digest", digest), ("meaning", meaning), ("shape", shape))
    named += [(kind, value) for kind, value in whole if value]
    return sorted({key_of(campaign_id, kind, value) for kind, value in named})


def _block(edit: Edit) -> str:
    return Recipe({edit.path: edit.search or ""}).diff(Recipe({edit.path: edit.replace}))


def _changes(diff: str) -> Iterator[tuple[str, list[str], list[str]]]:
    for part in re.split(r"(?m)^diff --git ", "\n" + diff):
        head, _, body = part.partition("\n@@")
        names = re.findall(r"(?m)^(?:---|\+\+\+) [ab]/(.+)$", head)
        removed, added = _sides(body if names else part)
        if removed or added:
            yield (names[-1] if names else ""), removed, added


def _sides(body: str) -> tuple[list[str], list[str]]:
    removed: list[str] = []
    added: list[str] = []
    for line in body.split("\n"):
        if line[:1] in "+-" and (plain := _plain(line[1:])):
            (added if line[0] == "+" else removed).append(plain)
    return removed, added


def _plain(line: str) -> str:
    """Return the tokens of a line; spacing and comments are none."""
    tokens = [match[0] for match in _TOKEN.finditer(line) if match.lastgroup != "comment"]
    return "\x1f".join(tokens)


def _without(lines: list[str], others: list[str]) -> list[str]:
    """Return the lines that are not only moved or spaced anew."""
    left = Counter(others)
    kept: list[str] = []
    for line in lines:
        left[line] -= 1
        if left[line] < 0:
            kept.append(line)
    return kept


def _knob(path: str, line: str) -> str | None:
    match = _ASSIGNED.fullmatch(line.removesuffix("\x1f,"))
    if match is None:
        return None
    try:
        value = ast.literal_eval(match[2].replace("\x1f", ""))
        # Python refuses to write out a number of thousands of digits.
        return f"{path}:{match[1]}={_value(value)}"
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _value(value: object) -> str:
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return repr(int(value)) if whole else repr(value)  # type: ignore[call-overload]
