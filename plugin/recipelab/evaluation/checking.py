"""What is checked of a proposal before any sandbox is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from recipelab.errors import EditError
from recipelab.pack import Pack
from recipelab.protection import changed_names
from recipelab.recipe import Recipe, syntax_error
from recipelab.trial import Edit, Failure, FailureKind, Outcome, Status


@dataclass(frozen=True)
class Checked:
    """A proposal's recipe that may be tried.

    Attributes:
        recipe: The edited recipe.
        diff: Unified diff from the parent, computed here and never claimed.
        alike: Earlier trials with an edit like this one, a line each: no reason to refuse it.
    """

    recipe: Recipe
    diff: str
    alike: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejection:
    """Why a proposal is not tried, and what to do about it.

    Attributes:
        kind: The kind of failure that the lineage counts it under.
        reason: What is wrong, in a sentence that names the place.
        diff: What the edits change, as far as they apply.
    """

    kind: FailureKind
    reason: str
    diff: str = ""

    def outcome(self) -> Outcome:
        """The rejected trial's outcome."""
        failure = Failure(None, self.kind, self.reason[:200], self.reason[:1_600])
        return Outcome(status=Status.REJECTED, reason=self.reason, failure=failure)


FindTwin = Callable[[Recipe], str | None]
"""Says which trial had a recipe, comments and layout aside, and how that ended, or ``None``."""


def check_edits(
    pack: Pack, parent_files: Mapping[str, str], edits: Sequence[Edit], find_twin: FindTwin
) -> Checked | Rejection:
    """Applies edits to the parent's recipe and checks the result without running it.

    Args:
        pack: Says which files may be edited.
        parent_files: The parent's recipe.
        edits: The proposed edits.
        find_twin: Looks for an earlier trial with the same recipe.

    Returns:
        The recipe to try, or why it is not tried.
    """
    parent = Recipe(parent_files)
    try:
        recipe = parent.apply(edits, pack.recipe.editable)
    except EditError as error:
        return Rejection(FailureKind.EDIT, str(error))
    diff = parent.diff(recipe)
    if not diff:
        return Rejection(FailureKind.DUPLICATE, "the edits change nothing; propose a real change")
    touched = _touched(pack, recipe)
    if touched:
        return Rejection(FailureKind.EDIT, f"may not be changed, as it scores: {touched[0]}", diff)
    broken = syntax_error(recipe.files, python=pack.recipe.python)
    if broken is not None:
        return Rejection(FailureKind.SYNTAX, f"does not parse: {broken}", diff)
    twin = find_twin(recipe)
    if twin is not None:
        return Rejection(FailureKind.DUPLICATE, f"already tried: {twin}; propose another", diff)
    return Checked(recipe, diff)


def _touched(pack: Pack, recipe: Recipe) -> tuple[str, ...]:
    # Against the pack's own start and not the parent, so that nothing adds up over generations.
    if not pack.protected:
        return ()
    return changed_names(pack.baseline().files, recipe.files, pack.protected)
