"""Every command of the README runs as it is written there, on a pack that takes milliseconds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .background import COMMAND

pytestmark = pytest.mark.campaign

ROOT = Path(__file__).parents[2]

NEEDS_MORE = {
    # What a command needs that is not here, and how it tells.
    "run airbench96 --model openai:NAME": (2, ""),
    "pause": (2, "there is nothing to pause"),
    "kill 9": (2, "no process runs campaign"),
}
"""Commands that cannot do their work in this test, by how they begin: exit code and words."""

SHORTER = {"--trials 30": "--trials 9"}
"""The one thing that is another: how long the campaign is."""


def commands() -> list[str]:
    """The lines of the README's block of commands, in their order, without their comments."""
    text = (ROOT / "README.md").read_text("utf-8")
    (block,) = re.findall(r"(?ms)^## Use it\n\n```\n(.+?)^```", text)
    return [line.partition("  #")[0].strip() for line in block.splitlines()]


@pytest.fixture
def user(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with the toy pack in the place of the one that the README names."""
    toy = project / "task_packs/toy"
    pack = shutil.move(toy, toy.with_name("airbench96"))
    for file in (
        Path(pack, "pack.toml"),
        Path(pack, "playbook.toml"),
        Path(pack, "recipe/train.py"),
    ):
        text = file.read_text("utf-8").replace('name = "toy"', 'name = "airbench96"')
        text = text.replace('specialists = ["left", "right"]', 'specialists = ["opt", "aug"]')
        text = re.sub(r'(?m)^(name|surface) = "left"$', r'\1 = "opt"', text)
        text = re.sub(r'(?m)^(name|surface) = "right"$', r'\1 = "aug"', text)
        file.write_text(text.replace("knob left", "knob opt").replace("knob right", "knob aug"))
    bin_folder = project / "bin"
    bin_folder.mkdir()
    script = bin_folder / "recipelab"
    script.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(key, raising=False)
    (project / ".gitignore").write_text(".recipelab\nbin\nmine\n*.git\n*.html\n*.jsonl\n*.patch\n")
    train = Path(pack, "recipe/train.py")
    text = train.read_text("utf-8")
    for words in (
        ("init", "-q"),
        ("add", "-A"),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "start"),
    ):
        subprocess.run(["git", *words], cwd=project, check=True)
    train.write_text(text.replace("X = 1.0", "X = 3.77"))
    patch = subprocess.run(["git", "diff"], cwd=project, check=True, capture_output=True).stdout
    (project / "my.patch").write_bytes(patch)
    train.write_text(text)
    return project


def sh(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_the_commands_of_the_readme_do_what_they_say(user: Path) -> None:
    assert commands()[0].startswith("pip install 'recipelab[torch]'")
    for line in commands()[1:]:
        for written, shorter in SHORTER.items():
            line = line.replace(written, shorter)
        line = line.replace("export NAME", "export airbench96-1")
        line = line.replace(
            "import night.jsonl",
            "export airbench96-1 --to night.jsonl && recipelab import night.jsonl",
        )
        words = line.removeprefix("recipelab ")
        expected = next((NEEDS_MORE[key] for key in NEEDS_MORE if words.startswith(key)), (0, ""))
        done = sh(line, user)
        # Whether a gain holds on other answers is what verify finds out: either is an answer.
        codes = {0, 1} if words == "verify best" else {expected[0]}
        told = f"{line}\n{done.stdout}\n{done.stderr}"
        assert done.returncode in codes and "Traceback" not in done.stderr, told
        assert expected[1] in done.stderr
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=user, check=True, capture_output=True, text=True
    )
    assert changed.stdout == " M task_packs/airbench96/recipe/train.py\n"
    assert (user / "mine/artifact/model.json").is_file()
    assert (user / "review.html").is_file() and (user / "night.git/.git").is_dir()
