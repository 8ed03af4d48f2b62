"""Merges two changes of the same text, line by line."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from recipelab.core.errors import RecipelabError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Outcome, SeedRun, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import METRIC, Reference, mean_predict
from recipelab.evaluation.seed_runs import metric_of

Change = tuple[int, int, tuple[str, ...]]
"""Lines of the base, from and up to, and what takes their place."""

Files = Mapping[str, str]


def merged_files(base: Files, ours: Files, theirs: Files) -> dict[str, str] | str:
    """Applies what leads from a base to other files to a third version of them.

    Args:
        base: The files that both changed.
        ours: The files that the change is applied to.
        theirs: The files with the change.

    Returns:
        The merged files, or the path of a file in which both changed the same lines.
    """
    found: dict[str, str] = {}
    for path in sorted({*base, *ours, *theirs}):
        texts = base.get(path), ours.get(path), theirs.get(path)
        try:
            text = _merged(*texts)
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
        if _touch(one, other):
            raise _ConflictError
    for start, end, new in reversed(changes):
        lines[start:end] = new
    return "".join(lines)


def _changes(base: list[str], text: str) -> list[Change]:
    lines = text.splitlines(keepends=True)
    codes = SequenceMatcher(None, base, lines, autojunk=False).get_opcodes()
    return [(i, j, tuple(lines[k:m])) for tag, i, j, k, m in codes if tag != "equal"]


def _touch(one: Change, other: Change) -> bool:
    """Whether two changes overlap; lines put in at the edge of a change could go either side."""
    inserts = one[0] == one[1] or other[0] == other[1]
    return other[0] < one[1] or (inserts and other[0] == one[1])


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


@dataclass(frozen=True)
class MeasuredRecipe:
    """What came of a recipe.

    Attributes:
        candidate: Its metric by seed; empty if it failed.
        best: The best's metric on the same seeds.
        failure: How it failed, in a sentence; ``None`` if it did not.
    """

    candidate: Mapping[int, float] = field(default_factory=dict[int, float])
    best: Mapping[int, float] = field(default_factory=dict[int, float])
    failure: str | None = None

    def missing(self, seeds: Iterable[int]) -> tuple[int, ...]:
        """The seeds that are still to be run; none if it fails."""
        return tuple(s for s in seeds if s not in self.candidate and self.failure is None)

    def plus(self, more: MeasuredRecipe) -> MeasuredRecipe:
        """Both together; a recipe that fails on some seeds fails."""
        if more.failure is not None:
            return more
        return MeasuredRecipe({**self.candidate, **more.candidate}, {**self.best, **more.best})

    def on(self, seeds: Iterable[int]) -> MeasuredRecipe:
        """What was measured on some seeds."""
        if self.failure is not None:
            return self
        chosen = [seed for seed in seeds if seed in self.candidate and seed in self.best]
        return MeasuredRecipe(
            {seed: self.candidate[seed] for seed in chosen},
            {seed: self.best[seed] for seed in chosen},
        )


_ALL = TypeAdapter(dict[str, dict[str, MeasuredRecipe]])


class Kept:
    """Measurements in a JSON file, by recipe and seed.

    Args:
        file: The file; it is made with the first measurement.
        key: What all of them have in common: the best, and where it runs.

    Raises:
        RecipelabError: The file is there and is something else.
    """

    def __init__(self, file: Path, key: str) -> None:
        self._file = file
        self._key = key
        self._all = self._read()

    def get(self, recipe: Recipe) -> MeasuredRecipe:
        """What was measured of a recipe so far, which may be nothing."""
        return self._all.get(self._key, {}).get(recipe.digest, MeasuredRecipe())

    def put(self, recipe: Recipe, measured: MeasuredRecipe) -> None:
        """Keeps what was measured; the file is whole at every moment.

        Raises:
            RecipelabError: The file has become something else.
        """
        # Read anew: another process may have kept something meanwhile.
        self._all = self._read()
        self._all.setdefault(self._key, {})[recipe.digest] = measured
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(f".{os.getpid()}.new")
        fresh.write_bytes(_ALL.dump_json(self._all, indent=1))
        os.replace(fresh, self._file)

    def _read(self) -> dict[str, dict[str, MeasuredRecipe]]:
        if not self._file.is_file():
            return {}
        try:
            return _ALL.validate_json(self._file.read_bytes())
        except ValidationError as error:
            raise RecipelabError(
                f"{self._file} holds no measurements of this command "
                f"({error.errors()[0]['msg']}); move it away to measure anew"
            ) from None


Measure = Callable[[Recipe], Awaitable[MeasuredRecipe]]
"""Measures a recipe and the best on the same seeds."""


def reference_of(number: int, recipe: Recipe, outcome: Outcome, baseline: Outcome) -> Reference:
    """The best as its campaign measured it, which gives times their unit.

    Args:
        number: Its number.
        recipe: Its recipe.
        outcome: How it ended.
        baseline: How the campaign's baseline ended.
    """
    fresh = outcome.evidence.confirmed if outcome.evidence is not None else 0
    return Reference(
        number,
        recipe,
        {run.seed: run for run in outcome.seed_runs},
        mean_predict(baseline.seed_runs),
        judged=frozenset(run.seed for run in outcome.seed_runs[-fresh:]),
    )


@dataclass(frozen=True)
class Measuring:
    """Measures recipes against the best, as far as that was not done before.

    Attributes:
        evaluator: Runs them.
        best: The best.
        seeds: The seeds of all.
        kept: What was measured before.
        labels: What the runs belong to.
    """

    evaluator: Evaluator
    best: Reference
    seeds: tuple[int, ...]
    kept: Kept
    labels: Mapping[str, str]

    async def prepared(self) -> Measure:
        """Measures the best, where it does not run beside the others, and gives what measures.

        Raises:
            RecipelabError: The best itself fails.
        """
        if self.evaluator.pack.metric.side_by_side:
            return self._against(self.best)
        found = await self._measured(self.best.recipe, replace(self.best, runs={}))
        if found.failure is not None:
            raise RecipelabError(
                f"trial {self.best.number}, the best, fails by now, so that nothing can be "
                f"compared with it: {found.failure}"
            )
        runs = {seed: SeedRun(seed, (), {METRIC: x}) for seed, x in found.candidate.items()}
        return self._against(replace(self.best, runs=runs))

    def _against(self, best: Reference) -> Measure:
        async def measure(recipe: Recipe) -> MeasuredRecipe:
            return await self._measured(recipe, best)

        return measure

    async def _measured(self, recipe: Recipe, best: Reference) -> MeasuredRecipe:
        known = self.kept.get(recipe)
        if missing := known.missing(self.seeds):
            outcome = await self.evaluator.measure(recipe, missing, beside=best, labels=self.labels)
            known = known.plus(self._found(outcome, best))
            # What the machinery did wrong is tried again next time.
            if outcome.status is not Status.ABORTED:
                self.kept.put(recipe, known)
        return known.on(self.seeds)

    def _found(self, outcome: Outcome, best: Reference) -> MeasuredRecipe:
        if outcome.status is not Status.BASELINE:
            return MeasuredRecipe(failure=f"{outcome.status}: {outcome.reason}")
        sample = metric_of(outcome.seed_runs)
        # Without runs it is the best itself that was measured.
        own = best.sample(sample, self.evaluator.pack.metric) if best.runs else sample
        return MeasuredRecipe(sample, own)
