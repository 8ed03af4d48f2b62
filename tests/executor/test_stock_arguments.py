"""What users of AutoGen's own executors give, and what becomes of it here."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from autogen_core.code_executor import with_requirements
from pydantic import ValidationError

from recipelab import SandboxCodeExecutor
from recipelab.core.errors import RecipelabError
from recipelab.executor.config import STOCK_ARGUMENTS, SandboxCodeExecutorConfig

from .conftest import Make
from .helpers import execute, python, shell


def add(a: int, b: int = 2) -> int:
    """Add two numbers.

    The sum is exact.
    """
    return a + b


@with_requirements(python_packages=[], global_imports=["math"])
def root(x: float) -> float:
    return math.sqrt(x)  # type: ignore[name-defined]  # noqa: F821


async def test_data_can_be_read_and_not_changed(make: Make, tmp_path: Path) -> None:
    folder, file = tmp_path / "set", tmp_path / "one file.csv"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/x.txt").write_text("deep water")
    file.write_text("a,b")
    executor = make(data={"set": folder, "table.csv": str(file)})
    result = await execute(
        executor,
        python("print(open('../data/set/deep/x.txt').read(), open('../data/table.csv').read())"),
        shell('cat "$DATA/table.csv"'),
    )
    assert result.exit_code == 0
    assert result.output.splitlines() == ["deep water a,b", "a,b"]
    for write in ("../data/set/deep/x.txt", "../data/table.csv", "../data/set/new"):
        result = await execute(executor, python(f"open({write!r}, 'w').write('gone')"))
        assert result.exit_code == 1
    assert ((folder / "deep/x.txt").read_text(), file.read_text()) == ("deep water", "a,b")
    assert sorted(path.name for path in folder.iterdir()) == ["deep"]
    names = [path.name for path in executor.work_dir.iterdir()]
    assert all(name.startswith("tmp_code_") for name in names)


async def test_a_command_runs_before_each_block(make: Make) -> None:
    executor = make(init_command="echo $((6 * 7)) >> count")
    for lines in (1, 2):
        result = await execute(executor, python("print(open('count').read())"))
        assert result.output.split() == ["42"] * lines
    failing = make(init_command="echo no luck; exit 5")
    result = await execute(failing, python("print('never')"))
    assert (result.exit_code, result.output) == (5, "no luck\n")


def test_both_survive_json(tmp_path: Path) -> None:
    executor = SandboxCodeExecutor("python:3-slim", data={"d": tmp_path}, init_command="true")
    loaded = SandboxCodeExecutor.load_component(executor.dump_component())
    assert loaded.dump_component() == executor.dump_component()
    config = executor.dump_component().config
    assert (config["image"], config["data"]) == ("python:3-slim", {"d": str(tmp_path)})


@pytest.mark.filterwarnings("ignore:the local sandbox")
async def test_data_that_are_not_there_are_told_at_the_start(tmp_path: Path) -> None:
    executor = SandboxCodeExecutor(kind="local", data={"d": tmp_path / "no"})
    with pytest.raises(RecipelabError, match=r"data/d: there is no file or folder .*no"):
        await executor.start()
    await executor.stop()
    for name in ("a/b", "..", ""):
        with pytest.raises(ValueError, match="is no name for data"):
            SandboxCodeExecutor(data={name: tmp_path})


def stock_arguments() -> set[str]:
    """The names of all arguments of AutoGen's command line executors."""
    spec = find_spec("autogen_ext")
    assert spec is not None and spec.submodule_search_locations
    top = Path(spec.submodule_search_locations[0], "code_executors")
    names: set[str] = set()
    # Read, as importing the Docker one needs more than recipelab does.
    for file in ("docker/_docker_code_executor.py", "local/__init__.py"):
        for node in ast.walk(ast.parse((top / file).read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                names |= {arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)}
    return names - {"self"}


def test_every_stock_argument_is_taken_or_explained() -> None:
    fields = set(SandboxCodeExecutorConfig.model_fields)
    assert stock_arguments() - fields == set(STOCK_ARGUMENTS)
    text = (Path(__file__).parents[2] / "docs/code-executor.md").read_text()
    for name in stock_arguments():
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("name", sorted(STOCK_ARGUMENTS))
def test_what_is_not_taken_says_what_to_give(name: str) -> None:
    given: dict[str, Any] = {name: None}
    for make in (
        lambda: SandboxCodeExecutor(**given),
        lambda: SandboxCodeExecutor.load_component(
            {"provider": "recipelab.SandboxCodeExecutor", "config": given}
        ),
    ):
        with pytest.raises(ValidationError, match=f"{name} is not taken: "):
            make()


def test_an_unknown_argument_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown argument 'tiemout'; valid: allow_local, .*work"):
        SandboxCodeExecutor(tiemout=3)  # type: ignore[call-arg]


def test_the_working_directory_as_work_folder_is_warned_of() -> None:
    with pytest.warns(DeprecationWarning, match="current directory as work_dir"):
        SandboxCodeExecutor(work_dir=".")


def test_a_prompt_names_the_functions_as_the_stock_executor_does() -> None:
    executor = SandboxCodeExecutor(functions=[add, root], functions_module="tools")
    told = executor.format_functions_for_prompt()
    assert "from `tools`" not in told and "`from tools import foo`" in told
    assert told.endswith(
        '''\
def add(a: int, b: int=2) -> int:
    """Add two numbers.

    The sum is exact.
    """
    ...


def root(x: float) -> float:
    ...
'''
    )
    template = "[$module_name] $functions $more"
    assert executor.format_functions_for_prompt(template).startswith("[tools] def add(a: int")
