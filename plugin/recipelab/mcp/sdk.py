"""The one module that knows the SDK of the protocol, in its versions 1 and 2.

Version 1 registers handlers by the type of a request and gives them the request, version 2 by the
method, and gives them a context and the parameters. The rest of this package knows neither: it
answers with plain data, as it goes over the wire.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from recipelab.core.errors import RecipelabError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

NOT_FOUND = -32002
"""The protocol's code for a resource that is not there."""

INVALID = -32602
"""The code of JSON-RPC for parameters that do not fit."""

Wire = dict[str, Any]
"""Plain data as it goes over the wire."""


class Answers(Protocol):
    """Answers the requests of clients; each is named by the program that asks."""

    name: str
    version: str
    instructions: str

    async def list_tools(self, client: str) -> list[Wire]:
        """Return the tools."""

    async def call_tool(self, client: str, name: str, arguments: Mapping[str, Any]) -> Wire:
        """Return the result of a call, which may be an error."""

    async def list_resources(self, client: str) -> list[Wire]:
        """Return the resources that have an address of their own."""

    async def list_templates(self, client: str) -> list[Wire]:
        """Return how the addresses of the other resources are made."""

    async def read_resource(self, client: str, address: str) -> Wire:
        """Return what is in a resource."""

    async def list_prompts(self, client: str) -> list[Wire]:
        """Return the prompts."""

    async def get_prompt(self, client: str, name: str) -> Wire:
        """Return a prompt."""


class NotThere(RecipelabError):
    """There is no such resource or prompt; the message lists what there is.

    Attributes:
        code: The code of the error that the client gets.
    """

    def __init__(self, message: str, code: int = NOT_FOUND) -> None:
        super().__init__(message)
        self.code = code


def check_sdk() -> None:
    """Check that the SDK is installed, in a version that is known.

    Raises:
        RecipelabError: It is not; the message says how to install it.
    """
    advice = "pip install 'recipelab[mcp]'"
    if find_spec("mcp") is None:
        raise RecipelabError(f"recipelab mcp needs the SDK of the protocol: {advice}")
    if _major() not in (1, 2):
        raise RecipelabError(
            f"recipelab mcp knows versions 1 and 2 of the SDK, and mcp {version('mcp')} is "
            f"installed: {advice}"
        )


def _major() -> int:
    try:
        return int(version("mcp").partition(".")[0])
    except (PackageNotFoundError, ValueError):
        return 0


_Answer = Callable[[str, Any], Awaitable[Wire]]


def _methods(answers: Answers) -> dict[str, tuple[str, str, str, _Answer]]:
    """Return a method's types of request, parameters and result, and what answers it."""

    async def tools(client: str, params: Any) -> Wire:
        return {"tools": await answers.list_tools(client)}

    async def call(client: str, params: Any) -> Wire:
        return await answers.call_tool(client, params.name, params.arguments or {})

    async def resources(client: str, params: Any) -> Wire:
        return {"resources": await answers.list_resources(client)}

    async def templates(client: str, params: Any) -> Wire:
        return {"resourceTemplates": await answers.list_templates(client)}

    async def read(client: str, params: Any) -> Wire:
        return await answers.read_resource(client, str(params.uri))

    async def prompts(client: str, params: Any) -> Wire:
        return {"prompts": await answers.list_prompts(client)}

    async def prompt(client: str, params: Any) -> Wire:
        return await answers.get_prompt(client, params.name)

    paged = "PaginatedRequestParams"
    return {
        "tools/list": ("ListToolsRequest", paged, "ListToolsResult", tools),
        "tools/call": ("CallToolRequest", "CallToolRequestParams", "CallToolResult", call),
        "resources/list": ("ListResourcesRequest", paged, "ListResourcesResult", resources),
        "resources/templates/list": (
            "ListResourceTemplatesRequest",
            paged,
            "ListResourceTemplatesResult",
            templates,
        ),
        "resources/read": (
            "ReadResourceRequest",
            "ReadResourceRequestParams",
            "ReadResourceResult",
            read,
        ),
        "prompts/list": ("ListPromptsRequest", paged, "ListPromptsResult", prompts),
        "prompts/get": ("GetPromptRequest", "GetPromptRequestParams", "GetPromptResult", prompt),
    }


def sdk_server(answers: Answers) -> Any:
    """Return the SDK's server, with handlers that answer.

    Raises:
        RecipelabError: The SDK is not installed.
    """
    check_sdk()
    types = import_module("mcp.types")
    made: Any = import_module("mcp.server.lowlevel").Server(
        answers.name, version=answers.version, instructions=answers.instructions
    )
    for method, (request, params, result, answer) in _methods(answers).items():
        kind = getattr(types, result)
        if _major() == 1:
            handler = _first_version(made, types, kind, answer)
            made.request_handlers[getattr(types, request)] = handler
        else:
            made.add_request_handler(method, getattr(types, params), _second_version(kind, answer))
    return made


def _first_version(server: Any, types: Any, kind: Any, answer: _Answer) -> Any:
    error = import_module("mcp.shared.exceptions").McpError

    async def handle(request: Any) -> Any:
        asked = server.request_context.session.client_params
        client = asked.clientInfo.name if asked is not None else ""
        try:
            found = await answer(client, request.params)
        except NotThere as missing:
            raise error(types.ErrorData(code=missing.code, message=str(missing))) from None
        return types.ServerResult(kind.model_validate(found))

    return handle


def _second_version(kind: Any, answer: _Answer) -> Any:
    error = import_module("mcp.shared.exceptions").MCPError

    async def handle(context: Any, params: Any) -> Any:
        asked = context.session.client_params
        client = asked.client_info.name if asked is not None else ""
        try:
            found = await answer(client, params)
        except NotThere as missing:
            raise error(missing.code, str(missing)) from None
        return kind.model_validate(found)

    return handle


class _Lines:
    """The lines of a client, as the SDK reads them from a file."""

    def __init__(self, next_line: Callable[[], Awaitable[str | None]]) -> None:
        self._next = next_line

    async def __aiter__(self) -> AsyncIterator[str]:
        while (line := await self._next()) is not None:
            yield line


async def serve_stdio(answers: Answers, next_line: Callable[[], Awaitable[str | None]]) -> None:
    """Serve one client over standard input and output until it closes them.

    Args:
        answers: Answers its requests.
        next_line: Returns its next line; ``None`` at the end. The SDK's own reader waits in a
            thread that neither a signal nor a cancellation ends.
    """
    server = sdk_server(answers)
    transport = import_module("mcp.server.stdio").stdio_server
    async with transport(stdin=_Lines(next_line)) as (received, sent):
        await server.run(received, sent, server.create_initialization_options())


class HttpSessions:
    """The sessions of clients that ask by streamable HTTP, as an ASGI application.

    Args:
        answers: Answers their requests.
    """

    def __init__(self, answers: Answers) -> None:
        manager = import_module("mcp.server.streamable_http_manager").StreamableHTTPSessionManager
        self._manager: Any = manager(app=sdk_server(answers))

    def open(self) -> AbstractAsyncContextManager[None]:
        """Return the context in which sessions live."""
        context: AbstractAsyncContextManager[None] = self._manager.run()
        return context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._manager.handle_request(scope, receive, send)
