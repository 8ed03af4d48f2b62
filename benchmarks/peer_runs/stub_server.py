"""A model server on the loopback that answers at once; prints its URL when it is ready."""

from __future__ import annotations

import itertools
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from programs import replies

TEMPLATE = (
    "<NAME>\nstep\n</NAME>\n<DESCRIPTION>\nA step.\n</DESCRIPTION>\n"
    "<CODE>\n```python\n{}```\n</CODE>"
)
reply, numbers = replies(TEMPLATE), itertools.count(1)


def completion() -> dict[str, Any]:
    """An answer to ``/v1/chat/completions``."""
    message = {"role": "assistant", "content": reply()}
    return {
        "id": f"chat-{next(numbers)}",
        "object": "chat.completion",
        "created": 0,
        "model": "stub",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
    }


class Handler(BaseHTTPRequestHandler):
    """Answers chat completions."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Reads a request and answers it."""
        self.rfile.read(int(self.headers["Content-Length"]))
        if not self.path.endswith("/chat/completions"):
            self.send_error(404)
            return
        body = json.dumps(completion()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
