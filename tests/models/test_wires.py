"""Every provider's client, by what really goes over the wire to a server of its kind.

They pass with the oldest and with the newest version that the extras allow; CI runs them with both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from autogen_core.models import (
    AssistantMessage,
    ChatCompletionClient,
    CreateResult,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import ToolSchema

from recipelab.core.errors import ModelError
from recipelab.models import Sampling, ThinkingClient, WholeAnswerClient, open_model
from recipelab.models import open as opening
from recipelab.models.open import PROVIDERS

from .server import ModelServer, Reply, serving

KEY = "sk-this-is-a-secret-0123456789"

TOOL: ToolSchema = {
    "name": "look",
    "description": "Look at a trial.",
    "parameters": {
        "type": "object",
        "properties": {"trial": {"type": "integer", "description": "Its number."}},
        "required": ["trial"],
        "additionalProperties": False,
    },
}

TALK: list[LLMMessage] = [
    SystemMessage(content="You are arch."),
    UserMessage(content="Your turn.", source="user"),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_VERSION", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.setenv(name, KEY)
    yield


@dataclass(frozen=True)
class Wire:
    """The way in which a provider is asked.

    Attributes:
        base: Maps the address of a server to that of the provider's interface on it.
        path: Where requests go.
        key: The header that holds the key, and what it holds; ``None`` where no key is sent.
        limit: Returns the limit of tokens in a request's body.
        temperature: Returns the temperature in it.
        system: Returns the system message in it.
        tool: Returns name and parameters of its one tool.
        cut: The provider's word for an answer that was cut off.
    """

    base: Callable[[str], str]
    path: str
    key: tuple[str, str] | None
    limit: Callable[[dict[str, Any]], int | None]
    temperature: Callable[[dict[str, Any]], float | None]
    system: Callable[[dict[str, Any]], str]
    tool: Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]
    cut: str


def first_message(body: dict[str, Any]) -> str:
    assert body["messages"][0]["role"] == "system"
    return str(body["messages"][0]["content"])


def function(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    (tool,) = body["tools"]
    return tool["function"]["name"], tool["function"]["parameters"]


def own_tool(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    (tool,) = body["tools"]
    return tool["name"], tool["input_schema"]


OPENAI = Wire(
    base=lambda root: f"{root}/v1",
    path="/v1/chat/completions",
    key=("authorization", f"Bearer {KEY}"),
    limit=lambda body: body.get("max_tokens"),
    temperature=lambda body: body.get("temperature"),
    system=first_message,
    tool=function,
    cut="length",
)

WIRES = {
    "openai": OPENAI,
    "azure": Wire(
        base=lambda root: root,
        path="/openai/deployments/small/chat/completions?api-version=2024-10-21",
        key=("api-key", KEY),
        limit=OPENAI.limit,
        temperature=OPENAI.temperature,
        system=first_message,
        tool=function,
        cut="length",
    ),
    "anthropic": Wire(
        base=lambda root: root,
        path="/v1/messages",
        key=("x-api-key", KEY),
        limit=lambda body: body.get("max_tokens"),
        temperature=lambda body: body.get("temperature"),
        system=lambda body: str(body["system"]),
        tool=own_tool,
        cut="max_tokens",
    ),
    "ollama": Wire(
        base=lambda root: root,
        path="/api/chat",
        key=None,
        limit=lambda body: body.get("options", {}).get("num_predict"),
        temperature=lambda body: body.get("options", {}).get("temperature"),
        system=first_message,
        tool=function,
        cut="length",
    ),
}

LEFT = Sampling()
"""All is left to the provider."""

DEFAULT_LIMIT = {"anthropic": opening.ANTHROPIC_ANSWER}
"""Limits that are sent where nobody asks for one."""


def test_every_provider_has_a_wire() -> None:
    assert set(WIRES) == set(PROVIDERS)


@asynccontextmanager
async def asked_client(
    provider: str, server: ModelServer, sampling: Sampling = LEFT
) -> AsyncIterator[ChatCompletionClient]:
    base = WIRES[provider].base(server.url.removesuffix("/v1"))
    client = open_model(f"{provider}:small", seed=0, base_url=base, sampling=sampling)
    try:
        yield client
    finally:
        await client.close()


@pytest.mark.parametrize("provider", WIRES)
async def test_a_call_of_a_tool_comes_back_and_its_result_goes_out(provider: str) -> None:
    wire = WIRES[provider]
    call = Reply(calls=[("look", '{"trial": 3}')])
    with serving(call, Reply("It was kept.")) as server:
        async with asked_client(provider, server, Sampling(0.25, 32_000)) as client:
            first = await client.create(TALK, tools=[TOOL])
            assert isinstance(first.content, list)
            (made,) = first.content
            result = FunctionExecutionResult(
                content="trial 3: kept", name="look", call_id=made.id, is_error=False
            )
            more = [
                AssistantMessage(content=first.content, source="arch"),
                FunctionExecutionResultMessage(content=[result]),
            ]
            last = await client.create([*TALK, *more], tools=[TOOL])
    assert (made.name, made.arguments) == ("look", '{"trial": 3}')
    assert first.finish_reason == "function_calls"
    assert (last.content, last.finish_reason) == ("It was kept.", "stop")
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (100, 10)
    assert server.paths == [wire.path] * 2
    body = server.requests[0]
    assert (body["model"], body.get("stream", False)) == ("small", False)
    assert wire.system(body) == "You are arch."
    assert [message["role"] for message in body["messages"]][-1] == "user"
    assert "Your turn." in str(body["messages"][-1]["content"])
    assert wire.tool(body)[0] == "look"
    assert wire.tool(body)[1]["properties"]["trial"]["type"] == "integer"
    assert (wire.limit(body), wire.temperature(body)) == (32_000, 0.25)
    assert "trial 3: kept" in str(server.requests[1]["messages"][-1])
    for headers in server.headers if wire.key else ():
        assert headers[wire.key[0]] == wire.key[1]  # type: ignore[index]
    if wire.key is None:
        assert KEY not in str(server.headers)


@pytest.mark.parametrize("provider", WIRES)
async def test_what_nobody_asks_for_is_left_to_the_provider(provider: str) -> None:
    wire = WIRES[provider]
    with serving(Reply("Hi.")) as server:
        async with asked_client(provider, server) as client:
            await client.create(TALK)
    body = server.requests[0]
    assert wire.limit(body) == DEFAULT_LIMIT.get(provider)
    # AutoGen always sends one to Anthropic: the provider's own default.
    assert wire.temperature(body) == (1.0 if provider == "anthropic" else None)
    assert not body.get("tools")


async def test_openai_itself_is_told_the_limit_in_the_word_that_all_its_models_take() -> None:
    with serving(Reply("Hi.")) as server:
        client = open_model("openai:gpt-4o-2024-08-06", seed=0, sampling=Sampling(max_tokens=9))
        library = client._client  # type: ignore[attr-defined]
        library.base_url = server.url
        await client.create(TALK)
        await client.close()
    assert server.requests[0]["max_completion_tokens"] == 9
    assert "max_tokens" not in server.requests[0]


@pytest.mark.parametrize("provider", WIRES)
async def test_an_answer_that_was_cut_off_is_told_as_that(provider: str) -> None:
    cut = Reply("First I would", ended=WIRES[provider].cut, usage=(100, 64))
    with serving(cut) as server:
        async with asked_client(provider, server) as inner:
            client = WholeAnswerClient(inner, limit=64)
            with pytest.raises(ModelError, match="cut off at its limit of tokens"):
                await client.create(TALK, tools=[TOOL])
            # Where no tool is offered, a text is what was asked for.
            assert (await client.create(TALK)).content == "First I would"


async def test_an_answer_that_a_filter_withheld_is_told_as_that() -> None:
    with serving(Reply("", ended="content_filter")) as server:
        async with asked_client("openai", server) as inner:
            with pytest.raises(ModelError, match="content filter"):
                await WholeAnswerClient(inner).create(TALK, tools=[TOOL])


@pytest.mark.parametrize(
    ("said", "thinking", "content"),
    [
        ("<think>Hm.</think>\n\nDone.", "<think>Hm.</think>", "Done."),
        ("Hm, template.</think>Done.", "<think>Hm, template.</think>", "Done."),
        ("<think>It was cut", "<think>It was cut", ""),
        ("Nothing of it. ", "", "Nothing of it. "),
    ],
)
async def test_thinking_is_a_thought_and_no_text(said: str, thinking: str, content: str) -> None:
    with serving(Reply(said)) as server:
        async with asked_client("openai", server) as inner:
            answer = await ThinkingClient(inner).create(TALK)
    assert (answer.content, answer.thought or "") == (content, thinking)


@pytest.mark.parametrize("provider", WIRES)
async def test_thinking_goes_out_with_no_later_call(provider: str) -> None:
    thinker = Reply("<think>Secret.</think>I look.", calls=[("look", '{"trial": 3}')])
    with serving(thinker, Reply("Done.")) as server:
        async with asked_client(provider, server) as inner:
            client = ThinkingClient(inner)
            first: CreateResult = await client.create(TALK, tools=[TOOL])
            assert isinstance(first.content, list)
            result = FunctionExecutionResult(
                content="kept", name="look", call_id=first.content[0].id, is_error=False
            )
            later = AssistantMessage(content=first.content, thought=first.thought, source="arch")
            told = FunctionExecutionResultMessage(content=[result])
            await client.create([*TALK, later, told], tools=[TOOL])
    assert "Secret" in (first.thought or "")
    sent = str(server.requests[1]["messages"])
    assert "Secret" not in sent
    if provider != "ollama":  # Its client sends no words beside calls at all.
        assert "I look." in sent


def test_a_library_whose_calls_fail_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "version", lambda package: "2.14.0")
    with pytest.raises(ModelError, match=r'anthropic 2\.14\.0.*pip install "anthropic>=0\.48,<1"'):
        open_model("anthropic:claude", seed=0)
