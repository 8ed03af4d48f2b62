"""What a research team says, as updates of the framework, and how its campaign ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from agent_framework import AgentResponse, AgentResponseUpdate, Content, Message
from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    ModelClientStreamingChunkEvent,
    TextMessage,
    ThoughtEvent,
    ToolCallExecutionEvent,
    ToolCallRequestEvent,
)

from recipelab.campaign.campaign import Campaign
from recipelab.lineage.trial_view import status_words
from recipelab.team import Ended

OUTCOME = "outcome"
"""Key of the additional properties that hold how a campaign ended."""

USER = "user"


@dataclass(frozen=True)
class CampaignOutcome:
    """How a run of a campaign ended.

    Attributes:
        campaign: Name of the campaign; the next run goes on with it.
        finished: Whether it ended as planned.
        reason: Why it ended, in a sentence.
        trials: Trials that its budget has paid for.
        best: Number of the head of the working line.
        status: How that trial ended, and how well it is proven.
        score: Its score, in the unit of the metric; ``None`` if it has none.
        certified: Number of the last trial that fresh seeds have proven; 0 is the baseline.
    """

    campaign: str
    finished: bool
    reason: str
    trials: int
    best: int
    status: str
    score: float | None
    certified: int

    @classmethod
    def of(cls, campaign: Campaign) -> CampaignOutcome:
        """Return the outcome of a campaign whose run has just ended."""
        ended = campaign.ended or Ended(False, "it was stopped")
        best = campaign.best
        result = best.outcome
        return cls(
            campaign=campaign.name,
            finished=ended.finished,
            reason=ended.reason,
            trials=campaign.budget.spent.trials,
            best=best.number,
            status=status_words(result.status if result else None, best.standing),
            score=result.score if result else None,
            certified=campaign.certified.number,
        )

    @property
    def proof(self) -> str:
        """What is proven, in a sentence: a provisional trial is never told as a certified one."""
        certified = f"trial {self.certified}" if self.certified else "the baseline"
        return f"Trial {self.best} is {self.status}; certified is {certified}."


def task_of(messages: Sequence[Message]) -> list[TextMessage] | None:
    """Return the words of a run's messages as the task of a team; ``None`` if there are none."""
    return [
        TextMessage(content=message.text, source=_source(message))
        for message in messages
        if message.text.strip()
    ] or None


def _source(message: Message) -> str:
    """Return the name of who said a message, as model clients take it."""
    if message.role == USER:
        return USER
    return re.sub(r"\W+", "_", message.author_name or message.role, flags=re.ASCII)


def update_of(
    message: BaseAgentEvent | BaseChatMessage, agent_id: str, response_id: str
) -> AgentResponseUpdate | None:
    """Return a message of the team as an update; ``None`` for one that has nothing to show.

    Calls of tools are marked as told only: they were made and answered in the team.

    Args:
        message: The message.
        agent_id: The id of the agent that the campaign is.
        response_id: The id of its run.
    """
    contents = _contents(message)
    if not contents:
        return None
    return AgentResponseUpdate(
        contents=contents,
        role="tool" if isinstance(message, ToolCallExecutionEvent) else "assistant",
        author_name=message.source,
        agent_id=agent_id,
        response_id=response_id,
        message_id=message.id,
        created_at=message.created_at.isoformat(),
        additional_properties=dict(message.metadata),
        raw_representation=message,
    )


def _contents(message: BaseAgentEvent | BaseChatMessage) -> list[Content]:
    if isinstance(message, ModelClientStreamingChunkEvent):
        return []  # Its words are in the message that follows.
    if isinstance(message, ToolCallRequestEvent):
        return [
            Content.from_function_call(
                call.id, call.name, arguments=call.arguments, informational_only=True
            )
            for call in message.content
        ]
    if isinstance(message, ToolCallExecutionEvent):
        return [
            Content.from_function_result(answer.call_id, result=answer.content)
            for answer in message.content
        ]
    if isinstance(message, ThoughtEvent):
        return [Content.from_text_reasoning(text=message.content)]
    return [Content.from_text(message.to_text())]


def outcome_update(
    closing: BaseChatMessage, outcome: CampaignOutcome, agent_id: str, response_id: str
) -> AgentResponseUpdate:
    """Return the last update of a run: the team's closing words, and what is proven."""
    return AgentResponseUpdate(
        contents=[Content.from_text(f"{closing.to_text()} {outcome.proof}")],
        role="assistant",
        author_name=closing.source,
        agent_id=agent_id,
        response_id=response_id,
        message_id=closing.id,
        created_at=closing.created_at.isoformat(),
        additional_properties={OUTCOME: asdict(outcome)},
        raw_representation=closing,
    )


def response_of(updates: Sequence[AgentResponseUpdate]) -> AgentResponse:
    """Return the response of a run: its outcome alone.

    A campaign says thousands of things, all of them in the lineage, and whoever is handed a
    response keeps it: the model that called the agent as a tool, or the next agent of a workflow.

    Args:
        updates: The updates of the run; without the last one, if it was left early.
    """
    last = updates[-1] if updates else None
    if last is None or OUTCOME not in (last.additional_properties or {}):
        return AgentResponse(messages=[])
    properties = dict(last.additional_properties or {})
    return AgentResponse(
        messages=[
            Message(
                "assistant",
                last.contents,
                author_name=last.author_name,
                message_id=last.message_id,
                additional_properties=properties,
            )
        ],
        response_id=last.response_id,
        agent_id=last.agent_id,
        created_at=last.created_at,
        finish_reason="stop",
        additional_properties=properties,
    )
