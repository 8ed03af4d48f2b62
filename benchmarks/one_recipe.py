"""Runs the phases of one recipe outside of any campaign, as its evaluator would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from recipelab.core.recipe import Recipe
from recipelab.evaluation.integrity import FileHashes
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.seeds import SeedSource
from recipelab.evaluation.workspace import Workspace
from recipelab.packs.data import ensure_data
from recipelab.packs.pack import Pack
from recipelab.packs.phase_sections import DRAWN
from recipelab.sandbox import Sandbox


@asynccontextmanager
async def drawn_runner(
    pack: Pack, recipe: Recipe, sandbox: Sandbox
) -> AsyncIterator[tuple[PhaseRunner, Workspace]]:
    """Run a recipe's phases on data that are drawn already, with the folders that they leave."""
    data, source = ensure_data(pack, say=lambda text: None), SeedSource(pack)

    def runner_in(workspace: Workspace) -> PhaseRunner:
        return PhaseRunner(
            pack,
            sandbox,
            workspace,
            FileHashes(),
            labels={},
            observer=TrialObserver(),
            nonce=source.nonce,
            secret=source.secret_number,
        )

    with Workspace(pack, recipe, data) as drawing:
        drawn: dict[str, Path] = {}
        if pack.phases.draw is not None:
            left = await runner_in(drawing).draw()
            drawn = {name: left / name.removeprefix(DRAWN) for name in pack.phases.draw.names}
        with Workspace(pack, recipe, data | drawn) as workspace:
            yield runner_in(workspace), workspace
