"""Read the rows of trials, inside a transaction that its caller owns: records, briefs, recipes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from recipelab.core.trial import (
    Edit,
    Evidence,
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    Standing,
    Status,
)
from recipelab.lineage.database import Row, Transaction
from recipelab.lineage.records import TrialBrief, TrialRecord, TrialState
from recipelab.lineage.values import (
    from_optional_stamp,
    from_stamp,
    parent_numbers,
    seed_run,
)

_BRIEFS = """
SELECT t.id, t.number, t.status, t.state, t.phase, t.specialist, t.surface, x.hypothesis, x.reason,
  t.score, t.score_se, t.delta, t.delta_se, t.parents, f.kind, f.phase, f.signature, t.cpu_seconds,
  t.proposed_at, t.judged_at, t.round_number, t.standing
FROM trial t JOIN trial_text x ON x.trial_id = t.id LEFT JOIN failure f ON f.id = t.failure_id
WHERE t.id IN :ids
"""
_RECORDS = """
SELECT t.id, t.number, t.round_number, t.specialist, t.surface, x.hypothesis, t.expected_delta,
  t.parents, x.edits, t.digest, x.diff, t.proposed_at, t.judged_at, t.state, t.phase, t.standing,
  t.status, x.reason, x.seed_runs, x.gates, t.score, t.score_se, t.delta, t.delta_se, f.kind,
  f.phase, x.signature, x.excerpt, t.failure_seed, x.log_tail, x.environment, e.trial_id,
  e.against, e.planned, e.screened, e.confirmed, e.saved_seconds, e.p, e.level, e.same_as,
  e.standing, e.rebased_from, e.parent_delta, e.parent_delta_se, e.deterministic, e.stopped_early
