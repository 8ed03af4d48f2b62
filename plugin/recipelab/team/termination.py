"""Conditions that end runs: on the budget of a campaign, and those of users made safe."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from autogen_agentchat.base import TerminatedException, TerminationCondition
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, StopMessage
from autogen_core import Component
from pydantic import BaseModel

from recipelab.agents.evaluator_agent import SPENT
from recipelab.budget import BudgetLimits, Spent, spent_limit
from recipelab.core.errors import RecipelabError
from recipelab.packs.judging_sections import Goal


class BudgetTerminationConfig(BaseModel):
    """Configuration of :class:`BudgetTermination`.

    Attributes:
        limits: The limits; the first that is reached is met.
        goal: The direction in which the metric is better; for the limit ``target``.
    """

    limits: BudgetLimits
    goal: Goal = Goal.MINIMIZE


class BudgetTermination(TerminationCondition, Component[BudgetTerminationConfig]):
    """Ends a team when a campaign in it has reached a limit.

    It reads the reports of the evaluator, so it works in every team that hears them: in a
    :class:`recipelab.ResearchGroupChat`, and in a larger team that has one as a participant. The
    campaign's own limits (``Plan.limits``) need no condition; this one ends a run before they do,
    and a later run goes on. Hours count from the first message that the condition sees, and not,
    as in AutoGen's ``TimeoutTermination``, from its construction. Tokens include the calls of the
    selector, whose usage is on no message, so that AutoGen's ``TokenUsageTermination`` misses it.

    Args:
        limits: The limits; the first that is reached is met.
        goal: The direction in which the metric is better; for the limit ``target``.

    Examples:
        .. code-block:: python

            from recipelab.budget import BudgetLimits
            from recipelab.team import BudgetTermination

            condition = BudgetTermination(BudgetLimits(device_hours=2.0, plateau=20))
    """

    component_config_schema = BudgetTerminationConfig
    component_provider_override = "recipelab.team.BudgetTermination"

    def __init__(self, limits: BudgetLimits, goal: Goal = Goal.MINIMIZE) -> None:
        self._limits = limits
        self._goal = goal
        self._spent = Spent()
        self._started: float | None = None
        self._terminated = False

    @property
    def terminated(self) -> bool:
        """Whether the condition has been met."""
        return self._terminated

    async def __call__(
        self, messages: Sequence[BaseAgentEvent | BaseChatMessage]
    ) -> StopMessage | None:
        """Read new messages, and return a stop message if a limit has been reached.

        Raises:
            TerminatedException: The condition has been met before, and was not reset.
        """
        if self._terminated:
            raise TerminatedException("the condition has been met already")
        now = time.monotonic()
        if self._started is None:
            self._started = now
        for message in reversed(messages):
            if isinstance(message, BaseChatMessage) and SPENT in message.metadata:
                self._spent = Spent(**json.loads(message.metadata[SPENT]))
                break
        spent = replace(self._spent, hours=(now - self._started) / 3600)
        reason = spent_limit(self._limits, spent, self._goal)
        if reason is None:
            return None
        self._terminated = True
        return StopMessage(content=reason, source=type(self).__name__)

    async def reset(self) -> None:
        """Forget the reports so far; hours count anew from the next message."""
        self._spent, self._started, self._terminated = Spent(), None, False

    def _to_config(self) -> BudgetTerminationConfig:
        return BudgetTerminationConfig(limits=self._limits, goal=self._goal)

    @classmethod
    def _from_config(cls, config: BudgetTerminationConfig) -> Self:
        return cls(config.limits, config.goal)


class SafeCondition(TerminationCondition):
    """A user's condition whose errors end the run, where AutoGen would lose or hang on them.

    Attributes:
        error: What the condition raised; ``None`` if nothing.

    Args:
        inner: The condition.
    """

    def __init__(self, inner: TerminationCondition) -> None:
        self.error: Exception | None = None
        self._inner = inner

    @classmethod
    def around(cls, inner: TerminationCondition | None) -> Self | None:
        """Return a safe condition around one of a user, if there is one."""
        return None if inner is None else cls(inner)

    @property
    def name(self) -> str:
        """The name of the condition's class."""
        return type(self._inner).__name__

    @property
    def terminated(self) -> bool:
        """Whether the condition has ended a run and was not reset since."""
        return self._inner.terminated

    async def __call__(
        self, messages: Sequence[BaseAgentEvent | BaseChatMessage]
    ) -> StopMessage | None:
        """Return why the run ends: as the condition says, or as it failed."""
        try:
            return await self._inner(messages)
        except Exception as error:
            self.error = error
            return StopMessage(content=f"{self.name} failed: {error}", source=self.name)

    def check(self) -> None:
        """Raise what the condition raised, once.

        Raises:
            RecipelabError: It failed; the message names it.
        """
        error, self.error = self.error, None
        if error is not None:
            raise RecipelabError(
                f"the termination condition {self.name} failed: {type(error).__name__}: {error}; "
                "trials that were in flight go on with the next run"
            ) from error

    async def reset(self) -> None:
        """Reset the condition; an error stays known."""
        try:
            await self._inner.reset()
        except Exception as error:
            self.error = self.error or error
