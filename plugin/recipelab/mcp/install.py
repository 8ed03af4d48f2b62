"""The configuration of clients: where each keeps its servers, and an entry added to the rest."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from recipelab.core.content import read_limited
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.exchange.replacing import replacing

ENTRY = "recipelab"
"""Name of the server in a client's configuration."""

STARTUP_SECONDS, TOOL_SECONDS = 60, 660
"""How long Codex waits for the server to start, and for an answer; else 10 s and 60 s."""


class Client(StrEnum):
    """A client whose configuration can be written."""

    CLAUDE = "claude"
    CODEX = "codex"
    CURSOR = "cursor"
    VSCODE = "vscode"


_KEYS = {Client.CLAUDE: "mcpServers", Client.CURSOR: "mcpServers", Client.VSCODE: "servers"}
"""The table of servers in each client's JSON."""

_PLACES = {
    Client.CLAUDE: ".mcp.json",
    Client.CURSOR: ".cursor/mcp.json",
    Client.VSCODE: ".vscode/mcp.json",
}
"""The file of each client in the folder of a project."""


@dataclass(frozen=True)
class Change:
    """A change of a client's configuration that is yet to be written.

    Attributes:
        path: The file.
        before: What is in it; empty if it is not there.
        after: What will be.
    """

    path: Path
    before: str
    after: str

    @property
    def diff(self) -> str:
        """What changes, as a unified diff; empty for nothing."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            str(self.path),
            str(self.path),
        )
        return "".join(lines)

    def write(self) -> None:
        """Write it.

        Raises:
            RecipelabError: The file was changed meanwhile, or cannot be written.
        """
        if _read(self.path) != self.before:
            raise RecipelabError(f"{self.path} was changed meanwhile; try once more")
        target = Path(os.path.realpath(self.path))  # A link to the file stays a link.
        with replacing(target, force=True) as new:
            new.write_text(self.after, encoding="utf-8")
            if target.is_file():
                new.chmod(target.stat().st_mode & 0o777)


def checked_client(name: str) -> Client:
    """Return the client of a name.

    Raises:
        RecipelabError: There is none; the message lists them.
    """
    if name not in set(Client):
        raise RecipelabError(f"--install: {unknown_name('client', name, Client)}")
    return Client(name)


def config_file(client: Client, project: Path) -> Path:
    """Return the file that holds a client's servers.

    Args:
        client: The client.
        project: The folder in which it is started.
    """
    if client is Client.CODEX:
        return Path(os.environ.get("CODEX_HOME") or Path.home() / ".codex") / "config.toml"
    return project / _PLACES[client]


def planned(client: Client, command: Sequence[str], project: Path) -> Change:
    """Return the change that gives a client the server; all else in its file stays.

    Args:
        client: The client.
        command: The program of the server, and its arguments.
        project: The folder in which the client is started.

    Raises:
        RecipelabError: What is in the file cannot be kept; the message has the entry to add.
    """
    path = config_file(client, project)
    before = _read(path)
    if client is Client.CODEX:
        return Change(path, before, _with_toml(path, before, command))
    return Change(path, before, _with_json(path, before, client, command))


def _read(path: Path) -> str:
    try:
        return read_limited(path).decode("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise RecipelabError(f"{path}: cannot be read: {error}") from None


def _with_json(path: Path, before: str, client: Client, command: Sequence[str]) -> str:
    entry: dict[str, Any] = {"command": command[0], "args": list(command[1:])}
    if client is not Client.CURSOR:
        entry = {"type": "stdio", **entry}
    key = _KEYS[client]
    by_hand = json.dumps({key: {ENTRY: entry}}, indent=2)
    try:
        found = json.loads(before) if before.strip() else {}
    except ValueError as error:
        # Editors take comments, which would be lost.
        raise _by_hand(path, f"it is no plain JSON ({error})", by_hand) from None
    servers = found.get(key, {}) if isinstance(found, dict) else None
    if not isinstance(servers, dict):
        raise _by_hand(path, f"{key} is no table", by_hand)
    indent = re.search(r"\n([ \t]+)\S", before)
    changed = found | {key: servers | {ENTRY: entry}}
    return json.dumps(changed, indent=indent[1] if indent else 2, ensure_ascii=False) + "\n"


_TABLE = re.compile(r"\s*\[\[?\s*(?P<name>[^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_OWN = re.compile(rf"""mcp_servers\s*\.\s*["']?{ENTRY}["']?(\s*\..*)?""")


def _with_toml(path: Path, before: str, command: Sequence[str]) -> str:
    entry = {
        "command": command[0],
        "args": list(command[1:]),
        "startup_timeout_sec": STARTUP_SECONDS,
        "tool_timeout_sec": TOOL_SECONDS,
    }
    # Texts, lists of texts and numbers are written in JSON as in TOML.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items()]
    table = "\n".join([f"[mcp_servers.{ENTRY}]", *lines]) + "\n"
    kept, is_own = [], False
    for line in before.splitlines(keepends=True):
        if (found := _TABLE.match(line)) is not None:
            is_own = _OWN.fullmatch(found["name"]) is not None
        if not is_own:
            kept.append(line)
    rest = "".join(kept).rstrip()
    after = f"{rest}\n\n{table}" if rest else table
    try:
        was, now = tomllib.loads(before), tomllib.loads(after)
    except tomllib.TOMLDecodeError as error:
        raise _by_hand(path, f"it cannot be added to: {error}", table) from None
    expected = was | {"mcp_servers": was.get("mcp_servers", {}) | {ENTRY: entry}}
    if now != expected:
        raise _by_hand(path, "not all else in it could be kept", table)
    return after


def _by_hand(path: Path, why: str, entry: str) -> RecipelabError:
    return RecipelabError(f"{path}: {why}; nothing was written. Add this to it by hand:\n{entry}")
