"""Clients around a client: whole and streamed answers are treated alike."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage, RequestUsage
from autogen_core.models import UserMessage as Said
from autogen_core.tools import ToolSchema

from recipelab.budget import BudgetLimits, Ledger
from recipelab.lineage import LineageStore
from recipelab.models import (
    GuidedClient,
    JsonRepairClient,
    MeteredClient,
    OfflineClient,
    Patience,
    Prices,
    RetryingClient,
    open_model,
)
from recipelab.models.wrappers import Piece, WrappedClient

ASKED = [Said(content="Hello?", source="user")]
USAGE = RequestUsage(prompt_tokens=100, completion_tokens=10)
TOOL: ToolSchema = {
    "name": "turn_knob",
    "description": "Turns a knob.",
    "parameters": {
        "type": "object",
        "properties": {"change": {"type": "string"}, "note": {"type": "string"}},
        "required": ["change"],
        "additionalProperties": False,
    },
}


def answer(content: str | list[FunctionCall]) -> CreateResult:
    return CreateResult(finish_reason="stop", content=content, usage=USAGE, cached=False)


def called(arguments: str) -> CreateResult:
    return answer([FunctionCall(id="1", name="turn_knob", arguments=arguments)])


class Scripted(OfflineClient):
    """Answers with set pieces, and notes what it is asked; an error among them is raised."""

    def __init__(self, *answers: Sequence[Piece | Exception]) -> None:
        super().__init__()
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []

    async def create(self, messages: Sequence[LLMMessage], **options: Any) -> CreateResult:
        pieces = [piece async for piece in self.create_stream(messages, **options)]
        assert isinstance(pieces[-1], CreateResult)
        return pieces[-1]

    async def create_stream(
        self, messages: Sequence[LLMMessage], **options: Any
    ) -> AsyncGenerator[Piece, None]:
        self.requests.append({"messages": messages, **options})
        for piece in self.answers.pop(0):
            if isinstance(piece, Exception):
                raise piece
            yield piece


async def ask(client: ChatCompletionClient, *, stream: bool, **options: Any) -> list[Piece]:
    if not stream:
        return [await client.create(ASKED, **options)]
    return [piece async for piece in client.create_stream(ASKED, **options)]


whole_and_streamed = pytest.mark.parametrize("stream", [False, True])


@whole_and_streamed
async def test_every_option_reaches_the_client_inside(stream: bool) -> None:
    options = {
        "tools": [TOOL],
        "tool_choice": "required",
        "json_output": True,
        "extra_create_args": {"top_p": 0.5},
        "cancellation_token": CancellationToken(),
    }
    inner = Scripted([answer("Hi.")])
    client = JsonRepairClient(RetryingClient(WrappedClient(inner)))
    assert await ask(client, stream=stream, **options) == [answer("Hi.")]
    assert inner.requests == [{"messages": ASKED, **options}]


async def test_a_stream_comes_piece_by_piece() -> None:
    inner = Scripted(["Hel", "lo.", answer("Hello.")])
    client = MeteredClient(
        RetryingClient(JsonRepairClient(inner)),
        lambda: None,
        specialist="left",
        model="offline",
        prices=Prices(),
    )
    assert await ask(client, stream=True) == ["Hel", "lo.", answer("Hello.")]


@whole_and_streamed
async def test_arguments_are_repaired(stream: bool) -> None:
    client = JsonRepairClient(Scripted([called("{'change': 'X = 1',}")]))
    assert await ask(client, stream=stream) == [called('{"change": "X = 1"}')]


@whole_and_streamed
async def test_an_outage_is_waited_out(stream: bool) -> None:
    inner = Scripted([ConnectionError()], [TimeoutError()], [answer("Hi.")])
    client = RetryingClient(inner, first_wait=0.01)
    assert await ask(client, stream=stream) == [answer("Hi.")]
    assert len(inner.requests) == 3


async def test_a_stream_that_has_begun_is_not_repeated() -> None:
    inner = Scripted(["Hel", ConnectionError()], [answer("Hello.")])
    stream = RetryingClient(inner, first_wait=0.01).create_stream(ASKED)
    assert await anext(stream) == "Hel"
    with pytest.raises(ConnectionError):
        await anext(stream)
    assert len(inner.requests) == 1


@whole_and_streamed
async def test_a_call_is_booked_and_a_failed_one_frees_its_budget(
    store: LineageStore, stream: bool
) -> None:
    # Room for one answer of the size that is expected first, and not for two.
    ledger = Ledger(store, "c", BudgetLimits(tokens=1_500))
    client = MeteredClient(
        Scripted([ValueError("no")], [answer("Hi.")]),
        lambda: ledger,
        specialist="left",
        model="offline",
        prices=Prices(),
    )
    with pytest.raises(ValueError, match="no"):
        await ask(client, stream=stream)
    assert ledger.spent.tokens == 0
    assert await ask(client, stream=stream) == [answer("Hi.")]
    assert ledger.spent.tokens == 110


@whole_and_streamed
async def test_a_guided_model_is_offered_one_tool_and_its_required_arguments(
    stream: bool,
) -> None:
    inner = Scripted([called('{"change": "X = 1"}')])
    client = GuidedClient(inner, ["turn_knob"])
    other: ToolSchema = {"name": "read_recipe", "description": "Reads."}
    (result,) = await ask(client, stream=stream, tools=[other, TOOL])
    assert isinstance(result, CreateResult)
    assert result.thought == "I call turn_knob."
    (request,) = inner.requests
    (offered,) = request["tools"]
    assert list(offered["parameters"]["properties"]) == ["change"]
    assert request["tool_choice"].schema == offered
    (closing,) = await ask(client, stream=stream, tools=[other])
    assert isinstance(closing, CreateResult) and isinstance(closing.content, str)


class Late(OfflineClient):
    """A client whose first request runs into its time-out."""

    calls = 0

    async def create(self, messages: Sequence[LLMMessage], **more: Any) -> CreateResult:
        self.calls += 1
        if self.calls == 1:
            await asyncio.sleep(0.06)
            raise TimeoutError
        return await super().create(messages, **more)


async def test_a_request_that_is_sent_again_after_its_time_out_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TOLD_OUTAGE", "LONG_REQUEST"):
        monkeypatch.setattr(f"recipelab.models.wrappers.{name}", 0.05)
    said: list[str] = []
    known = Patience("the model", said.append)
    client = RetryingClient(Late(), first_wait=0.001, longest_wait=0.002, patience=known)
    await client.create(ASKED)
    assert said[0].startswith("the model does not answer (TimeoutError after ")
    assert said[0].endswith(": the request is sent again")
    assert said[1].startswith("the model answers again")


class StreamOfOpenAI(BaseHTTPRequestHandler):
    """Streams an answer, and tells its tokens only if asked, as OpenAI does."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        empty = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
        delta = {"index": 0, "delta": {"role": "assistant", "content": "Well."}}
        pieces: list[dict[str, Any]] = [
            {**empty, "choices": [{**delta, "finish_reason": None}]},
            {**empty, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        ]
        if asked.get("stream_options", {}).get("include_usage"):
            usage = {"prompt_tokens": 70, "completion_tokens": 7, "total_tokens": 77}
            pieces.append({**empty, "choices": [], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(f"data: {json.dumps(piece)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *words: Any) -> None: ...


async def test_a_stream_tells_its_tokens() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), StreamOfOpenAI)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        client = RetryingClient(open_model("openai:m", seed=0, base_url=url))
        pieces = [piece async for piece in client.create_stream(ASKED)]
        await client.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert pieces[0] == "Well."
    assert isinstance(pieces[-1], CreateResult)
    assert pieces[-1].usage == RequestUsage(prompt_tokens=70, completion_tokens=7)
