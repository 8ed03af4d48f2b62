"""The best recipe without some of the steps that led to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recipelab.attribution.merging import Files, merged_files
from recipelab.recipe import Recipe


@dataclass(frozen=True)
class Chain:
    """The trials that led from the baseline to a recipe, each one's edit made on the one before.

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
        """The places of the steps in the chain; the baseline is none."""
        return range(1, len(self.numbers))

    def without(self, steps: Iterable[int]) -> Recipe | tuple[int, str]:
        """The recipe to which the other steps lead.

        Args:
            steps: Places of the steps to leave out.

        Returns:
            The recipe, or the first step that builds on one that was left out, with the file.
        """
        left_out = set(steps)
        files: Files = self.recipes[0].files
        for step in (step for step in self.steps if step not in left_out):
            before, after = self.recipes[step - 1].files, self.recipes[step].files
            found = merged_files(before, files, after)
            if isinstance(found, str):
                return step, found
            files = found
        return Recipe(files)


@dataclass(frozen=True)
class Removal:
    """The best recipe without some steps.

    Attributes:
        steps: Places of the steps that are left out, in order: those that were asked for, and
            those that build on them.
        recipe: What is left.
        changes: Whether it is another recipe than the best, comments and layout aside.
        same_as: Place of the recipe of the chain that it is, if it is one of these.
    """

    steps: tuple[int, ...]
    recipe: Recipe
    changes: bool
    same_as: int | None


def removal(chain: Chain, steps: Iterable[int]) -> Removal:
    """Leaves out steps, and those that build on them."""
    left_out = set(steps)
    while isinstance(found := chain.without(left_out), tuple):
        left_out.add(found[0])
    meaning = found.meaning
    same = [place for place, recipe in enumerate(chain.recipes) if recipe.meaning == meaning]
    changes = meaning != chain.best.meaning
    return Removal(tuple(sorted(left_out)), found, changes, same[0] if same else None)


def removals(chain: Chain) -> tuple[Removal, ...]:
    """The best recipe without each step, one by one."""
    return tuple(removal(chain, [step]) for step in chain.steps)
