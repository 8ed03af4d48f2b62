"""Write the rows of trials, inside a transaction that its caller owns."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recipelab.core.recipe import Recipe
from recipelab.core.trial import (
    Edit,
    Failure,
    FailureKind,
    Outcome,
    Phase,
    Proposal,
    Standing,
    Status,
)
from recipelab.lineage.database import Transaction
from recipelab.lineage.lookup import last_trial_id, number_of, trial_key
from recipelab.lineage.records import TrialState
from recipelab.lineage.similar import EditKeys, keys_of, shape_of, stored_keys
from recipelab.lineage.trial_reads import recipe_files
from recipelab.lineage.turns import insert_turn_trial
from recipelab.lineage.values import (
    DIFF_CHARACTERS,
    ENVIRONMENT_CHARACTERS,
    EXCERPT_CHARACTERS,
    HYPOTHESIS_CHARACTERS,
    LOG_CHARACTERS,
    REASON_CHARACTERS,
    SIGNATURE_CHARACTERS,
    check_outcome,
    clean,
    cut,
    cut_front,
    cut_name,
    gates_json,
    now,
    parent_numbers,
    require_finite,
    runs_json,
    to_stamp,
)

MOST_FIXES = 8
"""Failed trials in a row that one valid trial is linked to, at most."""

_JUDGE = """
UPDATE trial SET state = :state, phase = NULL, status = :status, standing = :standing,
  judged_order = :judged_order,
  judged_at = :judged_at, score = :score, score_se = :score_se, delta = :delta,
  delta_se = :delta_se, cpu_seconds = :cpu_seconds, failure_id = :failure_id,
  failure_seed = :failure_seed
WHERE id = :id
"""
_JUDGE_NEXT = _JUDGE.replace(
    ":judged_order",
    "(SELECT coalesce(max(judged_order), 0) + 1 FROM trial WHERE campaign_id = :campaign)",
)
_JUDGE_TEXT = """
UPDATE trial_text SET reason = :reason, signature = :signature, excerpt = :excerpt,
  seed_runs = :seed_runs, gates = :gates, log_tail = :log_tail, environment = :environment
WHERE trial_id = :id
"""
_FAILURE = """
SELECT id FROM failure WHERE campaign_id = :campaign_id AND kind = :kind AND phase = :phase
  AND signature = :signature
"""
_ATTEMPT = "SELECT id, parent_id, surface, specialist, failure_id, status FROM trial WHERE id = :id"
# With it: its parent, and the trial before by the same specialist.
_ATTEMPTS = """
WITH own AS (SELECT parent_id, specialist FROM trial WHERE id = :id)
SELECT id, parent_id, surface, specialist, failure_id, status FROM trial WHERE id IN (
  :id, (SELECT parent_id FROM own),
  (SELECT b.id FROM trial b WHERE b.campaign_id = :campaign
   AND b.specialist = (SELECT specialist FROM own) AND b.id < :id ORDER BY b.id DESC LIMIT 1))
