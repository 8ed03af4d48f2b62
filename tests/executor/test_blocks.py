"""What a code block asks for."""

from __future__ import annotations

import pytest
from autogen_core.code_executor import CodeBlock
from hypothesis import given
from hypothesis import strategies as st

from recipelab.executor.work import BlockError, program_of
from recipelab.sandbox.outputs import name_fault


@pytest.mark.parametrize(
    ("language", "interpreter"),
    [
        ("python", "python"),
        ("Python", "python"),
        ("py", "python"),
        ("python3", "python"),
        ("bash", "bash"),
        ("sh", "sh"),
        ("shell", "sh"),
        (" SH ", "sh"),
    ],
)
def test_languages(language: str, interpreter: str) -> None:
    assert program_of(CodeBlock("x", language)).interpreter == interpreter


@pytest.mark.parametrize("language", ["ruby", "", "pwsh", "python2"])
def test_an_unknown_language_names_the_valid_ones(language: str) -> None:
    with pytest.raises(BlockError, match="valid: bash, py, python, python3, sh, shell"):
        program_of(CodeBlock("x", language))


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("# filename: a.py", "a.py"),
        ("# filename:a.py", "a.py"),
        ("# filename: lib/./a b.py ", "lib/a b.py"),
        ("# filename: lib/../a.py", "a.py"),
        ("# filename: -c", "-c"),
    ],
)
def test_names_of_files(line: str, file: str) -> None:
    program = program_of(CodeBlock(f"{line}\nx = 1", "python"))
    assert (program.file, program.named) == (file, True)


@pytest.mark.parametrize(
    "name",
    ["../a.py", "/etc/a.py", "a/../../b.py", "", ".", "a/", "..", "a\\b.py", "a\x1b.py", "x" * 256],
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(BlockError, match="not in the workspace"):
        program_of(CodeBlock(f"# filename: {name}\nx = 1", "python"))


def test_the_same_code_has_the_same_name() -> None:
    names = {program_of(CodeBlock(code, "python")).file for code in ("a", "b", "a")}
    assert len(names) == 2
    assert all(name.startswith("tmp_code_") and name.endswith(".py") for name in names)
    assert not program_of(CodeBlock("x\n# filename: a.py", "python")).named


@given(st.text())
def test_no_name_leaves_the_work_folder(name: str) -> None:
    try:
        program = program_of(CodeBlock(f"# filename: {name}", "sh"))
    except BlockError:
        return
    assert name_fault(program.file) is None
