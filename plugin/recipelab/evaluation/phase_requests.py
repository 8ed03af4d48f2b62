"""The requests of phases: what the sandbox is asked to run for one phase of one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from types import MappingProxyType

from recipelab.core.trial import Phase
from recipelab.evaluation.integrity import tripwires
from recipelab.evaluation.warm_up import KEPT_FILES
from recipelab.packs.pack import Pack
from recipelab.packs.phase_sections import PhaseSpec
from recipelab.sandbox.base import Input, PhaseLimits, PhaseRequest, Watch
from recipelab.sandbox.processes import MIB
from recipelab.sandbox.slots import Slot

NOT_THROUGH: Mapping[Phase, str] = MappingProxyType({})
"""Every phase runs its own script."""

LIBRARY = "lib"
"""Folder with the library that evaluators may import."""


def phase_limits(pack: Pack, seconds: float) -> PhaseLimits:
    """Return the limits of a pack for a run of so many seconds, bound to no device."""
    return PhaseLimits(seconds=seconds, **pack.limits.model_dump(exclude={"recipe_growth"}))


def substituted(words: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Return words with values in place of names, as of a seed in place of ``{seed}``."""
    made = []
    for word in words:
        for name, value in values.items():
            word = word.replace(name, value)
        made.append(word)
    return tuple(made)


def phase_environment(spec: PhaseSpec, values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of a phase with values in place of names."""
    texts = substituted(tuple(spec.environment.values()), values)
    return dict(zip(spec.environment, texts, strict=True))


class PhaseRequests:
    """Makes the requests of the phases of one recipe.

    Args:
        pack: Commands, data and limits.
        labels: What the phases belong to.
        secret: The campaign's secret number, which draw gets.
        through: The script by which Python runs the script of a phase, as a profiler.
    """

    def __init__(
        self,
        pack: Pack,
        *,
        labels: Mapping[str, str],
        secret: int = 0,
        through: Mapping[Phase, str] = NOT_THROUGH,
    ) -> None:
        self._pack = pack
        self._labels = labels
        self._secret = secret
        self._through = through

    def request(
        self,
        phase: Phase,
        seed: int,
        slot: Slot,
        *,
        inputs: tuple[Input, ...],
        output: Path,
        nonce: int = 0,
        sharing: int = 1,
        watch: Watch | None = None,
    ) -> PhaseRequest:
        """Return the request of a phase.

        Args:
            phase: The phase.
            seed: The seed.
            slot: Where it runs.
            inputs: What it sees.
            output: Folder for what it leaves.
            nonce: The secret number of the seed, as prepare got it.
            sharing: How many run on the slot at once, each with as much more time.
            watch: What is watched of it.
        """
        limits = phase_limits(self._pack, self._pack.seconds(phase) * sharing)
        spec = self._pack.phases[phase]
        kept = self._kept_mb(phase)
        values = {"{seed}": str(seed), "{nonce}": str(nonce)}
        if phase is Phase.DRAW:
            values["{secret}"] = str(self._secret)
        return PhaseRequest(
            phase=phase.value,
            command=self._command(phase, values),
            directory=spec.workdir,
            node=slot.node,
            slot=slot.name,
            inputs=inputs,
            output=output,
            limits=replace(
                limits,
                output_mb=limits.output_mb + kept,
                output_files=limits.output_files + (KEPT_FILES if kept else 0),
                cpu_set=slot.cores,
                # The evaluator's own phases compare numbers; they need no GPU.
                gpus=slot.gpus if phase.runs_recipe else (),
            ),
            environment=_variables(spec, phase, values),
            labels={**self._labels, "seed": str(seed)},
            tripwires=tripwires(self._pack, inputs) if phase.runs_recipe else (),
            watch=watch,
            warm=self._pack.warm if phase.runs_recipe else (),
        )

    def _kept_mb(self, phase: Phase) -> int:
        """Return how much a phase may leave beyond what the pack's limits allow, in MiB."""
        if phase is Phase.PREFLIGHT:
            return self._pack.phases.preflight.keep_mb or 0
        if phase in (Phase.DRAW, Phase.PREPARE):
            # What a recipe may leave says nothing of the data.
            files = (item for item in self._pack.data if item.folder is None)
            return ceil(sum(item.bytes for item in files) / MIB)
        return 0

    def _command(self, phase: Phase, values: Mapping[str, str]) -> tuple[str, ...]:
        program, *words = substituted(self._pack.phases[phase].command, values)
        through = [self._through[phase]] if phase in self._through else []
        return (program, *through, *words)


def _variables(spec: PhaseSpec, phase: Phase, values: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a phase; evaluators find their library besides."""
    given = phase_environment(spec, values)
    if phase.runs_recipe:
        return given
    paths = [spec.upwards + LIBRARY, *filter(None, [given.get("PYTHONPATH")])]
    return {**given, "PYTHONPATH": ":".join(paths)}
