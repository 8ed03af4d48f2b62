"""What is said around the rounds of a campaign: the task, the opening, the last word."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, TextMessage

from recipelab.evaluation.desk import TrialDesk
from recipelab.log import bound
from recipelab.team.conductor import Ended

Task = str | BaseChatMessage | Sequence[BaseChatMessage] | None
"""What a run may be given to do."""


@asynccontextmanager
async def told_as(desk: TrialDesk) -> AsyncIterator[None]:
    """Logs of a run tell which campaign they are of."""
    with bound(campaign=desk.campaign):
        yield


def messages_of(task: Task) -> list[BaseChatMessage] | None:
    """A task as messages; ``None`` if there is none.

    Raises:
        ValueError: It is neither text nor chat messages.
    """
    if not task:
        return None
    if isinstance(task, str):
        return [TextMessage(content=task, source="user")]
    messages = [task] if isinstance(task, BaseChatMessage) else list(task)
    if not all(isinstance(message, BaseChatMessage) for message in messages):
        raise ValueError("Task must be a string, a BaseChatMessage, or a list of BaseChatMessage.")
    return messages


def opening_words(number: int, desk: TrialDesk) -> BaseChatMessage:
    """What specialists are told at the beginning of a round, if nobody gives a task."""
    words = f"Round {number}: improve {desk.pack.metric.name} of {desk.pack.name}."
    return TextMessage(content=words, source="user")


def turns_left(turns: int | None, message: BaseAgentEvent | BaseChatMessage) -> int | None:
    """The turns that are left after a message."""
    if turns is None or not isinstance(message, BaseChatMessage) or message.source == "user":
        return turns
    return max(1, turns - 1)


def closing_words(source: str, desk: TrialDesk, ended: Ended) -> TextMessage:
    """The last word of a run, for whoever listens to the team as one of their own.

    Args:
        source: Name of the team.
        desk: The campaign's desk.
        ended: Why the run is over.
    """
    best, metric = desk.best(), desk.pack.metric
    score = best.outcome.score if best.outcome else None
    figure = f", {metric.name} {score:.4g} {metric.unit}".rstrip() if score is not None else ""
    trials = desk.ledger.spent.trials
    told = f"Campaign {desk.campaign}: {trials} trials, best {best.number}{figure}. "
    metadata = {"best": str(best.number)}
    return TextMessage(content=f"{told}It ends: {ended.reason}.", source=source, metadata=metadata)
