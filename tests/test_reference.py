"""Everything that a user can type or write has a text in the reference, with its unit."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

from recipelab.agents.charter import Charter
from recipelab.core.attributes import key_texts
from recipelab.packs.load import Play, PlayEdit
from recipelab.sandbox.spec import ContainerProfile, ImageSpec, KernelSpec

ROOT = Path(__file__).parents[1]
UNITS = re.compile(
    r"\b(seconds|hours|MiB|bytes|GPUs|cores|processes|tokens|dollars|characters|pixels|"
    r"trials?|seeds?|runs?|pairs|files|folds|campaigns|digits|"
    r"share|chance|error|correlation|standard deviations|times|unit|version|number|port)\b",
    re.IGNORECASE,
)
"""Words that say what a number counts, or is measured in."""

READ = re.compile(
    r"""(?:environ(?:\.get\(|\[)|envvar=|_VARIABLE = |VISIBLE = |_endpoint": |api_key": )"""
    r"""\(?"([A-Z][A-Z0-9_]+)["_]"""
)
"""Where code names a variable of the environment."""

OF_SYSTEM = {"HOME", "PATH", "LD_LIBRARY_PATH", "DISPLAY", "WAYLAND_DISPLAY", "RANK"}
"""Variables that every program reads, or that a program of the sandbox's own check does."""
OF_OTHERS = {"SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURMD_NODENAME", "RECIPELAB_SEED"}
"""Variables that Slurm sets for the jobs of a place, and a pack for its recipe, and no user."""


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The collector of the site, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/site/reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A data class looks for the module that it is of.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_everything_has_a_text(reference: ModuleType) -> None:
    bare = [
        f"{group.name} {entry.name}"
        for group in reference.groups()
        for entry in group.entries
        if len(entry.text) < 5 or not entry.text.endswith((".", "..."))
    ]
    assert bare == []


def test_every_command_and_table_says_what_it_is_for(reference: ModuleType) -> None:
    named = [*reference.commands(), *reference.pack_keys()[1:]]
    assert [group.name for group in named if not group.text] == []


def test_every_quantity_has_a_unit(reference: ModuleType) -> None:
    bare = [
        f"{group.name} {entry.name}: {entry.text}"
        for group in reference.groups()
        for entry in group.entries
        if entry.is_quantity and not UNITS.search(entry.text)
    ]
    assert bare == []


def test_commands_are_written_as_they_are_typed(reference: ModuleType) -> None:
    commands = {
        group.name: {entry.name for entry in group.entries} for group in reference.commands()
    }
    assert {"PACK", "--trials", "--place-option", "--json"} <= commands["recipelab run"]
    assert {"--round", "--output, -o"} <= commands["recipelab transcript"]
    assert "--share-devices, --no-share-devices" in commands["recipelab resume"]
    assert {"recipelab import", "recipelab packs check", "recipelab ablate-best"} <= set(commands)


def test_keys_of_a_pack_have_values_and_defaults(reference: ModuleType) -> None:
    tables = {group.name: group for group in reference.pack_keys()}
    acceptance = {entry.name: entry for entry in tables["[acceptance]"].entries}
    assert acceptance["confirm"].values == "list of whole numbers from 2"
    assert acceptance["confirm"].default == "[4, 8, 16, 32]"
    assert acceptance["false_keep_rate"].values == "number above 0 below 1"
    metric = {entry.name: entry.default for entry in tables["[metric]"].entries}
    assert metric["measure"] == "required" and metric["side_by_side"] == "false"
    assert "[certify.predict]" in tables["[phases.predict] and the like"].places


def test_variables_of_the_environment_are_those_that_are_read(reference: ModuleType) -> None:
    package = ROOT / "plugin/recipelab"
    sources = [file.read_text("utf-8") for file in package.rglob("*.py")]
    read = {name for text in sources for name in READ.findall(text)}
    read |= {name for text in sources for name in re.findall(r'"((?:ROCR|HIP)_VISIBLE_\w+)"', text)}
    documented = set(reference.ENVIRONMENT)
    assert read - OF_SYSTEM - OF_OTHERS - documented == set()
    anywhere = "\n".join(sources)
    assert {name for name in documented if f'"{name}"' not in anywhere} <= {"WANDB_API_KEY"}


@pytest.mark.parametrize(
    "model", [ContainerProfile, ImageSpec, KernelSpec, Charter, Play, PlayEdit]
)
def test_docstrings_name_the_fields_that_there_are(model: type[BaseModel]) -> None:
    assert set(key_texts(model)) == set(model.model_fields)
