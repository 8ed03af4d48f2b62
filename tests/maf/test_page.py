"""Every block of Python in docs/agent-framework.md runs, one after the other."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from .framework import ScriptedClient, call

pytestmark = [pytest.mark.maf, pytest.mark.campaign, pytest.mark.slow]

PAGE = Path(__file__).parents[2] / "docs/agent-framework.md"


async def test_the_blocks_of_the_page_run_as_written(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE.read_text("utf-8"))
    assert len(blocks) == 4
    client = ScriptedClient(
        call("research", task="Be brief."), "It was worth it.", "I have read it.", "A knob."
    )
    names: dict[str, Any] = {"chat_client": client}
    for block in blocks:
        code = compile(
            block.replace("airbench96", "toy"), str(PAGE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        done = eval(code, names)
        if inspect.isawaitable(done):
            await asyncio.wait_for(done, 300)
    told = capsys.readouterr().out
    assert "evaluator: Trial 3 (" in told
    assert "'campaign': 'toy-1', 'finished': True" in told
    assert "It was worth it." in told
    assert "A knob." in told
    assert len(names["tools"]) == 10
    assert type(names["model"]).__name__ == "FrameworkModelClient"
