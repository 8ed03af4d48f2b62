"""Where proposals are taken in: checked against the parent's recipe, and recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from recipelab.errors import LineageError
from recipelab.evaluation.checking import Checked, Rejection, check_edits
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.pack import Pack
from recipelab.recipe import Recipe
from recipelab.trial import Edit, Proposal

BASELINE = 0
"""Number of the baseline trial."""

ALIKE = 3
"""How many trials with an edit like the proposed one are told."""


class Intake:
    """Checks proposals and writes them to the lineage; it runs nothing.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        pack: The campaign's pack.
        repeats: Whether a recipe may be tried that was tried before. Only a campaign whose agents
            are told nothing of past trials has that.
    """

    def __init__(
        self, store: LineageStore, campaign: str, pack: Pack, *, repeats: bool = False
    ) -> None:
        self.store = store
        self.campaign = campaign
        self.pack = pack
        self.repeats = repeats

    def recipe_of(self, number: int) -> dict[str, str]:
        """The files of a trial's recipe.

        Raises:
            LineageError: There is no such trial, or it was rejected and so has no recipe.
        """
        files = self.store.files(self.campaign, number)
        if not files:
            raise LineageError(f"trial {number} was rejected and has no recipe; take its parent")
        return files

    def check(self, parent: int, edits: tuple[Edit, ...]) -> Checked | Rejection:
        """Checks edits as :meth:`take` would, without recording anything.

        Raises:
            LineageError: There is no such parent.
        """
        checked = check_edits(self.pack, self.recipe_of(parent), edits, self._twin)
        if isinstance(checked, Rejection) or self.repeats:
            return checked
        return replace(checked, alike=self._alike(edits, parent))

    def take(
        self, proposal: Proposal, *, round_number: int | None
    ) -> tuple[int, Checked | Rejection]:
        """Records a proposal: one that is to be tried, or one that is rejected at once.

        Returns:
            The trial's number, and what the check said.

        Raises:
            LineageError: There is no such parent.
        """
        checked = self.check(proposal.parent, proposal.edits)
        if isinstance(checked, Rejection):
            number = self.store.propose_and_record(
                self.campaign,
                proposal,
                checked.outcome(),
                parents=(proposal.parent,),
                files={},
                digest="",
                diff=checked.diff,
                round_number=round_number,
            )
            return number, checked
        number = self._propose(proposal, (proposal.parent,), checked.recipe, checked, round_number)
        return number, checked

    def take_baseline(self) -> tuple[int, Recipe]:
        """Records the starting recipe as trial 0."""
        recipe = self.pack.baseline()
        proposal = Proposal("campaign", "baseline", -1, "the starting recipe of the pack", 0.0, ())
        return self._propose(proposal, (), recipe, None, None), recipe

    def _propose(
        self,
        proposal: Proposal,
        parents: tuple[int, ...],
        recipe: Recipe,
        checked: Checked | None,
        round_number: int | None,
    ) -> int:
        files: Mapping[str, str] = recipe.files
        return self.store.propose(
            self.campaign,
            proposal,
            parents=parents,
            files=files,
            digest=recipe.digest,
            diff=checked.diff if checked else "",
            round_number=round_number,
        )

    def _alike(self, edits: tuple[Edit, ...], parent: int) -> tuple[str, ...]:
        """Trials that made the same change, formatting aside, or turned a knob so."""
        found = self.store.edit_alike(self.campaign, edits, parent)
        return tuple(
            f"{item.why}: trial {item.brief.number} by {item.brief.specialist}, "
            + (f"{item.brief.status} ({item.brief.reason})" if item.brief.status else "in flight")
            for item in found[:ALIKE]
        )

    def _twin(self, recipe: Recipe) -> str | None:
        if self.repeats:
            return None
        if record := self.store.find_digest(self.campaign, recipe.digest):
            return describe(record)
        if record := self.store.find_same(self.campaign, recipe.files):
            return f"{describe(record)}, which differs in comments and layout alone"
        return None


def describe(record: TrialRecord) -> str:
    """One line on a trial and how it ended."""
    outcome = record.outcome
    if outcome is None:
        return f"trial {record.number} by {record.specialist} is running now"
    return f"trial {record.number} by {record.specialist}: {outcome.status} ({outcome.reason})"
