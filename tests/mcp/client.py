"""The SDK's own client, of version 1 or 2, with answers as plain data; and servers to ask."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mcp.client.stdio import stdio_client
from mcp.types import Implementation

from mcp import ClientSession, StdioServerParameters
from mcp.client import streamable_http

IS_FIRST = version("mcp").startswith("1.")

COMMAND = [sys.executable, "-m", "recipelab", "mcp"]

AGENT = "claude-code"
"""What the client calls itself."""


class Asking:
    """A client that has come to the server.

    Args:
        session: The SDK's session, or its client.
        first: What the server said of itself.
    """

    def __init__(self, session: Any, first: Mapping[str, Any]) -> None:
        self._session = session
        self.first = first

    async def call(self, name: str, **arguments: Any) -> str:
        """The text of an answer that is no error."""
        text, is_error = await self.tried(name, **arguments)
        assert not is_error, text
        return text

    async def data(self, name: str, **arguments: Any) -> dict[str, Any]:
        """An answer that is JSON."""
        found: dict[str, Any] = json.loads(await self.call(name, **arguments))
        return found

    async def tried(self, name: str, **arguments: Any) -> tuple[str, bool]:
        """The text of an answer, and whether it is an error."""
        found = _plain(await self._session.call_tool(name, arguments))
        (content,) = found["content"]
        return content["text"], bool(found.get("isError"))

    async def tools(self) -> list[dict[str, Any]]:
        """The tools."""
        return list(_plain(await self._session.list_tools())["tools"])

    async def resources(self) -> list[str]:
        """The addresses of resources, and of templates."""
        listed = _plain(await self._session.list_resources())["resources"]
        templates = _plain(await self._session.list_resource_templates())["resourceTemplates"]
        return [*(one["uri"] for one in listed), *(one["uriTemplate"] for one in templates)]

    async def read(self, address: str) -> str:
        """The text of a resource."""
        if IS_FIRST:
            from pydantic import AnyUrl

            found = _plain(await self._session.read_resource(AnyUrl(address)))
        else:
            found = _plain(await self._session.read_resource(address))
        (content,) = found["contents"]
        return str(content["text"])

    async def refused(self, address: str) -> str:
        """Why a resource is not there."""
        try:
            await self.read(address)
        except Exception as error:  # the SDK's own, whose name is another in each version
            return str(error)
        raise AssertionError(f"{address} could be read")

    async def refused_prompt(self, name: str) -> str:
        """Why a prompt is not there."""
        try:
            await self.prompt(name)
        except Exception as error:  # as in refused
            return str(error)
        raise AssertionError(f"there is a prompt {name}")

    async def prompts(self) -> list[str]:
        """The names of the prompts."""
        return [one["name"] for one in _plain(await self._session.list_prompts())["prompts"]]

    async def prompt(self, name: str) -> str:
        """The text of a prompt."""
        (message,) = _plain(await self._session.get_prompt(name))["messages"]
        return str(message["content"]["text"])


def _plain(result: Any) -> dict[str, Any]:
    found: dict[str, Any] = result.model_dump(mode="json", by_alias=True)
    return found


@asynccontextmanager
async def over_stdio(project: Path, *words: str, client: str = AGENT) -> AsyncIterator[Asking]:
    """A client of a server that it has started itself."""
    parameters = StdioServerParameters(
        command=COMMAND[0],
        args=[*COMMAND[1:], *words],
        env=dict(os.environ),
        cwd=project,
    )
    with (project / "mcp.log").open("a") as log:
        async with _asked(stdio_client(parameters, errlog=log), client) as asking:
            yield asking


@asynccontextmanager
async def over_http(url: str, token: str, client: str = AGENT) -> AsyncIterator[Asking]:
    """A client of a server that runs."""
    headers = {"Authorization": f"Bearer {token}"}
    library: Any = import_module("httpx" if IS_FIRST else "httpx2")
    async with library.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http.streamable_http_client(url, http_client=http)
        async with _asked(transport, client) as asking:
            yield asking


@asynccontextmanager
async def _asked(transport: AbstractAsyncContextManager[Any], client: str) -> AsyncIterator[Asking]:
    info = Implementation(name=client, version="1")
    if not IS_FIRST:
        from mcp import Client

        # It asks as the newest protocol has it, without a session.
        async with Client(transport, client_info=info) as asked:
            first = {"instructions": asked.instructions, "serverInfo": _plain(asked.server_info)}
            yield Asking(asked, first)
        return
    async with transport as streams, ClientSession(*streams[:2], client_info=info) as session:
        yield Asking(session, _plain(await session.initialize()))


@contextmanager
def serving(project: Path, *words: str) -> Iterator[tuple[str, str]]:
    """A server by HTTP that runs; its address and its token."""
    process = subprocess.Popen(
        [*COMMAND, *words, "--http", "0"],
        cwd=project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        told = process.stderr.readline() + process.stderr.readline()
        found = re.search(r"(http://\S+)\n.*Bearer (\S+)", told)
        assert found is not None, told
        yield found[1], found[2]
    finally:
        process.terminate()
        process.communicate(timeout=60)
