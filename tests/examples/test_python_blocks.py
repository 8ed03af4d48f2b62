"""Every block of Python in the README and the documents runs as it is written there.

The blocks of a document run one after the other, in a user's working folder and with the names that
the text around them speaks of. What cannot run here is left out by a line above it,
``<!-- sketch: the reason -->``.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import inspect
import json
import math
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from autogen_ext.models.replay import ReplayChatCompletionClient

import recipelab.scoring
from recipelab import BudgetLimits, Campaign, Edit, LineageStore, Plan
from recipelab.report.transcript import TranscriptFormat
from recipelab.scoring import causal, write_items, write_score
from tests.report.searched import search
from tests.sandbox.conftest import docker_daemon, docker_image
from tests.scoring.test_causal import LENGTH, TEXT, predict, uniform
from tests.tools.history import add_campaign, tell

__all__ = ["docker_daemon", "docker_image"]

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"(?ms)^(<!-- sketch: [^\n]+ -->\n)?```python\n(.*?)^```")
NEEDS_DOCKER = re.compile(r"SandboxCodeExecutor\(|DockerSandbox\(")

Names = dict[str, Any]


def blocks(document: Path) -> list[str]:
    """The code of each block that is to run."""
    found = BLOCK.finditer(document.read_text("utf-8"))
    return [match[2] for match in found if match[1] is None]


def with_blocks(*, docker: bool) -> list[str]:
    """The names of the documents that have blocks which need Docker, or others."""
    return [
        document.name
        for document in DOCUMENTS
        if any(bool(NEEDS_DOCKER.search(code)) == docker for code in blocks(document))
    ]


@pytest.fixture
def user(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the toy pack in the place of the one that documents name."""
    toy = project / "task_packs/toy"
    pack = Path(shutil.move(toy, toy.with_name("airbench96")))
    for file in (pack / "pack.toml", pack / "playbook.toml", pack / "recipe/train.py"):
        text = file.read_text().replace('name = "toy"', 'name = "airbench96"')
        text = text.replace('specialists = ["left", "right"]', 'specialists = ["opt", "aug"]')
        for old, new in (("left", "opt"), ("right", "aug")):
            text = re.sub(rf'(?m)^(name|surface) = "{old}"$', rf'\1 = "{new}"', text)
            text = text.replace(f"knob {old}", f"knob {new}")
        file.write_text(text)
    with (pack / "recipe/train.py").open("a") as recipe:
        recipe.write("EPOCHS = 4\n")
    monkeypatch.setitem(sys.modules, "recipelab_scoring", recipelab.scoring)
    monkeypatch.setattr("sys.argv", ["prepare.py", "7"])
    return project


def small(code: str) -> str:
    """The same code with a campaign of one trial, and without a library that is not here."""
    if importlib.util.find_spec("pandas") is None:
        code = re.sub(r"(?m)^.*\.to_pandas\(\).*\n", "", code)
    return re.sub(r"\btrials=\d+", "trials=1", code)


async def run(code: str, names: Names) -> None:
    """Runs a block; one that begins a loop of its own runs in a thread."""
    if "set_tracer_provider" in code:  # It is for the whole process, and for good.
        alone = [sys.executable, "-c", code]
        await asyncio.to_thread(subprocess.run, alone, check=True, capture_output=True)
        return
    compiled = compile(small(code), "block", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    space = {"__name__": "__main__", **names}
    if compiled.co_flags & inspect.CO_COROUTINE:
        await eval(compiled, space)
    else:
        await asyncio.to_thread(exec, compiled, space)


async def ask_somebody(*given: Any) -> Any:
    """Stands for whoever is asked: nothing is typed, and everything is approved."""
    return ""


def one_trial(name: str) -> Campaign:
    """A new campaign of one trial."""
    limits = BudgetLimits(trials=1)
    return Campaign.create(
        Plan(pack="airbench96", profile="mini", sandbox="local", name=name, limits=limits)
    )


def readme(block: int) -> Names:
    return {"model_client": ReplayChatCompletionClient(["Well done."])}


def campaign(block: int) -> Names:
    return {"campaign": one_trial(f"night-{block}"), "Edit": Edit} if block else {}


def lineage(block: int) -> Names:
    if block == 0:
        Path(".recipelab").mkdir()
        with LineageStore.open(".recipelab/lineage.db", create=True) as store:
            for name in ("airbench96-1", "last-week"):
                add_campaign(store, name)
                tell(store, name)
    return readme(block)


def plots(block: int) -> Names:
    Path(".recipelab").mkdir()
    with LineageStore.open(".recipelab/lineage.db", create=True) as store:
        for seed in (1, 2):
            search(store, f"night-{seed}", 12, seed=seed)
    return {}


def transcripts(block: int) -> Names:
    with one_trial("night") as campaign:
        asyncio.run(campaign.run())
        campaign.transcript().write(Path("transcript.jsonl"), TranscriptFormat.JSONL)
    return {}


def task_packs(block: int) -> Names:
    """What an evaluator has around it in the phase that a block is of."""
    for folder in ("out", "predictions", "hidden", "plan", "rounds"):
        shutil.rmtree(folder, ignore_errors=True)
    causal.prepare(TEXT, length=LENGTH, nonce=7, out=Path())
    predict(Path(), Path("predictions"), uniform)
    for file, text in (("predictions/predictions.txt", "1.0\n2.5\n"), ("hidden/play.txt", "To be")):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text(text)
    Path("out").mkdir()
    return {
        "answers": [1.0, 2.0],
        "errors": [0.0, 0.5],
        "garbled": lambda text, chance: text,
        "text": TEXT,
        "write_score": write_score,
        "write_items": write_items,
        **{module.__name__: module for module in (json, math, random, sys)},
        "Path": Path,
    }


AROUND: dict[str, Callable[[int], Names]] = {
    "README.md": readme,
    "campaign.md": campaign,
    "lineage.md": lineage,
    "plots.md": plots,
    "task-packs.md": task_packs,
    "transcripts.md": transcripts,
}
"""What a document speaks of besides its blocks, by the number of the block."""


def around(name: str, block: int) -> Names:
    """The names that a block of a document may use."""
    return {"ask_somebody": ask_somebody} | (AROUND[name](block) if name in AROUND else {})


def test_there_is_a_block_for_each_way_in() -> None:
    assert set(AROUND) | {"group-chat.md", "people.md"} <= set(with_blocks(docker=False))
    assert {"README.md", "code-executor.md", "sandboxes.md"} <= set(with_blocks(docker=True))


@pytest.mark.parametrize("name", with_blocks(docker=False))
async def test_the_blocks_of_a_document_run(user: Path, name: str) -> None:
    (document,) = (document for document in DOCUMENTS if document.name == name)
    for number, code in enumerate(blocks(document)):
        if not NEEDS_DOCKER.search(code):
            await run(code, await asyncio.to_thread(around, name, number))


@pytest.mark.docker
@pytest.mark.parametrize("name", with_blocks(docker=True))
async def test_the_blocks_that_need_docker_run(user: Path, docker_image: str, name: str) -> None:
    (document,) = (document for document in DOCUMENTS if document.name == name)
    shutil.copytree("task_packs/airbench96/recipe", "recipe")
    (user / "results").mkdir()
    for code in blocks(document):
        if NEEDS_DOCKER.search(code):
            code = code.replace("SandboxCodeExecutor()", 'SandboxCodeExecutor(image="")')
            named = re.sub(r'image="[^"]*"', f'image="{docker_image}"', code)
            await run(named, around("", 0))
    left = [path.name for path in (user / "results").iterdir()]
    assert left == ["model.json"] * (name == "sandboxes.md")
