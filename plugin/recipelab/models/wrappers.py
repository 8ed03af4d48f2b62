"""Model clients around another client: their one hook, retries, and repair of arguments."""

from __future__ import annotations

import ast
import asyncio
import json
import math
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from inspect import signature
from typing import Any, Literal

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import (
    ChatCompletionClient,
    CreateResult,
    LLMMessage,
    ModelCapabilities,
    ModelInfo,
    RequestUsage,
)
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from recipelab.core.errors import ModelError

ToolChoice = Tool | Literal["auto", "required", "none"]

Piece = str | CreateResult
"""A piece of an answer: some text of a stream, or the result that ends it."""


@dataclass(frozen=True)
class ModelRequest:
    """One request to a model, as AutoGen's agents make it.

    Attributes:
        messages: The conversation so far.
        tools: The tools that the model may call.
        tool_choice: Whether it must call one, or which.
        json_output: Whether its answer is to be JSON, or of which type.
        extra_create_args: Arguments that only the provider knows.
        cancellation_token: Cancels the request.
    """

    messages: Sequence[LLMMessage]
    tools: Sequence[Tool | ToolSchema] = ()
    tool_choice: ToolChoice = "auto"
    json_output: bool | type[BaseModel] | None = None
    extra_create_args: Mapping[str, Any] = field(default_factory=dict)
    cancellation_token: CancellationToken | None = None

    def options(self) -> dict[str, Any]:
        """Return all but the messages, as keyword arguments of a client's ``create``."""
        return {
            item.name: getattr(self, item.name) for item in fields(self) if item.name != "messages"
        }


SendRequest = Callable[[ModelRequest], AsyncGenerator[Piece, None]]
"""Sends a request to the client inside, and yields its answer piece by piece."""


