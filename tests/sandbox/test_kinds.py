"""Kinds of sandboxes that another distribution brings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recipelab.cli.app import app
from recipelab.core.errors import RecipelabError, SandboxUnavailable
from recipelab.executor import SandboxCodeExecutor
from recipelab.sandbox import DockerSandbox, LocalSandbox
from recipelab.sandbox.choose import (
    SANDBOX_KINDS,
    SandboxKind,
    open_sandbox,
    sandbox_kind_names,
)
from recipelab.sandbox.spec import load_image_spec

MODULE = """
from recipelab.sandbox import LocalSandbox


class ElsewhereSandbox(LocalSandbox):
    name = "elsewhere"

    @classmethod
    def from_spec(cls, spec, *, build, progress):
        progress(f"opened for {spec.name}, build {build}")
        return cls()

    def notice(self):
        return "code runs elsewhere"
"""
METADATA = "Metadata-Version: 2.1\nName: another-distribution\nVersion: 1.0\n"
ENTRY_POINTS = """
[recipelab.sandbox_kinds]
elsewhere = another_distribution:ElsewhereSandbox
docker = another_distribution:ElsewhereSandbox
gone = another_distribution:Gone
"""


@pytest.fixture
def another_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs a distribution with a module and entry points, as pip would lay it out."""
    site = tmp_path / "site"
    info = site / "another_distribution-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "another_distribution.py").write_text(MODULE)
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "another_distribution", raising=False)


def test_the_classes_that_ship_are_kinds() -> None:
    kinds: list[SandboxKind] = [DockerSandbox, LocalSandbox]
    assert [kind.isolated for kind in kinds] == [True, False]
    assert [SANDBOX_KINDS.get(name) for name in ("docker", "local")] == kinds


def test_it_is_one_of_the_names(another_distribution: None) -> None:
    assert sandbox_kind_names() == ("auto", "docker", "local", "elsewhere", "gone")


async def test_it_is_opened_by_its_name(another_distribution: None) -> None:
    said: list[str] = []
    sandbox = open_sandbox(
        "elsewhere", load_image_spec("cpu"), build=True, say=said.append, allow_local_fallback=False
    )
    assert said == ["opened for cpu, build True"]
    assert sandbox.notice() == "code runs elsewhere"
    assert (sandbox.name, sandbox.isolated) == ("elsewhere", False)
    async with sandbox:
        assert sandbox.started


def test_it_does_not_replace_one_that_ships(another_distribution: None) -> None:
    assert SANDBOX_KINDS.get("docker") is DockerSandbox


def test_the_command_line_opens_it(another_distribution: None) -> None:
    done = CliRunner().invoke(app, ["sandbox", "check", "cpu", "--sandbox", "elsewhere", "--json"])
    facts = json.loads(done.stdout)
    assert (done.exit_code, facts["sandbox"], facts["ok"]) == (0, "elsewhere", True), done.output
    assert "code runs elsewhere" in done.stderr


async def test_an_executor_opens_it(another_distribution: None) -> None:
    with pytest.warns(UserWarning) as warned:
        async with SandboxCodeExecutor(kind="elsewhere") as executor:
            assert executor.dump_component().config["kind"] == "elsewhere"
    said = [str(warning.message) for warning in warned]
    assert said == ["opened for cpu, build False", "code runs elsewhere"]
    with pytest.raises(RecipelabError, match="'elsewhere' takes a sandbox, not an image"):
        await SandboxCodeExecutor(kind="elsewhere", image="python:3.11").start()


def test_an_unknown_kind_lists_the_valid_ones(another_distribution: None) -> None:
    valid = "valid: auto, docker, elsewhere, gone, local"
    with pytest.raises(SandboxUnavailable, match=f"unknown sandbox kind 'podman'; {valid}"):
        open_sandbox(
            "podman", load_image_spec("cpu"), build=True, say=print, allow_local_fallback=True
        )
    done = CliRunner().invoke(app, ["sandbox", "check", "--sandbox", "podman"])
    assert done.exit_code == 2 and valid in done.stderr


def test_one_that_cannot_be_imported_says_so(another_distribution: None) -> None:
    with pytest.raises(RecipelabError, match="sandbox kind 'gone' of 'another_distribution:Gone'"):
        open_sandbox(
            "gone", load_image_spec("cpu"), build=True, say=print, allow_local_fallback=True
        )
