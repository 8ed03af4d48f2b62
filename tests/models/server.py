"""A real HTTP server that answers from a script, in the words of the provider that is asked.

The path says which: the Messages of Anthropic, the chat of Ollama, or the chat completions of
OpenAI, which Azure and most other servers speak, too.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """One answer of the server.

    Attributes:
        text: What the model says.
        calls: Tool calls: name and the arguments as raw text.
        status: HTTP status; anything but 200 is an error with ``text`` as its message.
        headers: More headers.
        hang_up: Whether the connection is closed without an answer.
        ended: Why the answer ended, in the provider's words; ``None`` for that it was complete.
        usage: Tokens sent and received; ``None`` leaves them out, as some servers do.
    """

    text: str = ""
    calls: Sequence[tuple[str, str]] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    ended: str | None = None
    usage: tuple[int, int] | None = (100, 10)


class ModelServer:
    """Answers requests one after the other from a list; the last reply stays."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies = list(replies)
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.keys: list[str] = []
        self.url = ""

    def reply(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextmanager
def serving(*replies: Reply) -> Iterator[ModelServer]:
    """Serves on a free port of this machine as long as the context lasts."""
    model = ModelServer(replies)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            model.requests.append(json.loads(body))
            model.paths.append(self.path)
            model.headers.append({name.lower(): value for name, value in self.headers.items()})
            model.keys.append(self.headers.get("Authorization") or "")
            reply = model.reply()
            if reply.hang_up:
                self.close_connection = True
                return
            speak = next(
                (words for end, words in WORDS.items() if self.path.endswith(end)), _openai
            )
            data = json.dumps(
                speak(reply, model.requests)
                if reply.status == 200
                else {"error": {"message": reply.text, "type": "test", "code": None}}
            ).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    model.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _openai(reply: Reply, requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    number = len(requests)
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": f"call-{number}-{place}",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            for place, (name, arguments) in enumerate(reply.calls)
        ]
    body: dict[str, Any] = {
        "id": f"answer-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": requests[-1]["model"],
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": reply.ended or ("tool_calls" if reply.calls else "stop"),
            }
        ],
    }
    if reply.usage is not None:
        sent, received = reply.usage
        body["usage"] = {
            "prompt_tokens": sent,
            "completion_tokens": received,
            "total_tokens": sent + received,
        }
    return body


def _anthropic(reply: Reply, requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    number, (sent, received) = len(requests), reply.usage or (0, 0)
    content: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
    content += [
        {"type": "tool_use", "id": f"call-{number}-{i}", "name": name, "input": json.loads(given)}
        for i, (name, given) in enumerate(reply.calls)
    ]
    return {
        "id": f"answer-{number}",
        "type": "message",
        "role": "assistant",
        "model": requests[-1]["model"],
        "content": content,
        "stop_reason": reply.ended or ("tool_use" if reply.calls else "end_turn"),
        "stop_sequence": None,
        "usage": {"input_tokens": sent, "output_tokens": received},
    }


def _ollama(reply: Reply, requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.calls:
        message["tool_calls"] = [
            {"function": {"name": name, "arguments": json.loads(given)}}
            for name, given in reply.calls
        ]
    body: dict[str, Any] = {
        "model": requests[-1]["model"],
        "created_at": "2026-01-01T00:00:00Z",
        "message": message,
        "done": True,
        "done_reason": reply.ended or "stop",
    }
    if reply.usage is not None:
        body["prompt_eval_count"], body["eval_count"] = reply.usage
    return body


WORDS = {"/messages": _anthropic, "/api/chat": _ollama}
"""How the answers of other providers are written, by the end of the path."""


@contextmanager
def hostile(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[Any]]]:
    """Serves what a function writes to each request; gives the address and the headers that came.

    A client that hangs up ends the answer.
    """
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(dict(self.headers))
            self.close_connection = True
            with suppress(ConnectionError):
                answer(self)

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
