"""What a code block asks for: which program runs it, and the name of its file."""

from __future__ import annotations

import ast
import contextlib
import filecmp
import hashlib
import inspect
import os
import posixpath
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from autogen_core.code_executor import (
    Alias,
    CodeBlock,
    FunctionWithRequirements,
    FunctionWithRequirementsStr,
    Import,
)

from recipelab.core.errors import SandboxError, unknown_name
from recipelab.executor.config import FunctionSource
from recipelab.executor.inside import PLACEHOLDER
from recipelab.sandbox.files import new_folder, remove_tree
from recipelab.sandbox.outputs import name_fault, printable_name

_PROGRAMS = {
    "python": "python",
    "python3": "python",
    "py": "python",
    "bash": "bash",
    "sh": "sh",
    "shell": "sh",
}
LANGUAGES = tuple(_PROGRAMS)
"""The languages of code blocks, in any case."""

_MARK = "# filename:"


class BlockError(ValueError):
    """A code block cannot be run; the message is for the agent that wrote it."""


@dataclass(frozen=True)
class Program:
    """A code block that can be run.

    Attributes:
        interpreter: ``python``, ``bash`` or ``sh``.
        file: Where its code lies, below the work folder.
        code: The code as it is stored.
        named: Whether the block itself names its file.
    """

    interpreter: str
    file: str
    code: bytes
    named: bool


def program_of(block: CodeBlock) -> Program:
    """Reads a code block.

    Raises:
        BlockError: Its language is not known, or its file would lie outside of the work folder.
    """
    interpreter = _PROGRAMS.get(block.language.strip().lower())
    if interpreter is None:
        raise BlockError(unknown_name("language", block.language, LANGUAGES))
    code = block.code.encode("utf-8", errors="replace")
    named = _file_name(block.code)
    return Program(interpreter, named or _temporary_name(interpreter, code), code, bool(named))


def _file_name(code: str) -> str | None:
    """The name in the first line, as ``# filename: train.py``, or ``None``."""
    line = code.partition("\n")[0]
    if not line.startswith(_MARK):
        return None
    asked = line.removeprefix(_MARK).strip()
    name = posixpath.normpath(asked)
    if not asked or asked.endswith("/") or name == "." or posixpath.isabs(name):
        raise _bad_name(asked, "it is not the relative path of a file")
    if fault := name_fault(name):
        raise _bad_name(asked, fault)
    return name


def _bad_name(name: str, reason: str) -> BlockError:
    return BlockError(
        f"Filename is not in the workspace: {printable_name(name)!r} is refused, {reason}"
    )


def _temporary_name(interpreter: str, code: bytes) -> str:
    """The name of a block that asks for none: the same one for the same code."""
    end = "py" if interpreter == "python" else interpreter
    return f"tmp_code_{hashlib.sha256(code).hexdigest()}.{end}"


Function = (
    FunctionSource
    | FunctionWithRequirementsStr
    | FunctionWithRequirements[Any, Any]
    | Callable[..., Any]
)
"""What an executor takes as a function."""


