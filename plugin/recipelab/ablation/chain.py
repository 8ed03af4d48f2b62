"""The chain of edits that led to the best trial, and the best recipe without some of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recipelab.core.errors import RecipelabError
from recipelab.core.recipe import Recipe
from recipelab.lineage import LineageStore, TrialRecord


@dataclass(frozen=True)
class Chain:
    """The trials that led from the baseline to a recipe, each an edit of the one before.

    Attributes:
        numbers: Their numbers, the baseline's first.
        recipes: Their recipes.
    """

    numbers: tuple[int, ...]
    recipes: tuple[Recipe, ...]

    @property
    def best(self) -> Recipe:
        """The recipe that they led to."""
        return self.recipes[-1]

    @property
    def steps(self) -> range:
        """The places of the steps in the chain; the baseline is not a step."""
        return range(1, len(self.numbers))

    def without(self, steps: Iterable[int]) -> Recipe | tuple[int, str]:
        """Return the recipe to which the other steps lead.

        Args:
            steps: Places of the steps to leave out.

        Returns:
            The recipe, or the first step that builds on one that was left out, with the file.
        """
        left_out = set(steps)
        recipe = self.recipes[0]
        for step in (step for step in self.steps if step not in left_out):
            found = recipe.merged(self.recipes[step - 1], self.recipes[step])
            if isinstance(found, str):
                return step, found
            recipe = found
        return recipe


def records_of_chain(store: LineageStore, campaign: str) -> tuple[TrialRecord, ...]:
    """Return the trials from the baseline to the best.

    Raises:
        RecipelabError: No trial was kept, so there is nothing to leave out.
    """
    records = store.chain(campaign, store.best_brief(campaign).number)
    if len(records) < 2:
        raise RecipelabError(
            f"campaign {campaign} has kept no trial, so there is no gain to divide; go on "
            f"with: recipelab resume {campaign} --trials N"
        )
    return records


@dataclass(frozen=True)
class Removal:
    """The best recipe without some steps.

    Attributes:
        steps: Places of the steps that are left out, in order: those that were asked for, and
            those that build on them.
        recipe: What is left.
        changes: Whether it is another recipe than the best, comments and layout aside.
        same_as: Place of the recipe of the chain that it equals, if there is one.
    """

    steps: tuple[int, ...]
    recipe: Recipe
    changes: bool
    same_as: int | None


def removal(chain: Chain, steps: Iterable[int]) -> Removal:
    """Return the best recipe without steps, and without those that build on them."""
    left_out = set(steps)
    while isinstance(found := chain.without(left_out), tuple):
        left_out.add(found[0])
    meaning = found.meaning
    same = [place for place, recipe in enumerate(chain.recipes) if recipe.meaning == meaning]
    changes = meaning != chain.best.meaning
    return Removal(tuple(sorted(left_out)), found, changes, same[0] if same else None)


def removals(chain: Chain) -> tuple[Removal, ...]:
    """Return the best recipe without each step, one by one."""
    return tuple(removal(chain, [step]) for step in chain.steps)
