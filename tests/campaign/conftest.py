"""Campaigns of the toy pack, made through the object."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from recipelab import BudgetLimits, Campaign, Edit, Plan
from tests.cli.conftest import at_home

Make = Callable[..., Campaign]

TRAIN = "recipe/train.py"


def toy_plan(trials: int = 3, **more: Any) -> Plan:
    """A plan that proposes the same on any machine."""
    fields = {"sandbox": "local", "slots": 1, "ahead": 0, "seed": 1, **more}
    return Plan(pack="toy", limits=BudgetLimits(trials=trials), **fields)


def set_x(value: float, old: float = 1.0) -> Edit:
    """An edit of the toy recipe; its loss is least at 4.0."""
    return Edit(TRAIN, f"X = {old}", f"X = {value}")


@pytest.fixture
def make(project: Path) -> Make:
    """Makes a campaign in the project's own lineage."""
    return lambda trials=3, **more: Campaign.create(toy_plan(trials, **more))


@pytest.fixture(scope="session")
def ended_homes() -> list[Path]:
    """Where the papers of the campaign are that ran for all tests; empty before it ran."""
    return []


@pytest.fixture
async def ended(
    make: Make, project: Path, ended_homes: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Campaign]:
    """A campaign of eight trials that a group chat has run, and that kept something.

    It runs once for all tests; each has a copy of its papers.
    """
    if not ended_homes:
        with make(8, seed=3) as campaign:
            assert (await campaign.run()).finished
        home = tmp_path_factory.mktemp("ended") / "home"
        ended_homes.append(shutil.copytree(project / ".recipelab", home))
    else:
        shutil.copytree(ended_homes[0], project / ".recipelab")
        at_home(project)
    with Campaign.open() as campaign:
        yield campaign
