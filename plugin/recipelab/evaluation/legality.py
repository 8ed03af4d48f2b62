"""What a recipe may not do, and the evidence when it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from recipelab.evaluation.failures import EXCERPT_CHARACTERS, signature_of
from recipelab.evaluation.seals import Seals
from recipelab.pack import Pack
from recipelab.sandbox.base import OUTPUT_DIRECTORY, Input, PhaseResult
from recipelab.trial import Failure, FailureKind, Phase

SCORE_FILE = "score.json"
"""Where the scorer writes; a recipe that leaves such a file wants it read as a score."""

_SHOWN_HASH = 12


def tripwires(pack: Pack, inputs: Sequence[Input]) -> tuple[str, ...]:
    """Folders that only the evaluator's own phases have, to be watched in the recipe's phases.

    Args:
        pack: The pack.
        inputs: What the phase sees; a folder that it has anyway is no tripwire.
    """
    trusted = [phase for phase in Phase if not phase.runs_recipe]
    targets = [target for phase in trusted for target in pack.phases[phase].data]
    wanted = {PurePosixPath(path).parts[0] for path in (pack.evaluator.folder, *targets)}
    taken = {PurePosixPath(entry.target).parts[0] for entry in inputs} | {OUTPUT_DIRECTORY}
    return tuple(sorted(wanted - taken))


def tampering(
    phase: Phase, result: PhaseResult, output: Path, seals: Seals, *, seed: int
) -> Failure | None:
    """Evidence that a recipe's phase touched what it may not, or ``None``.

    Args:
        phase: Which phase ran.
        result: What the sandbox saw.
        output: What the phase left.
        seals: Files that must be as they were.
        seed: The seed of the run.
    """
    if result.tampered:
        lines = [
            f"{phase} left {name}, where only the evaluator writes" for name in result.tampered
        ]
        return _failure(phase, lines, seed)
    if (output / SCORE_FILE).exists():
        line = f"{phase} left {OUTPUT_DIRECTORY}/{SCORE_FILE}, which only the evaluator writes"
        return _failure(phase, [line], seed)
    if broken := seals.broken():
        path, before, after = broken
        line = (
            f"{phase} changed {path.name}, which it may not: "
            f"sha256 {before[:_SHOWN_HASH]} became {after[:_SHOWN_HASH]}"
        )
        return _failure(phase, [line], seed)
    return None


def broken_rule(log: str, *, seed: int, phase: Phase = Phase.SCORE) -> Failure:
    """The failure of what breaks a rule, from the last line of the evaluator's log."""
    lines = log.strip().splitlines() or ["the evaluator found that a rule is broken"]
    text = "\n".join(lines[-6:])[:EXCERPT_CHARACTERS]
    return Failure(phase, FailureKind.RULE, signature_of(lines[-1]), text, seed)


def _failure(phase: Phase, lines: list[str], seed: int) -> Failure:
    text = "\n".join(lines)[:EXCERPT_CHARACTERS]
    # Names of files tell these failures apart, so they stay.
    return Failure(phase, FailureKind.TAMPERING, lines[0][:200], text, seed)
