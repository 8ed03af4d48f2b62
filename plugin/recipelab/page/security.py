"""What stands between a server of ours and everybody who may send it a request.

Whoever reaches the server could steer campaigns, and a browser reaches it for every site that is
open in it. So a request must name this server as its host (a site that lets its own name point here
is refused), must come from the page itself where it changes something, and must have a token where
the server is not bound to this machine alone.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES = 65_536
"""Bytes of a request's body that the page may send, at most."""

COOKIE = "recipelab"
"""Name of the cookie that holds the token, before the port: cookies do not tell ports apart."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""Headers of every answer."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Rules:
    """What a server takes.

    Attributes:
        methods: The methods of HTTP.
        body_bytes: Bytes of a body at most.
        api: How the paths begin that another site may not even ask for.
        command: The command that serves, for the advice how to allow a name.
        opens: Whether a browser may bring the token in the address, to have it in a cookie.
    """

    methods: tuple[str, ...]
    body_bytes: int
    api: str
    command: str
    opens: bool


PAGE = Rules(("GET", "HEAD", "POST"), BODY_BYTES, "/api/", "ui", opens=True)
"""The rules of the page."""


class BodyTooLarge(Exception):
    """A request has a body that is longer than any that the server takes."""


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        hosts: Names under which the server may be addressed.
        any_address: Whether any IP address will do, as where it is bound to all.
        token: What a request must show; ``None`` for none.
        cookie: Name of the cookie that holds it.
    """

    hosts: frozenset[str]
    any_address: bool = False
    token: str | None = None
    cookie: str = COOKIE

    @classmethod
    def of_binding(
        cls, host: str, port: int, token: str | None, allowed: Iterable[str] = ()
    ) -> Access:
        """Return who may ask a server that is bound to an address.

        Args:
            host: The address or name.
            port: The port.
            token: What a request must show.
            allowed: Further names under which it may be addressed, as that of a proxy.
        """
        names = {name.lower() for name in (*LOOPBACK_NAMES, host, *allowed)}
        if not is_loopback(host):
            names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        return cls(frozenset(names), not is_loopback(host), token, f"{COOKIE}_{port}")

    def knows(self, host: str) -> bool:
        """Return whether a Host header names this server, with any port (as of a tunnel)."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self.hosts:
            return True
        return self.any_address and _is_address(name)

    def shows_token(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request shows the token."""
        if self.token is None:
            return True
        shown = headers.get("authorization", "").removeprefix("Bearer ")
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            morsel = None
        return self.is_token(shown) or (morsel is not None and self.is_token(morsel.value))

    def is_token(self, text: str) -> bool:
        """Return whether a text is the token, in a time that does not tell how much of it is."""
        return self.token is not None and hmac.compare_digest(text.encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Lets through what the page itself may ask, and puts the headers on every answer.

    Args:
        app: The application behind it.
        access: Who may ask.
        rules: What may be asked.
    """

    def __init__(self, app: ASGIApp, access: Access, rules: Rules = PAGE) -> None:
        self._app = app
        self._access = access
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have the application answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # There are no web sockets.
        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {key.lower() for key, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (key.encode(), value.encode())
                        for key, value in HEADERS.items()
                        if key.encode() not in own
                    ),
                ]
            await send(message)

        refusal = self._refusal(scope, headers) or self._token_answer(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, send_guarded)
            return
        body = _Body(receive, self._rules.body_bytes)

        async def send_unless_too_long(message: Message) -> None:
            # The application takes a body that breaks off for one that it cannot read.
            if not body.too_long:
                await send_guarded(message)

        with suppress(BodyTooLarge):
            await self._app(scope, body.receive, send_unless_too_long)
        if body.too_long:
            await self._too_long()(scope, receive, send_guarded)

    def _too_long(self) -> Response:
        return _refused(413, f"the body is longer than {self._rules.body_bytes:,} bytes")

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        """Return why a request is refused whoever sends it; ``None`` if it is not."""
        method, host = scope["method"], headers.get("host", "")
        if not self._access.knows(host):
            return _refused(
                403,
                f"the server is not called {host!r}; open the address that it printed, or allow "
                f"the name: recipelab {self._rules.command} --allow-host NAME",
            )
        if method not in self._rules.methods:
            return _refused(405, f"no such method; valid: {', '.join(self._rules.methods)}")
        origin = headers.get("origin")
        if origin is not None and not _is_origin(origin, host):
            return _refused(403, "another site may not ask this server")
        is_api = scope["path"].startswith(self._rules.api)
        if is_api and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _refused(403, "another site may not ask this server")
        if method == "POST" and not _is_json(headers.get("content-type", "")):
            return _refused(415, "a body must be application/json")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > self._rules.body_bytes:
            return self._too_long()
        return None

    def _token_answer(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        """Return the answer to a request without the token, or to one that brings it."""
        access = self._access
        if access.token is None:
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[-1]
        if self._rules.opens and scope["path"] == "/" and access.is_token(given):
            # The address bar, the history and pictures of the screen do not keep it.
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(access.cookie, given, httponly=True, samesite="strict", path="/")
            return answer
        if access.shows_token(headers):
            return None
        if not self._rules.opens:
            return _refused(401, "send the token that the server was started with, as a Bearer")
        return _refused(401, "open the address with its token, as the server printed it")


def _refused(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


def _is_origin(origin: str, host: str) -> bool:
    """Return whether an Origin header is that of the page that this host has served."""
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


class _Body:
    """A body that ends a request where it gets too long, whatever it announced."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._left = most
        self.too_long = False

    async def receive(self) -> Message:
        """Return the next piece."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self.too_long = True
                raise BodyTooLarge
        return message
