"""AutoGen termination conditions on what a campaign has used and found.

They read the reports of the evaluator's seat, so they work in every team that hears it: in the
research group chat itself, and in a larger team that it takes part in. The campaign's own limits
(:class:`recipelab.budget.Limits`) need none of them.
"""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, Self, TypeVar

from autogen_agentchat.base import TerminatedException, TerminationCondition
from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, StopMessage
from autogen_core import Component
from pydantic import BaseModel, Field

from recipelab.agents.evaluator_agent import SPENT
from recipelab.budget import reached
from recipelab.packs.sections import Goal

ConfigT = TypeVar("ConfigT", bound=BaseModel)


class _Condition(TerminationCondition, Generic[ConfigT]):
    """A condition that is met at most once before it is reset."""

    def __init__(self, config: ConfigT) -> None:
        self._config = config
        self._over = False

    @property
    def terminated(self) -> bool:
        """Whether the condition has been met."""
        return self._over

    async def __call__(
        self, messages: Sequence[BaseAgentEvent | BaseChatMessage]
    ) -> StopMessage | None:
        """Looks at new messages.

        Raises:
            TerminatedException: It has been met before, and was not reset.
        """
        if self._over:
            raise TerminatedException("the condition has been met already")
        why = self._met(messages)
        if why is None:
            return None
        self._over = True
        return StopMessage(content=why, source=type(self).__name__)

    async def reset(self) -> None:
        """Begins anew."""
        self._over = False

    @abstractmethod
    def _met(self, messages: Sequence[BaseAgentEvent | BaseChatMessage]) -> str | None:
        """Why it is met; ``None`` if it is not."""

    def _to_config(self) -> ConfigT:
        return self._config

    @classmethod
    def _from_config(cls, config: ConfigT) -> Self:
        return cls(**dict(config))


class _Figure(_Condition[ConfigT], Generic[ConfigT]):
    """A condition on the figures of the newest report."""

    def _met(self, messages: Sequence[BaseAgentEvent | BaseChatMessage]) -> str | None:
        for message in reversed(messages):
            told = message.metadata.get(SPENT) if isinstance(message, BaseChatMessage) else None
            if told is not None:
                return self._judge(json.loads(told))
        return None

    @abstractmethod
    def _judge(self, spent: dict[str, Any]) -> str | None:
        """Why it is met, given what was used; ``None`` if it is not."""


class TrialsTerminationConfig(BaseModel):
    """Configuration of :class:`TrialsTermination`."""

    trials: int = Field(ge=1)


class TrialsTermination(_Figure[TrialsTerminationConfig], Component[TrialsTerminationConfig]):
    """Ends when a campaign has so many trials that count.

    Args:
        trials: How many.
    """

    component_config_schema = TrialsTerminationConfig
    component_provider_override = "recipelab.team.TrialsTermination"

    def __init__(self, trials: int) -> None:
        super().__init__(TrialsTerminationConfig(trials=trials))

    def _judge(self, spent: dict[str, Any]) -> str | None:
        limit = self._config.trials
        return f"{spent['trials']} trials of {limit}" if spent["trials"] >= limit else None


class DeviceTimeTerminationConfig(BaseModel):
    """Configuration of :class:`DeviceTimeTermination`."""

    seconds: float = Field(gt=0)


class DeviceTimeTermination(
    _Figure[DeviceTimeTerminationConfig], Component[DeviceTimeTerminationConfig]
):
    """Ends when trials have held slots for so long.

    Args:
        seconds: Seconds, summed over slots.
    """

    component_config_schema = DeviceTimeTerminationConfig
    component_provider_override = "recipelab.team.DeviceTimeTermination"

    def __init__(self, seconds: float) -> None:
        super().__init__(DeviceTimeTerminationConfig(seconds=seconds))

    def _judge(self, spent: dict[str, Any]) -> str | None:
        used, limit = spent["device_hours"] * 3600, self._config.seconds
        return f"{used:.4g} device seconds of {limit:g}" if used >= limit else None


class TokensTerminationConfig(BaseModel):
    """Configuration of :class:`TokensTermination`."""

    tokens: int = Field(ge=1)


