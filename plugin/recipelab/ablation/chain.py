"""The chain of edits that led to the best trial, and the best recipe without some of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from recipelab.core.errors import RecipelabError
from recipelab.core.recipe import Recipe
from recipelab.lineage import LineageStore, TrialRecord

Files = Mapping[str, str]

Change = tuple[int, int, tuple[str, ...]]
"""Lines of the base, from and up to, and what takes their place."""


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
        files: Files = self.recipes[0].files
        for step in (step for step in self.steps if step not in left_out):
            before, after = self.recipes[step - 1].files, self.recipes[step].files
            found = merged_files(before, files, after)
            if isinstance(found, str):
                return step, found
            files = found
        return Recipe(files)


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


def merged_files(base: Files, ours: Files, theirs: Files) -> dict[str, str] | str:
    """Merge two versions of files that have a common base, line by line.

    Unlike diff3, and so unlike the ``merge3`` package, it merges changes of neighboring lines:
    edits of a recipe often touch one constant each, line below line. Only changes of the same
    lines, and insertions at the same place, are a conflict.

    Args:
        base: The files that both changed.
        ours: The files that the change is applied to.
        theirs: The files with the change.

    Returns:
        The merged files, or the path of a file in which both changed the same lines.
    """
    found: dict[str, str] = {}
    for path in sorted({*base, *ours, *theirs}):
        try:
            text = _merged(base.get(path), ours.get(path), theirs.get(path))
        except _ConflictError:
            return path
        if text is not None:
            found[path] = text
    return found


class _ConflictError(Exception):
    """Both changed the same lines."""


def _merged(base: str | None, ours: str | None, theirs: str | None) -> str | None:
    if base == theirs or ours == theirs:
        return ours
    if base == ours:
        return theirs
    if base is None or ours is None or theirs is None:
        raise _ConflictError
    lines = base.splitlines(keepends=True)
    changes = sorted({*_changes(lines, ours), *_changes(lines, theirs)})
    for one, other in pairwise(changes):
        # Lines that are inserted at the edge of a change could go to either side of it.
        inserts = one[0] == one[1] or other[0] == other[1]
        if other[0] < one[1] or (inserts and other[0] == one[1]):
            raise _ConflictError
    for start, end, new in reversed(changes):
        lines[start:end] = new
    return "".join(lines)


def _changes(base: list[str], text: str) -> list[Change]:
    lines = text.splitlines(keepends=True)
    codes = SequenceMatcher(None, base, lines, autojunk=False).get_opcodes()
    return [(i, j, tuple(lines[k:m])) for tag, i, j, k, m in codes if tag != "equal"]
