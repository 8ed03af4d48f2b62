"""``trial_detail`` and ``diff_trials``: one trial in full, and two side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipelab.errors import LineageError
from recipelab.lineage import TrialRecord
from recipelab.recipe import Recipe
from recipelab.tools.answers import Row, knob_changes, paged_text, rounded, without_empty
from recipelab.tools.lineage.arguments import DiffArguments, TrialArguments
from recipelab.tools.lineage.scope import LineageTool, Scope
from recipelab.trial import Outcome

DIFF_CHARACTERS = 12_000
LOG_CHARACTERS = 3_000
TEXT_CHARACTERS = 4_000


class TrialDetailTool(LineageTool[TrialArguments]):
    """Tells all that came of a trial.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            TrialArguments,
            "trial_detail",
            "Show one trial in full: hypothesis, diff, measurements of every seed, gates with "
            "margins, the failure with its log.",
            scope,
        )

    def look_up(self, campaign: str, args: TrialArguments) -> Mapping[str, Any]:
        """Gives the trial; long texts are cut, the diff is paged."""
        record = self._store.trial(campaign, args.trial)
        head = without_empty(
            {
                "trial": record.number,
                "parents": list(record.parents),
                "specialist": record.specialist,
                "surface": record.surface,
                "status": record.status or "in_flight",
                "phase": record.phase,
                "hypothesis": record.hypothesis[:TEXT_CHARACTERS],
                "expected_delta": record.expected_delta,
                "changes": knob_changes(record.edits),
                "proposed_at": record.proposed_at.isoformat(timespec="seconds"),
            }
        )
        judged = {} if record.outcome is None else _outcome(record.outcome)
        return head | judged | paged_text("diff", record.diff, args.offset, DIFF_CHARACTERS)


def _outcome(outcome: Outcome) -> Row:
    row = {
        "reason": outcome.reason[:TEXT_CHARACTERS],
        "score": rounded(outcome.score),
        "score_se": rounded(outcome.score_se),
        "delta": rounded(outcome.delta),
        "delta_se": rounded(outcome.delta_se),
        "gates": [
            {name: rounded(getattr(gate, name)) for name in ("value", "limit", "margin")}
            | {"gate": gate.name}
            for gate in outcome.gates
        ],
        "seed_runs": [
            {"seed": run.seed}
            | {name: rounded(value) for name, value in sorted(run.measures.items())}
            for run in outcome.seed_runs
        ],
        "failure": _failure(outcome),
        "log_tail": outcome.log_tail[-LOG_CHARACTERS:],
        "environment": outcome.environment,
    }
    return without_empty(row)


def _failure(outcome: Outcome) -> Row:
    failure = outcome.failure
    return {} if failure is None else without_empty(vars(failure))


class DiffTrialsTool(LineageTool[DiffArguments]):
    """Compares two recipes.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            DiffArguments,
            "diff_trials",
            "Show the difference between the recipes of two trials, and their scores.",
            scope,
        )

    def look_up(self, campaign: str, args: DiffArguments) -> Mapping[str, Any]:
        """Gives the unified diff, paged.

        Raises:
            LineageError: One of them has no recipe.
        """
        before, after = (self._store.trial(campaign, n) for n in (args.before, args.after))
        diff = self._recipe(campaign, before).diff(self._recipe(campaign, after))
        scores = {
            "before": _scored(before),
            "after": _scored(after),
        }
        return scores | paged_text("diff", diff, args.offset, DIFF_CHARACTERS)

    def _recipe(self, campaign: str, record: TrialRecord) -> Recipe:
        files = self._store.files(campaign, record.number)
        if not files:
            raise LineageError(f"trial {record.number} was rejected and has no recipe")
        return Recipe(files)


def _scored(record: TrialRecord) -> Row:
    score = None if record.outcome is None else rounded(record.outcome.score)
    row = {"trial": record.number, "status": record.status or "in_flight", "score": score}
    return without_empty(row)