class TokensTermination(_Figure[TokensTerminationConfig], Component[TokensTerminationConfig]):
    """Ends when models have taken so many tokens, the selector's calls included.

    AutoGen's ``TokenUsageTermination`` misses the selector, whose usage is on no message.

    Args:
        tokens: Tokens sent and received.
    """

    component_config_schema = TokensTerminationConfig
    component_provider_override = "recipelab.team.TokensTermination"

    def __init__(self, tokens: int) -> None:
        super().__init__(TokensTerminationConfig(tokens=tokens))

    def _judge(self, spent: dict[str, Any]) -> str | None:
        limit = self._config.tokens
        return f"{spent['tokens']} tokens of {limit}" if spent["tokens"] >= limit else None


class MoneyTerminationConfig(BaseModel):
    """Configuration of :class:`MoneyTermination`."""

    dollars: float = Field(gt=0)


class MoneyTermination(_Figure[MoneyTerminationConfig], Component[MoneyTerminationConfig]):
    """Ends when models have cost so much, as far as their prices are known.

    Args:
        dollars: US dollars.
    """

    component_config_schema = MoneyTerminationConfig
    component_provider_override = "recipelab.team.MoneyTermination"

    def __init__(self, dollars: float) -> None:
        super().__init__(MoneyTerminationConfig(dollars=dollars))

    def _judge(self, spent: dict[str, Any]) -> str | None:
        used, limit = spent["money"], self._config.dollars
        return f"${used:.4g} of ${limit:g}" if used >= limit else None


class TargetScoreTerminationConfig(BaseModel):
    """Configuration of :class:`TargetScoreTermination`."""

    score: float
    goal: Goal = Goal.MINIMIZE


class TargetScoreTermination(
    _Figure[TargetScoreTerminationConfig], Component[TargetScoreTerminationConfig]
):
    """Ends when the best trial is good enough.

    Args:
        score: The score to reach, in the metric's unit.
        goal: Which way the metric is better.
    """

    component_config_schema = TargetScoreTerminationConfig
    component_provider_override = "recipelab.team.TargetScoreTermination"

    def __init__(self, score: float, goal: Goal = Goal.MINIMIZE) -> None:
        super().__init__(TargetScoreTerminationConfig(score=score, goal=goal))

    def _judge(self, spent: dict[str, Any]) -> str | None:
        best, target = spent["best"], self._config.score
        if best is None or not reached(best, target, self._config.goal):
            return None
        return f"the best score {best:.6g} is as good as {target:g}"


class PlateauTerminationConfig(BaseModel):
    """Configuration of :class:`PlateauTermination`."""

    trials: int = Field(ge=1)


class PlateauTermination(_Figure[PlateauTerminationConfig], Component[PlateauTerminationConfig]):
    """Ends when so many judged trials in a row were not kept.

    Args:
        trials: How many.
    """

    component_config_schema = PlateauTerminationConfig
    component_provider_override = "recipelab.team.PlateauTermination"

    def __init__(self, trials: int) -> None:
        super().__init__(PlateauTerminationConfig(trials=trials))

    def _judge(self, spent: dict[str, Any]) -> str | None:
        stale = spent["since_kept"]
        met = stale >= self._config.trials
        return f"none of the last {stale} trials was kept" if met else None


class WallClockTerminationConfig(BaseModel):
    """Configuration of :class:`WallClockTermination`."""

    seconds: float = Field(gt=0)


class WallClockTermination(
    _Condition[WallClockTerminationConfig], Component[WallClockTerminationConfig]
):
    """Ends so long after the first message that it sees.

    AutoGen's ``TimeoutTermination`` counts from when it was made, which may be long before.

    Args:
        seconds: Wall-clock seconds.
    """

    component_config_schema = WallClockTerminationConfig
    component_provider_override = "recipelab.team.WallClockTermination"

    def __init__(self, seconds: float) -> None:
        super().__init__(WallClockTerminationConfig(seconds=seconds))
        self._since: float | None = None

    async def reset(self) -> None:
        """Begins anew, with the next message."""
        await super().reset()
        self._since = None

    def _met(self, messages: Sequence[BaseAgentEvent | BaseChatMessage]) -> str | None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
        limit = self._config.seconds
        return f"{limit:g} seconds are over" if now - self._since >= limit else None
