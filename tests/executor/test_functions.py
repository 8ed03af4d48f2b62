"""Functions that code blocks can import."""

from __future__ import annotations

import json

import pytest
from autogen_core.code_executor import (
    Alias,
    FunctionWithRequirements,
    FunctionWithRequirementsStr,
    ImportFromModule,
    with_requirements,
)

from recipelab import SandboxCodeExecutor
from recipelab.core.errors import RecipelabError
from recipelab.executor import FunctionSource
from recipelab.executor.functions import function_source, module_text

from .conftest import Make
from .helpers import execute, python


def plain(number: int) -> int:
    """Doubles a number."""
    return 2 * number


# fmt: off
@with_requirements(
    python_packages=["pip>=1"],
    global_imports=[
        "json", Alias("math", "m"), ImportFromModule("os", ("sep", Alias("path", "p")))
    ],
)
def rooted(number: float) -> str:
    return json.dumps([m.sqrt(number), sep, p.basename("a/b")])  # type: ignore[name-defined]  # noqa: F821
# fmt: on


GIVEN = FunctionWithRequirementsStr("def given():\n    return 'given'\n")
EACH = (plain, rooted, GIVEN, FunctionSource(source="async def later():\n    return 1\n"))
USE = """
import asyncio
from functions import given, later, plain, rooted
print(plain(4), rooted(9), given(), asyncio.run(later()))
"""


async def test_each_form_survives_json_and_runs(make: Make) -> None:
    dumped = make(functions=EACH).dump_component().model_dump(mode="json")
    executor = SandboxCodeExecutor.load_component(json.loads(json.dumps(dumped)))
    async with executor:
        result = await execute(executor, python(USE))
    assert (result.exit_code, result.output) == (0, '8 [3.0, "/", "b"] given 1\n')


async def test_the_module_can_be_named_and_is_there_for_files_in_folders(make: Make) -> None:
    executor = make(functions=[plain], functions_module="mine")
    result = await execute(
        executor, python("# filename: a/b.py\nimport mine; print(mine.plain(1))")
    )
    assert (executor.functions_module, result.output) == ("mine", "2\n")


async def test_missing_packages_are_named_at_the_start(make: Make) -> None:
    needs = ["no-such-package>=2", "pip>=1", "pip>=999", 'other; sys_platform == "none"']
    source = "import no_such_package\ndef f(): ..."
    executor = make(functions=[FunctionSource(source=source, python_packages=tuple(needs))])
    with pytest.raises(RecipelabError) as raised:
        await executor.start()
    text = str(raised.value)
    assert "no-such-package>=2 is not installed, pip>=999 is not met by" in text
    assert "pip>=1 " not in text and "other" not in text
    assert "recipelab sandbox build" in text


async def test_functions_that_do_not_load_are_told_at_the_start(make: Make) -> None:
    executor = make(functions=[FunctionSource(source="def f(): ...\nraise KeyError('oops')")])
    with pytest.raises(RecipelabError, match=r"cannot be imported:[^$]*KeyError: 'oops'"):
        await executor.start()


def test_a_decorator_of_many_lines_is_left_out() -> None:
    source = function_source(rooted)
    assert source.source.startswith("def rooted(number: float)")
    assert source.python_packages == ("pip>=1",)
    assert source.global_imports == (
        "import json",
        "import math as m",
        "from os import sep, path as p",
    )


def test_an_indented_function_loses_its_indent() -> None:
    def inner() -> int:
        return 1

    assert function_source(inner).source == "def inner() -> int:\n    return 1\n"


def test_imports_come_once_and_first() -> None:
    twice = FunctionSource(source="def f(): ...", global_imports=("import os", "import os"))
    assert module_text([twice, twice]).count("import os") == 1
    assert module_text([twice]).startswith("import os\n")


def test_what_has_no_source_of_its_own() -> None:
    outside = 1

    def closure() -> int:
        return outside

    for function, words in (
        (closure, "uses variables of an enclosing function.*: outside"),
        (lambda: 1, "not defined by `def`"),
        (print, "not a plain function"),
        (FunctionWithRequirements(len), "not a plain function"),
    ):
        with pytest.raises(ValueError, match=words):
            function_source(function)


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": "x = 1"},
        {"source": "def f(:"},
        {"source": "def f(): ...", "global_imports": ["print(1)"]},
        {"source": "def f(): ...", "packages": []},
    ],
)
def test_sources_that_are_not_valid(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        FunctionSource.model_validate(wrong)