class WrappedClient(ChatCompletionClient):
    """A client that passes every request on to the client inside.

    Subclasses override :meth:`around` alone. An answer of ``create`` reaches it as a stream of one
    piece, so a request is treated the same whether or not its answer is streamed.

    Args:
        inner: The client inside.
    """

    def __init__(self, inner: ChatCompletionClient) -> None:
        self.inner = inner

    async def around(self, request: ModelRequest, send: SendRequest) -> AsyncGenerator[Piece, None]:
        """Answer a request; as it stands here, with the answer of the client inside.

        Args:
            request: The request.
            send: Sends a request to the client inside, this one or a changed one.

        Yields:
            The pieces of the answer; the last one is the result.
        """
        async for piece in send(request):
            yield piece

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: ToolChoice = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        """Return the answer; see :class:`autogen_core.models.ChatCompletionClient`."""
        request = ModelRequest(
            messages, tools, tool_choice, json_output, extra_create_args, cancellation_token
        )
        pieces = [piece async for piece in self.around(request, self._create)]
        (result,) = (piece for piece in pieces if isinstance(piece, CreateResult))
        return result

    def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: ToolChoice = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[Piece, None]:
        """Yield the answer; see :class:`autogen_core.models.ChatCompletionClient`."""
        request = ModelRequest(
            messages, tools, tool_choice, json_output, extra_create_args, cancellation_token
        )
        return self.around(request, self._create_stream)

    async def _create(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        yield await self.inner.create(request.messages, **request.options())

    def _create_stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        options = request.options()
        takes = signature(self.inner.create_stream).parameters
        if "include_usage" in takes and "stream_options" not in request.extra_create_args:
            # OpenAI's clients say nothing of tokens in a stream unless they are asked.
            options["include_usage"] = True
        return self.inner.create_stream(request.messages, **options)

    async def close(self) -> None:
        """Close the client inside."""
        await self.inner.close()

    def actual_usage(self) -> RequestUsage:
        """Return the usage of the client inside."""
        return self.inner.actual_usage()

    def total_usage(self) -> RequestUsage:
        """Return the total usage of the client inside."""
        return self.inner.total_usage()

    def count_tokens(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()
    ) -> int:
        """Count tokens as the client inside does."""
        return self.inner.count_tokens(messages, tools=tools)

    def remaining_tokens(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()
    ) -> int:
        """Count the tokens left as the client inside does."""
        return self.inner.remaining_tokens(messages, tools=tools)

    @property
    def capabilities(self) -> ModelCapabilities:
        """The capabilities of the client inside."""
        return self.inner.capabilities

    @property
    def model_info(self) -> ModelInfo:
        """The model information of the client inside."""
        return self.inner.model_info

    def _to_config(self) -> BaseModel:
        # A wrapper belongs to a running campaign; the client inside is what can be saved.
        raise NotImplementedError("save the client inside")


TRANSIENT_STATUS_CODES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""HTTP status codes worth a wait: timeouts, rate limits, faults and overload of the server."""

_CONNECTION_ERRORS = frozenset(
    [
        "ConnectError",
        "ConnectTimeout",
        "ReadTimeout",
        "ReadError",
        "WriteError",
        "PoolTimeout",
        "RemoteProtocolError",
        "APIConnectionError",
        "APITimeoutError",
    ]
)
"""Names of connection errors in the libraries of providers, which may not be installed."""

_QUOTA_WORDS = ("insufficient_quota", "billing", "credit balance")
"""Words of an error that no waiting lifts, although its status code is that of a rate limit."""


def outage(error: BaseException | None) -> str | None:
    """Return a short description of a transient fault; ``None`` if waiting does not help.

    Args:
        error: What the provider's library raised.
    """
    if error is None or any(word in str(error).lower() for word in _QUOTA_WORDS):
        return None
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return f"HTTP {status}" if status in TRANSIENT_STATUS_CODES else None
    name = type(error).__name__
    if name in _CONNECTION_ERRORS or isinstance(error, ConnectionError | TimeoutError):
        return name
    return None


def retry_after(error: BaseException | None) -> float | None:
    """Return the seconds that a provider asks for in its ``Retry-After`` header, if it does."""
    response = getattr(error, "response", None)
    headers: Mapping[str, Any] | None = getattr(response, "headers", None)
    value = headers.get("retry-after") if headers is not None else None
    try:
        seconds = float(value) if value is not None else None
    except ValueError:
        return None  # a date; the exponential wait will do
    return max(0.0, seconds) if seconds is not None and math.isfinite(seconds) else None


DAY = 86_400.0
LONGEST_WAIT = 300.0

TOLD_OUTAGE = 5.0
"""An outage that lasts so many seconds, the next pause included, is told."""

LONG_REQUEST = 10.0
"""Of a request that failed after so many seconds, that is told, and that it is sent again."""

FIRST_SILENCE = 8.0
"""Seconds without an answer after which that is told, of a model that has never answered."""

SILENCE = 60.0
"""The same of a model that has answered, unless its longest answer took a third of that or more."""


class Patience:
    """What is known of how a model answers, and what was told of it; several clients may share it.

    Args:
        name: The model, as people are told of it.
        say: Called with a line of text when a model does not answer, and when it does again.
    """

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self._name = name
        self._say = say
        self._down_since: float | None = None
        self._longest: float | None = None

    @property
    def silence(self) -> float:
        """Seconds without an answer after which that is told."""
        return FIRST_SILENCE if self._longest is None else max(SILENCE, 3 * self._longest)

    def fails(self, why: str, began: float, then: str = "waiting for it") -> None:
        """Tell once that a model does not answer.

        Args:
            why: The reason.
            then: What is done about it.
            began: When the request was first sent, in seconds of the monotonic clock.
        """
        if self._down_since is None:
            self._down_since = began
            self._say(f"{self._name} does not answer ({why}): {then}")

    def answered(self, seconds: float) -> None:
        """Note that an answer has begun, and tell that it has if the opposite was told.

        Args:
            seconds: How long it took since it was last asked for.
        """
        self._longest = max(seconds, self._longest or 0.0)
        if self._down_since is not None:
            down, self._down_since = time.monotonic() - self._down_since, None
            self._say(f"{self._name} answers again, after {down:.0f} s")


class RetryingClient(WrappedClient):
    """Repeats a request while the provider limits the rate, is down or cannot be reached.

    Errors that no waiting lifts (a bad request, a wrong key, a spent quota) are raised at once, and
    so is the last transient one when the provider has been down for too long. Once a piece of a
    streamed answer has arrived, nothing is repeated.

    Args:
        inner: The client inside.
        patience: Tells when the model does not answer.
        most_seconds: How long a provider may be down, in seconds.
        first_wait: First pause, in seconds; each is twice the one before, with jitter.
        longest_wait: Longest pause, in seconds, unless the provider asks for a longer one.
    """

    def __init__(
        self,
        inner: ChatCompletionClient,
        *,
        patience: Patience | None = None,
        most_seconds: float = DAY,
        first_wait: float = 1.0,
        longest_wait: float = LONGEST_WAIT,
    ) -> None:
        super().__init__(inner)
        self._patience = patience or Patience("the model", lambda text: None)
        self._most_seconds = most_seconds
        self._wait = wait_exponential(multiplier=first_wait, max=longest_wait) + wait_random(
            0, first_wait
        )

    async def around(self, request: ModelRequest, send: SendRequest) -> AsyncGenerator[Piece, None]:
        """Send a request until its answer begins."""

        async def begin() -> tuple[Piece, AsyncGenerator[Piece, None]]:
            pieces, began, silence = send(request), time.monotonic(), self._patience.silence
            why = f"nothing for {silence:.0f} s"
            silent = asyncio.get_running_loop().call_later(
                silence, self._patience.fails, why, began
            )
            try:
                first = await anext(pieces)
            except Exception as error:
                if isinstance(error.__cause__, ModelError):
                    raise error.__cause__ from None
                raise
            finally:
                silent.cancel()
            self._patience.answered(time.monotonic() - began)
            return first, pieces

        first: Piece
        rest: AsyncGenerator[Piece, None]
        first, rest = await self._retrying(request.cancellation_token)(begin)
        yield first
        async for piece in rest:
            yield piece

    def _retrying(self, token: CancellationToken | None) -> AsyncRetrying:
        async def sleep(seconds: float) -> None:
            waiting = asyncio.ensure_future(asyncio.sleep(seconds))
            if token is not None:
                token.link_future(waiting)
            await waiting

        return AsyncRetrying(
            sleep=sleep,
            wait=self._pause,
            stop=stop_after_delay(self._most_seconds),
            retry=retry_if_exception(lambda error: outage(error) is not None),
            before_sleep=self._tell_wait,
            reraise=True,
        )

    def _pause(self, state: RetryCallState) -> float:
        asked = min(retry_after(_error(state)) or 0.0, self._most_seconds)
        return max(asked, self._wait(state))

    def _tell_wait(self, state: RetryCallState) -> None:
        pause = state.next_action.sleep if state.next_action else 0.0
        down = state.seconds_since_start or 0.0
        if down + pause >= TOLD_OUTAGE:
            why, began = str(outage(_error(state))), time.monotonic() - down
            if down >= LONG_REQUEST:
                again = "the request is sent again"
                self._patience.fails(f"{why} after {down:.0f} s", began, again)
            else:
                self._patience.fails(why, began)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


UNREADABLE = "unreadable_arguments"
"""The argument that holds text that is not JSON, so that the tool can explain how to call it."""

_UNREADABLE_CHARACTERS = 2_000
MAX_ARGUMENTS = 4_000_000
"""Characters of the arguments of a tool call at most."""
MAX_ANSWER = 1_000_000
"""Characters of a model's text at most; the rest is cut off."""
_FENCE = re.compile(r"```(?:json)?(.*)```", re.DOTALL)
_TRAILING_COMMA = re.compile(r",(\s*+[}\]])")


class JsonRepairClient(WrappedClient):
    """Repairs the JSON of tool calls, its form and never its content, and cuts endless answers."""

    async def around(self, request: ModelRequest, send: SendRequest) -> AsyncGenerator[Piece, None]:
        """Answer with the same calls, whose arguments are the JSON of an object."""
        async for piece in send(request):
            if isinstance(piece, CreateResult) and isinstance(piece.content, list):
                calls = [
                    FunctionCall(
                        id=call.id, name=call.name, arguments=repaired_arguments(call.arguments)
                    )
                    for call in piece.content
                ]
                piece = piece.model_copy(update={"content": calls})
            elif isinstance(piece, CreateResult) and len(piece.content) > MAX_ANSWER:
                piece = piece.model_copy(update={"content": piece.content[:MAX_ANSWER]})
            if isinstance(piece, CreateResult) and len(piece.thought or "") > MAX_ANSWER:
                piece = piece.model_copy(update={"thought": (piece.thought or "")[:MAX_ANSWER]})
            yield piece


def repaired_arguments(arguments: str) -> str:
    """Return arguments as the JSON of an object.

    Args:
        arguments: The text that a model wrote; an empty one stands for an empty object.

    Returns:
        The same object in valid JSON, or one that holds the text if it cannot be read.
    """
    text = arguments or "{}"
    # A longer one is no proposal, and the expressions below would take minutes for it.
    for read in _READERS if len(text) <= MAX_ARGUMENTS else ():
        try:
            value = read(text)
            if isinstance(value, dict):
                return text if read is json.loads else json.dumps(value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            # A dictionary of Python's may hold what no JSON can.
            continue
        if value == text:
            break
        if isinstance(value, str):
            return repaired_arguments(value)
    return json.dumps({UNREADABLE: text[:_UNREADABLE_CHARACTERS]})


def _without_fence(text: str) -> Any:
    match = _FENCE.fullmatch(text.strip())
    return json.loads(match[1] if match else text, strict=False)


def _without_trailing_commas(text: str) -> Any:
    # This would also drop a comma before a bracket inside a string, so valid JSON is read before.
    return json.loads(_TRAILING_COMMA.sub(r"\1", text), strict=False)


_READERS: tuple[Callable[[str], Any], ...] = (
    json.loads,
    _without_fence,
    _without_trailing_commas,
    ast.literal_eval,
)
"""Ways to read the JSON that models write, the strictest first."""
