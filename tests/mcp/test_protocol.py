"""The server by its protocol: the SDK's own client over stdio and HTTP, and AutoGen's workbench."""

from __future__ import annotations

import http.client
import json
import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from recipelab import Campaign
from tests.cli.background import answer

from .test_sessions import near_bottom

pytestmark = [pytest.mark.mcp, pytest.mark.slow]

if find_spec("mcp") is not None:
    from .client import COMMAND, Asking, over_http, over_stdio, serving

LONGEST_INSTRUCTIONS = 2_048
LONGEST_DESCRIPTION = 300
"""Characters of a tool's description: all of them are in a client's context."""

SUBMITS = ("--allow-submit", "--trials", "20", "--sandbox", "local")


async def submitted(asking: Asking, x: float) -> int:
    """Checks an edit and submits it; the trial's number."""
    await asking.call("campaign_view")
    checked = await asking.data("check_edit", parent=0, edits=near_bottom(x))
    told = await asking.data(
        "submit_trial",
        check=checked["check"],
        hypothesis="The bottom is near four.",
        expected_delta=-1.0,
    )
    return int(told["trial"])


async def test_a_session_over_stdio(ended: Campaign, project: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    async with over_stdio(project, ended.name, *SUBMITS) as asking:
        assert 0 < len(asking.first["instructions"]) <= LONGEST_INSTRUCTIONS
        tools = await asking.tools()
        for tool in tools:
            jsonschema.Draft202012Validator.check_schema(tool["inputSchema"])
            assert tool["inputSchema"]["type"] == "object"
            assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["name"])
            assert 0 < len(tool["description"]) <= LONGEST_DESCRIPTION
        writes = {t["name"] for t in tools if not t["annotations"]["readOnlyHint"]}
        scratch = {"run_python", "profile_trial"}
        assert writes == {"submit_trial", "more_seeds", "note", "pause", "resume", *scratch}
        await asking.call("campaign_view")
        told = await asking.data("run_python", code="import train; print(train.X)", trial=0)
        assert told["output"] == "1.0" and told["seconds_left"] > 0.0
        text, is_error = await asking.tried("run_python", code="", trial=0)
        assert is_error and "code" in text
        trial = await submitted(asking, 3.9)
        assert (await asking.data("wait_for", trial=trial, seconds=120))["status"] == "kept"
        listed = await asking.resources()
        assert f"recipelab://{ended.name}/trial/{trial}" in listed
        assert "+X = 3.9" in await asking.read(f"recipelab://{ended.name}/trial/{trial}/diff")
        assert "no such resource" in await asking.refused("recipelab://x/../etc/passwd")
        assert await asking.prompts() == ["left", "right"]
        assert "left coordinate" in await asking.prompt("left")
        assert "unknown prompt" in await asking.refused_prompt("../pack")
        text, is_error = await asking.tried("lineage_query", limit="many")
        assert is_error and "limit" in text
    assert answer("show", str(trial))["specialist"] == "claude-code"
    (project / "mcp.log").read_text("utf-8").index(f"trial {trial} was proposed from outside")


async def test_sessions_over_http(ended: Campaign, project: Path) -> None:
    with serving(project, ended.name, *SUBMITS) as (url, token):
        parts = urlsplit(url)
        assert parts.hostname == "127.0.0.1"

        def status(**headers: str) -> int:
            connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
            asked = {
                "content-type": "application/json",
                "accept": "application/json, text/event-stream",
                "authorization": f"Bearer {token}",
                **{key.replace("_", "-"): value for key, value in headers.items()},
            }
            body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            connection.request("POST", parts.path, json.dumps(body), asked)
            found = connection.getresponse().status
            connection.close()
            return found

        assert status(authorization="") == status(authorization="Bearer nobody-knows-it") == 401
        assert status(host="evil.example") == 403
        assert status(origin="http://evil.example") == 403
        assert status(sec_fetch_site="cross-site") == 403
        assert status(content_type="text/plain") == 415
        assert status(content_length=str(5 << 20)) == 413
        async with over_http(url, token) as one, over_http(url, token, "cursor") as other:
            trial = await submitted(one, 3.9)
            assert "You are cursor," in await other.call("how_to")
            row = await other.data("wait_for", trial=trial, seconds=120)
            assert (row["specialist"], row["status"]) == ("claude-code", "kept")


async def test_autogens_workbench_asks_and_submits(ended: Campaign, project: Path) -> None:
    tools = pytest.importorskip("autogen_ext.tools.mcp", exc_type=ImportError)
    parameters = tools.StdioServerParams(
        command=COMMAND[0], args=[*COMMAND[1:], ended.name, "--home", str(ended.home.root)]
    )
    async with tools.McpWorkbench(parameters) as workbench:
        names = [tool["name"] for tool in await workbench.list_tools()]
        assert {"how_to", "lineage_query", "check_edit"} <= set(names)
        assert "submit_trial" not in names
        found = await workbench.call_tool("lineage_query", {"limit": 2})
        assert not found.is_error and len(json.loads(found.to_text())["trials"]) == 2
