"""A model client around another: what wrappers have in common."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
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

ToolChoice = Tool | Literal["auto", "required", "none"]


class WrappedClient(ChatCompletionClient):
    """Passes everything on to the client inside.

    Args:
        inner: The client inside.
    """

    def __init__(self, inner: ChatCompletionClient) -> None:
        self.inner = inner

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
        """See :class:`autogen_core.models.ChatCompletionClient`."""
        return await self.inner.create(
            messages,
            tools=tools,
            tool_choice=tool_choice,
            json_output=json_output,
            extra_create_args=extra_create_args,
            cancellation_token=cancellation_token,
        )

    def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: ToolChoice = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[str | CreateResult, None]:
        """See :class:`autogen_core.models.ChatCompletionClient`."""
        return self.inner.create_stream(
            messages,
            tools=tools,
            tool_choice=tool_choice,
            json_output=json_output,
            extra_create_args=extra_create_args,
            cancellation_token=cancellation_token,
        )

    async def close(self) -> None:
        """Closes the client inside."""
        await self.inner.close()

    def actual_usage(self) -> RequestUsage:
        """That of the client inside."""
        return self.inner.actual_usage()

    def total_usage(self) -> RequestUsage:
        """That of the client inside."""
        return self.inner.total_usage()

    def count_tokens(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()
    ) -> int:
        """As the client inside counts."""
        return self.inner.count_tokens(messages, tools=tools)

    def remaining_tokens(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()
    ) -> int:
        """As the client inside counts."""
        return self.inner.remaining_tokens(messages, tools=tools)

    @property
    def capabilities(self) -> ModelCapabilities:
        """Those of the client inside."""
        return self.inner.capabilities

    @property
    def model_info(self) -> ModelInfo:
        """That of the client inside."""
        return self.inner.model_info

    def _to_config(self) -> BaseModel:
        # A wrapper belongs to a running campaign; what is saved is the client inside.
        raise NotImplementedError("save the client inside")


async def without_function_call(response: Any) -> None:
    """Takes the old ``function_call`` out of an answer that has tool calls as well.

    The server of llama-cpp-python sends both, and AutoGen's client refuses what has the old one.
    For use as an event hook of an HTTP client.

    Args:
        response: The answer, as the HTTP library of the OpenAI package has it.
    """
    if "application/json" not in response.headers.get("content-type", ""):
        return
    body = await response.aread()
    if b'"function_call"' not in body:
        return
    table = json.loads(body)
    for choice in table.get("choices", ()):
        message = choice.get("message") or {}
        if message.get("tool_calls"):
            message["function_call"] = None
            choice["finish_reason"] = "tool_calls"
    response._content = json.dumps(table).encode()


BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""HTTP status codes that pass: time-outs, limits of rate, faults and overload of the server."""