FROM trial t JOIN trial_text x ON x.trial_id = t.id LEFT JOIN failure f ON f.id = t.failure_id
LEFT JOIN evidence e ON e.trial_id = t.id
WHERE t.id IN :ids
"""


def json_parts(transaction: Transaction, column: str, ids: Sequence[int]) -> dict[int, Any]:
    """Return a JSON column of the texts of trials by id; those where it is empty are left out."""
    rows = transaction.rows(
        f"SELECT trial_id, {column} FROM trial_text WHERE trial_id IN :ids", ids=list(ids)
    )
    return {trial_id: json.loads(part) for trial_id, part in rows if part != "[]"}


def trial_briefs(transaction: Transaction, ids: Sequence[int]) -> tuple[TrialBrief, ...]:
    """Return the briefs of trials, in the order of their ids.

    Each is read once in a transaction, however many questions it answers.
    """
    known: dict[int, TrialBrief] = transaction.memo.setdefault("briefs", {})
    missing = [trial_id for trial_id in ids if trial_id not in known]
    if missing:
        known |= load_briefs(transaction, missing)
    return tuple(known[trial_id] for trial_id in ids)


def load_briefs(transaction: Transaction, ids: Sequence[int]) -> dict[int, TrialBrief]:
    """Return the briefs of trials by id."""
    return {row[0]: _brief(row) for row in transaction.rows(_BRIEFS, ids=list(ids))}


def _brief(row: Row) -> TrialBrief:
    (
        _, number, status, state, phase, specialist, surface, hypothesis, reason, score, score_se,
        delta, delta_se, parents, kind, failed_in, signature, cpu_seconds, proposed_at, judged_at,
        round_number, standing,
    ) = row  # fmt: skip
    return TrialBrief(
        number=number,
        status=Status(status) if status else None,
        state=TrialState(state),
        phase=Phase(phase) if phase else None,
        specialist=specialist,
        surface=surface,
        hypothesis=hypothesis,
        reason=reason,
        score=score,
        score_se=score_se,
        delta=delta,
        delta_se=delta_se,
        parents=parent_numbers(parents),
        failure_kind=FailureKind(kind) if kind else None,
        failure_phase=Phase(failed_in) if failed_in else None,
        signature=signature,
        cpu_seconds=cpu_seconds,
        proposed_at=from_stamp(proposed_at),
        judged_at=from_optional_stamp(judged_at),
        round=round_number,
        standing=Standing(standing) if standing else None,
    )


def trial_records(transaction: Transaction, ids: Sequence[int]) -> tuple[TrialRecord, ...]:
    """Return the records of trials, in the order of their ids."""
    if not ids:
        return ()
    found = {row[0]: _record(row) for row in transaction.rows(_RECORDS, ids=list(ids))}
    return tuple(found[trial_id] for trial_id in ids)


def _record(row: Row) -> TrialRecord:
    (
        _, number, round_number, specialist, surface, hypothesis, expected_delta, parents, edits,
        digest, diff, proposed_at, judged_at, state, phase, standing, status, *outcome,
    ) = row  # fmt: skip
    return TrialRecord(
        number=number,
        round=round_number,
        specialist=specialist,
        surface=surface,
        hypothesis=hypothesis,
        expected_delta=expected_delta,
        parents=parent_numbers(parents),
        edits=tuple(Edit(*edit) for edit in json.loads(edits)),
        digest=digest,
        diff=diff,
        outcome=_outcome(Status(status), *outcome) if status else None,
        proposed_at=from_stamp(proposed_at),
        judged_at=from_optional_stamp(judged_at),
        state=TrialState(state),
        phase=Phase(phase) if phase else None,
        standing=Standing(standing) if standing else None,
    )


def _outcome(
    status: Status,
    reason: str,
    seed_runs: str,
    gates: str,
    score: float | None,
    score_se: float | None,
    delta: float | None,
    delta_se: float | None,
    kind: str | None,
    phase: str | None,
    signature: str,
    excerpt: str,
    failure_seed: int | None,
    log_tail: str,
    environment: str,
    has_evidence: int | None,
    *evidence: Any,
) -> Outcome:
    failure = None
    if kind is not None:
        failed_in = Phase(phase) if phase else None
        failure = Failure(failed_in, FailureKind(kind), signature, excerpt, failure_seed)
    return Outcome(
        status=status,
        reason=reason,
        seed_runs=tuple(seed_run(*run) for run in json.loads(seed_runs)),
        gates=tuple(GateResult(*gate) for gate in json.loads(gates)),
        score=score,
        score_se=score_se,
        delta=delta,
        delta_se=delta_se,
        failure=failure,
        log_tail=log_tail,
        environment=environment,
        evidence=None if has_evidence is None else _evidence(*evidence),
    )


def _evidence(*columns: Any) -> Evidence:
    found = Evidence(*columns)
    standing = Standing(found.standing) if found.standing else None
    # SQLite has no truth values.
    return replace(found, standing=standing, deterministic=bool(found.deterministic))


def recipe_files(transaction: Transaction, trial_id: int) -> dict[str, str]:
    """Return the files of a trial's recipe, path to text, in the order of their paths."""
    return recipes_of(transaction, (trial_id,)).get(trial_id, {})


def recipes_of(transaction: Transaction, ids: Sequence[int]) -> dict[int, dict[str, str]]:
    """Return the files of several trials' recipes by the trial's id; a shared file is read once."""
    rows = transaction.rows(
        "SELECT trial_id, files FROM trial_text WHERE trial_id IN :ids", ids=list(ids)
    )
    stored: dict[int, dict[str, int]] = {trial_id: json.loads(files) for trial_id, files in rows}
    wanted = {key for files in stored.values() for key in files.values()}
    if not wanted:
        return {trial_id: {} for trial_id in stored}
    texts = _texts_of(transaction, wanted)
    return {
        trial_id: {path: texts[files[path]] for path in sorted(files)}
        for trial_id, files in stored.items()
    }


def _texts_of(transaction: Transaction, keys: Collection[int]) -> dict[int, str]:
    """Return the texts of recipes' files by the ids of their rows, which never change."""
    lasting = transaction.database.lasting
    kept = ((key, lasting.text(key)) for key in keys)
    texts = {key: text for key, text in kept if text is not None}
    if missing := sorted(key for key in keys if key not in texts):
        contents = transaction.pairs(
            "SELECT id, data FROM recipe_file WHERE id IN :ids", ids=missing
        )
        for key, data in contents.items():
            texts[key] = zlib.decompress(data).decode()
            if transaction.reads_only:
                lasting.keep_text(key, texts[key])
    return texts
