"""Reads what the pack's own scorer says: its exit code, its log and its ``score.json``."""

from __future__ import annotations

import json
import math
from pathlib import Path

from recipelab.evaluation.failures import EXCERPT_CHARACTERS, failure_of, signature_of
from recipelab.evaluation.faults import EvaluatorFault, PhaseFailed
from recipelab.evaluation.legality import SCORE_FILE, broken_rule
from recipelab.sandbox.base import PhaseResult
from recipelab.trial import Failure, FailureKind, Phase, Status

SCORE_LIMIT_BYTES = 65_536
BAD_PREDICTIONS_EXIT = 3
"""Exit code with which a scorer says that the predictions, not itself, are at fault."""
BROKEN_RULE_EXIT = 4
"""Exit code with which a scorer says that the predictions break a rule, with the evidence."""


def scorer_failed(result: PhaseResult, *, seed: int, budget: float) -> Exception:
    """What to raise for a scorer that did not end well."""
    if result.exit_code == BROKEN_RULE_EXIT:
        return PhaseFailed(Status.ILLEGAL, broken_rule(result.log, seed=seed), result)
    if result.exit_code == BAD_PREDICTIONS_EXIT:
        return PhaseFailed(Status.CRASHED, _bad_predictions(result.log, seed), result)
    return evaluator_failed(result, Phase.SCORE, seed=seed, budget=budget)


def rules_failed(result: PhaseResult, *, seed: int, budget: float) -> Exception:
    """What to raise for the pack's rules, if they did not pass a recipe."""
    if result.exit_code == BROKEN_RULE_EXIT:
        broken = broken_rule(result.log, seed=seed, phase=Phase.PREFLIGHT)
        return PhaseFailed(Status.ILLEGAL, broken, result)
    failure = failure_of(result, Phase.PREFLIGHT, seed=seed, budget=budget)
    return EvaluatorFault(f"the pack's rules failed: {failure.signature}\n{failure.excerpt}")


def evaluator_failed(
    result: PhaseResult, phase: Phase, *, seed: int, budget: float
) -> EvaluatorFault:
    """What to raise for a phase of the evaluator that failed by itself."""
    failure = failure_of(result, phase, seed=seed, budget=budget)
    who = "scorer" if phase is Phase.SCORE else f"evaluator's {phase}"
    return EvaluatorFault(f"the {who} failed: {failure.signature}\n{failure.excerpt}")


def read_score(folder: Path, result: PhaseResult, seed: int) -> dict[str, float]:
    """Reads ``score.json``; it is the pack's own evaluator that wrote it, with no recipe near.

    Raises:
        EvaluatorFault: It is missing, too large, or no table of numbers.
        PhaseFailed: A number is not finite.
    """
    path = folder / SCORE_FILE
    if not path.is_file() or path.stat().st_size > SCORE_LIMIT_BYTES:
        raise EvaluatorFault(f"the scorer left no {SCORE_FILE} (or one over {SCORE_LIMIT_BYTES} B)")
    try:
        table = json.loads(path.read_text("utf-8"))
        measures = {f"score.{key}": float(value) for key, value in table.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise EvaluatorFault(f"{SCORE_FILE} is no table of numbers: {error}") from None
    broken = sorted(name for name, value in measures.items() if not math.isfinite(value))
    if broken:
        line = f"{broken[0]} is not a finite number"
        failure = Failure(Phase.SCORE, FailureKind.NAN, signature_of(line), line, seed)
        raise PhaseFailed(Status.CRASHED, failure, result)
    return measures


def _bad_predictions(log: str, seed: int) -> Failure:
    lines = log.strip().splitlines()
    line = lines[-1] if lines else "the scorer refused the predictions"
    excerpt = "\n".join(lines[-6:])[:EXCERPT_CHARACTERS]
    return Failure(Phase.SCORE, FailureKind.BAD_OUTPUT, signature_of(line), excerpt, seed)
