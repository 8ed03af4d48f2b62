# ruff: noqa: SIM117, E501
"""A server that means no good: endless answers, other hosts, what is no JSON, odd arguments."""

from __future__ import annotations

import gzip
import json
import time
from http.server import BaseHTTPRequestHandler

import pytest
from autogen_core.models import ChatCompletionClient, UserMessage

from recipelab.core.errors import ModelError
from recipelab.models import RetryingClient, open_model
from recipelab.models import open as opening
from recipelab.models.wrappers import (
    MAX_ANSWER,
    UNREADABLE,
    JsonRepairClient,
    repaired_arguments,
    retry_after,
)

from .server import Reply, hostile, serving

ASKED = [UserMessage(content="Hello?", source="user")]
KEY = "sk-this-is-a-secret-0123456789"
MODELS = {"openai:small": "OPENAI_API_KEY", "anthropic:small": "ANTHROPIC_API_KEY"}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    for name in MODELS.values():
        monkeypatch.setenv(name, KEY)


async def ask(url: str, model: str) -> None:
    """Asks a model; of Anthropic's the library itself, which AutoGen's client may not fit."""
    inner = open_model(model, seed=0, base_url=url)
    try:
        if model.startswith("openai"):
            await patient(url).create(ASKED)
        library = inner._client  # type: ignore[attr-defined]
        await library.messages.create(
            model="small", max_tokens=5, messages=[{"role": "user", "content": "Hello?"}]
        )
    except ModelError:
        raise
    except Exception as error:
        assert isinstance(error.__cause__, ModelError), error
        raise error.__cause__ from None
    finally:
        await inner.close()


def patient(url: str) -> ChatCompletionClient:
    inner = open_model("openai:small", seed=0, base_url=url)
    return JsonRepairClient(RetryingClient(inner, first_wait=0.01, longest_wait=0.02))


def head(handler: BaseHTTPRequestHandler, kind: str = "application/json", **more: str) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    for name, value in more.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


@pytest.mark.parametrize("model", MODELS)
async def test_no_key_goes_to_another_host(model: str) -> None:
    with hostile(lambda handler: head(handler)) as (thief, seen):

        def send_on(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(307)
            handler.send_header("Location", f"{thief}/v1/messages")
            handler.end_headers()

        with hostile(send_on) as (url, asked):
            with pytest.raises(
                ModelError, match=r"sends on to http://127\.0\.0\.1, which would get"
            ):
                await ask(url, model)
    assert len(asked) == 1
    assert KEY in str(asked)
    assert seen == []


async def test_a_redirect_on_the_same_host_is_followed() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.endswith("/there"):
            head(handler)
            message = {"role": "assistant", "content": "Hi."}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            handler.wfile.write(json.dumps({"model": "small", "choices": [choice]}).encode())
            return
        handler.send_response(307)
        handler.send_header("Location", "/there")
        handler.end_headers()

    with hostile(answer) as (url, seen):
        client = patient(url)
        assert (await client.create(ASKED)).content == "Hi."
        await client.close()
    assert len(seen) == 2


def endless(handler: BaseHTTPRequestHandler) -> None:
    head(handler)
    while True:
        handler.wfile.write(b" " * 65_536)


def endless_events(handler: BaseHTTPRequestHandler) -> None:
    head(handler, "text/event-stream")
    while True:
        handler.wfile.write(b": still here\n\n" * 1_000)


def bomb(handler: BaseHTTPRequestHandler) -> None:
    head(handler, Content_Encoding="gzip")
    handler.wfile.write(gzip.compress(b" " * 50_000_000))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("answer", [endless, bomb])
async def test_an_endless_answer_is_broken_off(
    model: str, answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "MAX_ANSWER_BYTES", 5_000_000)
    with hostile(answer) as (url, seen):  # type: ignore[arg-type]
        with pytest.raises(ModelError, match="longer than 5,000,000 bytes"):
            await ask(url, model)
    assert len(seen) == 1


async def test_an_endless_stream_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_ANSWER_BYTES", 5_000_000)
    with hostile(endless_events) as (url, seen):
        client = patient(url)
        with pytest.raises(ModelError, match="longer than 5,000,000 bytes"):
            async for _ in client.create_stream(ASKED):
                pass
        await client.close()
    assert len(seen) == 1


async def test_an_answer_that_drips_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_ANSWER_SECONDS", 0.0)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        head(handler)
        while True:
            handler.wfile.write(b" ")
            time.sleep(0.01)

    with hostile(drip) as (url, _):
        client = patient(url)
        with pytest.raises(ModelError, match="has no end after 0 s"):
            await client.create(ASKED)
        await client.close()


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\xff\xfe\xff", b"[]", b"null", b"{", b'{"choices": 7}', b'{"choices": []}', b"[" * 9_999),
        *(b'{"choices": [{"message": "function_call"}]}', b'{"function_call": '),
        b'["function_call"]',
    ],
)  # fmt: skip
async def test_what_is_no_answer_is_an_error_at_once(body: bytes) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler)
        handler.wfile.write(body)

    with hostile(answer) as (url, seen):
        client = patient(url)
        with pytest.raises(Exception):  # noqa: B017  the libraries have an error for each
            await client.create(ASKED)
        await client.close()
    # No waiting lifts it: an outage would be waited out for a day.
    assert len(seen) == 1


@pytest.mark.parametrize("said", ["nan", "inf", "-1", "1e999", "soon"])
def test_a_wait_without_end_is_not_heard(said: str) -> None:
    error = Exception()
    error.response = type("Response", (), {"headers": {"retry-after": said}})()  # type: ignore[attr-defined]
    assert retry_after(error) in (None, 0.0)


async def test_a_wait_that_is_asked_for_has_an_end() -> None:
    busy = Reply("busy", status=503, headers={"Retry-After": "1e9"})
    with serving(busy, Reply("Hi.")) as server:
        inner = open_model("openai:small", seed=0, base_url=server.url)
        client = RetryingClient(inner, first_wait=0.01, most_seconds=0.2)
        assert (await client.create(ASKED)).content == "Hi."
        await client.close()


async def test_a_long_answer_is_cut() -> None:
    with serving(Reply("x" * (MAX_ANSWER + 5))) as server:
        client = patient(server.url)
        assert (await client.create(ASKED)).content == "x" * MAX_ANSWER
        await client.close()


@pytest.mark.parametrize(
    "arguments",
    [
        *("{" + " " * 10_000_000, "```" + " " * 3_000_000, "," * 3_000_000, "{'a': b'x'}", "{(1,): 2}"),
        *("{'a': {1, 2}}", "{'a': 0x" + "f" * 9_000 + "}", "[" * 100_000, '{"a": ' * 50_000),
        "," + " " * 3_000_000 + "x",
    ],
    ids=range(10),
)  # fmt: skip
def test_arguments_that_are_no_json_are_told_so(arguments: str) -> None:
    assert list(json.loads(repaired_arguments(arguments))) == [UNREADABLE]