"""
_FIX = """
INSERT INTO fix (failure_id, trial_id) VALUES (:failure_id, :trial_id)
ON CONFLICT (failure_id, trial_id) DO NOTHING
"""
_FOUND_BY = """
SELECT t.digest, t.meaning, x.diff FROM trial t JOIN trial_text x ON x.trial_id = t.id
WHERE t.id = :id
"""
# Writers of another campaign may store the same content at the same moment.
_NEW_FILE = """
INSERT INTO recipe_file (sha256, data) VALUES (:sha256, :data) ON CONFLICT (sha256) DO NOTHING
"""
_KNOWN_FILES = "SELECT sha256, id FROM recipe_file WHERE sha256 IN :sums"


@dataclass(frozen=True)
class ProposedRecipe:
    """The recipe of a proposal, and all that is stored of it.

    Attributes:
        files: Path to text; empty if no recipe came of the proposal.
        digest: The recipe's digest.
        diff: Unified diff from its parent.
        meaning: The recipe's meaning; ``None`` to compute it.
        keys: The keys of the diff; ``None`` to compute them.
    """

    files: Mapping[str, str]
    digest: str
    diff: str
    meaning: str | None = None
    keys: EditKeys | None = None


def insert_trial(
    transaction: Transaction,
    campaign_id: int,
    proposal: Proposal,
    *,
    parent_ids: Sequence[int],
    round_number: int | None,
    recipe: ProposedRecipe,
    proposed_at: datetime | None = None,
    turn: int | None = None,
) -> int:
    """Add a trial in flight under the next number of its campaign, and return its id.

    Args:
        transaction: Where to.
        campaign_id: Whose trial it is.
        proposal: The proposal.
        parent_ids: The trials it was made from, the main one first.
        round_number: The round in which it is proposed.
        recipe: Its recipe.
        proposed_at: When it was proposed; ``None`` for now.
        turn: Number of the turn in which it is proposed.

    Raises:
        LineageError: There is no such turn.
        ValueError: The expected change is not a finite number.
    """
    require_finite("expected_delta", proposal.expected_delta)
    last = last_trial_id(transaction, campaign_id)
    trial_id = trial_key(campaign_id, 0) if last is None else last + 1
    digest, diff, meaning = clean(recipe.digest), cut(recipe.diff, DIFF_CHARACTERS), recipe.meaning
    if meaning is None:
        meaning = Recipe(recipe.files).meaning if recipe.files else ""
    transaction.insert(
        "trial",
        id=trial_id,
        campaign_id=campaign_id,
        number=number_of(trial_id),
        round_number=round_number,
        specialist=cut_name(proposal.specialist),
        surface=cut_name(proposal.surface),
        expected_delta=proposal.expected_delta,
        digest=digest,
        meaning=meaning,
        parents=json.dumps([number_of(parent_id) for parent_id in parent_ids]),
        parent_id=parent_ids[0] if parent_ids else None,
        proposed_at=to_stamp(proposed_at or now()),
        state=TrialState.QUEUED.value,
        cpu_seconds=0.0,
    )
    _insert_text(transaction, trial_id, proposal, diff, recipe.files)
    _insert_parents(transaction, trial_id, parent_ids)
    keys = keys_of(diff) if recipe.keys is None else recipe.keys
    shape = shape_of(recipe.files)
    _insert_keys(transaction, trial_id, stored_keys(campaign_id, digest, keys, meaning, shape))
    if turn is not None:
        insert_turn_trial(transaction, campaign_id, trial_id, turn)
    return trial_id


def _insert_parents(transaction: Transaction, trial_id: int, parent_ids: Sequence[int]) -> None:
    transaction.insert_many(
        "parent",
        [
            {"parent_id": parent_id, "trial_id": trial_id, "position": position}
            for position, parent_id in enumerate(parent_ids)
        ],
    )


def _insert_keys(transaction: Transaction, trial_id: int, keys: Sequence[int]) -> None:
    transaction.insert_many("trial_key", [{"key": key, "trial_id": trial_id} for key in keys])


def set_parents(transaction: Transaction, trial_id: int, parent_ids: Sequence[int]) -> None:
    """Replace the parents of a trial in flight.

    Args:
        transaction: Where to.
        trial_id: The trial.
        parent_ids: The trials it is made from now, the main one first.
    """
    before: str = transaction.value("SELECT parents FROM trial WHERE id = :id", id=trial_id)
    # By their whole key, as there is no index of the table by children.
    old = [trial_id - number_of(trial_id) + number for number in parent_numbers(before)]
    transaction.run(
        "DELETE FROM parent WHERE parent_id IN :parents AND trial_id = :id",
        parents=old,
        id=trial_id,
    )
    transaction.run(
        "UPDATE trial SET parents = :parents, parent_id = :parent_id WHERE id = :id",
        parents=json.dumps([number_of(parent_id) for parent_id in parent_ids]),
        parent_id=parent_ids[0] if parent_ids else None,
        id=trial_id,
    )
    _insert_parents(transaction, trial_id, parent_ids)


def replace_recipe(
    transaction: Transaction, campaign_id: int, trial_id: int, recipe: ProposedRecipe
) -> None:
    """Replace the recipe of a trial in flight, its diff and its keys; its edits stay."""
    digest, diff, meaning = clean(recipe.digest), cut(recipe.diff, DIFF_CHARACTERS), recipe.meaning
    if meaning is None:
        meaning = Recipe(recipe.files).meaning if recipe.files else ""
    ((old_digest, old_meaning, old_diff),) = transaction.rows(_FOUND_BY, id=trial_id)
    shape, old_shape = shape_of(recipe.files), shape_of(recipe_files(transaction, trial_id))
    old = stored_keys(campaign_id, old_digest, keys_of(old_diff), old_meaning, old_shape)
    transaction.run(
        "DELETE FROM trial_key WHERE key IN :keys AND trial_id = :id", keys=old, id=trial_id
    )
    keys = keys_of(diff) if recipe.keys is None else recipe.keys
    _insert_keys(transaction, trial_id, stored_keys(campaign_id, digest, keys, meaning, shape))
    transaction.run(
        "UPDATE trial SET digest = :digest, meaning = :meaning WHERE id = :id",
        digest=digest,
        meaning=meaning,
        id=trial_id,
    )
    transaction.run(
        "UPDATE trial_text SET diff = :diff, files = :files WHERE trial_id = :id",
        diff=diff,
        files=_insert_files(transaction, recipe.files),
        id=trial_id,
    )


def _insert_text(
    transaction: Transaction,
    trial_id: int,
    proposal: Proposal,
    diff: str,
    files: Mapping[str, str],
) -> None:
    """Add the texts of a trial in flight; those of its outcome are empty for now."""
    transaction.insert(
        "trial_text",
        trial_id=trial_id,
        hypothesis=cut(proposal.hypothesis, HYPOTHESIS_CHARACTERS),
        diff=diff,
        edits=_edits_json(proposal.edits),
        files=_insert_files(transaction, files),
        **dict.fromkeys(("reason", "signature", "excerpt", "log_tail", "environment"), ""),
        **dict.fromkeys(("seed_runs", "gates"), "[]"),
    )


def _edits_json(edits: Sequence[Edit]) -> str:
    rows = [
        (clean(e.path), None if e.search is None else clean(e.search), clean(e.replace))
        for e in edits
    ]
    return json.dumps(rows, ensure_ascii=False)


def _insert_files(transaction: Transaction, files: Mapping[str, str]) -> str:
    """Store the files of a recipe, each content once; return JSON of path to id."""
    if not files:
        return "{}"
    contents = {clean(path): clean(text).encode() for path, text in files.items()}
    sums = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    known = transaction.pairs(_KNOWN_FILES, sums=sorted(set(sums.values())))
    # In the order of the sums, so that two writers cannot wait for each other.
    missing = {sums[path]: contents[path] for path in sorted(sums, key=sums.__getitem__)}
    missing = {key: content for key, content in missing.items() if key not in known}
    if missing:
        for key, content in missing.items():
            transaction.run(_NEW_FILE, sha256=key, data=zlib.compress(content))
        known |= transaction.pairs(_KNOWN_FILES, sums=list(missing))
    return json.dumps({path: known[sums[path]] for path in sorted(sums)})


def move_trial(
    transaction: Transaction, trial_id: int, state: TrialState, phase: Phase | None
) -> None:
    """Note the state of a trial in flight, without looking at the one that it is in."""
    transaction.run(
        "UPDATE trial SET state = :state, phase = :phase WHERE id = :id",
        state=state.value,
        phase=None if phase is None else phase.value,
        id=trial_id,
    )


def judge_trial(
    transaction: Transaction,
    campaign_id: int,
    trial_id: int,
    outcome: Outcome,
    *,
    judged_at: datetime | None = None,
    standing: Standing | None = None,
) -> None:
    """Make a trial in flight judged.

    Args:
        transaction: Where to.
        campaign_id: Whose trial it is.
        trial_id: The trial.
        outcome: How it ended.
        judged_at: When it was judged; ``None`` for now.
        standing: How well the gain of a kept trial is proven by now; ``None`` for what its
            evidence says.

    Raises:
        ValueError: A figure of the outcome is not a finite number.
    """
    check_outcome(outcome)
    failure, evidence = outcome.failure, outcome.evidence
    signature = "" if failure is None else cut(failure.signature, SIGNATURE_CHARACTERS)
    transaction.run(
        _JUDGE_NEXT,
        id=trial_id,
        campaign=campaign_id,
        state=TrialState.JUDGED.value,
        status=outcome.status.value,
        standing=_standing(outcome, standing),
        judged_at=to_stamp(judged_at or now()),
        score=outcome.score,
        score_se=outcome.score_se,
        delta=outcome.delta,
        delta_se=outcome.delta_se,
        cpu_seconds=outcome.cpu_seconds,
        failure_id=failure and _failure_id(transaction, campaign_id, failure, signature),
        failure_seed=failure and failure.seed,
    )
    transaction.run(
        _JUDGE_TEXT,
        id=trial_id,
        reason=cut(outcome.reason, REASON_CHARACTERS),
        signature=signature,
        excerpt="" if failure is None else cut(failure.excerpt, EXCERPT_CHARACTERS),
        seed_runs=runs_json(outcome.seed_runs),
        gates=gates_json(outcome.gates),
        log_tail=cut_front(outcome.log_tail, LOG_CHARACTERS),
        environment=cut(outcome.environment, ENVIRONMENT_CHARACTERS),
    )
    if not _may_run_again(outcome):
        forget_finished_runs(transaction, trial_id)
    if evidence is not None:
        told = None if evidence.standing is None else evidence.standing.value
        transaction.insert("evidence", trial_id=trial_id, **vars(evidence) | {"standing": told})
    if not outcome.status.is_failure:
        _link_fixes(transaction, campaign_id, trial_id)


def _may_run_again(outcome: Outcome) -> bool:
    """Return whether a trial that ended so is run again when its campaign goes on."""
    killed = outcome.failure is not None and outcome.failure.kind is FailureKind.KILLED
    return outcome.status is Status.ABORTED and not killed


def forget_finished_runs(transaction: Transaction, trial_id: int) -> None:
    """Remove the seed runs that were kept for a trial or checkpoint to be taken up again."""
    transaction.run("DELETE FROM finished_run WHERE trial_id = :id", id=trial_id)


def _standing(outcome: Outcome, later: Standing | None) -> str | None:
    """Return the standing of a trial that was judged so; ``later`` is what became of it."""
    if outcome.status is not Status.KEPT:
        return None
    told = outcome.evidence.standing if outcome.evidence is not None else None
    return (later or told or Standing.UNTESTED).value


def _failure_id(
    transaction: Transaction, campaign_id: int, failure: Failure, signature: str
) -> int:
    """Return the id of a failure; the first of its kind, phase and signature is added."""
    same: dict[str, Any] = {
        "campaign_id": campaign_id,
        "kind": failure.kind.value,
        "phase": "" if failure.phase is None else failure.phase.value,
        "signature": signature,
    }
    found: int | None = transaction.value(_FAILURE, **same)
    if found is None:
        transaction.insert("failure", **same)
        found = transaction.value(_FAILURE, **same)
    assert found is not None
    return found


def _link_fixes(transaction: Transaction, campaign_id: int, trial_id: int) -> None:
    """Link a trial that measured validly to the failures that it mended.

    Those are the failed trials on the way up to the first valid one, and the trial before by the
    same specialist, if it failed on the same surface from the same parent.
    """
    near = {row[0]: row for row in transaction.rows(_ATTEMPTS, id=trial_id, campaign=campaign_id)}
    _, parent_id, surface, specialist, *_ = near[trial_id]
    mended: set[int] = set()
    own = (row for row in near.values() if row[3] == specialist and row[0] < trial_id)
    before = max(own, key=lambda row: row[0], default=None)  # The parent is no later.
    if before is not None and before[1:3] == (parent_id, surface) and _has_failed(before):
        mended.add(before[4])
    for _ in range(MOST_FIXES):
        above = near.get(parent_id)
        if above is None and parent_id is not None:
            above = transaction.row(_ATTEMPT, id=parent_id)
        if above is None or not _has_failed(above):
            break
        mended.add(above[4])
        parent_id = above[1]
    for failure_id in sorted(mended):
        transaction.run(_FIX, failure_id=failure_id, trial_id=trial_id)


def _has_failed(attempt: Sequence[Any]) -> bool:
    *_, failure_id, status = attempt
    return failure_id is not None and status != Status.ABORTED.value


def reopen_trial(transaction: Transaction, trial_id: int) -> None:
    """Take away what came of an aborted trial, which is queued from then on."""
    figures = ("judged_order", "judged_at", "score", "score_se", "delta", "delta_se")
    transaction.run(
        _JUDGE,
        id=trial_id,
        state=TrialState.QUEUED.value,
        cpu_seconds=0.0,
        **dict.fromkeys(("status", "standing", *figures, "failure_id", "failure_seed")),
    )
    texts = ("reason", "signature", "excerpt", "log_tail", "environment")
    transaction.run(
        _JUDGE_TEXT,
        id=trial_id,
        **dict.fromkeys(texts, ""),
        **dict.fromkeys(("seed_runs", "gates"), "[]"),
    )
    transaction.run("DELETE FROM evidence WHERE trial_id = :id", id=trial_id)
