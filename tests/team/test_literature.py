"""A workbench from outside that a charter names: recorded, bounded, and off for blind agents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import (
    CreateResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    RequestUsage,
)
from autogen_core.tools import TextResultContent, ToolResult, ToolSchema, Workbench

from recipelab import LineageStore
from recipelab.agents.charter import CharterError
from recipelab.agents.charters import load_charter
from recipelab.agents.literature import (
    ANSWER_CHARACTERS,
    MARK,
    LiteratureWorkbench,
    open_literature,
)
from recipelab.core.errors import RecipelabError
from recipelab.models import OfflineClient
from recipelab.plan import Arm

from .helpers import team_of

# AutoGen warns of functions in JSON.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PAPER = "Bottoms of parabolas lie at their apex."

TOOL = {
    "provider": "autogen_core.tools.FunctionTool",
    "component_type": "tool",
    "version": 1,
    "config": {
        "name": "find_paper",
        "description": "Find a paper.",
        "source_code": f"def find_paper(words: str) -> str:\n    return {PAPER!r}\n",
        "global_imports": [],
        "has_cancellation_support": False,
    },
}


class Reader(OfflineClient):
    """Looks for a paper first, where it can; then it goes on as the rules do."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.offered: list[set[str]] = []

    async def create(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[Any] = (), **more: Any
    ) -> CreateResult:
        names = {tool["name"] for tool in tools}
        self.offered.append(names)
        has_read = any(
            result.name == "find_paper"
            for message in messages
            if isinstance(message, FunctionExecutionResultMessage)
            for result in message.content
        )
        if "find_paper" in names and not has_read:
            call = FunctionCall(id="1", name="find_paper", arguments='{"words": "parabola"}')
            usage = RequestUsage(prompt_tokens=1, completion_tokens=1)
            return CreateResult(
                finish_reason="function_calls", content=[call], usage=usage, cached=False
            )
        kept = [
            message
            for message in messages
            if not (
                isinstance(message, FunctionExecutionResultMessage)
                and message.content[0].name == "find_paper"
            )
            and not (
                isinstance(message.content, list)
                and any(getattr(part, "name", "") == "find_paper" for part in message.content)
            )
        ]
        return await super().create(kept, tools=tools, **more)


def add_tool(project: Path) -> None:
    """Gives the specialist of the left surface a tool from outside."""
    (project / "agents/papers.json").write_text(json.dumps(TOOL))
    charter = project / "agents/left.md"
    charter.write_text(charter.read_text().replace("\ntitle:", "\nworkbench: papers.json\ntitle:"))


async def test_its_calls_are_recorded(project: Path) -> None:
    add_tool(project)
    client = Reader()
    await asyncio.wait_for(team_of(2, {"": client}, name="c", ahead=0).run(), 120)
    assert any("find_paper" in names for names in client.offered)
    with LineageStore.open(project / ".recipelab/lineage.db") as store:
        told = [m for m in store.messages("c") if m.type == "ToolCallExecutionEvent"]
    answers = [one for m in told for one in m.payload["content"] if one["name"] == "find_paper"]
    assert answers
    assert answers[0]["content"] == f"{MARK}\n{PAPER}"


async def test_blind_specialists_never_have_it(project: Path) -> None:
    add_tool(project)
    client = Reader()
    team = team_of(2, {"": client}, name="c", ahead=0, arm=Arm.NO_LINEAGE)
    await asyncio.wait_for(team.run(), 120)
    assert client.offered
    assert not any("find_paper" in names for names in client.offered)


class Broken(Workbench):
    """Fails in every way, and answers too much."""

    async def list_tools(self) -> list[ToolSchema]:
        raise ConnectionError("no server")

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
        call_id: str | None = None,
    ) -> ToolResult:
        if name == "long":
            return ToolResult(name=name, result=[TextResultContent(content="x" * 99_999)])
        raise RuntimeError("boom")

    async def start(self) -> None: ...

    async def stop(self) -> None:
        raise RuntimeError("boom")

    async def reset(self) -> None: ...

    async def save_state(self) -> Mapping[str, Any]:
        return {}

    async def load_state(self, state: Mapping[str, Any]) -> None: ...


async def test_whatever_fails_out_there_is_an_answer() -> None:
    bench = LiteratureWorkbench(Broken(), ("submit_trial",))
    assert await bench.list_tools() == []
    failed = await bench.call_tool("any")
    assert failed.is_error
    assert "RuntimeError: boom" in failed.to_text()
    long = await bench.call_tool("long")
    assert len(long.to_text()) < ANSWER_CHARACTERS + 200
    await bench.stop()


async def test_it_cannot_take_the_place_of_a_tool_of_the_specialists(tmp_path: Path) -> None:
    file = tmp_path / "papers.json"
    file.write_text(json.dumps(TOOL))
    bench = LiteratureWorkbench(open_literature(file), ("find_paper",))
    assert await bench.list_tools() == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "it is no JSON"),
        ("[]", "must be workbench or tool"),
        ('{"component_type": "model"}', "must be workbench or tool"),
        ('{"component_type": "tool", "provider": "x.y", "config": {}}', "cannot be opened"),
        (
            '{"component_type": "tool", "provider": "x.y", "config": {"api_key": "k"}}',
            "config.api_key: a key does not belong in a file",
        ),
    ],
)
def test_what_is_no_component_is_told(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "papers.json"
    file.write_text(text)
    with pytest.raises(RecipelabError, match=words):
        open_literature(file)


def test_a_charter_whose_file_is_missing_is_told(project: Path) -> None:
    add_tool(project)
    (project / "agents/papers.json").unlink()
    with pytest.raises(CharterError, match=r"workbench: no file 'papers\.json' beside the charter"):
        load_charter("left")
