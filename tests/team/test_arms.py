"""The arms of a comparison: who works, and that nobody without the lineage is told of trials."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import cast

import pytest

from recipelab import LineageStore
from recipelab.core.trial import Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.session import Overrides
from recipelab.lineage import TrialFilter, TrialRecord
from recipelab.packs.load import load_pack
from recipelab.plan import Arm
from recipelab.team.participants import charters_for

from .fated import Fate, Fated, Recorder, crashed, fixed_part, own_words, scored, turn_part
from .helpers import team_of

SECONDS = 180
OUTCOMES = ("kept", "discarded", "crashed", "oversize", "gate_missed", "overrun")


async def campaign(
    arm: Arm, trials: int = 8, *, fate: Fate | None = None, name: str = "c", **more: object
) -> Recorder:
    """Runs a campaign on the toy pack; all its agents share one model that notes all."""
    client = Recorder()
    if fate is not None:
        more["overrides"] = Overrides(evaluator=cast(Evaluator, Fated(load_pack("toy"), fate)))
    team = team_of(trials, {"": client}, arm=arm, name=name, ahead=0, **more)
    await asyncio.wait_for(team.run(), SECONDS)
    return client


def trials_of(project: Path, name: str = "c") -> tuple[TrialRecord, ...]:
    with LineageStore.open(project / ".recipelab/lineage.db") as store:
        return tuple(store.query(name, TrialFilter(order="oldest", limit=100)).items)


def everything(client: Recorder) -> list[str]:
    """All that a model was sent, call by call."""
    return [
        json.dumps([m.model_dump(mode="json") for m in messages]) + schemas
        for messages, schemas in client.calls
    ]


def discarded(recipe: object) -> object:
    return scored(Status.DISCARDED, 7.25)


async def test_without_lineage_no_outcome_reaches_a_model(project: Path) -> None:
    # Two worlds that differ in outcomes alone: whoever cannot tell them apart was told nothing.
    crashes = everything(await campaign(Arm.NO_LINEAGE, fate=crashed, name="a"))
    scores = everything(await campaign(Arm.NO_LINEAGE, fate=cast(Fate, discarded), name="b"))
    assert len(crashes) >= 8 * 3
    assert crashes == scores


async def test_with_lineage_outcomes_do_reach_a_model(project: Path) -> None:
    crashes = everything(await campaign(Arm.SPECIALISTS, fate=crashed, name="a"))
    scores = everything(await campaign(Arm.SPECIALISTS, fate=cast(Fate, discarded), name="b"))
    assert crashes != scores
    assert "boom" in "".join(crashes)
    assert "7.25" in "".join(scores)


@pytest.mark.slow
async def test_without_lineage_nothing_of_past_trials_is_shown(project: Path) -> None:
    recipe = project / "task_packs/toy/recipe/train.py"
    # Close to the limit of its size, so that some trials fail.
    recipe.write_text(recipe.read_text().replace("PADDING = 10 ", "PADDING = 4500 "))
    client = await campaign(Arm.NO_LINEAGE, 10)
    records = trials_of(project)
    counts = [record.status for record in records]
    assert {Status.KEPT, Status.DISCARDED, Status.OVERSIZE} <= set(counts), counts
    secrets = set(OUTCOMES)
    for record in records:
        assert record.outcome is not None
        secrets |= {record.outcome.reason, f"{record.outcome.score:.4g}", str(record.outcome.score)}
    standards = {fixed_part(call) for call in client.calls}
    assert len(standards) == 1, "instructions and tools are the same for all, and never change"
    for call in client.calls:
        visible, own = turn_part(call), own_words(call)
        assert not [secret for secret in secrets if secret in visible]
        assert not [mark for mark in client.marks if mark in visible]
        assert not re.search(r"[Tt]rial \d", visible)
        # A turn knows its own proposal and no other.
        assert len([mark for mark in client.marks if mark in own]) <= 1
        # The recipe to be edited is called 0, whatever its number; other numbers are its own.
        numbers = set(re.findall(r'"trial":\s*([1-9]\d*)', visible))
        assert len(numbers) <= visible.count("name='submit_trial'")
    tools = {name for _, schemas in standards for name in _tools(schemas)}
    looking = {"read_recipe", "search_recipe", "run_python"}
    assert tools == {*looking, "check_edit", "submit_trial"}


@pytest.mark.slow
async def test_without_lineage_a_recipe_is_tried_again(project: Path) -> None:
    await campaign(Arm.NO_LINEAGE, 30, fate=crashed)
    digests = [record.digest for record in trials_of(project)]
    assert len(set(digests)) < len(digests)
    assert all(record.status is Status.CRASHED for record in trials_of(project)[1:])
    # It goes on with what it has not yet proposed, and does not begin again from the front.
    first = [record.hypothesis.split(" ", 1)[1] for record in trials_of(project)[1:]]
    await campaign(Arm.NO_LINEAGE, 60, fate=crashed)
    rest = [record.hypothesis.split(" ", 1)[1] for record in trials_of(project)[31:]]
    assert len(rest) == 30
    assert rest != first


async def test_without_lineage_specialists_take_turns_whatever_they_gain(project: Path) -> None:
    def left_gains(recipe: object) -> object:
        return scored(Status.KEPT, 0.5)

    await campaign(Arm.NO_LINEAGE, fate=cast(Fate, left_gains), speakers="credit")
    assert [r.specialist for r in trials_of(project)[1:]] == ["left", "right"] * 4


@pytest.mark.parametrize(
    ("arm", "names"),
    [
        (Arm.SPECIALISTS, ["left", "right"]),
        (Arm.NO_LINEAGE, ["left", "right"]),
        (Arm.GENERIC, ["generic_1", "generic_2"]),
        (Arm.SINGLE, ["generalist"]),
    ],
)
async def test_each_arm_has_its_agents(project: Path, arm: Arm, names: list[str]) -> None:
    charters = charters_for(load_pack("toy"), arm)
    assert [charter.name for charter in charters] == names
    owned = {charter.surfaces for charter in charters}
    whole = {("left", "right")}
    assert owned == (whole if arm in (Arm.GENERIC, Arm.SINGLE) else {("left",), ("right",)})
    await campaign(arm, 12, fate=crashed)
    records = trials_of(project)[1:]
    assert {record.specialist for record in records} == set(names)
    assert {record.surface for record in records} == {"left", "right"}
    for record in records:
        (edit,) = record.edits
        assert f"knob {record.surface}" in str(edit.search) or "blur" in str(edit.search)


async def test_with_lineage_nothing_is_tried_twice(project: Path) -> None:
    await campaign(Arm.GENERIC, 12, fate=crashed)
    digests = [record.digest for record in trials_of(project)]
    assert len(set(digests)) == len(digests)


def _tools(schemas: str) -> list[str]:
    return [tool["name"] for tool in json.loads(schemas)]
