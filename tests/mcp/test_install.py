"""The configuration of clients: what is written, and what is left as it was."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recipelab.cli.app import app
from recipelab.cli.mcp import _words
from recipelab.core.errors import RecipelabError
from recipelab.lineage import LineageStore
from recipelab.mcp.install import Client, config_file, planned

COMMAND = ["/venv/bin/python", "-m", "recipelab", "mcp", "night", "--allow-submit"]


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's project, and a home of their own."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("CODEX_HOME", raising=False)
    project = tmp_path / "work"
    project.mkdir()
    monkeypatch.chdir(project)
    return project


def put(client: Client, project: Path, text: str) -> Path:
    """Writes what a client has so far."""
    path = config_file(client, project)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("client", "place", "key"),
    [
        (Client.CLAUDE, ".mcp.json", "mcpServers"),
        (Client.CURSOR, ".cursor/mcp.json", "mcpServers"),
        (Client.VSCODE, ".vscode/mcp.json", "servers"),
    ],
)
def test_a_file_of_json_keeps_what_it_has(user: Path, client: Client, place: str, key: str) -> None:
    planned(client, COMMAND, user).write()
    (entry,) = json.loads((user / place).read_text())[key].values()
    assert [entry["command"], *entry["args"]] == COMMAND
    before = {"inputs": [1], key: {"other": {"url": "http://x"}, "recipelab": {"command": "old"}}}
    put(client, user, json.dumps(before, indent="\t"))
    change = planned(client, COMMAND, user)
    assert '-\t\t\t"command": "old"' in change.diff
    change.write()
    text = (user / place).read_text()
    after = json.loads(text)
    assert after["inputs"] == [1] and after[key]["other"] == {"url": "http://x"}
    assert after[key]["recipelab"]["args"] == COMMAND[1:] and '\n\t"inputs"' in text
    assert planned(client, COMMAND, user).diff == ""


def test_codex_keeps_its_toml_with_its_comments(user: Path) -> None:
    before = (
        'model = "x"  # mine\n\n[mcp_servers.recipelab]\ncommand = "old"\n\n'
        '[mcp_servers.recipelab.env]\nA = "1"\n\n[mcp_servers.other]\n'
        'command = "o" # [mcp_servers.recipelab]\n'
    )
    path = put(Client.CODEX, user, before)
    assert path == Path.home() / ".codex/config.toml"
    planned(Client.CODEX, COMMAND, user).write()
    text = path.read_text()
    servers = tomllib.loads(text)["mcp_servers"]
    assert 'model = "x"  # mine\n' in text and servers["other"] == {"command": "o"}
    assert servers["recipelab"]["args"] == COMMAND[1:] and "env" not in servers["recipelab"]
    assert servers["recipelab"]["tool_timeout_sec"] > 600
    assert planned(Client.CODEX, COMMAND, user).diff == ""


@pytest.mark.parametrize(
    ("client", "text"),
    [
        (Client.VSCODE, '{\n  // mine\n  "servers": {}\n}\n'),
        (Client.CLAUDE, "[]"),
        (Client.CLAUDE, '{"mcpServers": []}'),
        (Client.CODEX, "mcp_servers = { other = { command = 'o' } }\n"),
        (Client.CODEX, 'a = """\n[mcp_servers.recipelab]\n"""\n'),
        (Client.CODEX, "not toml"),
    ],
)
def test_what_cannot_be_kept_is_not_written(user: Path, client: Client, text: str) -> None:
    path = put(client, user, text)
    with pytest.raises(RecipelabError, match="nothing was written") as told:
        planned(client, COMMAND, user)
    assert "--allow-submit" in str(told.value) and path.read_text() == text


def test_a_file_that_has_changed_meanwhile_is_left_alone(user: Path) -> None:
    change = planned(Client.CLAUDE, COMMAND, user)
    put(Client.CLAUDE, user, "{}")
    with pytest.raises(RecipelabError, match="changed meanwhile"):
        change.write()
    assert (user / ".mcp.json").read_text() == "{}"


@pytest.fixture
def run(
    user: Path, store: LineageStore, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Runs the command on campaign ``c``, whose pack is not needed."""
    monkeypatch.setattr("recipelab.mcp.sdk.check_sdk", lambda: None)
    monkeypatch.chdir(user)

    def call(*words: str, stdin: str = "") -> tuple[int, str]:
        given = ["mcp", "c", "--lineage", store.url, *words]
        done = CliRunner().invoke(app, given, input=stdin)
        return done.exit_code, " ".join(done.output.split())

    return call


def test_the_command_shows_the_change_and_asks(
    user: Path, run: Callable[..., tuple[int, str]]
) -> None:
    code, told = run("--install", "claude", "--as", "night", stdin="n\n")
    assert code == 1 and '+ "recipelab": {' in told and not (user / ".mcp.json").exists()
    code, told = run("--install", "claude", "--as", "night", stdin="y\n")
    assert code == 0 and "written:" in told
    (entry,) = json.loads((user / ".mcp.json").read_text())["mcpServers"].values()
    words = entry["args"]
    assert words[:4] == ["-m", "recipelab", "mcp", "c"] and "--allow-submit" not in words
    assert words[words.index("--as") + 1] == "night"
    assert Path(words[words.index("--home") + 1]).is_absolute()
    assert "has it already" in run("--install", "claude", "--as", "night", "--yes")[1]
    code, told = run("--install", "emacs")
    assert code == 2 and "valid: claude, codex, cursor, vscode" in told


def test_a_password_is_not_written() -> None:
    with pytest.raises(RecipelabError, match="a password does not belong"):
        _words(None, "postgresql+psycopg://me:secret@host/name", False)