def function_source(function: Function) -> FunctionSource:
    """The source of a function with what it requires.

    Raises:
        ValueError: It has no source of its own, or uses variables of a function around it.
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


def module_text(functions: Iterable[FunctionSource]) -> str:
    """The module that code blocks import the functions from."""
    functions = tuple(functions)
    imports = dict.fromkeys(line for each in functions for line in each.global_imports)
    return "\n\n\n".join(("\n".join(imports), *(each.source.strip() for each in functions))) + "\n"


def packages(functions: Iterable[FunctionSource]) -> tuple[str, ...]:
    """What must be installed for the functions, each once."""
    return tuple(dict.fromkeys(name for each in functions for name in each.python_packages))


def _source_of(function: Callable[..., Any]) -> str:
    """The ``def`` without decorators and indentation.

    AutoGen's own helper drops the first line only, so a decorator of several lines is left half
    there.
    """
    name = getattr(function, "__qualname__", repr(function))
    if not inspect.isfunction(function):
        raise ValueError(f"{name} is not a plain function; valid: a function, or its source")
    if function.__code__.co_freevars:
        used = ", ".join(function.__code__.co_freevars)
        raise ValueError(
            f"{name} uses variables of the function around it, which has no source: {used}"
        )
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise ValueError(f"{name} has no source that can be read: {error}") from error
    node = ast.parse(text).body[0]
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        raise ValueError(f"{name} is not defined by `def`")
    return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno]) + "\n"


def _import_statement(line: Import) -> str:
    if isinstance(line, str):
        return f"import {line}"
    if isinstance(line, Alias):
        return f"import {line.name} as {line.alias}"
    names = (f"{i.name} as {i.alias}" if isinstance(i, Alias) else i for i in line.imports)
    return f"from {line.module} import {', '.join(names)}"


@dataclass(frozen=True)
class Listing:
    """Regular files and folders below a folder, as paths with forward slashes.

    Attributes:
        files: The files.
        folders: The folders, each after the one that it lies in.
        size: Bytes of all files together.
    """

    files: frozenset[str]
    folders: tuple[str, ...]
    size: int


def listing(top: Path) -> Listing:
    """Looks through a folder; follows no links and lists none."""
    files: set[str] = set()
    folders: list[str] = []
    size = 0
    for folder, names, others in os.walk(top):
        inner = Path(folder)
        folders += [_name(top, inner / name) for name in names if not (inner / name).is_symlink()]
        for path in (inner / name for name in others):
            if path.is_file() and not path.is_symlink():
                files.add(_name(top, path))
                size += path.lstat().st_size
    return Listing(frozenset(files), tuple(folders), size)


def drop_placeholders(top: Path) -> None:
    """Removes the files that stand for empty folders; the folders stay."""
    for path in top.rglob(PLACEHOLDER):
        path.unlink()


def adopt(work: Path, new: Path, *, before: Listing, forget: bool) -> tuple[str, ...]:
    """Makes a work folder what a block left: all of it, or nothing if that fails.

    A file that the block did not change is not touched, nor is one that somebody else has put there
    meanwhile. Each file is changed in one step, so nobody ever reads half of one.

    Args:
        work: The work folder.
        new: What the block left; files are moved out of it.
        before: What the block saw.
        forget: Whether files that the block saw and did not leave are removed.

    Returns:
        Names that lie behind a link in the work folder and were not taken.

    Raises:
        SandboxError: The host cannot store it; the work folder is as it was.
    """
    after = listing(new)
    behind = {name for name in (*after.folders, *after.files) if _behind_link(work, name)}
    changed = sorted(name for name in after.files - behind if not _same(work / name, new / name))
    gone = sorted(before.files - after.files) if forget else []
    folders = [name for name in after.folders if name not in behind]
    lost = [name for name in reversed(before.folders) if name not in after.folders]
    # In the work folder itself: only within one file system is a move one step.
    stage = new_folder(work, what="work")
    try:
        for name in changed:
            _stage(new / name, stage / "new" / name, like=work / name)
        with _all_or_nothing() as undo:
            for name in gone:
                _set_aside(work / name, stage / "old" / name, undo)
            for name in lost if forget else ():
                _remove_folder(work / name, undo)
            for name in folders:
                _make_folder(work / name, undo)
            for name in changed:
                _set_aside(work / name, stage / "old" / name, undo)
                _move(stage / "new" / name, work / name, undo)
    except OSError as error:
        raise SandboxError(f"cannot store files in {work}: {error.strerror}") from error
    finally:
        remove_tree(stage)
    return tuple(sorted(behind))


Undo = list[Callable[[], object]]


@contextlib.contextmanager
def _all_or_nothing() -> Iterator[Undo]:
    """Collects how each step is undone, and undoes them if one fails."""
    steps: Undo = []
    try:
        yield steps
    except OSError:
        for step in reversed(steps):
            step()
        raise


def _stage(source: Path, target: Path, *, like: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)
    if like.is_file():
        shutil.copymode(like, target)


def _move(source: Path, target: Path, undo: Undo) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    undo.append(lambda: target.rename(source))


def _set_aside(path: Path, place: Path, undo: Undo) -> None:
    """Moves a file out of the way, if there is one. A folder is left, and will be in the way."""
    if path.is_file() or path.is_symlink():
        _move(path, place, undo)


def _make_folder(path: Path, undo: Undo) -> None:
    if not path.is_dir():
        path.mkdir()
        undo.append(path.rmdir)


def _remove_folder(path: Path, undo: Undo) -> None:
    """Removes a folder that is empty by now; somebody else's files keep it."""
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
        undo.append(path.mkdir)


def _same(old: Path, new: Path) -> bool:
    return old.is_file() and not old.is_symlink() and filecmp.cmp(old, new, shallow=False)


def _behind_link(work: Path, name: str) -> bool:
    """Whether a path of the work folder goes through a link, or is one."""
    parts = PurePosixPath(name).parts
    return any(work.joinpath(*parts[:count]).is_symlink() for count in range(1, len(parts) + 1))


def _name(top: Path, path: Path) -> str:
    return path.relative_to(top).as_posix()
