"""What a model answered, made fit for an agent: thinking set apart, and answers that were cut told.

Models that reason write down their thinking, between ``<think>`` and ``</think>`` where their
server does not set it apart. It is long, and nothing for later calls.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import replace

from autogen_core.models import AssistantMessage, ChatCompletionClient, CreateResult, LLMMessage

from recipelab.core.errors import ModelError
from recipelab.models.wrappers import ModelRequest, Piece, SendRequest, WrappedClient

OPENING, CLOSING = "<think>", "</think>"
"""The marks around thinking, as the chat templates of open models have them."""

_BLOCK = re.compile(f"{OPENING}.*?(?:{CLOSING}|\\Z)", re.DOTALL)

CUT = {
    "length": "the answer was cut off at its limit of tokens before it called a tool: raise "
    "max_tokens (--max-tokens, or in the charter)",
    "content_filter": "the provider's content filter withheld the answer",
}
"""What to say of an answer without a tool call, by the reason for which it ended."""


def split_thinking(text: str) -> tuple[str, str]:
    """Return the thinking in a text, marks included, and the text without it.

    Some templates write the opening mark themselves, so a text may begin amid the thinking; one
    that was cut off may end there.
    """
    head, closing, rest = text.partition(CLOSING)
    if closing and OPENING not in head:
        thinking, text = OPENING + head + CLOSING, rest
    else:
        thinking = ""
    thinking += "".join(_BLOCK.findall(text))
    return thinking, _BLOCK.sub("", text).strip() if thinking else text


class ThinkingClient(WrappedClient):
    """Sets the thinking of an answer apart as its thought, and sends none with later requests.

    AutoGen's clients send the thought of an answer with tool calls again and again. Words beside
    the thinking are sent as before.
    """

    async def around(self, request: ModelRequest, send: SendRequest) -> AsyncGenerator[Piece, None]:
        """Answer a request that has no thinking, with an answer whose text has none."""
        messages = [_without_thinking(message) for message in request.messages]
        async for piece in send(replace(request, messages=messages)):
            if isinstance(piece, CreateResult) and isinstance(piece.content, str):
                thinking, content = split_thinking(piece.content)
                if thinking:
                    thought = thinking + (piece.thought or "")
                    piece = piece.model_copy(update={"content": content, "thought": thought})
            yield piece


def _without_thinking(message: LLMMessage) -> LLMMessage:
    if not isinstance(message, AssistantMessage):
        return message
    thought, content = message.thought, message.content
    if thought is not None:
        thought = split_thinking(thought)[1] or None
    if isinstance(content, str):
        content = split_thinking(content)[1]
    return message.model_copy(update={"thought": thought, "content": content})


class WholeAnswerClient(WrappedClient):
    """Refuses a text that ended for another reason than that the model had said everything.

    To an agent it would look like a turn in which the model did not want to call a tool.

    Args:
        inner: The client inside.
        limit: Tokens of an answer at most, if that is known: AutoGen's client of Ollama does not
            pass on why an answer ended.
    """

    def __init__(self, inner: ChatCompletionClient, limit: int | None = None) -> None:
        super().__init__(inner)
        self._limit = limit

    async def around(self, request: ModelRequest, send: SendRequest) -> AsyncGenerator[Piece, None]:
        """Answer a request.

        Raises:
            ModelError: The answer was cut off or withheld; the message says what to do.
        """
        async for piece in send(request):
            if isinstance(piece, CreateResult) and isinstance(piece.content, str):
                reason, limit = piece.finish_reason, self._limit
                if reason == "unknown" and limit and piece.usage.completion_tokens >= limit:
                    reason = "length"
                why = CUT.get(reason)
                if why is not None and request.tools:
                    raise ModelError(why)
            yield piece
