"""One condition on every limit of a budget, for teams that hear the evaluator."""

from __future__ import annotations

import json

import pytest
from autogen_agentchat.base import TerminatedException, TerminationCondition
from autogen_agentchat.messages import TextMessage

from recipelab.agents import EVALUATOR
from recipelab.budget import BudgetLimits, Spent
from recipelab.packs.judging_sections import Goal
from recipelab.team import BudgetTermination


def report(**figures: float | None) -> TextMessage:
    spent = {**vars(Spent()), **figures}
    return TextMessage(content="", source=EVALUATOR, metadata={"spent": json.dumps(spent)})


@pytest.mark.parametrize(
    ("condition", "before", "after", "reason"),
    [
        (BudgetTermination(BudgetLimits(trials=5)), {"trials": 4}, {"trials": 5}, "of trials"),
        (
            BudgetTermination(BudgetLimits(device_hours=1.0)),
            {"device_hours": 0.9},
            {"device_hours": 1.0},
            "of device time",
        ),
        (BudgetTermination(BudgetLimits(tokens=100)), {"tokens": 99}, {"tokens": 130}, "of tokens"),
        (BudgetTermination(BudgetLimits(money=2.0)), {"money": 1.5}, {"money": 2.5}, "of money"),
        (
            BudgetTermination(BudgetLimits(target=0.5)),
            {"best": 0.6},
            {"best": 0.5},
            "target of 0.5",
        ),
        (
            BudgetTermination(BudgetLimits(target=0.5), Goal.MAXIMIZE),
            {"best": 0.4},
            {"best": 0.6},
            "target of 0.5",
        ),
        (
            BudgetTermination(BudgetLimits(plateau=3)),
            {"since_kept": 2},
            {"since_kept": 3},
            "none of the last 3 trials",
        ),
        (
            BudgetTermination(BudgetLimits(trials=9, tokens=100, target=0.1)),
            {"trials": 8, "tokens": 99, "best": 0.2},
            {"trials": 8, "tokens": 100, "best": 0.2},
            "of tokens",
        ),
    ],
)
async def test_each_limit_is_met_reset_and_survives_json(
    condition: TerminationCondition,
    before: dict[str, float],
    after: dict[str, float],
    reason: str,
) -> None:
    saved = condition.dump_component().model_dump_json()
    loaded = TerminationCondition.load_component(json.loads(saved))
    for one in (condition, loaded):
        assert await one([report(**before), TextMessage(content="", source="left")]) is None
        stop = await one([report(**after)])
        assert stop is not None
        assert reason in stop.content
        assert one.terminated
        with pytest.raises(TerminatedException):
            await one([report(**after)])
        await one.reset()
        assert await one([]) is None


async def test_the_clock_starts_with_the_first_message() -> None:
    condition = BudgetTermination(BudgetLimits(hours=1e-12))
    assert await condition([report()]) is None
    assert await condition([report()]) is not None
    await condition.reset()
    assert await condition([report()]) is None
    hours, trials = (
        BudgetTermination(BudgetLimits(hours=1.0)),
        BudgetTermination(BudgetLimits(trials=1)),
    )
    both = hours | trials
    assert await both([report(trials=1)]) is not None


async def test_a_report_holds_until_the_next() -> None:
    condition = BudgetTermination(BudgetLimits(trials=2))
    assert await condition([report(trials=1), report(trials=2)]) is not None
    await condition.reset()
    assert await condition([report(trials=2), report(trials=1)]) is None
    assert await condition([]) is None
