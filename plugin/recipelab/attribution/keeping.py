"""Keeps what was measured in a file, so that nothing is measured twice."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from recipelab.errors import RecipelabError
from recipelab.recipe import Recipe


@dataclass(frozen=True)
class Measured:
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

    def plus(self, more: Measured) -> Measured:
        """Both together; a recipe that fails on some seeds fails."""
        if more.failure is not None:
            return more
        return Measured({**self.candidate, **more.candidate}, {**self.best, **more.best})

    def on(self, seeds: Iterable[int]) -> Measured:
        """What was measured on some seeds."""
        if self.failure is not None:
            return self
        chosen = [seed for seed in seeds if seed in self.candidate and seed in self.best]
        return Measured(
            {seed: self.candidate[seed] for seed in chosen},
            {seed: self.best[seed] for seed in chosen},
        )


_ALL = TypeAdapter(dict[str, dict[str, Measured]])


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

    def get(self, recipe: Recipe) -> Measured:
        """What was measured of a recipe so far, which may be nothing."""
        return self._all.get(self._key, {}).get(recipe.digest, Measured())

    def put(self, recipe: Recipe, measured: Measured) -> None:
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

    def _read(self) -> dict[str, dict[str, Measured]]:
        if not self._file.is_file():
            return {}
        try:
            return _ALL.validate_json(self._file.read_bytes())
        except ValidationError as error:
            raise RecipelabError(
                f"{self._file} holds no measurements of this command "
                f"({error.errors()[0]['msg']}); move it away to measure anew"
            ) from None