_UNREACHABLE = frozenset(
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
"""Names of errors of connections, as the libraries of providers have them."""

_SPENT = ("insufficient_quota", "billing", "credit balance")
"""Words of a limit that no waiting lifts."""


def outage(error: BaseException | None) -> str | None:
    """What is wrong with the provider; ``None`` if waiting does not help.

    Args:
        error: What its library raised.
    """
    if error is None or any(word in str(error).lower() for word in _SPENT):
        return None
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return f"HTTP {status}" if status in BUSY else None
    name = type(error).__name__
    if name in _UNREACHABLE or isinstance(error, ConnectionError | TimeoutError):
        return name
    return None


def wait_asked_for(error: BaseException | None) -> float | None:
    """The pause that a provider asks for in its ``Retry-After`` header, in seconds."""
    response = getattr(error, "response", None)
    headers: Mapping[str, Any] | None = getattr(response, "headers", None)
    told = headers.get("retry-after") if headers is not None else None
    try:
        return max(0.0, float(told)) if told is not None else None
    except ValueError:
        return None  # a date: the pauses of our own will do


DAY = 86_400.0
LONGEST_WAIT = 300.0

SAID_AFTER = 10.0
"""Waits shorter than this, in seconds, are not worth a word."""


class RetryingClient(WrappedClient):
    """Tries a call again while the provider limits the rate, is down or cannot be reached.

    What a provider refuses for good (a bad request, a wrong key, a spent quota) is raised at once.

    Args:
        inner: The client inside.
        say: Told when it begins to wait, and when it goes on.
        most_seconds: How long a provider may be down, in seconds.
        first_wait: First pause, in seconds; each is twice the one before, with jitter.
        longest_wait: Longest pause, in seconds, unless the provider asks for a longer one.
    """

    def __init__(
        self,
        inner: ChatCompletionClient,
        *,
        say: Callable[[str], None] = lambda text: None,
        most_seconds: float = DAY,
        first_wait: float = 1.0,
        longest_wait: float = LONGEST_WAIT,
    ) -> None:
        super().__init__(inner)
        self._say = say
        self._most_seconds = most_seconds
        self._wait = wait_exponential(multiplier=first_wait, max=longest_wait) + wait_random(
            0, first_wait
        )
        self._since: float | None = None

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
        """See :class:`autogen_core.models.ChatCompletionClient`.

        Raises:
            Exception: What the provider refused for good, or its fault after all that time.
        """
        async for attempt in self._attempts(cancellation_token):
            with attempt:
                result = await super().create(
                    messages,
                    tools=tools,
                    tool_choice=tool_choice,
                    json_output=json_output,
                    extra_create_args=extra_create_args,
                    cancellation_token=cancellation_token,
                )
        self._goes_on()
        return result

    async def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: ToolChoice = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[str | CreateResult, None]:
        """As :meth:`create`; once something has come, nothing is tried again."""
        async for attempt in self._attempts(cancellation_token):
            with attempt:
                stream = super().create_stream(
                    messages,
                    tools=tools,
                    tool_choice=tool_choice,
                    json_output=json_output,
                    extra_create_args=extra_create_args,
                    cancellation_token=cancellation_token,
                )
                first = await anext(stream)
        self._goes_on()
        yield first
        async for item in stream:
            yield item

    def _attempts(self, token: CancellationToken | None) -> AsyncRetrying:
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
            before_sleep=self._waits,
            reraise=True,
        )

    def _pause(self, state: RetryCallState) -> float:
        asked = wait_asked_for(_error(state)) or 0.0
        return max(asked, self._wait(state))

    def _waits(self, state: RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        if self._since is None and seconds >= SAID_AFTER:
            self._since = time.monotonic() - (state.seconds_since_start or 0.0)
            self._say(f"the model does not answer ({outage(_error(state))}): waiting for it")

    def _goes_on(self) -> None:
        if self._since is not None:
            seconds, self._since = time.monotonic() - self._since, None
            self._say(f"the model answers again, after {seconds:.0f} s")


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


UNREADABLE = "unreadable_arguments"
"""The argument that holds what is no JSON, so that the tool itself can say how to call it."""

_KEPT = 2_000
_FENCE = re.compile(r"^\s*```(?:json)?\s*(.*?)\s*```\s*$", re.DOTALL)
_TRAILING = re.compile(r",(\s*[}\]])")


class JsonRepairClient(WrappedClient):
    """Puts the form of arguments right, and never their content."""

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
        """See :class:`autogen_core.models.ChatCompletionClient`."""
        result = await super().create(
            messages,
            tools=tools,
            tool_choice=tool_choice,
            json_output=json_output,
            extra_create_args=extra_create_args,
            cancellation_token=cancellation_token,
        )
        if isinstance(result.content, str):
            return result
        return result.model_copy(update={"content": [_tidy(call) for call in result.content]})


def _tidy(call: FunctionCall) -> FunctionCall:
    return FunctionCall(id=call.id, name=call.name, arguments=tidied(call.arguments))


def tidied(arguments: str) -> str:
    """Arguments as the JSON of a table.

    Args:
        arguments: What a model wrote; an empty text is an empty table.

    Returns:
        The same table in proper JSON; what cannot be read is in it as text.
    """
    for read in (_plain, _unfenced, _without_trailing_commas, ast.literal_eval):
        try:
            found = read(arguments or "{}")
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, str):
            return tidied(found) if found != arguments else _unreadable(arguments)
        if isinstance(found, dict):
            return json.dumps(found) if read is not _plain else arguments or "{}"
    return _unreadable(arguments)


def _plain(text: str) -> Any:
    return json.loads(text)


def _unfenced(text: str) -> Any:
    match = _FENCE.match(text)
    return json.loads(match[1] if match else text, strict=False)


def _without_trailing_commas(text: str) -> Any:
    # A comma before a bracket inside a text would go, too; so only what is no JSON comes here.
    return json.loads(_TRAILING.sub(r"\1", text), strict=False)


def _unreadable(text: str) -> str:
    return json.dumps({UNREADABLE: text[:_KEPT]})
