"""What a model client hands on, made an answer that an agent can read, or an error in words.

Clients build answers from what a server sent, and do not always check it: ids that are ``null``,
arguments that are a table already, tokens that are no number, characters that no text may hold. An
agent of AutoGen waits for ever for a call whose id or name is no text.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from itertools import count
from typing import TypeGuard, get_args

from autogen_core import FunctionCall
from autogen_core.models import CreateResult, FinishReasons, RequestUsage

from recipelab.core.errors import ModelError
from recipelab.core.text import shorten, without_surrogates
from recipelab.models.wrappers import ModelRequest, Piece, SendRequest, WrappedClient

MOST_TOKENS = 1_000_000_000
"""What a call says to have used is believed up to this, in tokens."""

MAX_NAME = 200
"""Characters of the name or the id of a tool call at most."""

_REASONS: tuple[str, ...] = get_args(FinishReasons)


class HandedOnClient(WrappedClient):
    """Checks what the client inside hands on, whose types say more than it holds to."""

    async def around(self, request: ModelRequest, send: SendRequest) -> AsyncGenerator[Piece, None]:
        """Answer a request.

        Raises:
            ModelError: What was handed on is no answer, or there was none.
        """
        piece: object = None
        async for piece in send(request):
            yield without_surrogates(piece) if isinstance(piece, str) else sound_result(piece)
        if not isinstance(piece, CreateResult):
            raise ModelError("the model's client handed on no answer: it ended without a result")


def sound_result(piece: object) -> CreateResult:
    """Return what a client handed on as an answer whose parts are of the types they should be.

    A call without an id gets one, arguments that are a table are written out, and tokens that are
    no number count as not told.

    Args:
        piece: What was handed on.

    Raises:
        ModelError: It is no answer, or its content is neither a text nor calls.
    """
    if not isinstance(piece, CreateResult):
        raise _no_answer("it is", piece)
    content: object = getattr(piece, "content", None)
    if isinstance(content, str):
        sound: str | list[FunctionCall] = without_surrogates(content)
    elif isinstance(content, list):
        sound = sound_calls(content)
    else:
        raise _no_answer("its content is", content)
    thought: object = getattr(piece, "thought", None)
    reason: object = getattr(piece, "finish_reason", None)
    return CreateResult.model_construct(
        finish_reason=reason if isinstance(reason, str) and reason in _REASONS else "unknown",
        content=sound,
        usage=sound_usage(getattr(piece, "usage", None)),
        cached=getattr(piece, "cached", False) is True,
        logprobs=getattr(piece, "logprobs", None),
        thought=without_surrogates(thought) if isinstance(thought, str) else None,
    )


def sound_calls(calls: Sequence[object]) -> list[FunctionCall]:
    """Return tool calls whose ids are texts that no two share.

    Raises:
        ModelError: One of them is no call, or has no name.
    """
    found: list[FunctionCall] = []
    seen: set[str] = set()
    for number, call in enumerate(calls, 1):
        if not isinstance(call, FunctionCall):
            raise _no_answer(f"its tool call {number} is", call)
        given, name, arguments = (getattr(call, key) for key in ("id", "name", "arguments"))
        if not isinstance(name, str):
            raise _no_answer(f"the name of its tool call {number} is", name)
        own = without_surrogates(given)[:MAX_NAME] if isinstance(given, str) else ""
        if not own or own in seen:
            own = next(one for n in count(number) if (one := f"call_{n}") not in seen)
        seen.add(own)
        written = arguments if isinstance(arguments, str) else _written(arguments)
        name = without_surrogates(name)[:MAX_NAME]
        found.append(replace(call, id=own, name=name, arguments=without_surrogates(written)))
    return found


def sound_usage(usage: object) -> RequestUsage:
    """Return the tokens of a call; none, as if the server had not told them, if they cannot be."""
    sent, received = (getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens"))
    if _is_count(sent) and _is_count(received):
        return RequestUsage(prompt_tokens=sent, completion_tokens=received)
    return RequestUsage(prompt_tokens=0, completion_tokens=0)


def _is_count(tokens: object) -> TypeGuard[int]:
    return type(tokens) is int and 0 <= tokens <= MOST_TOKENS


def _written(arguments: object) -> str:
    """Return arguments as JSON; an empty text, which stands for none, if that cannot be."""
    try:
        return json.dumps(arguments) if isinstance(arguments, dict) else ""
    except (TypeError, ValueError, RecursionError):
        return ""


def _no_answer(place: str, found: object) -> ModelError:
    """Return the error for something that no agent can read."""
    text = shorten(str(found), 80) if isinstance(found, str | int | float) else ""
    kind = type(found).__name__
    return ModelError(f"the model's client handed on no answer: {place} a {kind} {text}".rstrip())
