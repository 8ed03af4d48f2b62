"""Parts of a ``pack.toml`` about phases: what is run, and what a certification runs instead."""

from __future__ import annotations

from pydantic import Field

from recipelab.pack_parts import Part
from recipelab.trial import Phase


class PhaseSpec(Part):
    """The command of a phase, and which data files it sees where below the phase root."""

    command: tuple[str, ...] = Field(min_length=1)
    data: dict[str, str] = Field(default_factory=dict[str, str])


class Phases(Part):
    """The phases. ``prepare`` is for packs whose evaluator makes what predict sees."""

    preflight: PhaseSpec
    train: PhaseSpec
    prepare: PhaseSpec | None = None
    predict: PhaseSpec
    score: PhaseSpec

    def __getitem__(self, phase: Phase) -> PhaseSpec:
        """The phase; an empty one for a ``prepare`` that the pack does not have."""
        found: PhaseSpec | None = getattr(self, phase.value)
        return found or PhaseSpec(command=("true",))


class CertifySpec(Part):
    """How a trial is certified: on seeds that no trial had, and on answers that none was held to.

    Attributes:
        seeds: Seed runs of a certification.
        prepare: In place of the phase of trials; ``None`` for the same.
        predict: In place of the phase of trials; ``None`` for the same.
        score: In place of the phase of trials; ``None`` for the same.
    """

    seeds: int = Field(default=8, ge=2)
    prepare: PhaseSpec | None = None
    predict: PhaseSpec | None = None
    score: PhaseSpec | None = None

    @property
    def held_out(self) -> bool:
        """Whether it is scored on something that no trial was scored on."""
        return self.score is not None or self.prepare is not None
