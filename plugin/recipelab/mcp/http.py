"""A campaign's server by streamable HTTP, behind the guard of the page."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from recipelab.core.errors import RecipelabError
from recipelab.mcp.sdk import Answers, HttpSessions
from recipelab.page.listening import (
    Binding,
    address_url,
    listening_socket,
    new_token,
    quiet_server,
)
from recipelab.page.security import Access, Guard, Rules

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

PATH = "/mcp"
PORT = 8643
HOST = "127.0.0.1"
TOKEN_VARIABLE = "RECIPELAB_MCP_TOKEN"
"""The environment variable that holds the token, for one that outlives a start."""

SHORTEST_TOKEN = 16
"""Characters of a token that a person may choose."""

RULES = Rules(("GET", "POST", "DELETE"), 4 << 20, PATH, "mcp", opens=False)
"""What is taken: edits are longer than anything that the page sends."""


def parse_address(text: str, allowed: tuple[str, ...] = ()) -> Binding:
    """Return where to listen, from ``HOST:PORT``, ``HOST``, or ``PORT`` alone.

    Args:
        text: What a user gave.
        allowed: Further names under which the server may be addressed.

    Raises:
        RecipelabError: It is no address.
    """
    host, colon, port = text.rpartition(":")
    if not colon and not text.isdigit():
        host, port = text, str(PORT)
    host = host.removeprefix("[").removesuffix("]") or HOST
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise RecipelabError(
            f"--http: {text!r} is not valid; valid: HOST:PORT, as {HOST}:{PORT}, or a port alone"
        )
    return Binding(host, int(port), True, allowed)


def chosen_token() -> str:
    """Return the token of the environment, or a new one.

    Raises:
        RecipelabError: The one of the environment is too short to be none that is guessed.
    """
    token = os.environ.get(TOKEN_VARIABLE, "")
    if not token:
        return new_token()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise RecipelabError(
            f"${TOKEN_VARIABLE} is not valid; valid: {SHORTEST_TOKEN} or more printable ASCII "
            "characters"
        )
    return token


class HttpServer:
    """A server that listens, and serves once it runs.

    Args:
        answers: Answers the clients.
        binding: Where to listen.

    Attributes:
        url: Its address.
        token: What a request must show as a Bearer.

    Raises:
        RecipelabError: The port is taken, the address is none of this machine, or the token of the
            environment is not valid.
    """

    def __init__(self, answers: Answers, binding: Binding) -> None:
        self.token = chosen_token()
        self._sessions = HttpSessions(answers)
        self._listening = listening_socket(binding, "--http HOST:PORT, or port 0 for any free one")
        port = self._listening.getsockname()[1]
        access = Access.of_binding(binding.host, port, self.token, binding.allowed_hosts)
        self.url = address_url(binding.host, port).removesuffix("/") + PATH
        self._server = quiet_server(Guard(self._answer, access, RULES))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].rstrip("/") == PATH:
            await self._sessions(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def run(self) -> None:
        """Serve until it is stopped."""
        async with self._sessions.open():
            await self._server.serve([self._listening])

    def stop(self) -> None:
        """End it at once; to be called in the loop that it runs in."""
        self._server.should_exit = True
