"""Campaigns of the toy pack, made through the object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recipelab import BudgetLimits, Campaign, Edit, Plan

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


@pytest.fixture
async def ended(make: Make) -> Campaign:
    """A campaign of eight trials that a group chat has run, and that kept something."""
    campaign = make(8, seed=3)
    assert (await campaign.run()).finished
    return campaign
