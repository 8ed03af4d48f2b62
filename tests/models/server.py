"""A real HTTP server that speaks the chat completions of OpenAI from a script."""

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
    """

    text: str = ""
    calls: Sequence[tuple[str, str]] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False


class ModelServer:
    """Answers requests one after the other from a list; the last reply stays."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies = list(replies)
        self.requests: list[dict[str, Any]] = []
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
            model.keys.append(self.headers.get("Authorization") or "")
            reply = model.reply()
            if reply.hang_up:
                self.close_connection = True
                return
            data = json.dumps(_body(reply, model.requests)).encode()
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


def _body(reply: Reply, requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    number = len(requests)
    if reply.status != 200:
        return {"error": {"message": reply.text, "type": "test", "code": None}}
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
    return {
        "id": f"answer-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": requests[-1]["model"],
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": "tool_calls" if reply.calls else "stop",
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


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
