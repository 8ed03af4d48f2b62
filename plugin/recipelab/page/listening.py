"""Listening on an address: the socket, the server behind it, and the address to tell."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from recipelab.core.errors import RecipelabError

PORT = 8642
TOKEN_BYTES = 24


@dataclass(frozen=True)
class Binding:
    """Where the server listens.

    Attributes:
        host: Address or name.
        port: Port; 0 takes a free one.
        token: Whether a token is asked for on this machine, too.
        allowed_hosts: Further names under which it may be addressed.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    token: bool = False
    allowed_hosts: tuple[str, ...] = ()


def listening_socket(
    binding: Binding, another: str = "--port N, or --port 0 for any that is free"
) -> socket.socket:
    """Return a socket that listens.

    Args:
        binding: Where.
        another: How a user names another port.

    Raises:
        RecipelabError: The port is taken, or the address is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            binding.host, binding.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise RecipelabError(f"{binding.host!r} is no address: {error.strerror}") from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(128)
    except OSError as error:
        found.close()
        raise RecipelabError(
            f"cannot listen on {binding.host} port {binding.port}: {error.strerror}; choose "
            f"another: {another}"
        ) from None
    return found


class QuietServer(uvicorn.Server):
    """A server whose signals are handled by whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: uvicorn would raise them once more at its end."""
        yield


def quiet_server(app: ASGIApp) -> QuietServer:
    """Return a server of an application that logs nothing and ends within a second."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=1,
        ws="none",
        lifespan="off",
    )
    return QuietServer(config)


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def address_url(host: str, port: int) -> str:
    """Return the address under which a server is found from here."""
    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{port}/"
