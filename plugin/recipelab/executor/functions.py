"""Functions that code blocks can import: read as source, checked, and written as a module."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from autogen_core.code_executor import (
    Alias,
    FunctionWithRequirements,
    FunctionWithRequirementsStr,
    Import,
)
from pydantic import BaseModel, ConfigDict, field_validator


class FunctionSource(BaseModel):
    """A function that code blocks can import, as source.

    The source is only parsed here. Unlike AutoGen's own loader of functions, loading one from JSON
    runs nothing outside of the sandbox.

    Attributes:
        source: Python code that defines the function.
        python_packages: Packages that must be installed in the image, as ``pandas>=2``.
        global_imports: Import statements that the function needs, as ``import numpy as np``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    python_packages: tuple[str, ...] = ()
    global_imports: tuple[str, ...] = ()

    @field_validator("source")
    @classmethod
    def _is_a_function(cls, source: str) -> str:
        if not any(_is_def(node) for node in _parsed(source)):
            raise ValueError("the source must define a function at its top level")
        return source

    @field_validator("global_imports")
    @classmethod
    def _are_imports(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            if not all(isinstance(node, ast.Import | ast.ImportFrom) for node in _parsed(line)):
                raise ValueError(f"{line!r} is not an import statement, as `import numpy as np`")
        return lines


Function = (
    FunctionSource
    | FunctionWithRequirementsStr
    | FunctionWithRequirements[Any, Any]
    | Callable[..., Any]
)
"""A function as the executor takes it: a plain one, one of AutoGen's forms, or its source."""


def function_source(function: Function) -> FunctionSource:
    """Return the source of a function, with its requirements.

    Raises:
        ValueError: It has no source of its own, or uses variables of an enclosing function.
    """
    if isinstance(function, FunctionSource):
        return function
    if isinstance(function, FunctionWithRequirements | FunctionWithRequirementsStr):
        return FunctionSource(
            source=text if isinstance(text := function.func, str) else _source_of(text),
            python_packages=tuple(function.python_packages),
            global_imports=tuple(_import_statement(line) for line in function.global_imports),
        )
    return FunctionSource(source=_source_of(function))


def stub(function: FunctionSource) -> str:
    """Return the signatures and docstrings of a function's source, without its code."""
    found = [node for node in _parsed(function.source) if _is_def(node)]
    texts = []
    for node in found:
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        words = ast.get_docstring(node)
        node.decorator_list, node.body = [], [ast.Expr(ast.Constant(...))]
        head, body = ast.unparse(node).rsplit("\n", 1)
        end = '\n"""' if words and "\n" in words else '"""'
        told = textwrap.indent(f'"""{words}{end}', "    ") + "\n" if words else ""
        texts.append(f"{head}\n{told}{body}\n")
    return "\n\n".join(texts)


def module_text(functions: Iterable[FunctionSource]) -> str:
    """Return the module that code blocks import the functions from."""
    functions = tuple(functions)
    imports = dict.fromkeys(line for each in functions for line in each.global_imports)
    return "\n\n\n".join(("\n".join(imports), *(each.source.strip() for each in functions))) + "\n"


def required_packages(functions: Iterable[FunctionSource]) -> tuple[str, ...]:
    """Return the packages that the functions need, each once."""
    return tuple(dict.fromkeys(name for each in functions for name in each.python_packages))


def _source_of(function: Callable[..., Any]) -> str:
    """Return the ``def`` without decorators and indentation.

    AutoGen's own helper drops the first line alone, so of a decorator of several lines it keeps the
    rest.
    """
    name = getattr(function, "__qualname__", repr(function))
    if not inspect.isfunction(function):
        raise ValueError(f"{name} is not a plain function; valid: a function, or its source")
    if function.__code__.co_freevars:
        used = ", ".join(function.__code__.co_freevars)
        raise ValueError(
            f"{name} uses variables of an enclosing function, which are not in its source: {used}"
        )
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise ValueError(f"{name} has no readable source: {error}") from error
    node = ast.parse(text).body[0]
    if not _is_def(node):
        raise ValueError(f"{name} is not defined by `def`")
    return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno]) + "\n"


def _import_statement(line: Import) -> str:
    if isinstance(line, str):
        return f"import {line}"
    if isinstance(line, Alias):
        return f"import {line.name} as {line.alias}"
    names = (f"{i.name} as {i.alias}" if isinstance(i, Alias) else i for i in line.imports)
    return f"from {line.module} import {', '.join(names)}"


def _is_def(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _parsed(code: str) -> list[ast.stmt]:
    try:
        return ast.parse(code).body
    except SyntaxError as error:
        raise ValueError(f"not valid Python: {error}") from error
