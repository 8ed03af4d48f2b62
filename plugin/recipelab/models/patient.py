"""A model client that waits while its provider is busy or down, and says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage
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

from recipelab.models.outages import outage, wait_asked_for
from recipelab.models.wrapped import ToolChoice, WrappedClient

DAY = 86_400.0
LONGEST_WAIT = 300.0

SAID_AFTER = 10.0
"""Waits shorter than this, in seconds, are not worth a word."""


class PatientClient(WrappedClient):
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
