"""The part of the reader that gives single parts of trials, for answers that list many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable, bindparam, select
from sqlmodel import col

from recipelab.core.errors import LineageError
from recipelab.core.trial import Edit, GateResult
from recipelab.lineage.query import MAX_LIMIT
from recipelab.lineage.reading.base import Asking
from recipelab.lineage.tables import LARGEST_NUMBER, EditRow, GateRow, number_of, trial_key

_EDITS = (
    select(col(EditRow.trial_id), col(EditRow.path), col(EditRow.search), col(EditRow.replace))
    .where(col(EditRow.trial_id).in_(bindparam("ids", expanding=True)))
    .order_by(col(EditRow.trial_id), col(EditRow.position))
)
_GATES = (
    select(
        col(GateRow.trial_id),
        col(GateRow.name),
        col(GateRow.value),
        col(GateRow.limit),
        col(GateRow.margin),
    )
    .where(col(GateRow.trial_id).in_(bindparam("ids", expanding=True)))
    .order_by(col(GateRow.trial_id), col(GateRow.position))
)
_MOST = MAX_LIMIT + 1
"""A page of trials, and the best beside it."""


class PartReader(Asking):
    """Gives the edits or the gates of many trials."""

    def edits(self, campaign: str, numbers: Sequence[int]) -> dict[int, tuple[Edit, ...]]:
        """The edits of some trials.

        Args:
            campaign: Name of the campaign.
            numbers: Numbers of at most 201 trials.

        Returns:
            Edits by number, in order; trials without edits are left out.

        Raises:
            LineageError: Too many are asked for.
        """
        rows = self._parts(campaign, numbers, _EDITS)
        return {number: tuple(Edit(*row) for row in part) for number, part in rows.items()}

    def gates(self, campaign: str, numbers: Sequence[int]) -> dict[int, tuple[GateResult, ...]]:
        """The gates of some trials, as far as they were judged.

        Args:
            campaign: Name of the campaign.
            numbers: Numbers of at most 201 trials.

        Returns:
            Gates by number, in order; trials without gates are left out.

        Raises:
            LineageError: Too many are asked for.
        """
        rows = self._parts(campaign, numbers, _GATES)
        return {number: tuple(GateResult(*row) for row in part) for number, part in rows.items()}

    def _parts(
        self, campaign: str, numbers: Sequence[int], statement: Executable
    ) -> dict[int, list[tuple[Any, ...]]]:
        if len(numbers) > _MOST:
            raise LineageError(f"at most {_MOST} trials can be asked for, not {len(numbers)}")
        found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        with self._asking(campaign) as (connection, campaign_id):
            ids = [trial_key(campaign_id, n) for n in numbers if 0 <= n <= LARGEST_NUMBER]
            for trial_id, *row in connection.execute(statement, {"ids": ids}):
                found[number_of(trial_id)].append(tuple(row))
        return found
